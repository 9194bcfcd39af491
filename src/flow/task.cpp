// task.external: a node whose work a program outside does. One row of chronicle_data.task per attempt of the node; they
// have one id.
//
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
// Locks: who calls for a task locks its row, and then, to end it, the run. Claimers and the engine wait for no row:
// they skip those that are locked. So a program that leaves its transaction open holds up nobody but its own task: a
// retry is another row, and a task that was cancelled while it was locked is told so by node_task, which does not wait
// for it any more.
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
    static pg::Statement insert{
        "INSERT INTO chronicle_data.task (task_id, execution_id, node_index, node_id, attempt, queue, owner, priority, "
        "input) SELECT coalesce((SELECT t.task_id FROM chronicle_data.task AS t WHERE t.execution_id = $1 "
        "AND t.node_index = $2 LIMIT 1), nextval('chronicle_data.task_id_seq')), $1, $2, $3, $4, $5, $6, $7, $8 "
        "RETURNING task_id",
        types};
    const Execution &execution = waiting.execution;
    pg::Values values;
    values.uuid(execution.id).int4(waiting.index).text(waiting.node.id).int4(waiting.attempt);
    values.text(waiting.wait.at("queue").get<std::string>()).text(execution.owner);
    values.int4(task_priority(execution, waiting.node)).jsonb(core::write_json(waiting.wait.at("input")));
    waiting.wait["taskId"] = insert.run(values)[0].int8(1);
    waiting.wait.erase("input");
    worker::announce_tasks();
    return std::nullopt;
}

Settled look_task(WaitingNode &waiting) {
    static constexpr Oid types[] = {INT8OID, INT4OID};
    static pg::Statement find{"SELECT state, coalesce(output, 'null'), coalesce(error, ''), retryable, "
                              "coalesce(worker, '') FROM chronicle_data.task WHERE task_id = $1 AND attempt = $2",
                              types};
    int64 task = waiting.wait.at("taskId").get<int64>();
    pg::Values values;
    pg::Rows rows = find.run(values.int8(task).int4(waiting.attempt));
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

void abandon_task(const Execution &, const core::Node &, int, const core::json &wait) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement cancel{
        "UPDATE chronicle_data.task SET state = 'cancelled' WHERE task_id = $1 AND attempt IN (SELECT attempt "
        "FROM chronicle_data.task WHERE task_id = $1 AND state IN ('queued', 'claimed') FOR UPDATE SKIP LOCKED)",
        types};
    if (!wait.contains("taskId"))
        return;
    pg::Values values;
    cancel.run(values.int8(wait["taskId"].get<int64>()));
}

// What is locked is looked at again soon. A task that its node does not wait for any more is only marked (its claimer
// had it locked when the node gave it up); one whose node is held, or looked at, is left to that look.
#define OVERDUE                                                                                                        \
    "FROM chronicle_data.task AS t LEFT JOIN chronicle_data.node_task AS n ON n.execution_id = t.execution_id AND "    \
    "n.node_index = t.node_index AND n.begun AND n.attempt = t.attempt WHERE t.state = 'claimed' "                     \
    "AND t.deadline <= $1 AND (n.execution_id IS NULL OR n.state = 'waiting') "
TimestampTz expire_tasks() {
    static constexpr Oid types[] = {TIMESTAMPTZOID};
    static pg::Statement expire{
        "WITH due AS (SELECT t.task_id, t.attempt, t.execution_id, t.node_index, "
        "n.execution_id IS NOT NULL AS awaited " OVERDUE "FOR UPDATE OF t SKIP LOCKED), "
        "node AS (SELECT n.execution_id, n.node_index, due.task_id FROM chronicle_data.node_task AS n JOIN due "
        "USING (execution_id, node_index) WHERE due.awaited AND n.state = 'waiting' FOR UPDATE OF n SKIP LOCKED), "
        "over AS (UPDATE chronicle_data.task AS t SET state = 'expired' FROM due AS d WHERE t.task_id = d.task_id "
        "AND t.attempt = d.attempt AND (NOT d.awaited OR d.task_id IN (SELECT node.task_id FROM node))) "
        "UPDATE chronicle_data.node_task AS n SET state = 'ready', due_at = NULL, "
        "queue_number = chronicle_data.queue_number_again() FROM node "
        "WHERE n.execution_id = node.execution_id AND n.node_index = node.node_index RETURNING n.owner",
        types};
    static pg::Statement next{"SELECT least((SELECT min(deadline) FROM chronicle_data.task WHERE state = 'claimed' "
                              "AND deadline > $1), (SELECT $1 + interval '50 ms' " OVERDUE "LIMIT 1))",
                              types};
    access::EngineScope engine;
    pg::Values now, later;
    pg::Rows rows = expire.run(now.time(GetCurrentTimestamp()));
    std::vector<std::string> owners;
    for (uint64 i = 0; i < rows.count; i++)
        owners.push_back(rows[i].text(1));
    for (const std::string &owner : owners)
        announce_ready_of(owner);
    pg::Rows due = next.run(later.time(GetCurrentTimestamp()));
    return due[0].null(1) ? 0 : due[0].time(1);
}
#undef OVERDUE

} // namespace chronicle::flow
