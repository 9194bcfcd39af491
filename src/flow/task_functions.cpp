// claim_tasks, complete_task, fail_task, heartbeat_task: what workers outside call. States and locks: task.cpp.
#include "flow/json.hpp"
#include "flow/task.hpp"

#include "compat/compat.hpp"
#include "flow/wait.hpp"
#include "pg/latch.hpp"
#include "sqlstates.hpp"
#include "worker/registry.hpp"

extern "C" {
#include "funcapi.h"
#include "utils/fmgrprotos.h"
#include "utils/tuplestore.h"
}

namespace chronicle::flow {

namespace {

constexpr int max_claims = 10000;
constexpr int64 default_lease_us = 30 * USECS_PER_SEC;
constexpr int64 longest_lease_us = 365 * USECS_PER_DAY;
constexpr size_t longest_name = 1024;
constexpr long look_again_ms = 1000; // what a claimer had locked and gave back wakes nobody

int64 read_lease(const pg::Arguments &arguments, int i) {
    int64 lease = arguments.null(i) ? default_lease_us : interval_us(arguments.datum(i));
    if (lease <= 0 || lease > longest_lease_us)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = "lease must be longer than 0, and at most 365 days"});
    return lease;
}

std::string read_name(const pg::Arguments &arguments, int i, const char *name) {
    std::string text = arguments.required_text(i, name);
    if (text.empty() || text.size() > longest_name)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = std::string(name) + " must have 1 to " + std::to_string(longest_name) + " bytes",
                   .detail = core::json{{"bytes", text.size()}}.dump()});
    return text;
}

// --- claim_tasks ---

struct ClaimRequest {
    std::string queue, worker;
    int64 count;
    int64 lease_us;
};

struct ClaimedTask {
    int64 id;
    pg::Uuid execution;
    std::string node;
    int attempt;
    std::string input; // JSON text
    TimestampTz deadline;
};

// Owners who have tasks in the queue, one index look-up each.
std::vector<std::string> owners_in(const std::string &queue) {
    static constexpr Oid types[] = {TEXTOID};
    static pg::Statement find{
        "WITH RECURSIVE o (owner) AS ((SELECT owner FROM chronicle_data.task WHERE queue = $1 AND state = 'queued' "
        "ORDER BY owner LIMIT 1) UNION ALL SELECT (SELECT t.owner FROM chronicle_data.task AS t WHERE t.queue = $1 "
        "AND t.state = 'queued' AND t.owner > o.owner ORDER BY t.owner LIMIT 1) FROM o WHERE o.owner IS NOT NULL) "
        "SELECT owner FROM o WHERE owner IS NOT NULL",
        types};
    access::EngineScope engine;
    pg::NewestScope newest;
    pg::Values values;
    pg::Rows rows = find.run(values.text(queue));
    std::vector<std::string> owners;
    for (uint64 i = 0; i < rows.count; i++)
        owners.push_back(rows[i].text(1));
    return owners;
}

// A task whose node gave it up while a claimer had it locked is still in the queue when the claimer rolls back: passed
// over.
void claim_of(const std::string &owner, const ClaimRequest &request, std::vector<ClaimedTask> &claimed) {
    static constexpr Oid types[] = {TEXTOID, TEXTOID, INT8OID, TEXTOID, TIMESTAMPTZOID};
    static pg::Statement claim{
        "WITH next AS (SELECT t.task_id, t.attempt FROM chronicle_data.task AS t WHERE t.queue = $1 AND t.owner = $2 "
        "AND t.state = 'queued' AND EXISTS (SELECT FROM chronicle_data.node_task AS n WHERE n.execution_id = "
        "t.execution_id AND n.node_index = t.node_index AND n.begun AND n.attempt = t.attempt) "
        "ORDER BY t.priority DESC, t.task_id LIMIT $3 FOR UPDATE OF t SKIP LOCKED), "
        "claimed AS (UPDATE chronicle_data.task AS t SET state = 'claimed', worker = $4, deadline = $5 FROM next "
        "WHERE t.task_id = next.task_id AND t.attempt = next.attempt RETURNING t.task_id, t.execution_id, t.node_id, "
        "t.attempt, t.input, t.priority) "
        "SELECT task_id, execution_id, node_id, attempt, input FROM claimed ORDER BY priority DESC, task_id",
        types};
    access::EngineScope engine;
    pg::NewestScope newest;
    TimestampTz deadline = GetCurrentTimestamp() + request.lease_us;
    pg::Values values;
    values.text(request.queue).text(owner).int8(request.count - static_cast<int64>(claimed.size()));
    pg::Rows rows = claim.run(values.text(request.worker).time(deadline));
    for (uint64 i = 0; i < rows.count; i++)
        claimed.push_back(
            {rows[i].int8(1), rows[i].uuid(2), rows[i].text(3), rows[i].int4(4), rows[i].jsonb(5), deadline});
}

