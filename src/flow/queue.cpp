// The queue: chronicle_data.node_task. Lock order everywhere: the run's lock, then its rows.
#include "flow/json.hpp"
#include "flow/compensation.hpp"
#include "flow/limits.hpp"
#include "flow/patience.hpp"
#include "flow/waiting.hpp"
#include "flow/queue.hpp"
#include "flow/queue_scan.hpp"

#include "pg/xact.hpp"
#include "settings.hpp"
#include "worker/executor.hpp"
#include "worker/registry.hpp"

extern "C" {
#include "pgstat.h"
#include "utils/acl.h"
#include "utils/array.h"
}

namespace chronicle::flow {

namespace {

constexpr int scan_limit = 1000; // ready nodes walked over in one look, when the locks of some are taken
constexpr size_t locked_limit = 64; // runs passed over in one look
constexpr int few = 16; // runs tried in a look within a batch's transaction
constexpr int loss_limit = 3;
constexpr int look_again_ms = 50;
constexpr int64 lock_wait_ms = 100;

bool lost_and_locked = false; // reclaim() could not take back all
bool claimed_within = false; // a batch's transaction has claimed a node

// The node becomes ours, if it is still ready; the caller holds the run's lock. The condition is written so that it
// does not imply that of index node_task_ready: a planner that takes that one walks over all that is, or was, ready.
std::optional<Claim> take(const ReadyNode &candidate, const Claimant &claimant, TimestampTz now) {
    static constexpr Oid types[] = {UUIDOID, INT4OID, INT4OID, INT8OID, TIMESTAMPTZOID};
    static pg::Statement update{
        "UPDATE chronicle_data.node_task SET state = 'running', lease_slot = $3, lease_generation = $4, "
        "attempt = attempt + CASE WHEN begun OR lost THEN 0 ELSE 1 END, started_at = CASE WHEN begun OR lost THEN "
        "started_at ELSE $5 END WHERE execution_id = $1 AND node_index = $2 AND (state = 'ready') IS NOT FALSE "
        "RETURNING node_id, attempt, alone, compensating, started_at, begun, lost",
        types};
    pg::Values values;
    values.uuid(candidate.execution).int4(candidate.node_index).int4(claimant.slot);
    pg::Rows rows = update.run(values.int8(static_cast<int64>(claimant.generation)).time(now));
    if (rows.empty())
        return std::nullopt;
    return Claim{candidate.execution, candidate.node_index, rows[0].text(1), rows[0].int4(2),
                 rows[0].boolean(3),  rows[0].boolean(4),   claimant.owner,  rows[0].time(5),
                 rows[0].boolean(6),  rows[0].boolean(7),   false,           {}};
}

// The claimed node of a run that is paused, or has no slot: held until it may go on. (Its retry or its run_at came
// due.)
void hold(const Claim &claim) {
    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement update{
        "UPDATE chronicle_data.node_task SET state = 'held', lease_slot = NULL, "
        "lease_generation = NULL, attempt = attempt - CASE WHEN begun OR lost THEN 0 ELSE 1 END, "
        "started_at = CASE WHEN begun OR lost THEN started_at END WHERE execution_id = $1 AND node_index = $2",
        types};
    pg::Values values;
    update.run(values.uuid(claim.execution).int4(claim.node_index));
}

// The events of a claim: the run's start with its first node, and the attempt's. False: the run is paused, or waits for
// a slot.
bool record_claim(const Claim &claim, TimestampTz now) {
    std::optional<Execution> execution = find_execution(claim.execution);
    if (!execution)
        pg::raise(ERRCODE_UNDEFINED_OBJECT, {.message = "a queued node's execution is missing"});
    std::shared_ptr<const StoredDefinition> definition = stored_definition(execution->definition_id);
    const core::Definition &graph = definition->graph;
    if (execution->status == "paused" || !has_slot(*execution, graph))
        return false;
    if (claim.begun || claim.lost)
        return true; // a look at what waits, or the same attempt again
    std::vector<Event> events;
    if (execution->status == "pending") {
        events.push_back(begin_execution(*execution, now));
        store_begin(*execution);
    }
    const core::Node &node = graph.nodes[static_cast<size_t>(claim.node_index)];
    const core::Node &runs = claim.compensating ? *node.compensate : node;
    const char *type = claim.compensating ? "CompensationStarted" : "NodeExecutionStarted";
    events.push_back(make_node_event(*execution, runs, type, claim.attempt, now));
    write_events(claim.execution, execution->owner, events);
    return true;
}

void lock_for_a_while(const pg::Uuid &execution) {
    pg::LockTimeoutScope patience(lock_wait_ms);
    lock_execution(execution);
}

// The caller holds the run's lock. Nothing: it is not ready any more, or is to be held; then behind it may be others.
std::optional<Claim> claim_candidate(const ReadyNode &candidate, const Claimant &claimant,
                                     std::optional<pg::Uuid> &wait_for) {
    TimestampTz now = GetCurrentTimestamp();
    std::optional<Claim> claim = take(candidate, claimant, now);
    if (!claim)
        return std::nullopt;
    if (!record_claim(*claim, now)) {
        hold(*claim);
        wait_for = claim->execution; // look again
        return std::nullopt;
    }
    wait_for.reset();
    return claim;
}

// What stands behind the claimed node in the queue and is of the same run: if that node is quick, these run with it.
void find_siblings(Claim &claim, QueueScan &scan) {
    if (claim.alone || claim.compensating || claim.begun)
        return;
    size_t limit = static_cast<size_t>(settings::worker_batch) * static_cast<size_t>(settings::worker_processes + 1);
    while (claim.siblings.size() < limit) {
        std::optional<ReadyNode> next = scan.next();
        if (!next || next->execution != claim.execution)
            break;
        claim.siblings.push_back(next->node_index);
    }
}

// One look at the queue. `wait_for`: a run whose lock somebody held; the next look waits for it, a little: it may be a
// caller's transaction that stays open, and there may be other work meanwhile (55P03: the look after that does not
// wait, and walks as `far` as it must). Nodes that are reserved are at work in another executor's batch.
std::optional<Claim> look(const Claimant &claimant, std::optional<pg::Uuid> &wait_for, bool far) {
    access::EngineScope engine;
    std::optional<pg::Uuid> waited_for = std::exchange(wait_for, std::nullopt);
    if (waited_for)
        lock_for_a_while(*waited_for);
    std::vector<pg::Uuid> locked;
    auto is_locked = [&](const pg::Uuid &id) { return std::find(locked.begin(), locked.end(), id) != locked.end(); };
    QueueScan scan(claimant.owner);
    worker::ReservedNodes reserved;
    int seen = 0;
    while (std::optional<ReadyNode> candidate = scan.next()) {
        if (wait_for && ++seen > scan_limit && !far)
            break;
        if (is_locked(candidate->execution) || reserved.contains(candidate->execution, candidate->node_index) ||
            !worker::reserve_node(candidate->execution, candidate->node_index))
            continue;
        if (candidate->execution != waited_for && !try_lock_execution(candidate->execution)) {
            worker::release_nodes();
            locked.push_back(candidate->execution);
            if (!wait_for)
                wait_for = candidate->execution;
            if (locked.size() > locked_limit)
                break;
            continue;
        }
        if (std::optional<Claim> claim = claim_candidate(*candidate, claimant, wait_for)) {
            find_siblings(*claim, scan);
            return claim;
        }
        worker::release_nodes();
    }
    return std::nullopt;
}

struct Lost {
    pg::Uuid execution;
    int node_index, slot;
    uint64 generation;
};

std::vector<Lost> find_lost() {
    static pg::Statement find{
        "SELECT execution_id, node_index, lease_slot, lease_generation FROM chronicle_data.node_task "
        "WHERE state = 'running'"};
    access::EngineScope engine;
    pg::Rows rows = find.run();
    std::vector<Lost> lost;
    for (uint64 i = 0; i < rows.count; i++) {
        Lost l{rows[i].uuid(1), rows[i].int4(2), rows[i].int4(3), static_cast<uint64>(rows[i].int8(4))};
        if (!worker::lease_alive(l.slot, l.generation))
            lost.push_back(l);
    }
    return lost;
}

// Ready again, alone from now on, as the same attempt.
void make_ready(const Lost &lost, bool counts) {
    static constexpr Oid types[] = {UUIDOID, INT4OID, INT4OID};
    static pg::Statement update{
        "UPDATE chronicle_data.node_task SET state = 'ready', lost = true, lease_slot = NULL, lease_generation = NULL, "
        "queue_number = chronicle_data.queue_number_again(), "
        "losses = losses + CASE WHEN alone THEN $3 ELSE 0 END, alone = alone OR $3 > 0 "
        "WHERE execution_id = $1 AND node_index = $2 RETURNING owner",
        types};
    pg::Values values;
    pg::Rows rows = update.run(values.uuid(lost.execution).int4(lost.node_index).int4(counts ? 1 : 0));
    if (!rows.empty())
        announce_ready_of(rows[0].text(1));
}

// The node fails for good, without having run to its end. The caller holds the run's lock.
void fail_node(const pg::Uuid &id, int node_index, const pg::Error &error) {
    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement find{"SELECT attempt, started_at, compensating, state = 'running' OR begun OR lost, wait "
                              "FROM chronicle_data.node_task WHERE execution_id = $1 AND node_index = $2",
                              types};
    std::optional<Execution> execution = find_execution(id);
    pg::Values values;
    pg::Rows task = find.run(values.uuid(id).int4(node_index));
    if (!execution || task.empty())
        return;
    TimestampTz now = GetCurrentTimestamp();
    bool runs = task[0].boolean(4), compensating = task[0].boolean(3);
    NodeResult result{.index = node_index, .status = "failed", .attempts = task[0].int4(1), .ended_at = now};
    result.started_at = runs ? task[0].time(2) : now;
    result.attempts += runs ? 0 : 1;
    std::shared_ptr<const StoredDefinition> definition = stored_definition(execution->definition_id);
    Failure failure = Failure::from(definition->graph.nodes[static_cast<size_t>(node_index)].id, error);
    if (compensating) {
        end_compensation(*execution, result, failure, false);
        return;
    }
    if (!task[0].null(5))
        abandon(*execution, definition->graph.nodes[static_cast<size_t>(node_index)], node_index,
                to_json(task[0].jsonb(5)));
    Progress progress(*execution);
    if (!runs)
        progress.started(node_index, result.attempts, now);
    progress.failed(result, failure, false, false);
    progress.finish();
}

// One lost node, in a transaction of its own: two runs are never locked at once.
// False: somebody has the run's lock, perhaps a caller's transaction that stays open; the scheduler must not wait for
// it.
bool take_back(const Lost &lost) {
    static constexpr Oid types[] = {UUIDOID, INT4OID, INT4OID, INT8OID};
    static pg::Statement find{
        "SELECT losses, alone FROM chronicle_data.node_task WHERE execution_id = $1 AND node_index = $2 "
        "AND state = 'running' AND lease_slot = $3 AND lease_generation = $4",
        types};
    access::EngineScope engine;
    if (!try_lock_execution(lost.execution))
        return false;
    pg::Values values;
    values.uuid(lost.execution).int4(lost.node_index).int4(lost.slot);
    pg::Rows rows = find.run(values.int8(static_cast<int64>(lost.generation)));
    if (rows.empty())
        return true;
    bool counts = worker::loss_counts(lost.slot, lost.generation);
    if (counts && rows[0].boolean(2) && rows[0].int4(1) + 1 >= loss_limit)
        fail_node(lost.execution, lost.node_index,
                  pg::Error(ERRCODE_CRASH_SHUTDOWN,
                            {.message = "the worker died " + std::to_string(loss_limit) +
                                        " times while this node was running alone",
                             .hint = "The server log tells how; the node may exhaust memory or end its own session."}));
    else
        make_ready(lost, counts);
    return true;
}

} // namespace

std::optional<Claim> claim_next(const Claimant &claimant) {
    std::optional<pg::Uuid> wait_for;
    bool again = false;
    do {
        bool far = std::exchange(again, false);
        try {
            pg::start_transaction();
            std::optional<Claim> claim = look(claimant, wait_for, far);
            pg::commit_transaction();
            if (claim)
                return claim;
        } catch (const pg::Error &error) {
            pg::abort_transaction();
            worker::release_nodes();
            if (!error.is_transient())
                throw;
            again = true;
        } catch (...) {
            pg::abort_transaction();
            worker::release_nodes();
            throw;
        }
        pg::check_interrupts();
    } while (wait_for || again);
    return std::nullopt;
}

std::optional<Claim> claim_next_within(const Claimant &claimant) {
    access::EngineScope engine;
    QueueScan scan(claimant.owner, QueueScan::Learns::at_commit);
    worker::ReservedNodes reserved;
    std::optional<pg::Uuid> held;
    for (int tried = 0; tried < few;) {
        std::optional<ReadyNode> candidate = scan.next();
        if (!candidate)
            return std::nullopt;
        if (reserved.contains(candidate->execution, candidate->node_index))
            continue;
        tried++;
        if (!worker::reserve_node(candidate->execution, candidate->node_index))
            continue;
        std::optional<Claim> claim;
        if (try_lock_execution(candidate->execution))
            claim = claim_candidate(*candidate, claimant, held);
        if (claim) {
            claimed_within = true;
            find_siblings(*claim, scan);
            return claim;
        }
        worker::release_last_node();
    }
    return std::nullopt;
}

void claim_ended(bool committed) {
    QueueScan::ended(committed);
    if (std::exchange(claimed_within, false) && committed)
        worker::release_other_nodes();
    else
        worker::release_nodes();
}

std::vector<worker::Demand> demand() {
    access::EngineScope engine;
    std::vector<worker::Demand> result;
    // Enough for all executors while as many look for work: more would be counted for nothing.
    for (const auto &[owner, ready] : count_ready(2 * int64(settings::worker_processes)))
        result.push_back({.owner = owner, .ready = ready});
    return result;
}

void reclaim() {
    lost_and_locked = false;
    pg::start_transaction();
    std::vector<Lost> all = find_lost();
    pg::commit_transaction();
    for (const Lost &lost : all) {
        bool taken = false;
        lost_and_locked |= !try_in_transaction([&]() { taken = take_back(lost); }) || !taken;
    }
}

void reclaim_again() {
    if (lost_and_locked)
        reclaim();
}

TimestampTz next_reclaim() { return lost_and_locked ? look_again_at() : 0; }

TimestampTz look_again_at() { return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), look_again_ms); }

