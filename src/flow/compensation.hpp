// Saga: what a run has done is undone when it ends early. Told in compensation.cpp.
#pragma once

#include "flow/progress.hpp"

namespace chronicle::flow {

/// Queues the first compensation and remembers how the run will end; false when there is nothing to undo.
bool begin_compensation(const Execution &execution, const core::Definition &graph, const Ending &ending);

/// An attempt at a compensation is over; the caller holds the run's lock and the lease, in an EngineScope. Retries it,
/// queues the next one, or ends the run. Writes the events.
void end_compensation(const Execution &execution, const NodeResult &result, const std::optional<Failure> &failure,
                      bool may_retry);

/// Somebody cancels a run while its compensations run: the one at work is interrupted, and the run fails with what is
/// not compensated. The caller holds the run's lock, in an EngineScope.
void cancel_compensation(const Execution &execution, const std::string &reason);

} // namespace chronicle::flow
