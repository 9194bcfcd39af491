// task.external: a node whose work a program outside does. One row of chronicle_data.task per node, from its first
// attempt on; its id stays the same, its attempt is the node's.
//
//                ┌──────────── retry: the next attempt ───────────┐
//                ▼                                                │
//   begin ──► queued ──claim_tasks──► claimed ──complete_task──► completed ──► the node completes
//                                       │ ▲ └───fail_task──────► failed ─────► the attempt fails
//                       heartbeat_task ─┘ │ ────lease over─────► expired ────► the attempt fails (CH032)
//                                         └─────────── rollback of the claimer's transaction
//   the node waits no more: queued, claimed ──► cancelled
//
// Leases of programs outside have a time, unlike those of executors: nobody can see whether such a program lives. The
// deadline is in the task's own row, not in node_task: heartbeats touch nothing that the engine works with.
//
// Every call of a worker is fenced by the attempt (task_functions.cpp). What ends a task marks its row and wakes the
// node, in one transaction; the look under the run's lock (look_task) ends the node.
//
// Locks: complete_task and fail_task lock the run, then the task's row; heartbeat_task and the scheduler the row alone;
// claim_tasks skips rows that are locked. A cancelled node marks its task, but waits for no row: who holds it (a
// claimer that has not committed) is told by the missing row of node_task when it calls next.
#include "flow/json.hpp"
#include "flow/task.hpp"

#include "flow/node.hpp"
#include "sqlstates.hpp"
#include "worker/registry.hpp"

namespace chronicle::flow {

NodeOutput run_task_external(NodeContext &context) {
    return {.wait = {{"kind", "task"}, {"queue", context.text("queue")}, {"input", context.config("input")}}};
}

std::optional<pg::Error> begin_task(WaitingNode &waiting) {
    static constexpr Oid types[] = {UUIDOID, INT4OID, TEXTOID, INT4OID, TEXTOID, TEXTOID, INT4OID, JSONBOID};
    static pg::Statement upsert{
        "INSERT INTO chronicle_data.task AS t (execution_id, node_index, node_id, attempt, queue, owner, priority, "
        "input) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (execution_id, node_index) DO UPDATE SET "
        "attempt = excluded.attempt, queue = excluded.queue, priority = excluded.priority, input = excluded.input, "
        "last_end = CASE t.state WHEN 'completed' THEN 'finished' WHEN 'failed' THEN 'finished' WHEN 'expired' THEN "
        "'expired' ELSE 'cancelled' END, state = 'queued', output = NULL, error = NULL, retryable = true, "
        "worker = NULL, deadline = NULL RETURNING task_id",
        types};
    const Execution &execution = waiting.execution;
    pg::Values values;
    values.uuid(execution.id).int4(waiting.index).text(waiting.node.id).int4(waiting.attempt);
    values.text(waiting.wait.at("queue").get<std::string>()).text(execution.owner);
    values.int4(task_priority(execution, waiting.node)).jsonb(core::write_json(waiting.wait.at("input")));
    waiting.wait["taskId"] = upsert.run(values)[0].int8(1);
    waiting.wait.erase("input");
    worker::announce_tasks();
    return std::nullopt;
}

Settled look_task(WaitingNode &waiting) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement find{"SELECT state, coalesce(output, 'null'), coalesce(error, ''), retryable, "
                              "coalesce(worker, ''), attempt FROM chronicle_data.task WHERE task_id = $1",
                              types};
    int64 task = waiting.wait.at("taskId").get<int64>();
    pg::Values values;
    pg::Rows rows = find.run(values.int8(task));
    std::string state = rows.empty() ? "cancelled" : rows[0].text(1);
    core::json detail{{"task", task}, {"attempt", waiting.attempt}};
    if (!rows.empty())
        detail["worker"] = rows[0].text(5);
    if (state == "completed")
        return {.state = Settled::State::completed,
                .output = rows[0].jsonb(2),
                .records = 1,
                .more = {{"taskId", task}, {"worker", rows[0].text(5)}}};
    if (state == "failed")
        return {.state = Settled::State::failed,
                .error = pg::Error(ERRCODE_RAISE_EXCEPTION, {.message = rows[0].text(3), .detail = detail.dump()}),
                .may_retry = rows[0].boolean(4)};
    if (state == "expired") {
        detail["reason"] = "expired";
        return {.state = Settled::State::failed,
                .error = pg::Error(task_lease_lost,
                                   {.message = "worker \"" + rows[0].text(5) + "\" held task " + std::to_string(task) +
                                               " to the end of its lease",
                                    .detail = detail.dump(),
                                    .hint = "It may have died. A worker that needs longer calls heartbeat_task."})};
    }
    return {};
}

void abandon_task(const Execution &execution, const core::Node &, int index, const core::json &) {
    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement cancel{
        "UPDATE chronicle_data.task SET state = 'cancelled' WHERE task_id IN (SELECT task_id FROM chronicle_data.task "
        "WHERE execution_id = $1 AND node_index = $2 AND state IN ('queued', 'claimed') FOR UPDATE SKIP LOCKED)",
        types};
    pg::Values values;
    cancel.run(values.uuid(execution.id).int4(index));
}

// Waits for no lock: what somebody holds is looked at again soon. A task without its node is only marked (its claimer
// had it locked when the node was cancelled).
TimestampTz expire_tasks() {
    static pg::Statement expire{
        "WITH due AS (SELECT task_id, execution_id, node_index FROM chronicle_data.task WHERE state = 'claimed' "
        "AND deadline <= clock_timestamp() FOR UPDATE SKIP LOCKED), "
        "node AS (SELECT n.execution_id, n.node_index FROM chronicle_data.node_task AS n JOIN due "
        "USING (execution_id, node_index) WHERE n.state = 'waiting' FOR UPDATE OF n SKIP LOCKED), "
        "over AS (UPDATE chronicle_data.task AS t SET state = 'expired' FROM due AS d WHERE t.task_id = d.task_id "
        "AND ((d.execution_id, d.node_index) IN (SELECT n.execution_id, n.node_index FROM node AS n) "
        "OR NOT EXISTS (SELECT FROM chronicle_data.node_task AS n WHERE n.execution_id = d.execution_id "
        "AND n.node_index = d.node_index))) "
        "UPDATE chronicle_data.node_task AS n SET state = 'ready', due_at = NULL FROM node "
        "WHERE n.execution_id = node.execution_id AND n.node_index = node.node_index RETURNING n.owner"};
    static pg::Statement next{
        "SELECT CASE WHEN min(deadline) <= clock_timestamp() THEN clock_timestamp() + interval '50 ms' "
        "ELSE min(deadline) END FROM chronicle_data.task WHERE state = 'claimed' HAVING min(deadline) IS NOT NULL"};
    access::EngineScope engine;
    pg::Rows rows = expire.run();
    std::vector<std::string> owners;
    for (uint64 i = 0; i < rows.count; i++)
        owners.push_back(rows[i].text(1));
    for (const std::string &owner : owners)
        announce_ready_of(owner);
    pg::Rows due = next.run();
    return due.empty() ? 0 : due[0].time(1);
}

} // namespace chronicle::flow
