#include "core/graph.hpp"

#include <algorithm>
#include <stdexcept>
#include <unordered_map>
#include <utility>

namespace chronicle::core {

namespace {

// Moves a run on after some edges have been decided.
class Advance {
public:
    Advance(const Definition &definition, RunState &state) : definition_(definition), state_(state) {}

    // Decides one edge, and with it perhaps its target.
    void decide_edge(int edge, EdgeState decision) {
        state_.edges[edge] = decision;
        const int node = definition_.edges[edge].target;
        state_.undecided_in[node]--;
        if (decision == EdgeState::live)
            state_.live_in[node]++;
        if (state_.nodes[node] != NodeState::pending)
            return;
        const bool all_decided = state_.undecided_in[node] == 0;
        const bool any_live = state_.live_in[node] > 0;
        if (any_live && (all_decided || definition_.nodes[node].join == Join::any)) {
            state_.nodes[node] = NodeState::ready;
            decision_.ready.push_back(node);
        } else if (all_decided) {
            state_.nodes[node] = NodeState::skipped;
            state_.unfinished--;
            decision_.skipped.push_back(node);
        }
    }

    // Dead-path elimination: the edges out of skipped nodes are dead.
    void spread_skips() {
        for (std::size_t i = 0; i < decision_.skipped.size(); i++) // grows on the way
            for (const int edge : definition_.nodes[decision_.skipped[i]].out)
                decide_edge(edge, EdgeState::dead);
    }

    void find_unneeded();

    Decision take() { return std::move(decision_); }

private:
    bool is_pending(int node) const { return state_.nodes[node] == NodeState::pending; }
    int pending_targets(int node) const;