std::vector<ClaimedTask> claim_now(const ClaimRequest &request) {
    std::vector<ClaimedTask> claimed;
    for (const std::string &owner : owners_in(request.queue))
        if (static_cast<int64>(claimed.size()) < request.count && access::may_act_for(owner))
            claim_of(owner, request, claimed);
    return claimed;
}

std::vector<ClaimedTask> claim_within(const ClaimRequest &request, int64 wait_us) {
    TimestampTz until = GetCurrentTimestamp() + wait_us;
    ConditionVariable *tasks = wait_us > 0 ? worker::tasks_condition() : nullptr;
    uint32 event = compat::wait_event("ChronicleWait");
    std::vector<ClaimedTask> claimed;
    // Prepared before the first look: a task that comes in between sets the latch.
    if (tasks)
        pg::call([&]() noexcept { ConditionVariablePrepareToSleep(tasks); });
    for (;;) {
        claimed = claim_now(request);
        int64 left_ms = (until - GetCurrentTimestamp()) / 1000;
        if (!claimed.empty() || left_ms <= 0)
            break;
        long sleep_ms = std::min(static_cast<long>(left_ms), look_again_ms);
        if (tasks)
            pg::call([&]() noexcept { (void)ConditionVariableTimedSleep(tasks, sleep_ms, event); });
        else // no slot for this database is free: nobody can wake us
            pg::wait_latch(std::min(sleep_ms, 100L), event);
        pg::check_interrupts();
    }
    if (tasks)
        pg::call([]() noexcept { ConditionVariableCancelSleep(); });
    return claimed;
}

// --- tasks that a worker holds ---

struct Held {
    int64 task;
    int attempt;
    pg::Uuid execution;
    int node_index = 0;
    std::string owner;
};

[[noreturn]] void raise_lost(const Held &held, const std::string &reason) {
    std::string id = std::to_string(held.task);
    std::string message = reason == "finished"    ? "task " + id + " is finished"
                          : reason == "cancelled" ? "task " + id + " is cancelled"
                                                  : "the lease of task " + id + " is over";
    pg::raise(task_lease_lost,
              {.message = message + " (attempt " + std::to_string(held.attempt) + ")",
               .detail = core::json{{"task", held.task}, {"attempt", held.attempt}, {"reason", reason}}.dump(),
               .hint = "Give up the work on it, and claim another one."});
}

// Which task it is; 42704 when there is none, or it is not the caller's.
Held find_task(const pg::Arguments &arguments) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement find{"SELECT execution_id, node_index, owner FROM chronicle_data.task WHERE task_id = $1 "
                              "LIMIT 1",
                              types};
    for (int i : {0, 1})
        if (arguments.null(i))
            pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED,
                      {.message =
                           std::string("argument \"") + (i == 0 ? "task_id" : "attempt") + "\" must not be NULL"});
    Held held{.task = *arguments.int8(0), .attempt = *arguments.int4(1), .execution = {}, .owner = {}};
    bool found;
    {
        access::EngineScope engine;
        pg::NewestScope newest;
        pg::Values values;
        pg::Rows rows = find.run(values.int8(held.task));
        found = !rows.empty();
        if (found) {
            held.execution = rows[0].uuid(1);
            held.node_index = rows[0].int4(2);
            held.owner = rows[0].text(3);
        }
    }
    if (!found || !access::may_act_for(held.owner))
        pg::raise(ERRCODE_UNDEFINED_OBJECT, {.message = "task " + std::to_string(held.task) + " does not exist",
                                             .hint = "SELECT task_id FROM chronicle.tasks lists those that are open."});
    return held;
}

bool node_waits(const Held &held) {
    static constexpr Oid types[] = {UUIDOID, INT4OID, INT4OID};
    static pg::Statement find{"SELECT FROM chronicle_data.node_task WHERE execution_id = $1 AND node_index = $2 "
                              "AND begun AND attempt = $3",
                              types};
    pg::Values values;
    return !find.run(values.uuid(held.execution).int4(held.node_index).int4(held.attempt)).empty();
}

// Locks the task's row; CH032 unless this attempt's lease holds. In an EngineScope.
void lock_task(const Held &held) {
    static constexpr Oid types[] = {INT8OID, INT4OID};
    static pg::Statement lock{"SELECT state, coalesce(deadline <= clock_timestamp(), true) FROM chronicle_data.task "
                              "WHERE task_id = $1 AND attempt = $2 FOR UPDATE",
                              types};
    pg::Values values;
    pg::Rows rows = lock.run(values.int8(held.task).int4(held.attempt));
    if (rows.empty())
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "task " + std::to_string(held.task) + " has no attempt " + std::to_string(held.attempt),
                   .detail = core::json{{"task", held.task}, {"attempt", held.attempt}}.dump()});
    std::string state = rows[0].text(1);
    bool over = rows[0].boolean(2);
    if (state == "completed" || state == "failed")
        raise_lost(held, "finished");
    if (state == "expired")
        raise_lost(held, "expired");
    if (state == "cancelled" || !node_waits(held))
        raise_lost(held, "cancelled");
    if (state != "claimed" || over)
        raise_lost(held, "expired");
}

