// workflow.call and map.each: a node that starts runs and waits for their ends.
//
// Each call of a node has a number. A child knows it (execution.parent_call, parent_item), and the call has a row of
// awaited_child for every child that is under way. Items that are still to be started lie in map_item.
//
// Fan-in locks nothing that children share: a child that ends marks its own row of awaited_child, in the transaction of
// its end. The scheduler, woken by that commit, takes the marks (child_marks.cpp) and makes the parent's node ready
// when it has something to do: all have ended, one has failed, or more can be started. A mark is only taken while the
// parent's node is parked; what ends while it is looked at is taken after the next park, whose commit wakes the
// scheduler, too.
//
// A child that failed and is retried before its parent has seen that is awaited again (await_again): its mark is taken
// back, under the child's lock. Whoever finds the mark locked looks again soon.
//
// Lock order: a run before its children, a child before its mark. A child never locks its parent.
//
// Crash: marks and rows are committed with what they tell; the scheduler's step is repeated.
#include "flow/json.hpp"
#include "flow/child.hpp"

#include "flow/control.hpp"
#include "flow/node.hpp"
#include "flow/patience.hpp"
#include "flow/queue.hpp"
#include "flow/start.hpp"
#include "catalog/objects.hpp"
#include "pg/relation.hpp"
#include "pg/xact.hpp"
#include "worker/registry.hpp"

#include <map>

namespace chronicle::flow {

namespace {

constexpr int depth_limit = 100;
constexpr int64 start_chunk = 100; // children started by one step, at most: others run them meanwhile
constexpr int64 first_chunk = 50; // by the first step, so that all executors begin soon; then twice as many each time
constexpr int steps_in_turn = 16; // then the scheduler has its turn: it takes marks, and others run meanwhile
constexpr uint64 cancel_chunk = 500; // and cancelled: each takes a lock

int64 next_call() {
    static pg::Statement next{"SELECT nextval('chronicle_data.queue_seq')"};
    return next.run()[0].int8(1);
}

Startable called(const WaitingNode &waiting) {
    const core::json &wait = waiting.wait;
    return {.workflow_id = wait.at("workflow").get<std::string>(),
            .definition_id = wait.at("definition").get<int64>(),
            .version = wait.at("version").get<int>(),
            .owner = wait.at("owner").get<std::string>()};
}

StartRequest call_of(const WaitingNode &waiting, const std::string &input, std::optional<int> item) {
    const core::json &wait = waiting.wait;
    StartRequest request{.input = input, .priority = waiting.execution.priority, .started_by = waiting.execution.owner};
    request.parent = ParentCall{.execution = waiting.execution.id,
                                .node = waiting.node.id,
                                .call = wait.at("call").get<int64>(),
                                .item = item,
                                .depth = waiting.execution.depth + 1};
    request.origin = {{"parentExecutionId", core::uuid_to_text(waiting.execution.id)},
                      {"parentNodeId", waiting.node.id}};
    if (item && wait.value("map", false))
        request.origin["item"] = *item;
    return request;
}

// The children of items from `first` on. (Columns in the table's order, sql/install/42_waits.sql.)
void await_children(const WaitingNode &waiting, int first, const std::vector<pg::Uuid> &children) {
    pg::TableWriter writer(catalog::objects().awaited_child);
    int64 call = waiting.wait.at("call").get<int64>();
    for (const pg::Uuid &child : children) {
        pg::Values row;
        row.int8(call).int4(first++).uuid(waiting.execution.id).int4(waiting.index).uuid(child).text("running");
        writer.add(row.datums(), row.null_flags());
    }
    writer.flush();
    pg::TableWriter::next_command();
}

void store_items(int64 call, const std::string &items) {
    static constexpr Oid types[] = {INT8OID, JSONBOID};
    static pg::Statement insert{"INSERT INTO chronicle_data.map_item (call, item, input) SELECT $1, n - 1, input "
                                "FROM jsonb_array_elements($2) WITH ORDINALITY AS i (input, n)",
                                types};
    pg::Values values;
    insert.run(values.int8(call).jsonb(items));
}

// Items `first` … `last` - 1 are started. By a range of the key: the index may still have entries of those before.
void start_items(const WaitingNode &waiting, int64 first, int64 last) {
    static constexpr Oid types[] = {INT8OID, INT4OID, INT4OID};
    static pg::Statement take{
        "DELETE FROM chronicle_data.map_item WHERE call = $1 AND item >= $2 AND item < $3 RETURNING item, input",
        types};
    pg::Values values;
    values.int8(waiting.wait.at("call").get<int64>()).int4(static_cast<int>(first));
    pg::Rows rows = take.run(values.int4(static_cast<int>(last)));
    std::map<int, std::string> items;
    for (uint64 i = 0; i < rows.count; i++)
        items.emplace(rows[i].int4(1), rows[i].jsonb(2));
    std::vector<StartRequest> requests;
    for (const auto &[item, input] : items)
        requests.push_back(call_of(waiting, input, item));
    await_children(waiting, static_cast<int>(first), start_executions(called(waiting), requests));
}

struct Failed {
    int item;
    pg::Uuid child;
};

bool has_failed(int64 call) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement find{"SELECT FROM chronicle_data.awaited_child WHERE call = $1 "
                              "AND state IN ('failed', 'noted') LIMIT 1",
                              types};
    pg::Values values;
    return !find.run(values.int8(call)).empty();
}

// One whose row somebody has locked goes on, perhaps (await_again): it is passed over.
std::optional<Failed> find_failed(int64 call) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement find{"SELECT item, child_id FROM chronicle_data.awaited_child WHERE call = $1 "
                              "AND state IN ('failed', 'noted') ORDER BY item LIMIT 1 FOR UPDATE SKIP LOCKED",
                              types};
    pg::Values values;
    pg::Rows rows = find.run(values.int8(call));
    return rows.empty() ? std::nullopt : std::optional(Failed{rows[0].int4(1), rows[0].uuid(2)});
}