    const Definition &definition_;
    RunState &state_;
    Decision decision_;
};

int Advance::pending_targets(int node) const {
    int count = 0;
    for (const int edge : definition_.nodes[node].out)
        count += is_pending(definition_.edges[edge].target);
    return count;
}

// Walks back from the nodes that became ready before all their edges were decided. A source is
// unneeded once none of its targets waits for it: each is either no longer pending, or unneeded.
void Advance::find_unneeded() {
    std::unordered_map<int, int> needed_by; // per source met: targets that still wait for it
    std::vector<int> queue;
    for (const int node : decision_.ready)
        if (state_.undecided_in[node] > 0) // the others have no source left to cancel
            queue.push_back(node);
    for (std::size_t i = 0; i < queue.size(); i++) {
        const int target = queue[i];
        for (const int edge : definition_.nodes[target].in) {
            const int source = definition_.edges[edge].source;
            if (is_final(state_.nodes[source]))
                continue;
            const auto [entry, is_new] = needed_by.try_emplace(source, 0);
            if (is_new)
                entry->second = pending_targets(source);
            if (is_pending(target))
                entry->second--; // counted as waiting, but unneeded itself
            const bool changed = is_new || is_pending(target);
            if (changed && entry->second == 0) {
                decision_.unneeded.push_back(source);
                queue.push_back(source);
            }
        }
    }
}

void check_ending(const Definition &definition, const RunState &state, int node, NodeState outcome,
                  std::span<const int> live_edges) {
    if (is_final(state.nodes.at(node)))
        throw std::logic_error("node " + definition.nodes[node].id + " is already final");
    if (!is_final(outcome) || outcome == NodeState::skipped)
        throw std::logic_error("a node ends completed, failed or cancelled");
    if (outcome == NodeState::cancelled && !live_edges.empty())
        throw std::logic_error("a cancelled node has no live edges");
    for (const int edge : live_edges)
        if (definition.edges.at(edge).source != node)
            throw std::logic_error("edge " + definition.edges[edge].id + " does not leave node " +
                                   definition.nodes[node].id);
}

} // namespace

bool is_final(NodeState state) {
    return state == NodeState::completed || state == NodeState::failed || state == NodeState::skipped ||
           state == NodeState::cancelled;
}

RunState initial_state(const Definition &definition) {
    return restore_state(definition, std::vector<NodeState>(definition.nodes.size(), NodeState::pending),
                         std::vector<EdgeState>(definition.edges.size(), EdgeState::undecided));
}

RunState restore_state(const Definition &definition, std::vector<NodeState> nodes, std::vector<EdgeState> edges) {
    if (nodes.size() != definition.nodes.size() || edges.size() != definition.edges.size())
        throw std::invalid_argument("the state does not belong to this definition");
    RunState state;
    state.undecided_in.assign(nodes.size(), 0);
    state.live_in.assign(nodes.size(), 0);
    for (std::size_t i = 0; i < edges.size(); i++) {
        const int target = definition.edges[i].target;
        state.undecided_in[target] += edges[i] == EdgeState::undecided;
        state.live_in[target] += edges[i] == EdgeState::live;
    }
    for (const NodeState node : nodes)
        state.unfinished += !is_final(node);
    state.nodes = std::move(nodes);
    state.edges = std::move(edges);
    return state;
}

Decision start(const Definition &definition, RunState &state) {
    Decision decision;
    for (std::size_t i = 0; i < definition.nodes.size(); i++) {
        if (!definition.nodes[i].in.empty() || state.nodes[i] != NodeState::pending)
            continue;
        state.nodes[i] = NodeState::ready;
        decision.ready.push_back(static_cast<int>(i));
    }
    return decision;
}

void mark_running(RunState &state, int node) {
    if (state.nodes.at(node) != NodeState::ready)
        throw std::logic_error("only a ready node starts to run");
    state.nodes[node] = NodeState::running;
}

Decision decide(const Definition &definition, RunState &state, int node, NodeState outcome,
                std::span<const int> live_edges) {
    check_ending(definition, state, node, outcome, live_edges);
    state.nodes[node] = outcome;
    state.unfinished--;
    const Node &ended = definition.nodes[node];
    if (outcome == NodeState::failed && ended.on_failure != OnFailure::proceed)
        return {};

    Advance advance(definition, state);
    for (const int edge : live_edges)
        if (state.edges[edge] == EdgeState::undecided)
            advance.decide_edge(edge, EdgeState::live);
    for (const int edge : ended.out)
        if (state.edges[edge] == EdgeState::undecided)
            advance.decide_edge(edge, EdgeState::dead);
    advance.spread_skips();
    advance.find_unneeded();
    return advance.take();
}

std::vector<int> cancel_unfinished(const Definition &definition, RunState &state) {
    std::vector<int> cancelled;
    for (const int node : definition.topological) {
        if (is_final(state.nodes[node]))
            continue;
        state.nodes[node] = NodeState::cancelled;
        cancelled.push_back(node);
    }
    state.unfinished = 0;
    return cancelled;
}

std::vector<int> nodes_to_repeat(const Definition &definition, const RunState &state, std::span<const int> from) {
    std::vector<bool> repeat(definition.nodes.size());
    for (const int node : from)
        repeat[node] = true;
    for (const int node : definition.topological)
        for (const int edge : definition.nodes[node].out)
            if (repeat[node])
                repeat[definition.edges[edge].target] = true;
    // A join any whose live edge is kept waits for no other.
    const auto waits = [&](int target) {
        const Node &node = definition.nodes[target];
        return node.join == Join::all || std::none_of(node.in.begin(), node.in.end(), [&](int edge) {
                   return state.edges[edge] == EdgeState::live && !repeat[definition.edges[edge].source];
               });
    };
    for (auto at = definition.topological.rbegin(); at != definition.topological.rend(); ++at) {
        const Node &node = definition.nodes[*at];
        const bool needed = node.out.empty() || std::any_of(node.out.begin(), node.out.end(), [&](int edge) {
                                const int target = definition.edges[edge].target;
                                return repeat[target] && waits(target);
                            });
        const bool failed_it = state.nodes[*at] == NodeState::failed && node.on_failure != OnFailure::proceed;
        if (failed_it || !is_final(state.nodes[*at]) || (state.nodes[*at] == NodeState::cancelled && needed))
            repeat[*at] = true;
    }
    std::vector<int> result;
    for (const int node : definition.topological)
        if (repeat[node])
            result.push_back(node);
    return result;
}

Decision go_on(const Definition &definition, RunState &state) {
    Decision decision;
    for (const int node : definition.topological) {
        if (state.nodes[node] != NodeState::pending)
            continue;
        const bool all_decided = state.undecided_in[node] == 0, any_live = state.live_in[node] > 0;
        if (definition.nodes[node].in.empty() ||
            (any_live && (all_decided || definition.nodes[node].join == Join::any))) {
            state.nodes[node] = NodeState::ready;
            decision.ready.push_back(node);
        } else if (all_decided) {
            state.nodes[node] = NodeState::skipped;
            state.unfinished--;
            decision.skipped.push_back(node);
            for (const int edge : definition.nodes[node].out) { // its targets come later in this order
                state.edges[edge] = EdgeState::dead;
                state.undecided_in[definition.edges[edge].target]--;
            }
        }
    }
    return decision;
}

bool all_done(const RunState &state) { return state.unfinished == 0; }

} // namespace chronicle::core
