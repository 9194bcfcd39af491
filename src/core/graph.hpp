// How a run moves through its graph: pure functions over a Definition and a RunState.
//
// A node is decided by its incoming edges. `join: all` waits until every edge is decided and runs
// when at least one is live; `join: any` runs at the first live edge. A node whose edges are all
// dead is skipped, and its own edges are dead too (dead-path elimination, as in BPEL 2.0, section
// 11.6.2). Every edge is decided at most once, so a whole run costs O(nodes + edges).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/definition.hpp"

namespace chronicle::core {

/// waiting: begun, and at rest until something outside happens (a time, a signal, a child, a task).
enum class NodeState : std::uint8_t { pending, ready, running, waiting, completed, failed, skipped, cancelled };
enum class EdgeState : std::uint8_t { undecided, live, dead };

/// True for completed, failed, skipped and cancelled.
bool is_final(NodeState state);

struct RunState {
    std::vector<NodeState> nodes;
    std::vector<EdgeState> edges;
    std::vector<int> undecided_in; ///< per node: incoming edges that are not decided yet
    std::vector<int> live_in; ///< per node: incoming edges that are live
    int unfinished = 0; ///< nodes that are not final
};

struct Decision {
    std::vector<int> ready; ///< nodes that became ready, each once
    std::vector<int> skipped; ///< nodes that became skipped, sources before their targets
    /// Nodes that are not final and that nobody needs any more, because every path from them ends
    /// in a `join: any` that has its live edge. Their state is unchanged: the engine cancels them
    /// (in this order) with decide(…, NodeState::cancelled, {}) once they do not run any more.
    std::vector<int> unneeded;
};

/// The state before anything ran: all nodes pending, all edges undecided.
RunState initial_state(const Definition &definition);

/// The state as stored; the counters are computed. Throws std::invalid_argument when the sizes do
/// not match the definition.
RunState restore_state(const Definition &definition, std::vector<NodeState> nodes, std::vector<EdgeState> edges);

/// Makes the nodes without incoming edges ready and returns them.
Decision start(const Definition &definition, RunState &state);

/// Marks a ready node as running. Throws std::logic_error in any other state.
void mark_running(RunState &state, int node);

/// Ends a node and decides its outgoing edges.
/// \param outcome    completed, failed or cancelled
/// \param live_edges indices of the node's outgoing edges that are live; all its others are dead.
///        Not looked at when the outcome ends the run (failed, without on_failure: continue): then
///        no edge is decided, and the engine goes on with cancel_unfinished. A cancelled node has
///        no live edges.
/// Throws std::logic_error when the node is already final, the outcome is none, or an edge is not
/// the node's.
Decision decide(const Definition &definition, RunState &state, int node, NodeState outcome,
                std::span<const int> live_edges);

/// Cancels every node that is not final and returns them, in topological order.
std::vector<int> cancel_unfinished(const Definition &definition, RunState &state);

/// Of a run that is over: the nodes that run again when it goes on, in topological order. These are the nodes that
/// failed it, those that its end cancelled, and `from` with all that follows from them. A node that was cancelled
/// because nobody needed it stays so, unless it is needed now (a `join: any` with a live edge that is kept needs no
/// other).
std::vector<int> nodes_to_repeat(const Definition &definition, const RunState &state, std::span<const int> from);

/// Moves a restored state on whose nodes of the kind above are pending again: what their decided edges allow.
Decision go_on(const Definition &definition, RunState &state);

/// Every node is final.
bool all_done(const RunState &state);

} // namespace chronicle::core
