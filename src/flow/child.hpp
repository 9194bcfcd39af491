// Runs that a node of another run has started: workflow.call, map.each. Told in child.cpp.
#pragma once

#include "flow/waiting.hpp"

namespace chronicle::flow {

/// In the scheduler, inside a transaction: nodes whose children have ended are ready to be looked at. Returns when to
/// look again because a node was locked (0: not).
TimestampTz wake_parents();

/// In the scheduler, in transactions of its own: cancels the children that a node gave up, beyond those that it could
/// cancel in its own transaction.
void cancel_abandoned();

/// Cancels whatever runs of this one are not over. The caller holds its lock, in an EngineScope.
void cancel_children(const Execution &execution, const std::string &reason);

/// A run has ended: the node that waits for it is told.
void report_end(const Execution &execution, bool completed);
/// A run that had ended goes on: the node that waits for it, and has not seen its end yet, waits on.
void await_again(const Execution &execution);

} // namespace chronicle::flow
