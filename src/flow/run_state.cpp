// A run of n nodes is moved on in steps, and each step needs the state of the graph. Loading it costs n; so a process
// remembers the state of the last few runs that it worked on, and applies the events that others have written since:
// every change of a state has its event, and a node's result says which of its edges are live. All steps of a run
// together then cost n for each process that works on it, whatever the shape of the graph.
//
// What is remembered is as of a commit, and is taken out while a step goes on: an abort leaves nothing behind. Events
// whose effect on the graph is not told by a result (a retry of the run, its end, compensation) lead to a new load.
#include "flow/run_state.hpp"

#include "access/access.hpp"
#include "flow/journal.hpp"

#include <list>
#include <stdexcept>

namespace chronicle::flow {

namespace {

constexpr size_t remembered_limit = 8;

core::NodeState parse_state(const std::string &status, bool begun) {
    if (begun)
        return core::NodeState::waiting; // also while a look at it is under way
    if (status == "completed" || status == "compensated")
        return core::NodeState::completed;
    if (status == "failed")
        return core::NodeState::failed;
    if (status == "skipped")
        return core::NodeState::skipped;
    if (status == "cancelled")
        return core::NodeState::cancelled;
    return status == "ready" ? core::NodeState::ready : core::NodeState::running;
}

// --- what has happened since ---

struct Happened {
    std::string type;
    int node; // -1: of the run
    bool retried = false; // a failure after which the node is tried again
};

struct Result {
    core::NodeState state;
    std::vector<int> live_edges;
};

std::vector<Happened> events_since(KnownState &known, const pg::Uuid &id, const core::Definition &graph) {
    static constexpr Oid types[] = {UUIDOID, INT8OID};
    static pg::Statement find{"SELECT version, type, node_id FROM chronicle_data.workflow_event "
                              "WHERE execution_id = $1 AND version > $2 ORDER BY version",
                              types};
    pg::Values values;
    pg::Rows rows = find.run(values.uuid(id).int8(known.version));
    std::vector<Happened> all;
    all.reserve(rows.count);
    for (uint64 i = 0; i < rows.count; i++) {
        known.version = rows[i].int8(1);
        std::optional<std::string> node = rows[i].maybe_text(3);
        all.push_back({.type = rows[i].text(2), .node = node ? graph.find(*node) : -1});
        size_t now = all.size() - 1; // RetryScheduled follows its failure
        if (now > 0 && all[now].type == "NodeExecutionRetryScheduled" && all[now - 1].node == all[now].node)
            all[now - 1].retried = true;
    }
    return all;
}

std::unordered_map<int, Result> results_of(const std::vector<Happened> &events, const pg::Uuid &id) {
    static constexpr Oid types[] = {UUIDOID, INT4ARRAYOID};
    static pg::Statement find{"SELECT node_index, status, live_edges FROM chronicle_data.node_result "
                              "WHERE execution_id = $1 AND node_index = ANY ($2)",
                              types};
    std::vector<int> nodes;
    for (const Happened &event : events)
        if (event.type == "NodeExecutionCompleted" || (event.type == "NodeExecutionFailed" && !event.retried))
            nodes.push_back(event.node);
    std::unordered_map<int, Result> results;
    if (nodes.empty())
        return results;
    pg::Values values;
    pg::Rows rows = find.run(values.uuid(id).add(pg::make_int_array(nodes)));
    for (uint64 i = 0; i < rows.count; i++) {
        bool is_null;
        results[rows[i].int4(1)] = {parse_state(rows[i].text(2), false), pg::to_ints(rows[i].datum(3, &is_null))};
    }
    return results;
}

// False: the event, or what is stored about it, does not tell what became of the graph.
bool apply(const Happened &event, const std::unordered_map<int, Result> &results, const core::Definition &graph,
           core::RunState &state) {
    const std::string &type = event.type;
    if (event.node < 0)
        return type == "WorkflowQueued" || type == "WorkflowStarted" || type == "WorkflowPaused" ||
               type == "WorkflowResumed" || type == "SignalReceived";
    core::NodeState &node = state.nodes[static_cast<size_t>(event.node)];
    if (core::is_final(node) || type == "TimerFired" || type == "WaitTimedOut" || type == "SignalReceived")
        return true; // (final: it came with what is known)
    if (type == "NodeExecutionStarted" || type == "NodeExecutionRetryScheduled")
        node = core::NodeState::running;
    else if (type == "NodeExecutionWaiting")
        node = core::NodeState::waiting;
    else if (type == "NodeExecutionCancelled")
        core::decide(graph, state, event.node, core::NodeState::cancelled, {});
    else if (type == "NodeExecutionFailed" && event.retried)
        return true;
    else if (type == "NodeExecutionCompleted" || type == "NodeExecutionFailed") {
        auto result = results.find(event.node);
        if (result == results.end())
            return false;
        core::decide(graph, state, event.node, result->second.state, result->second.live_edges);
    } else
        return false; // skipped: that followed from what came before it
    return true;
}

bool apply_new(KnownState &known, const pg::Uuid &id, const core::Definition &graph) {
    std::vector<Happened> events = events_since(known, id, graph);
    std::unordered_map<int, Result> results = results_of(events, id);
    try {
        for (const Happened &event : events)
            if (!apply(event, results, graph, known.state))
                return false;
        return true;
    } catch (const std::logic_error &) { // they do not fit together
        return false;
    }
}

struct Remembered {
    pg::Uuid id;
    KnownState known;
};
std::list<Remembered> *remembered = nullptr; // the newest first

} // namespace

KnownState load_state(const pg::Uuid &id, const core::Definition &graph) {
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement find{
        "SELECT node_index, status, live_edges, false, 0 FROM chronicle_data.node_result WHERE execution_id = $1 "
        "UNION ALL SELECT node_index, state, '{}', begun, 0 FROM chronicle_data.node_task WHERE execution_id = $1 "
        "AND NOT compensating UNION ALL SELECT NULL, NULL, NULL, NULL, "
        "(SELECT max(version) FROM chronicle_data.workflow_event WHERE execution_id = $1)",
        types};
    KnownState known;
    std::vector<core::NodeState> nodes(graph.nodes.size(), core::NodeState::pending);
    std::vector<core::EdgeState> edges(graph.edges.size(), core::EdgeState::undecided);
    pg::Values values;
    pg::Rows rows = find.run(values.uuid(id));
    for (uint64 i = 0; i < rows.count; i++) {
        if (rows[i].null(1)) {
            known.version = rows[i].null(5) ? 0 : rows[i].int8(5);
            continue;
        }
        size_t node = static_cast<size_t>(rows[i].int4(1));
        nodes[node] = parse_state(rows[i].text(2), rows[i].boolean(4));
        if (!core::is_final(nodes[node]))
            continue;
        for (int edge : graph.nodes[node].out)
            edges[static_cast<size_t>(edge)] = core::EdgeState::dead;
        bool is_null;
        for (int edge : pg::to_ints(rows[i].datum(3, &is_null)))
            edges[static_cast<size_t>(edge)] = core::EdgeState::live;
    }
    known.state = core::restore_state(graph, std::move(nodes), std::move(edges));
    return known;
}

void catch_up(KnownState &known, const pg::Uuid &id, const core::Definition &graph) {
    if (last_version(id) != known.version && !apply_new(known, id, graph))
        known = load_state(id, graph);
}

bool same_graph(const KnownState &a, const KnownState &b) {
    auto same = [](core::NodeState x, core::NodeState y) {
        return x == y || (!core::is_final(x) && !core::is_final(y) &&
                          (x == core::NodeState::pending) == (y == core::NodeState::pending));
    };
    return a.version == b.version && a.state.edges == b.state.edges && a.state.undecided_in == b.state.undecided_in &&
           a.state.live_in == b.state.live_in && a.state.unfinished == b.state.unfinished &&
           std::equal(a.state.nodes.begin(), a.state.nodes.end(), b.state.nodes.begin(), b.state.nodes.end(), same);
}

std::optional<KnownState> take_remembered(const pg::Uuid &id) {
    if (!remembered)
        return std::nullopt;
    auto found = std::find_if(remembered->begin(), remembered->end(), [&](const Remembered &r) { return r.id == id; });
    if (found == remembered->end())
        return std::nullopt;
    KnownState known = std::move(found->known);
    remembered->erase(found);
    return known;
}

void remember(const pg::Uuid &id, KnownState known) {
    if (!remembered)
        remembered = new std::list<Remembered>();
    (void)take_remembered(id);
    remembered->push_front({id, std::move(known)});
    if (remembered->size() > remembered_limit)
        remembered->pop_back();
}

} // namespace chronicle::flow
