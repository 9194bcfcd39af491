#include "core/graph.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/generate.hpp"

using namespace chronicle::core;

namespace {

// A definition with nodes 0 … count - 1 and these edges; edge i of the list is edge i.
Definition graph(int count, const std::vector<std::pair<int, int>> &edges, const std::set<int> &join_any = {},
                 const std::set<int> &proceed = {}) {
    json document = {{"id", "w"}, {"nodes", json::array()}, {"edges", json::array()}};
    for (int i = 0; i < count; i++)
        document["nodes"].push_back({{"id", "n" + std::to_string(i)},
                                     {"nodeType", "console.log"},
                                     {"join", join_any.contains(i) ? "any" : "all"},
                                     {"on_failure", proceed.contains(i) ? "continue" : "fail"}});
    for (const auto &[from, to] : edges)
        document["edges"].push_back({{"from", "n" + std::to_string(from)}, {"to", "n" + std::to_string(to)}});
    Parsed parsed = parse_definition(document);
    for (const Fault &fault : parsed.faults)
        ADD_FAILURE() << fault.path << ": " << fault.problem;
    return std::move(*parsed.definition);
}

using Nodes = std::vector<int>;

struct OneRun {
    const Definition &definition;
    RunState state;

    explicit OneRun(const Definition &d) : definition(d), state(initial_state(d)) { start(d, state); }