int make_sqlstate(const std::string &text) {
    return text.size() == 5 ? MAKE_SQLSTATE(text[0], text[1], text[2], text[3], text[4])
                            : ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;
}

// The child's failure becomes the node's: its message and SQLSTATE, and in DETAIL which child it was.
pg::Error failure_of(const WaitingNode &waiting, const Failed &failed) {
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement find{"SELECT type, data ->> 'error', data ->> 'sqlstate' FROM chronicle_data.workflow_event "
                              "WHERE execution_id = $1 AND type IN ('WorkflowFailed', 'WorkflowCancelled') "
                              "ORDER BY version DESC LIMIT 1",
                              types};
    std::string child = core::uuid_to_text(failed.child);
    core::json detail{{"execution", child}};
    pg::Values values;
    pg::Rows rows = find.run(values.uuid(failed.child));
    bool cancelled = rows.empty() || rows[0].text(1) == "WorkflowCancelled";
    std::string message = cancelled ? "execution " + child + " was cancelled" : rows[0].maybe_text(2).value_or("");
    int sqlstate = cancelled ? ERRCODE_QUERY_CANCELED : make_sqlstate(rows[0].maybe_text(3).value_or(""));
    if (waiting.wait.value("map", false)) {
        detail["index"] = failed.item;
        message = "item " + std::to_string(failed.item) + ": " + message;
    }
    return pg::Error(sqlstate, {.message = message, .detail = detail.dump()});
}

int64 count_running(int64 call) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement count{
        "SELECT count(*) FROM chronicle_data.awaited_child WHERE call = $1 AND state = 'running'", types};
    pg::Values values;
    return count.run(values.int8(call))[0].int8(1);
}

bool any_running(int64 call) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement find{"SELECT FROM chronicle_data.awaited_child WHERE call = $1 AND state = 'running' LIMIT 1",
                              types};
    pg::Values values;
    return !find.run(values.int8(call)).empty();
}

void forget_call(int64 call) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement children{"DELETE FROM chronicle_data.awaited_child WHERE call = $1 AND state <> 'abandoned'",
                                  types};
    static pg::Statement items{"DELETE FROM chronicle_data.map_item WHERE call = $1", types};
    for (pg::Statement *remove : {&children, &items}) {
        pg::Values values;
        remove->run(values.int8(call));
    }
}

Datum terminal_nodes(int64 definition_id) {
    std::shared_ptr<const StoredDefinition> definition = stored_definition(definition_id);
    const core::Definition &graph = definition->graph;
    std::string list = "{";
    for (size_t i = 0; i < graph.nodes.size(); i++)
        if (graph.nodes[i].out.empty())
            list += (list.size() > 1 ? "," : "") + std::to_string(i);
    return pg::make_text(list + "}");
}

