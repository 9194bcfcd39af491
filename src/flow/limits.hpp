// The `concurrency` of a definition: how many of its runs are under way at once. Told in limits.cpp.
#pragma once

#include "flow/execution.hpp"

namespace chronicle::flow {

/// The run may have nodes in the queue: it has a slot, or needs none. Else it waits for one from now on, and its nodes
/// are to be held. The caller holds the run's lock, in an EngineScope.
bool has_slot(const Execution &execution, const core::Definition &graph);

/// The run is over: its slot goes to the next.
void release_slot(const Execution &execution);

} // namespace chronicle::flow
