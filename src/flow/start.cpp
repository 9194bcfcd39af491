// execute_workflow: a run enters the queue as part of the caller's transaction.
#include "flow/execution.hpp"
#include "flow/json.hpp"

#include "sqlstates.hpp"
#include "worker/registry.hpp"

namespace chronicle::flow {

namespace {

struct Startable {
    int64 definition_id;
    int version;
    std::string owner;
    bool enabled;
};

std::optional<Startable> find_version(const std::string &workflow, std::optional<int32> version) {
    static constexpr Oid types[] = {TEXTOID, INT4OID};
    static pg::Statement find{"SELECT v.definition_id, v.version, w.owner, w.enabled FROM chronicle_data.workflow w "
                              "JOIN chronicle_data.workflow_version v USING (workflow_id) WHERE w.workflow_id = $1 AND "
                              "v.version = coalesce($2, w.version)",
                              types};
    access::EngineScope engine;
    pg::Values values;
    values.text(workflow);
    version ? values.int4(*version) : values.null();
    pg::Rows rows = find.run(values);
    if (rows.empty())
        return std::nullopt;
    return Startable{rows[0].int8(1), rows[0].int4(2), rows[0].text(3), rows[0].boolean(4)};
}

Startable require_startable(const std::string &workflow, std::optional<int32> version) {
    std::optional<Startable> found = find_version(workflow, version);
    if (!found || !access::may_act_for(found->owner)) {
        if (found)
            pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE,
                      {.message = "permission denied to execute workflow \"" + workflow + "\"",
                       .hint = "Its owner, a member of the owner's role, or an admin can."});
        pg::raise(ERRCODE_UNDEFINED_OBJECT,
                  {.message = version ? "workflow \"" + workflow + "\" has no version " + std::to_string(*version)
                                      : "workflow \"" + workflow + "\" does not exist",
                   .hint =
                       "SELECT workflow_id, version FROM chronicle.workflows lists them; create_workflow makes one."});
    }
    if (!found->enabled)
        pg::raise(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, {.message = "workflow \"" + workflow + "\" is disabled"});
    return *found;
}

struct Request {
    std::string workflow;
    std::string input, metadata; // JSON text
    int priority = 0;
    Startable what;
};

void insert_execution(const Execution &execution, const Request &request, TimestampTz now) {
    static constexpr Oid types[] = {UUIDOID, TEXTOID, INT4OID,        INT8OID,  TEXTOID, TEXTOID,
                                    INT4OID, INT4OID, TIMESTAMPTZOID, JSONBOID, JSONBOID};
    static pg::Statement insert{"INSERT INTO chronicle_data.execution (execution_id, workflow_id, version, "
                                "definition_id, owner, started_by, status, "
                                "priority, total_nodes, queued_at, input, metadata) VALUES ($1, $2, $3, $4, $5, $6, "
                                "'pending', $7, $8, $9, $10, $11)",
                                types};
    const char *caller = pg::call([]() noexcept { return GetUserNameFromId(GetSessionUserId(), false); });
    pg::Values values;
    values.uuid(execution.id).text(execution.workflow_id).int4(execution.version).int8(execution.definition_id);
    values.text(execution.owner).text(caller).int4(execution.priority).int4(execution.total_nodes).time(now);
    insert.run(values.jsonb(request.input).jsonb(request.metadata));
}

pg::Uuid start(const Request &request) {
    (void)to_json(request.input); // what a node could not read is refused here
    std::shared_ptr<const StoredDefinition> definition = stored_definition(request.what.definition_id);
    const core::Definition &graph = definition->graph;
    Execution execution{.id = pg::new_uuid(),
                        .workflow_id = request.workflow,
                        .workflow_name = graph.name.empty() ? request.workflow : graph.name,
                        .owner = request.what.owner,
                        .status = "pending",
                        .version = request.what.version,
                        .definition_id = request.what.definition_id,
                        .priority = request.priority,
                        .total_nodes = static_cast<int>(graph.nodes.size()),
                        .input = {},
                        .started_at = {}};
    TimestampTz now = GetCurrentTimestamp();
    core::RunState state = core::initial_state(graph);
    core::Decision decision = core::start(graph, state);
    Event queued = make_event(execution, "WorkflowQueued", now);
    queued.data["totalNodes"] = execution.total_nodes;
    queued.data["version"] = execution.version;

    access::EngineScope engine;
    lock_execution(execution.id);
    insert_execution(execution, request, now);
    enqueue(execution, graph, decision.ready, {});
    write_events(execution.id, execution.owner, {queued});
    return execution.id;
}

} // namespace

CHRONICLE_FUNCTION(chronicle_execute_workflow) {
    pg::Arguments arguments(fcinfo);
    std::string workflow = arguments.required_text(0, "workflow_id");
    for (int i : {2, 5})
        if (!arguments.null(i))
            pg::raise(ERRCODE_FEATURE_NOT_SUPPORTED, {.message = std::string(i == 2 ? "idempotency_key" : "run_at") +
                                                                 " is not available in this version"});
    Startable what = require_startable(workflow, arguments.int4(3));
    Request request{.workflow = workflow,
                    .input = arguments.null(1) ? "{}" : pg::jsonb_to_string(arguments.datum(1)),
                    .metadata = arguments.null(6) ? "{}" : pg::jsonb_to_string(arguments.datum(6)),
                    .priority = arguments.int4(4).value_or(0),
                    .what = what};
    return pg::make_uuid(start(request));
}

} // namespace chronicle::flow