// The children's results in the order of their items, as JSON texts: what execution_result shows of them; of a function
// what it returned.
std::vector<std::string> results(const WaitingNode &waiting) {
    static constexpr Oid types[] = {UUIDOID, INT8OID, TEXTOID};
    static pg::Statement find{
        "SELECT coalesce(e.parent_item, 0), r.node_id, r.output FROM chronicle_data.execution AS e "
        "LEFT JOIN chronicle_data.node_result AS r ON r.execution_id = e.execution_id "
        "AND r.status IN ('completed', 'failed') AND r.node_index = ANY ($3::int[]) "
        "WHERE e.parent_execution_id = $1 AND e.parent_call = $2 ORDER BY e.parent_item, r.node_index",
        types};
    pg::Values values;
    values.uuid(waiting.execution.id).int8(waiting.wait.at("call").get<int64>());
    values.add(terminal_nodes(waiting.wait.at("definition").get<int64>()));
    pg::Rows rows = find.run(values);
    bool function = waiting.wait.value("function", false);
    std::vector<std::string> texts;
    for (uint64 i = 0; i < rows.count;) {
        int item = rows[i].int4(1);
        std::string members;
        for (; i < rows.count && rows[i].int4(1) == item; i++) {
            if (rows[i].null(2)) // none of them has a result
                continue;
            std::string output = rows[i].null(3) ? "null" : rows[i].jsonb(3);
            if (function)
                members = output;
            else
                members += (members.empty() ? "" : ", ") + core::json(rows[i].text(2)).dump() + ": " + output;
        }
        if (!function)
            members = "{" + members + "}";
        texts.push_back(members.empty() ? "null" : members);
    }
    return texts;
}

Settled collect(const WaitingNode &waiting) {
    std::vector<std::string> all = results(waiting);
    Settled settled{.state = Settled::State::completed, .records = static_cast<int64>(all.size())};
    forget_call(waiting.wait.at("call").get<int64>());
    if (!waiting.wait.value("map", false)) {
        settled.output = all.empty() ? "null" : all.front();
        return settled;
    }
    settled.output = "[";
    for (const std::string &one : all)
        settled.output += (settled.output.size() > 1 ? ", " : "") + one;
    settled.output += "]";
    return settled;
}

// More items, as far as there is room for them. These have not ended: the node waits in any case.
Settled start_more(WaitingNode &waiting) {
    core::json &wait = waiting.wait;
    int64 room =
        wait.contains("limit") ? wait["limit"].get<int64>() - count_running(wait["call"].get<int64>()) : PG_INT64_MAX;
    int64 chunk = wait.value("chunk", first_chunk), first = wait.value("next", int64(0));
    int64 total = wait["total"].get<int64>(), last = std::min(total, first + std::clamp<int64>(room, 0, chunk));
    if (last > first)
        start_items(waiting, first, last);
    int step = wait.value("step", 0) + 1;
    bool pending = last < total;
    wait.update({{"next", last}, {"pending", pending}, {"step", step}, {"chunk", std::min(2 * chunk, start_chunk)}});
    if (pending && room > chunk) // those that were started can begin; then the next
        return {.due = waiting.now, .again = step % steps_in_turn != 0};
    return {};
}

} // namespace

std::optional<pg::Error> begin_children(WaitingNode &waiting) {
    if (waiting.execution.depth >= depth_limit)
        return pg::Error(ERRCODE_PROGRAM_LIMIT_EXCEEDED, {.message = "runs that call runs are nested more than " +
                                                                     std::to_string(depth_limit) + " deep",
                                                          .detail = core::json{{"limit", depth_limit}}.dump(),
                                                          .hint = "Look for a workflow that calls itself."});
    core::json &wait = waiting.wait;
    int64 call = next_call();
    wait["call"] = call;
    if (wait.value("map", false)) {
        store_items(call, core::write_json(wait.at("items")));
        wait["pending"] = !wait.at("items").empty();
        wait["total"] = wait.at("items").size();
        wait.erase("items");
        return std::nullopt;
    }
    bool awaited = wait.value("await", true);
    std::string input = core::write_json(wait.at("input"));
    pg::Uuid child =
        start_execution(called(waiting), call_of(waiting, input, awaited ? std::optional(0) : std::nullopt));
    wait.erase("input");
    wait["childExecutionId"] = core::uuid_to_text(child);
    if (awaited)
        await_children(waiting, 0, {child});
    return std::nullopt;
}

Settled look_children(WaitingNode &waiting) {
    core::json &wait = waiting.wait;
    if (!wait.value("await", true))
        return {.state = Settled::State::completed,
                .output = core::json{{"execution_id", wait.at("childExecutionId")}}.dump(),
                .more = {{"childExecutionId", wait.at("childExecutionId")}}};
    int64 call = wait.at("call").get<int64>();
    if (has_failed(call)) {
        std::optional<Failed> failed = find_failed(call);
        if (!failed) // somebody retries it, and has not committed
            return {.due = look_again_at()};
        return {.state = Settled::State::failed, .error = failure_of(waiting, *failed)};
    }
    if (wait.value("pending", false))
        return start_more(waiting);
    return any_running(call) ? Settled{} : collect(waiting);
}

