// What users do to a run: cancel, pause, resume; retry and fork (retry.cpp).
#pragma once

#include "flow/execution.hpp"

namespace chronicle::flow {

/// Locks the run for the rest of the transaction and reads it. CH031 when it is unknown or its owner is none that the
/// current user may act for; 0A000 in a node of that run itself.
Execution lock_for_control(const pg::Uuid &id, const char *doing);

/// CH031: it is in no state for that.
[[noreturn]] void raise_state(const Execution &execution, const char *doing, const char *hint);

/// Cancels a run whose lock this takes; false: it was over (or is gone) already. In an EngineScope.
bool cancel_run(const pg::Uuid &id, const std::string &reason);

} // namespace chronicle::flow
