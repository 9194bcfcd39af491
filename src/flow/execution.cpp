#include "flow/json.hpp"
#include "flow/execution.hpp"

#include "flow/child.hpp"
#include "flow/limits.hpp"
#include "catalog/objects.hpp"
#include "pg/relation.hpp"
#include "store/order.hpp"
#include "sqlstates.hpp"
#include "worker/registry.hpp"

extern "C" {
#include "utils/acl.h"
#include "utils/array.h"
}

namespace chronicle::flow {

namespace {

void end_execution(const Execution &execution, const std::string &status, TimestampTz now, int completed,
                   const Ending *ending) {
    static constexpr Oid types[] = {UUIDOID, TEXTOID, TIMESTAMPTZOID, INT4OID, TEXTOID, TEXTOID, TIMESTAMPTZOID};
    static pg::Statement update{"UPDATE chronicle_data.execution SET status = $2, ended_at = $3, completed_nodes = $4, "
                                "failed_node = $5, error = $6, ending = NULL, timeout_at = NULL, "
                                "started_at = coalesce(started_at, $7) "
                                "WHERE execution_id = $1",
                                types};
    pg::Values values;
    values.uuid(execution.id).text(status).time(now).int4(completed);
    values.maybe_text(ending ? ending->failed_node() : std::nullopt);
    values.maybe_text(ending ? ending->error() : std::nullopt);
    execution.started_at ? values.time(*execution.started_at) : values.null();
    update.run(values);
    report_end(execution, status == "completed");
    release_slot(execution);
    worker::announce_finished();
}

// As stored in execution.ending.
Ending read_ending(const std::string &text) {
    core::json stored = to_json(text);
    auto text_of = [&](const char *key) { return stored.value(key, std::string()); };
    Ending ending{.status = text_of("status"), .failure = {}, .reason = std::nullopt};
    ending.failure = {text_of("failedNodeId"), text_of("error"), text_of("sqlstate"), "", "", ""};
    if (stored.contains("reason"))
        ending.reason = text_of("reason");
    return ending;
}

} // namespace

std::string time_text(TimestampTz at) {
    return pg::call([&]() noexcept { return timestamptz_to_str(at); });
}

bool is_over(const std::string &status) { return status == "completed" || status == "failed" || status == "cancelled"; }

void raise_unknown_execution(const pg::Uuid &id) {
    std::string text = core::uuid_to_text(id);
    pg::raise(invalid_execution_state,
              {.message = "execution " + text + " does not exist",
               .detail = core::json{{"execution", text}, {"state", nullptr}}.dump(),
               .hint = "SELECT execution_id FROM chronicle.executions lists those that you may see."});
}

std::optional<std::string> Ending::failed_node() const {
    return failure.node_id.empty() ? std::nullopt : std::optional(failure.node_id);
}

std::optional<std::string> Ending::error() const {
    return status == "failed" ? std::optional(failure.error) : std::nullopt;
}

core::json ending_json(const Ending &ending) {
    core::json stored{{"status", ending.status}};
    if (ending.status == "failed")
        stored.update({{"failedNodeId", ending.failure.node_id},
                       {"error", ending.failure.error},
                       {"sqlstate", ending.failure.sqlstate}});
    if (ending.reason)
        stored["reason"] = *ending.reason;
    return stored;
}

void set_open_status(const Execution &execution, const core::RunState &state) {
    static constexpr Oid types[] = {UUIDOID, TEXTOID};
    static pg::Statement update{"UPDATE chronicle_data.execution SET status = $2 WHERE execution_id = $1 "
                                "AND status IN ('running', 'waiting') AND status <> $2",
                                types};
    bool works = std::any_of(state.nodes.begin(), state.nodes.end(), [](core::NodeState node) {
        return node == core::NodeState::ready || node == core::NodeState::running;
    });
    pg::Values values;
    update.run(values.uuid(execution.id).text(works ? "running" : "waiting"));
}

TimestampTz timeout_from(TimestampTz now, double timeout_ms) {
    constexpr double longest_ms = 1e14; // some 3,000 years: a time that a timestamptz holds
    return now + static_cast<int64>(std::min(timeout_ms, longest_ms) * 1000.0);
}

double milliseconds(TimestampTz from, TimestampTz to) { return static_cast<double>(to - from) / 1000.0; }

Failure Failure::from(const std::string &node_id, const pg::Error &error) {
    return {node_id, error.message(), error.sqlstate_text(), error.detail(), error.hint(), error.context()};
}

std::optional<Execution> find_execution(const pg::Uuid &id) {
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement find{
        "SELECT workflow_id, owner, status, version, definition_id, priority, total_nodes, input, started_at, ending, "
        "parent_execution_id, parent_node, parent_call, parent_item, depth, attempts_before FROM "
        "chronicle_data.execution WHERE execution_id = $1",
        types};
    pg::Values values;
    pg::Rows rows = find.run(values.uuid(id));
    if (rows.empty())
        return std::nullopt;
    pg::Row row = rows[0];
    Execution e{.id = id,
                .workflow_id = row.text(1),
                .workflow_name = {},
                .owner = row.text(2),
                .status = row.text(3),
                .version = row.int4(4),
                .definition_id = row.int8(5),
                .priority = row.int4(6),
                .total_nodes = row.int4(7),
                .input = row.jsonb(8),
                .started_at = {}};
    if (!row.null(9))
        e.started_at = row.time(9);
    if (!row.null(10))
        e.ending = read_ending(row.jsonb(10));
    e.depth = row.int4(15);
    if (!row.null(13)) {
        e.parent = ParentCall{
            .execution = row.uuid(11), .node = row.text(12), .call = row.int8(13), .item = {}, .depth = e.depth};
        if (!row.null(14))
            e.parent->item = row.int4(14);
    }
    if (!row.null(16))
        e.attempts_before = to_json(row.jsonb(16));
    e.workflow_name = stored_definition(e.definition_id)->graph.name;
    if (e.workflow_name.empty())
        e.workflow_name = e.workflow_id;
    return e;
}

Execution lock_for_caller(const pg::Uuid &id) {
    std::optional<Execution> found;
    {
        access::EngineScope engine;
        pg::NewestScope newest;
        lock_execution(id);
        found = find_execution(id);
    }
    if (!found || !access::may_act_for(found->owner))
        raise_unknown_execution(id);
    return *std::move(found);
}

Event make_event(const Execution &execution, const char *type, TimestampTz at) {
    return {type, std::nullopt,
            core::json{{"workflowId", execution.workflow_id},
                       {"executionId", core::uuid_to_text(execution.id)},
                       {"workflowName", execution.workflow_name}},
            at};
}

Event make_node_event(const Execution &execution, const core::Node &node, const char *type, int attempt,
                      TimestampTz at) {
    Event event = make_event(execution, type, at);
    event.node_id = node.id;
    event.data["nodeId"] = node.id;
    event.data["nodeType"] = node.type->name;
    event.data["attempt"] = attempt;
    return event;
}

Event begin_execution(Execution &execution, TimestampTz now) {
    execution.begins = true;
    execution.status = "running";
    execution.started_at = now;
    Event started = make_event(execution, "WorkflowStarted", now);
    started.data["totalNodes"] = execution.total_nodes;
    started.data["version"] = execution.version;
    return started;
}

void store_begin(const Execution &execution) {
    static constexpr Oid types[] = {UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
    static pg::Statement update{"UPDATE chronicle_data.execution SET status = 'running', started_at = $2, "
                                "timeout_at = $3 WHERE execution_id = $1",
                                types};
    std::optional<double> timeout = stored_definition(execution.definition_id)->graph.timeout_ms;
    pg::Values values;
    values.uuid(execution.id).time(*execution.started_at);
    timeout ? values.time(timeout_from(*execution.started_at, *timeout)) : values.null();
    update.run(values);
    if (timeout)
        worker::announce_scheduler(); // it sets its clock
}

void complete_execution(const Execution &execution, int completed_nodes, std::vector<Event> &events) {
    TimestampTz now = GetCurrentTimestamp();
    Event event = make_event(execution, "WorkflowCompleted", now);
    event.data["duration"] = milliseconds(execution.started_at.value_or(now), now);
    event.data["completedNodes"] = completed_nodes;
    event.data["totalNodes"] = execution.total_nodes;
    events.push_back(std::move(event));
    end_execution(execution, "completed", now, completed_nodes, nullptr);
}

void end_early(const Execution &execution, const Ending &ending, int completed_nodes, std::vector<Event> &events) {
    TimestampTz now = GetCurrentTimestamp();
    bool failed = ending.status == "failed";
    Event event = make_event(execution, failed ? "WorkflowFailed" : "WorkflowCancelled", now);
    event.data["duration"] = milliseconds(execution.started_at.value_or(now), now);
    if (failed) {
        event.data["failedNodeId"] = ending.failed_node() ? core::json(*ending.failed_node()) : core::json();
        event.data["error"] = ending.failure.error;
        event.data["sqlstate"] = ending.failure.sqlstate;
    } else if (ending.reason) {
        event.data["reason"] = *ending.reason;
    }
    if (!ending.uncompensated.empty())
        event.data["uncompensated"] = ending.uncompensated;
    event.data["completedNodes"] = completed_nodes;
    event.data["totalNodes"] = execution.total_nodes;
    events.push_back(std::move(event));
    end_execution(execution, ending.status, now, completed_nodes, &ending);
}

void insert_result(const Execution &execution, const core::Node &node, const NodeResult &result) {
    pg::Values row;
    row.uuid(execution.id).int4(result.index).text(node.id).text(result.status).int4(result.attempts);
    result.started_at ? row.time(*result.started_at) : row.null();
    row.time(result.ended_at).maybe_int8(result.records).add(pg::make_int_array(result.live_edges));
    result.output ? row.jsonb(*result.output) : row.null();
    row.boolean(result.truncated);
    result.columns ? row.jsonb(*result.columns) : row.null();
    pg::TableWriter(catalog::objects().node_result).insert(row.datums(), row.null_flags());
    for (size_t i = 0; i < result.chunks.size(); i++) {
        pg::Values chunk;
        chunk.uuid(execution.id).int4(result.index).int4(static_cast<int>(i));
        chunk.text(result.chunks[i]); // bytea has the form of text: a length and bytes
        pg::TableWriter(catalog::objects().node_rows).insert(chunk.datums(), chunk.null_flags());
    }
}

void add_tasks(pg::TableWriter &writer, const Execution &execution, const core::Definition &graph,
               const std::vector<int> &nodes, const std::vector<int> &alone, std::optional<TimestampTz> not_before) {
    bool held = execution.status == "paused" || execution.waits_for_slot;
    const char *state = held ? "held" : not_before ? "scheduled" : "ready";
    for (int index : nodes) {
        const core::Node &node = graph.nodes[static_cast<size_t>(index)];
        bool by_itself = node.own_transaction || std::find(alone.begin(), alone.end(), index) != alone.end();
        pg::Values row;
        row.uuid(execution.id).int4(index).text(node.id).text(state).text(execution.owner);
        row.int4(task_priority(execution, node)).int8(store::order::allocate(1).first);
        row.int4(attempts_before(execution, node)).int4(0).boolean(by_itself).time(GetCurrentTimestamp());
        not_before ? row.time(*not_before) : row.null();
        row.boolean(false).boolean(false).null().null().null().null().boolean(false);
        writer.add(row.datums(), row.null_flags());
    }
}

void enqueue(const Execution &execution, const core::Definition &graph, const std::vector<int> &nodes,
             const std::vector<int> &alone, std::optional<TimestampTz> not_before) {
    if (nodes.empty())
        return;
    pg::TableWriter writer(catalog::objects().node_task);
    add_tasks(writer, execution, graph, nodes, alone, not_before);
    writer.flush();
    pg::TableWriter::next_command();
    announce_ready_of(execution.owner);
}

int attempts_before(const Execution &execution, const core::Node &node) {
    return execution.attempts_before.is_object() ? execution.attempts_before.value(node.id, 0) : 0;
}

int task_priority(const Execution &execution, const core::Node &node) {
    constexpr int64 limit = PG_INT32_MAX;
    return static_cast<int>(std::clamp(int64(execution.priority) + node.priority, -limit, limit));
}

void announce_ready_of(const std::string &owner) {
    const char *name = owner.c_str();
    worker::announce_ready(pg::call([&]() noexcept { return get_role_oid(name, true); }));
}

} // namespace chronicle::flow