void complete(const Held &held, const std::optional<std::string> &output) {
    static constexpr Oid types[] = {INT8OID, INT4OID, JSONBOID};
    static pg::Statement update{"UPDATE chronicle_data.task SET state = 'completed', output = $3, deadline = NULL "
                                "WHERE task_id = $1 AND attempt = $2",
                                types};
    pg::Values values;
    values.int8(held.task).int4(held.attempt);
    output ? values.jsonb(*output) : values.null();
    update.run(values);
}

void fail(const Held &held, const std::string &error, bool retryable) {
    static constexpr Oid types[] = {INT8OID, INT4OID, TEXTOID, BOOLOID};
    static pg::Statement update{"UPDATE chronicle_data.task SET state = 'failed', error = $3, retryable = $4, "
                                "deadline = NULL WHERE task_id = $1 AND attempt = $2",
                                types};
    pg::Values values;
    update.run(values.int8(held.task).int4(held.attempt).text(error).boolean(retryable));
}

// Both ends of a task: under the run's lock, so that the node's end, whoever brings it, is before or after. The row
// first: its claimer has it locked already, and the run by then, perhaps.
template <typename End> void end_task(const Held &held, End &&end) {
    access::EngineScope engine;
    pg::NewestScope newest;
    lock_task(held);
    lock_execution(held.execution);
    if (!node_waits(held))
        raise_lost(held, "cancelled");
    end();
    wake(held.execution, held.node_index);
}

} // namespace

CHRONICLE_FUNCTION(chronicle_claim_tasks) {
    pg::Arguments arguments(fcinfo);
    ClaimRequest request{.queue = read_name(arguments, 0, "queue"),
                         .worker = read_name(arguments, 1, "worker"),
                         .count = arguments.int4(2).value_or(1),
                         .lease_us = read_lease(arguments, 3)};
    if (request.count < 1 || request.count > max_claims)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "max_count must be between 1 and " + std::to_string(max_claims)});
    int64 wait = arguments.null(4) ? 0 : interval_us(arguments.datum(4));
    check_wait(wait, "wait");
    if (wait > 0)
        check_may_wait("tasks");
    std::vector<ClaimedTask> claimed = claim_within(request, wait);
    if (!claimed.empty())
        worker::announce_scheduler(); // it sets its clock to the end of the lease
    pg::call([&]() noexcept { InitMaterializedSRF(fcinfo, 0); });
    ReturnSetInfo *result = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);
    for (const ClaimedTask &task : claimed) {
        Datum values[] = {Int64GetDatum(task.id),     pg::make_uuid(task.execution),
                          pg::make_text(task.node),   Int32GetDatum(task.attempt),
                          pg::make_jsonb(task.input), TimestampTzGetDatum(task.deadline)};
        bool nulls[std::size(values)] = {};
        pg::call([&]() noexcept { tuplestore_putvalues(result->setResult, result->setDesc, values, nulls); });
    }
    PG_RETURN_NULL();
}

CHRONICLE_FUNCTION(chronicle_complete_task) {
    pg::Arguments arguments(fcinfo);
    Held held = find_task(arguments);
    std::optional<std::string> output;
    if (!arguments.null(2))
        output = pg::jsonb_to_string(arguments.datum(2));
    end_task(held, [&]() { complete(held, output); });
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_fail_task) {
    pg::Arguments arguments(fcinfo);
    Held held = find_task(arguments);
    std::string error = arguments.required_text(2, "error");
    bool retryable = arguments.boolean(3).value_or(true);
    end_task(held, [&]() { fail(held, error, retryable); });
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_heartbeat_task) {
    static constexpr Oid types[] = {INT8OID, INT4OID, TIMESTAMPTZOID};
    static pg::Statement update{"UPDATE chronicle_data.task SET deadline = $3 WHERE task_id = $1 "
                                "AND attempt = $2",
                                types};
    pg::Arguments arguments(fcinfo);
    Held held = find_task(arguments);
    int64 lease = read_lease(arguments, 2);
    access::EngineScope engine;
    pg::NewestScope newest;
    lock_task(held);
    pg::Values values;
    update.run(values.int8(held.task).int4(held.attempt).time(GetCurrentTimestamp() + lease));
    worker::announce_scheduler();
    PG_RETURN_VOID();
}

} // namespace chronicle::flow
