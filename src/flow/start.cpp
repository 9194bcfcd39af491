// execute_workflow: a run enters the queue as part of the caller's transaction.
//
// Idempotency keys: the unique index decides who is first. ON CONFLICT DO NOTHING waits for another transaction that
// has inserted the key and not ended; when it commits, the second look (with a snapshot of its own) finds its run.
// In REPEATABLE READ and above, a run that is too new for the snapshot is 40001.
//
// A new run is not locked: nobody else can see it before the commit, and a transaction may start more runs (events that
// it appends, say) than the lock table has room for.
#include "flow/start.hpp"
#include "flow/json.hpp"
#include "flow/limits.hpp"

#include "catalog/objects.hpp"
#include "sqlstates.hpp"
#include "worker/registry.hpp"

extern "C" {
#include "utils/timestamp.h"
}

namespace chronicle::flow {

namespace {

constexpr size_t key_limit = 1024; // bytes
constexpr int priority_limit = 1000000;

// The run that has this key; CH033 when it was started with another input.
std::optional<pg::Uuid> find_by_key(const Startable &what, const StartRequest &request) {
    static constexpr Oid types[] = {TEXTOID, TEXTOID, JSONBOID};
    static pg::Statement find{"SELECT execution_id, input = $3 FROM chronicle_data.execution "
                              "WHERE workflow_id = $1 AND idempotency_key = $2",
                              types};
    access::EngineScope engine;
    pg::Values values;
    pg::Rows rows = find.run(values.text(what.workflow_id).text(*request.idempotency_key).jsonb(request.input));
    if (rows.empty())
        return std::nullopt;
    pg::Uuid id = rows[0].uuid(1);
    if (!rows[0].boolean(2))
        pg::raise(idempotency_conflict,
                  {.message = "idempotency key \"" + *request.idempotency_key + "\" was used with another input",
                   .detail =
                       core::json{{"key", *request.idempotency_key}, {"execution", core::uuid_to_text(id)}}.dump(),
                   .hint = "A retry repeats the input; another run needs another key."});
    return id;
}

Execution new_execution(const Startable &what, const core::Definition &graph, int priority) {
    return {.id = pg::new_uuid(),
            .workflow_id = what.workflow_id,
            .workflow_name = graph.name.empty() ? what.workflow_id : graph.name,
            .owner = what.owner,
            .status = "pending",
            .version = what.version,
            .definition_id = what.definition_id,
            .priority = priority,
            .total_nodes = static_cast<int>(graph.nodes.size()),
            .input = {},
            .started_at = {}};
}

Event queued_event(const Execution &execution, const StartRequest &request, TimestampTz now) {
    Event queued = make_event(execution, "WorkflowQueued", now);
    queued.data["totalNodes"] = execution.total_nodes;
    queued.data["version"] = execution.version;
    queued.data.update(request.origin);
    return queued;
}

std::vector<int> first_nodes(const core::Definition &graph) {
    core::RunState state = core::initial_state(graph);
    return core::start(graph, state).ready;
}

// False: another run has the key.
bool queue(Execution &execution, const core::Definition &graph, const StartRequest &request) {
    TimestampTz now = GetCurrentTimestamp();
    bool later = request.run_at && *request.run_at > now;
    Event queued = queued_event(execution, request, now);
    if (later)
        queued.data["runAt"] = time_text(*request.run_at);

    access::EngineScope engine;
    if (!insert_execution(execution, request, now))
        return false;
    execution.waits_for_slot = !later && !has_slot(execution, graph);
    enqueue(execution, graph, first_nodes(graph), {}, later ? request.run_at : std::nullopt);
    write_first_events(execution.owner, {{execution.id, queued}});
    return true;
}

} // namespace

void check_enabled(const Startable &what) {
    if (!what.enabled)
        pg::raise(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                  {.message = "workflow \"" + what.workflow_id + "\" is disabled"});
}

namespace {

// The columns up to `metadata`, in the table's order. (The ones after that come later in a run's life.)
pg::Values describe(const Execution &execution, const StartRequest &request, TimestampTz now) {
    pg::Values row;
    row.uuid(execution.id).text(execution.workflow_id).int4(execution.version).int8(execution.definition_id);
    row.text(execution.owner);
    row.text(request.started_by
                 ? *request.started_by
                 : std::string(pg::call([]() noexcept { return GetUserNameFromId(GetSessionUserId(), false); })));
    row.text(execution.status).int4(execution.priority).int4(execution.total_nodes).time(now);
    request.run_at ? row.time(*request.run_at) : row.null();
    row.null().null().null().null().null(); // started_at, ended_at, completed_nodes, failed_node, error
    if (const std::optional<ParentCall> &parent = request.parent) {
        row.uuid(parent->execution).text(parent->node).int8(parent->call);
        parent->item ? row.int4(*parent->item) : row.null();
        row.int4(parent->depth);
    } else {
        row.null().null().null().null().int4(0);
    }
    row.maybe_text(request.idempotency_key).jsonb(request.input).jsonb(request.metadata);
    return row;
}

// Without an idempotency key: by a writer, which several runs may share.
void add_execution(pg::TableWriter &writer, const Execution &execution, const StartRequest &request, TimestampTz now) {
    pg::call([]() noexcept {
        PreventCommandIfReadOnly("execute_workflow"); // direct inserts do not ask
        PreventCommandIfParallelMode("execute_workflow");
    });
    pg::Values row = describe(execution, request, now);
    row.null().null().null(); // timeout_at, ending, attempts_before
    writer.add(row.datums(), row.null_flags());
}

} // namespace

bool insert_execution(const Execution &execution, const StartRequest &request, TimestampTz now) {
    static constexpr Oid types[] = {UUIDOID,        TEXTOID, INT4OID, INT8OID,        TEXTOID,        TEXTOID,
                                    TEXTOID,        INT4OID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
                                    TIMESTAMPTZOID, INT4OID, TEXTOID, TEXTOID,        UUIDOID,        TEXTOID,
                                    INT8OID,        INT4OID, INT4OID, TEXTOID,        JSONBOID,       JSONBOID};
    static pg::Statement insert_once{
        "INSERT INTO chronicle_data.execution (execution_id, workflow_id, version, definition_id, owner, started_by, "
        "status, priority, total_nodes, queued_at, run_at, started_at, ended_at, completed_nodes, failed_node, error, "
        "parent_execution_id, parent_node, parent_call, parent_item, depth, idempotency_key, input, metadata) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, "
        "$23, $24) ON CONFLICT (workflow_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING",
        types};
    if (request.idempotency_key) {
        pg::Values row = describe(execution, request, now);
        return insert_once.run(row).count > 0;
    }
    pg::TableWriter writer(catalog::objects().execution);
    add_execution(writer, execution, request, now);
    writer.flush();
    pg::TableWriter::next_command();
    return true;
}

std::optional<Startable> find_startable(const std::string &workflow, std::optional<int32> version) {
    static constexpr Oid types[] = {TEXTOID, INT4OID};
    static pg::Statement find{"SELECT v.definition_id, v.version, w.owner, w.enabled FROM chronicle_data.workflow w "
                              "JOIN chronicle_data.workflow_version v USING (workflow_id) WHERE w.workflow_id = $1 AND "
                              "v.version = coalesce($2, w.version) "
                              "AND v.version >= w.first_version",
                              types};
    access::EngineScope engine;
    pg::Values values;
    values.text(workflow);
    version ? values.int4(*version) : values.null();
    pg::Rows rows = find.run(values);
    if (rows.empty())
        return std::nullopt;
    return Startable{workflow, rows[0].int8(1), rows[0].int4(2), rows[0].text(3), rows[0].boolean(4)};
}

Startable require_startable(const std::string &workflow, std::optional<int32> version) {
    std::optional<Startable> found = find_startable(workflow, version);
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
    return *found;
}

pg::Uuid start_execution(const Startable &what, const StartRequest &request) {
    std::shared_ptr<const StoredDefinition> definition = stored_definition(what.definition_id);
    const core::Definition &graph = definition->graph;
    for (;;) {
        if (request.idempotency_key)
            if (std::optional<pg::Uuid> found = find_by_key(what, request))
                return *found;
        check_enabled(what);
        Execution execution = new_execution(what, graph, request.priority);
        if (queue(execution, graph, request))
            return execution.id;
        pg::check_interrupts(); // the key's run: the next look finds it, or it is gone again
    }
}

std::vector<pg::Uuid> start_executions(const Startable &what, const std::vector<StartRequest> &requests) {
    std::shared_ptr<const StoredDefinition> definition = stored_definition(what.definition_id);
    const core::Definition &graph = definition->graph;
    std::vector<pg::Uuid> ids;
    if (!graph.concurrency.is_null()) { // each asks for a slot
        for (const StartRequest &request : requests)
            ids.push_back(start_execution(what, request));
        return ids;
    }
    if (requests.empty())
        return ids;
    check_enabled(what);
    access::EngineScope engine;
    pg::TableWriter executions(catalog::objects().execution), tasks(catalog::objects().node_task);
    std::vector<std::pair<pg::Uuid, Event>> events;
    std::vector<int> first = first_nodes(graph);
    TimestampTz now = 0;
    for (const StartRequest &request : requests) {
        now = std::max(GetCurrentTimestamp(), now + 1); // their order is to be seen
        Execution execution = new_execution(what, graph, request.priority);
        add_execution(executions, execution, request, now);
        add_tasks(tasks, execution, graph, first, {}, std::nullopt);
        events.emplace_back(execution.id, queued_event(execution, request, now));
        ids.push_back(execution.id);
    }
    executions.flush();
    tasks.flush();
    pg::TableWriter::next_command();
    write_first_events(what.owner, events);
    announce_ready_of(what.owner);
    return ids;
}

namespace {

StartRequest read_request(const pg::Arguments &arguments) {
    StartRequest request;
    if (!arguments.null(1))
        request.input = pg::jsonb_to_string(arguments.datum(1));
    (void)to_json(request.input); // what a node could not read is refused here
    request.idempotency_key = arguments.text(2);
    request.priority = arguments.int4(4).value_or(0);
    if (!arguments.null(5))
        request.run_at = DatumGetTimestampTz(arguments.datum(5));
    if (!arguments.null(6))
        request.metadata = pg::jsonb_to_string(arguments.datum(6));
    if (request.idempotency_key && (request.idempotency_key->empty() || request.idempotency_key->size() > key_limit))
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "idempotency_key must have 1 to " + std::to_string(key_limit) + " bytes",
                   .detail = core::json{{"bytes", request.idempotency_key->size()}}.dump()});
    if (std::abs(int64(request.priority)) > priority_limit)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "priority must be between -" + std::to_string(priority_limit) + " and " +
                              std::to_string(priority_limit)});
    if (request.run_at && TIMESTAMP_IS_NOEND(*request.run_at))
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "run_at must not be infinity: the run would never start"});
    if (request.metadata.front() != '{')
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = "metadata must be a JSON object"});
    return request;
}

} // namespace

CHRONICLE_FUNCTION(chronicle_execute_workflow) {
    pg::Arguments arguments(fcinfo);
    std::string workflow = arguments.required_text(0, "workflow_id");
    StartRequest request = read_request(arguments);
    return pg::make_uuid(start_execution(require_startable(workflow, arguments.int4(3)), request));
}

} // namespace chronicle::flow