    Decision end(int node, NodeState outcome, const Nodes &live_edges) {
        mark_running(state, node);
        return decide(definition, state, node, outcome, live_edges);
    }
    Decision complete(int node) { return end(node, NodeState::completed, definition.nodes[node].out); }
    Decision complete(int node, const Nodes &live_edges) { return end(node, NodeState::completed, live_edges); }
};

// ---- single steps ----------------------------------------------------------------------------

TEST(Graph, StartsWhatHasNoEdgesIn) {
    const Definition d = graph(4, {{0, 2}, {1, 2}});
    RunState state = initial_state(d);
    EXPECT_EQ(start(d, state).ready, (Nodes{0, 1, 3}));
    EXPECT_EQ(state.nodes[0], NodeState::ready);
    EXPECT_EQ(state.nodes[2], NodeState::pending);
    EXPECT_EQ(state.unfinished, 4);
    EXPECT_TRUE(start(d, state).ready.empty()); // starting twice starts nothing twice
}

TEST(Graph, JoinAllWaitsForEveryEdge) {
    const Definition d = graph(3, {{0, 2}, {1, 2}});
    OneRun run(d);
    EXPECT_TRUE(run.complete(0).ready.empty());
    EXPECT_EQ(run.complete(1).ready, Nodes{2});
    EXPECT_FALSE(all_done(run.state));
    run.complete(2);
    EXPECT_TRUE(all_done(run.state));
}

TEST(Graph, JoinAllNeedsOneLiveEdge) {
    const Definition d = graph(3, {{0, 2}, {1, 2}});
    OneRun run(d);
    EXPECT_TRUE(run.complete(0, {0}).ready.empty());
    EXPECT_EQ(run.complete(1, {}).ready, Nodes{2});

    OneRun dead(d);
    EXPECT_TRUE(dead.complete(0, {}).skipped.empty());
    const Decision last = dead.complete(1, {});
    EXPECT_TRUE(last.ready.empty());
    EXPECT_EQ(last.skipped, Nodes{2});
    EXPECT_TRUE(all_done(dead.state));
}

TEST(Graph, JoinAnyRunsOnceAtTheFirstLiveEdge) {
    const Definition d = graph(4, {{0, 3}, {1, 3}, {2, 3}}, {3});
    OneRun run(d);
    EXPECT_TRUE(run.complete(0, {}).ready.empty());
    EXPECT_EQ(run.complete(1).ready, Nodes{3});
    EXPECT_TRUE(run.complete(2).ready.empty());
    run.complete(3);
    EXPECT_TRUE(all_done(run.state));
}

TEST(Graph, JoinAnyIsSkippedWhenAllAreDead) {
    const Definition d = graph(3, {{0, 2}, {1, 2}}, {2});
    OneRun run(d);
    EXPECT_TRUE(run.complete(0, {}).skipped.empty());
    EXPECT_EQ(run.complete(1, {}).skipped, Nodes{2});
}

// 0 → 1 → 2 → 4, 0 → 3 → 4: the dead path through 1 and 2 does not keep 4 waiting.
TEST(Graph, DeadPathsAreEliminatedAllTheWay) {
    const Definition d = graph(5, {{0, 1}, {1, 2}, {2, 4}, {0, 3}, {3, 4}});
    OneRun run(d);
    const Decision first = run.complete(0, {3});
    EXPECT_EQ(first.ready, Nodes{3});
    EXPECT_EQ(first.skipped, (Nodes{1, 2}));
    EXPECT_EQ(run.state.nodes[4], NodeState::pending);
    EXPECT_EQ(run.complete(3).ready, Nodes{4});
}

TEST(Graph, LongDeadPathNeedsNoRecursion) {
    std::vector<std::pair<int, int>> edges;
    for (int i = 0; i + 1 < 10'000; i++)
        edges.emplace_back(i, i + 1);
    const Definition d = graph(10'000, edges);
    OneRun run(d);
    EXPECT_EQ(run.complete(0, {}).skipped.size(), 9'999u);
    EXPECT_TRUE(all_done(run.state));
}

// ---- failing and cancelling ------------------------------------------------------------------

TEST(Graph, FailureForGoodDecidesNothing) {
    const Definition d = graph(3, {{0, 1}, {1, 2}});
    OneRun run(d);
    const Decision failed = run.end(0, NodeState::failed, {});
    EXPECT_TRUE(failed.ready.empty());
    EXPECT_TRUE(failed.skipped.empty());
    EXPECT_EQ(run.state.edges[0], EdgeState::undecided);
    EXPECT_EQ(cancel_unfinished(d, run.state), (Nodes{1, 2}));
    EXPECT_TRUE(all_done(run.state));
    EXPECT_EQ(run.state.nodes[0], NodeState::failed);
    EXPECT_EQ(run.state.nodes[2], NodeState::cancelled);
}

TEST(Graph, FailureThatContinuesIsLikeSuccess) {
    const Definition d = graph(3, {{0, 1}, {0, 2}}, {}, {0});
    OneRun run(d);
    const Decision failed = run.end(0, NodeState::failed, {0, 1});
    EXPECT_EQ(failed.ready, (Nodes{1, 2}));
    EXPECT_EQ(run.state.nodes[0], NodeState::failed);
}

TEST(Graph, CancelUnfinishedTakesRunningAndReadyToo) {
    const Definition d = graph(4, {{3, 2}});
    OneRun run(d);
    run.complete(0);
    mark_running(run.state, 1);
    EXPECT_EQ(cancel_unfinished(d, run.state), (Nodes{1, 3, 2}));
    EXPECT_EQ(run.state.nodes[0], NodeState::completed);
    EXPECT_TRUE(cancel_unfinished(d, run.state).empty());
}

TEST(Graph, WrongCallsAreErrors) {
    const Definition d = graph(3, {{0, 1}, {1, 2}});
    OneRun run(d);
    EXPECT_THROW(mark_running(run.state, 1), std::logic_error);
    EXPECT_THROW(decide(d, run.state, 0, NodeState::running, {}), std::logic_error);
    EXPECT_THROW(decide(d, run.state, 0, NodeState::skipped, {}), std::logic_error);
    EXPECT_THROW(run.complete(0, {1}), std::logic_error);
    EXPECT_THROW(decide(d, run.state, 0, NodeState::cancelled, Nodes{0}), std::logic_error);
    EXPECT_EQ(run.state.nodes[0], NodeState::running); // a refused call changes nothing
    decide(d, run.state, 0, NodeState::completed, Nodes{0});
    EXPECT_THROW(decide(d, run.state, 0, NodeState::completed, Nodes{0}), std::logic_error);
    EXPECT_THROW(decide(d, run.state, 7, NodeState::completed, {}), std::out_of_range);
    EXPECT_THROW(restore_state(d, {}, {}), std::invalid_argument);
}

// ---- unneeded upstreams ----------------------------------------------------------------------

TEST(Unneeded, OtherUpstreamsOfAJoinAny) {
    const Definition d = graph(3, {{0, 2}, {1, 2}}, {2});
    OneRun run(d);
    mark_running(run.state, 1);
    EXPECT_EQ(run.complete(0).unneeded, Nodes{1});
    EXPECT_EQ(run.state.nodes[1], NodeState::running); // it is the engine that cancels
    const Decision cancelled = decide(d, run.state, 1, NodeState::cancelled, {});
    EXPECT_TRUE(cancelled.ready.empty());
    EXPECT_TRUE(cancelled.skipped.empty());
}

TEST(Unneeded, NotThoseThatSomebodyElseNeeds) {
    // 1 feeds the join and also 3
    const Definition d = graph(4, {{0, 2}, {1, 2}, {1, 3}}, {2});
    OneRun run(d);
    EXPECT_TRUE(run.complete(0).unneeded.empty());
}

TEST(Unneeded, GoesBackAlongTheWholePath) {
    // 1 → 2 → 3 → any, and 1 → 3: nobody else needs them; 4 is a leaf of its own
    const Definition d = graph(6, {{0, 5}, {1, 2}, {2, 3}, {3, 5}, {1, 3}}, {5});
    OneRun run(d);
    EXPECT_EQ(run.complete(0).unneeded, (Nodes{3, 2, 1}));
    for (const int node : {3, 2, 1})
        decide(d, run.state, node, NodeState::cancelled, {});
    EXPECT_EQ(run.state.nodes[2], NodeState::cancelled);
    EXPECT_EQ(run.state.nodes[5], NodeState::ready);
}

TEST(Unneeded, StopsAtASourceWithALivingBranch) {
    // 1 → 2 → any, 1 → 3 (a leaf): 2 is not needed, 1 is
    const Definition d = graph(5, {{0, 4}, {1, 2}, {2, 4}, {1, 3}}, {4});
    OneRun run(d);
    EXPECT_EQ(run.complete(0).unneeded, Nodes{2});
}

TEST(Unneeded, NotWhatHasFailedAlready) {
    const Definition d = graph(3, {{0, 2}, {1, 2}}, {2});
    OneRun run(d);
    run.end(1, NodeState::failed, {});
    EXPECT_TRUE(run.complete(0).unneeded.empty());
}

TEST(Unneeded, TwoJoinsThatShareTheirUpstream) {
    // 0 fires 2 and 3 at once; 1 feeds only these two
    const Definition d = graph(4, {{0, 2}, {0, 3}, {1, 2}, {1, 3}}, {2, 3});
    OneRun run(d);
    EXPECT_EQ(run.complete(0).unneeded, Nodes{1});
}

// ---- properties of whole runs on random graphs -----------------------------------------------

Definition random_graph(Random &random) {
    const int count = static_cast<int>(random.integer(1, 30));
    Nodes order(count); // edges go forward in this order, so that indices are no topological order
    for (int i = 0; i < count; i++)
        order[i] = i;
    for (int i = count - 1; i > 0; i--)
        std::swap(order[i], order[random.integer(0, i)]);
    std::vector<std::pair<int, int>> edges;
    const double density = random.unit() * 0.4;
    for (int i = 0; i < count; i++)
        for (int j = i + 1; j < count; j++)
            if (random.unit() < density)
                edges.emplace_back(order[i], order[j]);
    std::set<int> any, proceed;
    for (int i = 0; i < count; i++) {
        if (random.unit() < 0.3)
            any.insert(i);
        if (random.unit() < 0.5)
            proceed.insert(i);
    }
    return graph(count, edges, any, proceed);
}

Nodes random_live_edges(const Definition &d, int node, Random &random) {
    Nodes live;
    for (const int edge : d.nodes[node].out)
        if (random.unit() < 0.6)
            live.push_back(edge);
    return live;
}

// What the rules say about one node, from the decided edges alone.
void expect_rules_hold(const Definition &d, const RunState &state) {
    int unfinished = 0;
    for (std::size_t i = 0; i < d.nodes.size(); i++) {
        int undecided = 0, live = 0;
        for (const int edge : d.nodes[i].in) {
            undecided += state.edges[edge] == EdgeState::undecided;
            live += state.edges[edge] == EdgeState::live;
        }
        ASSERT_EQ(state.undecided_in[i], undecided);
        ASSERT_EQ(state.live_in[i], live);
        unfinished += !is_final(state.nodes[i]);
        const bool any = d.nodes[i].join == Join::any;
        const bool may_run = d.nodes[i].in.empty() || (live > 0 && (any || undecided == 0));
        const bool must_skip = !d.nodes[i].in.empty() && undecided == 0 && live == 0;
        switch (state.nodes[i]) {
        case NodeState::pending:
            ASSERT_FALSE(may_run || must_skip) << i;
            break;
        case NodeState::skipped:
            ASSERT_TRUE(must_skip) << i;
            break;
        case NodeState::cancelled:
            break;
        default:
            ASSERT_TRUE(may_run) << i;
        }
        for (const int edge : d.nodes[i].out) {
            const EdgeState decision = state.edges[edge];
            ASSERT_TRUE(decision == EdgeState::undecided || is_final(state.nodes[i])) << i;
            ASSERT_TRUE(decision == EdgeState::dead || state.nodes[i] != NodeState::skipped) << i;
        }
    }
    ASSERT_EQ(state.unfinished, unfinished);
}

TEST(GraphProperties, EveryNodeEndsOnceAndOrderRespectsEdges) {
    for (std::uint64_t seed = 1; seed <= 400; seed++) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Random random{seed};
        const Definition d = random_graph(random);
        RunState state = initial_state(d);
        std::vector<int> times_ready(d.nodes.size()), times_ended(d.nodes.size());
        Nodes open = start(d, state).ready;
        for (const int node : open)
            times_ready[node]++;
        while (!open.empty()) {
            const std::size_t pick = random.integer(0, static_cast<std::int64_t>(open.size()) - 1);
            const int node = open[pick];
            open.erase(open.begin() + pick);
            mark_running(state, node);
            const bool fail = d.nodes[node].on_failure == OnFailure::proceed && random.unit() < 0.2;
            const Decision decision = decide(d, state, node, fail ? NodeState::failed : NodeState::completed,
                                             random_live_edges(d, node, random));
            times_ended[node]++;
            for (const int ready : decision.ready) {
                times_ready[ready]++;
                open.push_back(ready);
            }
            for (const int skipped : decision.skipped)
                times_ended[skipped]++;
            for (const int unneeded : decision.unneeded)
                ASSERT_FALSE(is_final(state.nodes[unneeded]));
            expect_rules_hold(d, state);
            if (::testing::Test::HasFatalFailure())
                return;
        }
        ASSERT_TRUE(all_done(state));
        for (std::size_t i = 0; i < d.nodes.size(); i++) {
            ASSERT_EQ(times_ended[i], 1) << i;
            ASSERT_EQ(times_ready[i], state.nodes[i] == NodeState::skipped ? 0 : 1) << i;
        }
        for (const EdgeState edge : state.edges)
            ASSERT_NE(edge, EdgeState::undecided);
    }
}

// A node is unneeded exactly when no path of undecided edges through nodes that still have to run
// leads from it to a leaf. Told here by the definition, there by counting.
bool is_needed(const Definition &d, const RunState &state, int node) {
    if (d.nodes[node].out.empty())
        return true;
    return std::any_of(d.nodes[node].out.begin(), d.nodes[node].out.end(), [&](int edge) {
        const int target = d.edges[edge].target;
        return state.nodes[target] == NodeState::pending && is_needed(d, state, target);
    });
}

TEST(GraphProperties, UnneededNodesAreCancelledAndNobodyMissesThem) {
    int cancelled = 0;
    for (std::uint64_t seed = 1; seed <= 400; seed++) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Random random{seed * 7919};
        const Definition d = random_graph(random);
        RunState state = initial_state(d);
        std::set<int> open;
        for (const int node : start(d, state).ready)
            open.insert(node);
        while (!open.empty()) {
            const int node = *std::next(open.begin(), random.integer(0, static_cast<std::int64_t>(open.size()) - 1));
            open.erase(node);
            mark_running(state, node);
            const Decision decision = decide(d, state, node, NodeState::completed, random_live_edges(d, node, random));
            open.insert(decision.ready.begin(), decision.ready.end());
            for (const int unneeded : decision.unneeded)
                ASSERT_FALSE(is_needed(d, state, unneeded)) << unneeded;
            for (const int unneeded : decision.unneeded) {
                const Decision after = decide(d, state, unneeded, NodeState::cancelled, {});
                ASSERT_TRUE(after.ready.empty() && after.skipped.empty());
                open.erase(unneeded);
                cancelled++;
            }
            // none is left behind: what still has to run is needed by somebody
            for (std::size_t i = 0; i < d.nodes.size(); i++)
                ASSERT_TRUE(is_final(state.nodes[i]) || is_needed(d, state, static_cast<int>(i))) << i;
        }
        ASSERT_TRUE(all_done(state));
    }
    EXPECT_GT(cancelled, 100); // the graphs do exercise it
}

TEST(GraphProperties, RestoredStateGoesOnTheSame) {
    for (std::uint64_t seed = 1; seed <= 100; seed++) {
        Random random{seed * 104729};
        const Definition d = random_graph(random);
        RunState state = initial_state(d);
        Nodes open = start(d, state).ready;
        while (!open.empty()) {
            const int node = open.back();
            open.pop_back();
            const Nodes live = random_live_edges(d, node, random);
            RunState restored = restore_state(d, state.nodes, state.edges);
            const Decision a = decide(d, state, node, NodeState::completed, live);
            const Decision b = decide(d, restored, node, NodeState::completed, live);
            ASSERT_EQ(a.ready, b.ready);
            ASSERT_EQ(a.skipped, b.skipped);
            ASSERT_EQ(a.unneeded, b.unneeded);
            ASSERT_EQ(state.undecided_in, restored.undecided_in);
            ASSERT_EQ(state.live_in, restored.live_in);
            ASSERT_EQ(state.unfinished, restored.unfinished);
            open.insert(open.end(), a.ready.begin(), a.ready.end());
        }
        ASSERT_TRUE(all_done(state));
    }
}

TEST(GraphProperties, TopologicalOrderPutsSourcesFirst) {
    for (std::uint64_t seed = 1; seed <= 200; seed++) {
        Random random{seed * 31};
        const Definition d = random_graph(random);
        std::vector<int> place(d.nodes.size(), -1);
        for (std::size_t i = 0; i < d.topological.size(); i++)
            place[d.topological[i]] = static_cast<int>(i);
        ASSERT_EQ(d.topological.size(), d.nodes.size());
        for (const Edge &edge : d.edges)
            ASSERT_LT(place[edge.source], place[edge.target]);
    }
}

// ---- going on after the end ------------------------------------------------------------------

// The run is over, and goes on: what is repeated is pending again, with its edges undecided.
Decision repeat(const Definition &d, RunState &state, const Nodes &nodes) {
    for (const int node : nodes) {
        state.nodes[node] = NodeState::pending;
        for (const int edge : d.nodes[node].out)
            state.edges[edge] = EdgeState::undecided;
    }
    state = restore_state(d, state.nodes, state.edges);
    return go_on(d, state);
}

TEST(GraphGoesOn, FromTheFailedNode) {
    // 0 → 1 → 2, 0 → 3 → 2, 4 alone and still running when 1 fails
    const Definition d = graph(5, {{0, 1}, {1, 2}, {0, 3}, {3, 2}});
    OneRun run(d);
    run.complete(0);
    run.complete(3);
    mark_running(run.state, 4);
    run.end(1, NodeState::failed, {});
    cancel_unfinished(d, run.state);
    const Nodes nodes = nodes_to_repeat(d, run.state, {});
    EXPECT_EQ(std::set<int>(nodes.begin(), nodes.end()), (std::set<int>{1, 2, 4}));
    const Decision decision = repeat(d, run.state, nodes);
    EXPECT_EQ(std::set<int>(decision.ready.begin(), decision.ready.end()), (std::set<int>{1, 4}));
    run.complete(4);
    EXPECT_EQ(run.complete(1).ready, Nodes{2});
    run.complete(2);
    EXPECT_TRUE(all_done(run.state));
}

TEST(GraphGoesOn, FromANodeThatIsDone) {
    const Definition d = graph(4, {{0, 1}, {1, 2}, {0, 3}});
    OneRun run(d);
    for (const int node : {0, 1, 2, 3})
        run.complete(node);
    const Nodes from{1};
    const Nodes nodes = nodes_to_repeat(d, run.state, from);
    EXPECT_EQ(nodes, (Nodes{1, 2}));
    EXPECT_EQ(nodes_to_repeat(d, run.state, Nodes{3}), Nodes{3});
    EXPECT_EQ(repeat(d, run.state, nodes).ready, Nodes{1});
}

TEST(GraphGoesOn, WhatNobodyNeedsStaysCancelled) {
    // 0 and 1 → 2 (any) → 3: 0 is first, 1 is not needed; then 3 fails.
    const Definition d = graph(4, {{0, 2}, {1, 2}, {2, 3}}, {2});
    OneRun run(d);
    EXPECT_EQ(run.complete(0).unneeded, Nodes{1});
    decide(d, run.state, 1, NodeState::cancelled, {});
    run.complete(2);
    run.end(3, NodeState::failed, {});
    EXPECT_EQ(nodes_to_repeat(d, run.state, {}), Nodes{3});
    EXPECT_EQ(nodes_to_repeat(d, run.state, Nodes{2}), (Nodes{2, 3})); // the edge of 0 is live: 2 waits for nothing
    const Nodes from{0}; // now 2 waits for the first of both
    const Nodes nodes = nodes_to_repeat(d, run.state, from);
    EXPECT_EQ(std::set<int>(nodes.begin(), nodes.end()), (std::set<int>{0, 1, 2, 3}));
}

TEST(GraphGoesOn, WhatWasSkippedStaysSo) {
    const Definition d = graph(4, {{0, 1}, {0, 2}, {2, 3}});
    OneRun run(d);
    run.complete(0, {1}); // the edge to 1 is dead
    EXPECT_EQ(run.state.nodes[1], NodeState::skipped);
    run.end(2, NodeState::failed, {});
    cancel_unfinished(d, run.state);
    const Nodes nodes = nodes_to_repeat(d, run.state, {});
    EXPECT_EQ(nodes, (Nodes{2, 3}));
    EXPECT_EQ(repeat(d, run.state, nodes).ready, Nodes{2});
    EXPECT_EQ(run.state.nodes[1], NodeState::skipped);
}

// Any run that fails somewhere goes on to its end, and nothing that was done is done again.
TEST(GraphProperties, AFailedRunGoesOnToItsEnd) {
    for (std::uint64_t seed = 1; seed <= 500; seed++) {
        Random random{seed * 17};
        const Definition d = random_graph(random);
        RunState state = initial_state(d);
        Nodes open = start(d, state).ready;
        std::multiset<int> done;
        bool failed = false;
        while (!open.empty()) {
            const std::size_t pick = random.integer(0, static_cast<std::int64_t>(open.size()) - 1);
            const int node = open[pick];
            open.erase(open.begin() + static_cast<long>(pick));
            if (state.nodes[node] != NodeState::ready)
                continue;
            mark_running(state, node);
            if (!failed && random.unit() < 0.25) {
                failed = true;
                const Decision decision = decide(d, state, node, NodeState::failed, {});
                if (d.nodes[node].on_failure == OnFailure::proceed) { // the run goes on, with its edges dead
                    open.insert(open.end(), decision.ready.begin(), decision.ready.end());
                    continue;
                }
                cancel_unfinished(d, state);
                const Nodes nodes = nodes_to_repeat(d, state, {});
                ASSERT_TRUE(std::find(nodes.begin(), nodes.end(), node) != nodes.end());
                for (const int repeated : nodes)
                    ASSERT_EQ(done.count(repeated), 0u);
                open = repeat(d, state, nodes).ready;
                continue;
            }
            done.insert(node);
            const Decision decision = decide(d, state, node, NodeState::completed, random_live_edges(d, node, random));
            open.insert(open.end(), decision.ready.begin(), decision.ready.end());
            for (const int unneeded : decision.unneeded)
                if (!is_final(state.nodes[unneeded]))
                    decide(d, state, unneeded, NodeState::cancelled, {});
        }
        ASSERT_TRUE(all_done(state)) << seed;
        for (const int node : done)
            ASSERT_EQ(done.count(node), 1u);
    }
}

} // namespace
