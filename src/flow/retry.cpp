// retry_execution and fork_execution: a run that is over goes on, or a new one goes on where it was.
//
// Which nodes run again follows from the graph (core::nodes_to_repeat): those that failed the run, those that its end
// cancelled, what was compensated (it is undone) and the node that was asked for, both with all that follows from them.
// Of these the results are removed; the rest of the state is as it was, and core::go_on says what is ready.
//
// A retry keeps the run: its events go on, attempts count on from those before (execution.attempts_before), and the
// policy counts anew. A fork is another run, with copies of the results that are kept; its WorkflowQueued names them.
#include "flow/child.hpp"
#include "flow/control.hpp"
#include "flow/json.hpp"
#include "flow/limits.hpp"
#include "flow/start.hpp"

#include "sqlstates.hpp"
#include "worker/registry.hpp"

extern "C" {
#include "utils/timestamp.h"
}

namespace chronicle::flow {

namespace {

int require_node(const core::Definition &graph, const std::string &id) {
    int node = graph.find(id);
    if (node < 0)
        pg::raise(ERRCODE_UNDEFINED_OBJECT, {.message = "the run's definition has no node \"" + id + "\"",
                                             .hint = "View node_executions lists the nodes of a run."});
    return node;
}

// The workflow that the run is of; one that was dropped since has no runs that are not over.
Startable require_workflow(const Execution &execution) {
    // A function's calls belong to the workflow that calls it (call_function).
    std::string workflow = execution.workflow_id.substr(0, execution.workflow_id.find('/'));
    pg::NewestScope newest;
    std::optional<Startable> found = find_startable(workflow, execution.version);
    if (!found)
        pg::raise(ERRCODE_UNDEFINED_OBJECT,
                  {.message = "workflow \"" + workflow + "\" of this run was dropped",
                   .hint = "Its runs are history; create_workflow makes a workflow that can be run."});
    return *std::move(found);
}

struct Result {
    int node;
    std::string status;
    int attempts;
};

std::vector<Result> load_results(const pg::Uuid &id) {
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement find{
        "SELECT node_index, status, attempts FROM chronicle_data.node_result WHERE execution_id = $1", types};
    pg::Values values;
    pg::Rows rows = find.run(values.uuid(id));
    std::vector<Result> results;
    for (uint64 i = 0; i < rows.count; i++)
        results.push_back({rows[i].int4(1), rows[i].text(2), rows[i].int4(3)});
    return results;
}

std::vector<int> find_repeated(const Execution &execution, const core::Definition &graph,
                               const std::vector<Result> &results, std::optional<int> from_node) {
    std::vector<int> from;
    if (from_node)
        from.push_back(*from_node);
    for (const Result &result : results)
        if (result.status == "compensated")
            from.push_back(result.node);
    return core::nodes_to_repeat(graph, load_state(execution.id, graph).state, from);
}

bool contains(const std::vector<int> &nodes, int node) {
    return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
}

std::vector<std::string> ids_of(const core::Definition &graph, const std::vector<int> &nodes) {
    std::vector<std::string> ids;
    for (int node : nodes)
        ids.push_back(graph.nodes[static_cast<size_t>(node)].id);
    return ids;
}

void remove_result(const pg::Uuid &id, const core::Node &node, int index) {
    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement results{"DELETE FROM chronicle_data.node_result WHERE execution_id = $1 AND node_index = $2",
                                 types};
    static pg::Statement rows{"DELETE FROM chronicle_data.node_rows WHERE execution_id = $1 AND node_index = $2",
                              types};
    static constexpr Oid log_types[] = {UUIDOID, TEXTOID};
    static pg::Statement lines{"DELETE FROM chronicle_data.execution_log WHERE execution_id = $1 AND node_id = $2",
                               log_types};
    pg::Values values, of_log;
    values.uuid(id).int4(index);
    results.run(values);
    rows.run(values);
    lines.run(of_log.uuid(id).text(node.id));
}

void reopen(Execution &execution, const core::Definition &graph) {
    static constexpr Oid types[] = {UUIDOID, TEXTOID, JSONBOID, TIMESTAMPTZOID};
    static pg::Statement update{
        "UPDATE chronicle_data.execution SET status = $2, attempts_before = $3, timeout_at = $4, ended_at = NULL, "
        "completed_nodes = NULL, failed_node = NULL, error = NULL, ending = NULL WHERE execution_id = $1",
        types};
    execution.status = execution.started_at ? "running" : "pending";
    pg::Values values;
    values.uuid(execution.id).text(execution.status).jsonb(core::write_json(execution.attempts_before));
    if (execution.started_at && graph.timeout_ms)
        values.time(timeout_from(GetCurrentTimestamp(), *graph.timeout_ms));
    else
        values.null();
    update.run(values);
    await_again(execution);
    worker::announce_scheduler(); // it sets its clock
}

// What is ready, and what is skipped, in a run that goes on.
void go_on(Execution &execution, const core::Definition &graph, std::vector<Event> events) {
    TimestampTz now = GetCurrentTimestamp();
    core::RunState state = load_state(execution.id, graph).state;
    core::Decision decision = core::go_on(graph, state);
    for (int skipped : decision.skipped) {
        const core::Node &node = graph.nodes[static_cast<size_t>(skipped)];
        insert_result(execution, node, {.index = skipped, .status = "skipped", .ended_at = now});
        Event event = make_node_event(execution, node, "NodeExecutionSkipped", 0, now);
        event.data["reason"] = "no incoming edge is live";
        events.push_back(std::move(event));
    }
    execution.waits_for_slot = !has_slot(execution, graph);
    enqueue(execution, graph, decision.ready, {});
    if (core::all_done(state)) // all that was left is skipped: nobody would look at it again
        complete_execution(execution,
                           static_cast<int>(
                               std::count(state.nodes.begin(), state.nodes.end(), core::NodeState::completed)),
                           events);
    write_events(execution.id, execution.owner, events);
}

void retry(Execution &execution, const core::Definition &graph, std::optional<int> from_node) {
    std::vector<Result> results = load_results(execution.id);
    std::vector<int> repeated = find_repeated(execution, graph, results, from_node);
    for (const Result &result : results) {
        if (!contains(repeated, result.node))
            continue;
        const core::Node &node = graph.nodes[static_cast<size_t>(result.node)];
        execution.attempts_before[node.id] = std::max(attempts_before(execution, node), result.attempts);
        remove_result(execution.id, node, result.node);
    }
    reopen(execution, graph);
    Event retried = make_event(execution, "WorkflowRetried", GetCurrentTimestamp());
    retried.data["nodes"] = ids_of(graph, repeated);
    if (from_node)
        retried.data["fromNode"] = graph.nodes[static_cast<size_t>(*from_node)].id;
    go_on(execution, graph, {retried});
}

// The results that are kept, as of nodes that did not run here: no attempts, no start.
void copy_results(const Execution &from, const Execution &to, const std::vector<Result> &kept, TimestampTz now) {
    static constexpr Oid types[] = {UUIDOID, UUIDOID, INT4OID, TIMESTAMPTZOID};
    static pg::Statement results{
        "INSERT INTO chronicle_data.node_result (execution_id, node_index, node_id, status, attempts, ended_at, "
        "records_processed, live_edges, output, output_truncated, columns) SELECT $2, node_index, node_id, status, 0, "
        "$4, records_processed, live_edges, output, output_truncated, columns FROM chronicle_data.node_result "
        "WHERE execution_id = $1 AND node_index = $3",
        types};
    static constexpr Oid row_types[] = {UUIDOID, UUIDOID, INT4OID};
    static pg::Statement rows{
        "INSERT INTO chronicle_data.node_rows (execution_id, node_index, chunk, rows) SELECT $2, node_index, chunk, "
        "rows FROM chronicle_data.node_rows WHERE execution_id = $1 AND node_index = $3",
        row_types};
    for (const Result &result : kept) {
        pg::Values of_result, of_rows;
        results.run(of_result.uuid(from.id).uuid(to.id).int4(result.node).time(now));
        rows.run(of_rows.uuid(from.id).uuid(to.id).int4(result.node));
    }
}

struct Origin {
    std::string input, metadata;
};

Origin load_origin(const pg::Uuid &id) {
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement find{"SELECT input, metadata FROM chronicle_data.execution WHERE execution_id = $1", types};
    pg::Values values;
    pg::Rows rows = find.run(values.uuid(id));
    return {rows[0].jsonb(1), rows[0].jsonb(2)};
}

pg::Uuid fork(const Execution &from, const std::string &owner, const core::Definition &graph, int from_node,
              std::optional<std::string> input) {
    std::vector<Result> results = load_results(from.id);
    std::vector<int> repeated = find_repeated(from, graph, results, from_node);
    std::erase_if(results, [&](const Result &result) { return contains(repeated, result.node); });
    Origin origin = load_origin(from.id);
    Execution to{.id = pg::new_uuid(),
                 .workflow_id = from.workflow_id,
                 .workflow_name = from.workflow_name,
                 .owner = owner,
                 .status = "pending",
                 .version = from.version,
                 .definition_id = from.definition_id,
                 .priority = from.priority,
                 .total_nodes = from.total_nodes,
                 .input = {},
                 .started_at = {}};
    TimestampTz now = GetCurrentTimestamp();
    core::json kept = core::json::object();
    for (const Result &result : results)
        kept[graph.nodes[static_cast<size_t>(result.node)].id] = result.status;
    Event queued = make_event(to, "WorkflowQueued", now);
    queued.data.update({{"totalNodes", to.total_nodes}, {"version", to.version}, {"kept", kept}});
    queued.data["forkedFrom"] = core::uuid_to_text(from.id);
    queued.data["fromNode"] = graph.nodes[static_cast<size_t>(from_node)].id;
    (void)insert_execution(to, {.input = input.value_or(origin.input), .metadata = origin.metadata}, now);
    copy_results(from, to, results, now);
    go_on(to, graph, {queued});
    return to.id;
}

} // namespace

CHRONICLE_FUNCTION(chronicle_retry_execution) {
    pg::Arguments arguments(fcinfo);
    Execution execution = lock_for_control(arguments.required_uuid(0, "execution_id"), "retry");
    std::shared_ptr<const StoredDefinition> definition = stored_definition(execution.definition_id);
    std::optional<int> from;
    if (std::optional<std::string> node = arguments.text(1))
        from = require_node(definition->graph, *node);
    (void)require_workflow(execution);
    if (execution.status != "failed" && execution.status != "cancelled")
        raise_state(execution, "retry",
                    is_over(execution.status) ? "fork_execution starts a new run from a node of it."
                                              : "Only a run that failed or was cancelled goes on.");
    access::EngineScope engine;
    pg::NewestScope newest;
    retry(execution, definition->graph, from);
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_fork_execution) {
    pg::Arguments arguments(fcinfo);
    pg::Uuid id = arguments.required_uuid(0, "execution_id");
    std::string node = arguments.required_text(1, "from_node");
    std::optional<std::string> input;
    if (!arguments.null(2))
        input = pg::jsonb_to_string(arguments.datum(2));
    Execution from = lock_for_control(id, "fork");
    std::shared_ptr<const StoredDefinition> definition = stored_definition(from.definition_id);
    int from_node = require_node(definition->graph, node);
    if (!is_over(from.status))
        raise_state(from, "fork", "Wait until it is over, or cancel it.");
    Startable workflow = require_workflow(from);
    check_enabled(workflow);
    if (!access::may_act_for(workflow.owner)) // it was given away since
        pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE,
                  {.message = "permission denied to execute workflow \"" + workflow.workflow_id + "\"",
                   .hint = "Its owner, a member of the owner's role, or an admin can."});
    if (input)
        (void)to_json(*input); // what a node could not read is refused here
    access::EngineScope engine;
    pg::NewestScope newest;
    return pg::make_uuid(fork(from, workflow.owner, definition->graph, from_node, input));
}

} // namespace chronicle::flow