TimestampTz promote_due() {
    // The time is a parameter: a walk over the index ends there, whatever waits for later.
    static constexpr Oid types[] = {TIMESTAMPTZOID};
    static pg::Statement promote{
        "UPDATE chronicle_data.node_task t SET state = 'ready', due_at = NULL, "
        "queue_number = chronicle_data.queue_number_again() FROM (SELECT execution_id, node_index "
        "FROM chronicle_data.node_task WHERE state IN ('retrying', 'waiting', 'scheduled') "
        "AND due_at <= $1 FOR UPDATE SKIP LOCKED) d "
        "WHERE t.execution_id = d.execution_id AND t.node_index = d.node_index RETURNING t.owner",
        types};
    // What is due but locked (by a signal that has not committed, say) is looked at again soon, not at once.
    static pg::Statement next{
        "SELECT CASE WHEN min(due_at) <= clock_timestamp() THEN clock_timestamp() + interval '50 ms' "
        "ELSE min(due_at) END FROM chronicle_data.node_task "
        "WHERE state IN ('retrying', 'waiting', 'scheduled') AND due_at IS NOT NULL HAVING min(due_at) IS NOT NULL"};
    access::EngineScope engine;
    pg::Values now;
    pg::Rows rows = promote.run(now.time(GetCurrentTimestamp()));
    for (uint64 i = 0; i < rows.count; i++)
        announce_ready_of(rows[i].text(1));
    pg::Rows due = next.run();
    return due.empty() ? 0 : due[0].time(1);
}

void fail_ready_of(const std::string &owner, int sqlstate, const std::string &reason) {
    static constexpr Oid types[] = {TEXTOID};
    static pg::Statement find{"SELECT execution_id, node_index FROM chronicle_data.node_task WHERE state = 'ready' "
                              "AND owner = $1 ORDER BY queue_number LIMIT 1",
                              types};
    for (;;) {
        bool found = false;
        bool done = try_in_transaction([&]() {
            access::EngineScope engine;
            pg::Values values;
            pg::Rows rows = find.run(values.text(owner));
            found = !rows.empty();
            if (found) {
                pg::Uuid id = rows[0].uuid(1);
                int node = rows[0].int4(2);
                found = try_lock_execution(id); // else at the next look
                if (found)
                    fail_node(id, node, pg::Error(sqlstate, {.message = reason}));
            }
        });
        if (!done || !found)
            return;
    }
}

} // namespace chronicle::flow
