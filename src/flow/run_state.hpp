// The state of a run's graph, and how a process that works on a run keeps up with it.
#pragma once

#include "core/graph.hpp"
#include "core/uuid.hpp"

#include "pg/datum.hpp"

namespace chronicle::flow {

/// What follows from the run's events up to `version`. (Compensations aside.)
struct KnownState {
    int64 version = 0;
    core::RunState state;
};

/// From node_result and node_task, by the newest committed state. In an EngineScope.
KnownState load_state(const pg::Uuid &id, const core::Definition &graph);

/// Applies what has happened since `known.version`, or loads it anew where that does not tell enough. In an
/// EngineScope; exact when the caller holds the run's lock.
void catch_up(KnownState &known, const pg::Uuid &id, const core::Definition &graph);

/// The same but for what a node that is neither pending nor over is doing: for assertions.
bool same_graph(const KnownState &a, const KnownState &b);

/// This process's memory of runs that it has worked on: the state as of a commit of ours. Taking it removes it.
std::optional<KnownState> take_remembered(const pg::Uuid &id);
void remember(const pg::Uuid &id, KnownState known);

} // namespace chronicle::flow