void abandon_children(const Execution &, const core::Node &, int, const core::json &wait) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement find{"SELECT item, child_id FROM chronicle_data.awaited_child WHERE call = $1 "
                              "AND state = 'running' ORDER BY item",
                              types};
    static constexpr Oid rest_types[] = {INT8OID, INT4OID};
    static pg::Statement leave{"UPDATE chronicle_data.awaited_child SET state = 'abandoned' WHERE call = $1 "
                               "AND state = 'running' AND item >= $2",
                               rest_types};
    if (!wait.contains("call") || !wait.value("await", true))
        return;
    int64 call = wait.at("call").get<int64>();
    static pg::Statement lock{"SELECT FROM chronicle_data.awaited_child WHERE call = $1 "
                              "AND state IN ('failed', 'noted') FOR UPDATE",
                              types};
    pg::Values values;
    values.int8(call);
    lock.run(values); // one that a retry has in hand is cancelled with the others, or stays as it is
    pg::Rows rows = find.run(values);
    std::vector<pg::Uuid> children;
    for (uint64 i = 0; i < std::min(rows.count, cancel_chunk); i++)
        children.push_back(rows[i].uuid(2));
    if (rows.count > cancel_chunk) { // the scheduler does the rest
        pg::Values of_rest;
        int first = rows[cancel_chunk].int4(1);
        leave.run(of_rest.int8(call).int4(first));
        worker::announce_scheduler();
    }
    for (const pg::Uuid &child : children)
        cancel_run(child, "the node that started it waits no more");
    forget_call(call);
}

void cancel_children(const Execution &execution, const std::string &reason) {
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement find{"SELECT execution_id FROM chronicle_data.execution WHERE parent_execution_id = $1 "
                              "AND ended_at IS NULL AND NOT EXISTS (SELECT FROM chronicle_data.awaited_child AS c "
                              "WHERE c.call = parent_call AND c.item = parent_item AND c.state = 'abandoned') "
                              "ORDER BY parent_call, parent_item",
                              types};
    pg::Values values;
    pg::Rows rows = find.run(values.uuid(execution.id));
    std::vector<pg::Uuid> children;
    for (uint64 i = 0; i < rows.count; i++)
        children.push_back(rows[i].uuid(1));
    for (const pg::Uuid &child : children)
        cancel_run(child, reason);
}

void report_end(const Execution &execution, bool completed) {
    static constexpr Oid types[] = {INT8OID, INT4OID, TEXTOID};
    // The conditions on the state imply no index's: a planner that takes one walks over all children of the call.
    static pg::Statement mark{"UPDATE chronicle_data.awaited_child SET state = $3 WHERE call = $1 AND item = $2 "
                              "AND (state = 'running') IS NOT FALSE",
                              types};
    if (!execution.parent || !execution.parent->item)
        return;
    pg::Values values;
    values.int8(execution.parent->call).int4(*execution.parent->item);
    mark.run(values.text(completed ? "ended" : "failed"));
    worker::announce_scheduler();
}

void await_again(const Execution &execution) {
    static constexpr Oid types[] = {INT8OID, INT4OID};
    static pg::Statement reopen{"UPDATE chronicle_data.awaited_child SET state = 'running' WHERE call = $1 "
                                "AND item = $2 AND (state IN ('failed', 'noted')) IS NOT FALSE",
                                types};
    if (!execution.parent || !execution.parent->item)
        return;
    pg::Values values;
    reopen.run(values.int8(execution.parent->call).int4(*execution.parent->item));
}

void cancel_abandoned() {
    static pg::Statement find{"SELECT call, item, child_id FROM chronicle_data.awaited_child "
                              "WHERE state = 'abandoned' LIMIT 1000"};
    static constexpr Oid types[] = {INT8OID, INT4OID};
    static pg::Statement remove{"DELETE FROM chronicle_data.awaited_child WHERE call = $1 AND item = $2", types};
    struct Abandoned {
        int64 call;
        int item;
        pg::Uuid child;
    };
    std::vector<Abandoned> all;
    pg::start_transaction();
    {
        access::EngineScope engine;
        pg::Rows rows = find.run();
        for (uint64 i = 0; i < rows.count; i++)
            all.push_back({rows[i].int8(1), rows[i].int4(2), rows[i].uuid(3)});
    }
    pg::commit_transaction();
    for (const Abandoned &one : all) // one run at a time
        (void)try_in_transaction([&]() {
            access::EngineScope engine;
            if (!try_lock_execution(one.child)) // the next look
                return;
            cancel_run(one.child, "the node that started it waits no more");
            pg::Values values;
            remove.run(values.int8(one.call).int4(one.item));
        });
}

} // namespace chronicle::flow
