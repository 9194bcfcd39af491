// Retention: the scheduler removes runs that have been over for long, with everything that is theirs.
//
// The unit is a family: a run that no other run started, and all that descend from it. It goes when all of them have
// been over for the time; until then a parent can be looked at with its children. Nothing else refers to a run: a fork
// has copies of what it kept.
//
//   find    the oldest runs without a parent, by the index on queued_at (a run was queued before it ended, so no index
//           on ended_at is needed, which every end of a run would have to maintain)
//   remove  some members of one family at a time, children first, each step in a transaction of its own under their
//           locks. Whoever has one of them in hand (a retry, a fork) is passed over until the next round.
//
// Why rows and not partitions: families end whole, whenever their last member ends, so a partition by time or position
// would be kept by its longest-living run; (execution_id, version) would not be unique over partitions; and partitions
// made later are no members of the extension, which pg_dump would have to be taught. Deleting costs what inserting did,
// once, in the background; autovacuum makes the space free again.
//
// Events go by direct access: the trigger that protects them is for statements (store/protect.cpp).
//
// Crash: what was committed is gone, the rest of the family goes in the next round.
#include "flow/execution.hpp"
#include "flow/retention.hpp"

#include "catalog/objects.hpp"
#include "pg/relation.hpp"
#include "pg/xact.hpp"
#include "settings.hpp"

extern "C" {
#include "access/stratnum.h"
#include "access/tableam.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
}

namespace chronicle::flow {

namespace {

constexpr int families_at_once = 50;
constexpr size_t members_at_once = 50; // in one transaction
constexpr int64 step_us = 50 * 1000; // how long a step may take the scheduler
constexpr int64 pause_us = 50 * 1000; // to the next one, while there is more
constexpr int64 round_us = 60 * USECS_PER_SEC; // between rounds

Datum make_uuid_array(const std::vector<pg::Uuid> &ids) {
    std::vector<Datum> elements;
    for (const pg::Uuid &id : ids)
        elements.push_back(pg::make_uuid(id));
    Datum *values = elements.data();
    int count = static_cast<int>(elements.size());
    return pg::call([&]() noexcept {
        return PointerGetDatum(construct_array(values, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
    });
}

std::vector<pg::Uuid> expired_roots(TimestampTz before) {
    static constexpr Oid types[] = {TIMESTAMPTZOID, INT4OID};
    static pg::Statement find{
        "SELECT r.execution_id FROM chronicle_data.execution r WHERE r.queued_at < $1 AND r.ended_at < $1 "
        "AND r.parent_execution_id IS NULL AND NOT EXISTS (WITH RECURSIVE family AS (SELECT e.execution_id, e.ended_at "
        "FROM chronicle_data.execution e WHERE e.parent_execution_id = r.execution_id UNION ALL SELECT e.execution_id, "
        "e.ended_at FROM family f JOIN chronicle_data.execution e ON e.parent_execution_id = f.execution_id) "
        "SELECT FROM family WHERE ended_at IS NULL OR ended_at >= $1) ORDER BY r.queued_at LIMIT $2",
        types};
    access::EngineScope engine;
    pg::Values values;
    pg::Rows rows = find.run(values.time(before).int4(families_at_once));
    std::vector<pg::Uuid> roots;
    for (uint64 i = 0; i < rows.count; i++)
        roots.push_back(rows[i].uuid(1));
    return roots;
}

// The family, deepest first, when all of it is expired.
std::vector<pg::Uuid> expired_family(const pg::Uuid &root, TimestampTz before) {
    static constexpr Oid types[] = {UUIDOID, TIMESTAMPTZOID};
    static pg::Statement find{
        "WITH RECURSIVE family AS (SELECT execution_id, ended_at, 0 AS depth FROM chronicle_data.execution WHERE "
        "execution_id = $1 UNION ALL SELECT e.execution_id, e.ended_at, f.depth + 1 FROM family f JOIN "
        "chronicle_data.execution e ON e.parent_execution_id = f.execution_id) "
        "SELECT execution_id, coalesce(ended_at < $2, false) FROM family ORDER BY depth DESC",
        types};
    pg::Values values;
    pg::Rows rows = find.run(values.uuid(root).time(before));
    std::vector<pg::Uuid> family;
    for (uint64 i = 0; i < rows.count; i++) {
        if (!rows[i].boolean(2))
            return {};
        family.push_back(rows[i].uuid(1));
    }
    return family;
}

void remove_events(const pg::Uuid &execution) {
    const catalog::Objects &c = catalog::objects();
    pg::IndexReader reader(c.workflow_event, c.workflow_event_execution_version_key, SnapshotSelf);
    pg::Table table(c.workflow_event, RowExclusiveLock);
    reader.key(1, BTEqualStrategyNumber, F_UUID_EQ, pg::make_uuid(execution));
    while (TupleTableSlot *slot = reader.next()) {
        Relation relation = table.get();
        pg::call([&]() noexcept { simple_table_tuple_delete(relation, &slot->tts_tid, SnapshotSelf); });
    }
}

void remove_runs(const std::vector<pg::Uuid> &runs) {
    static constexpr Oid types[] = {UUIDARRAYOID};
    static pg::Statement statements[] = {
        {"DELETE FROM chronicle_data.node_result WHERE execution_id = ANY ($1)", types},
        {"DELETE FROM chronicle_data.node_rows WHERE execution_id = ANY ($1)", types},
        {"DELETE FROM chronicle_data.execution_log WHERE execution_id = ANY ($1)", types},
        {"DELETE FROM chronicle_data.signal WHERE execution_id = ANY ($1)", types},
        {"DELETE FROM chronicle_data.task WHERE execution_id = ANY ($1)", types},
        {"DELETE FROM chronicle_data.execution WHERE execution_id = ANY ($1)", types},
    };
    for (const pg::Uuid &run : runs)
        remove_events(run);
    Datum ids = make_uuid_array(runs);
    for (pg::Statement &statement : statements) {
        pg::Values values;
        statement.run(values.add(ids));
    }
}

// A worker outside has a task of it in a transaction that is still open, however long the run is over.
bool has_locked_tasks(const std::vector<pg::Uuid> &runs) {
    static constexpr Oid types[] = {UUIDARRAYOID};
    static pg::Statement count{
        "SELECT (SELECT count(*) FROM chronicle_data.task WHERE execution_id = ANY ($1)) > (SELECT count(*) FROM "
        "(SELECT FROM chronicle_data.task WHERE execution_id = ANY ($1) FOR UPDATE SKIP LOCKED) AS free)",
        types};
    pg::Values values;
    return count.run(values.add(make_uuid_array(runs)))[0].boolean(1);
}

// Some of the family, in a transaction of its own; false: it is gone, or somebody has it in hand.
bool remove_some(const pg::Uuid &root, TimestampTz before) {
    access::EngineScope engine;
    if (!try_lock_execution(root))
        return false;
    std::vector<pg::Uuid> family = expired_family(root, before);
    bool all = family.size() <= members_at_once;
    family.resize(std::min(family.size(), members_at_once));
    for (const pg::Uuid &run : family)
        if (run != root && !try_lock_execution(run))
            return false;
    if (!family.empty() && has_locked_tasks(family))
        return false;
    if (!family.empty())
        remove_runs(family);
    return !all;
}

// What functions that maps called were stored as (call_function), when no run of theirs is kept: the next call stores
// it again. First their locks, then, with a snapshot that is newer, the look: a map that has one in hand holds its lock
// until its runs can be seen.
bool remove_unused_calls() {
    static pg::Statement lock{
        "SELECT definition_id FROM chronicle_data.workflow_version AS v WHERE strpos(v.workflow_id, '/') > 0 AND NOT "
        "EXISTS (SELECT FROM chronicle_data.execution AS e WHERE e.workflow_id = v.workflow_id) "
        "LIMIT 1000 FOR UPDATE SKIP LOCKED"};
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement remove{
        "DELETE FROM chronicle_data.workflow_version AS v WHERE v.definition_id = $1 AND NOT "
        "EXISTS (SELECT FROM chronicle_data.execution AS e WHERE e.workflow_id = v.workflow_id)",
        types};
    access::EngineScope engine;
    pg::Rows rows = lock.run();
    std::vector<int64> unused;
    for (uint64 i = 0; i < rows.count; i++)
        unused.push_back(rows[i].int8(1));
    for (int64 definition : unused) {
        pg::Values values;
        remove.run(values.int8(definition));
    }
    return !unused.empty();
}

// What triggers could not start is kept as long as what they did start.
bool remove_trigger_failures(TimestampTz before) {
    static constexpr Oid types[] = {TIMESTAMPTZOID};
    static pg::Statement remove{
        "DELETE FROM chronicle_data.trigger_failure WHERE ctid = ANY (ARRAY(SELECT ctid FROM "
        "chronicle_data.trigger_failure WHERE failed_at < $1 LIMIT 1000 FOR UPDATE SKIP LOCKED))",
        types};
    access::EngineScope engine;
    pg::Values values;
    return remove.run(values.time(before)).count > 0;
}

template <typename Step> auto in_transaction(Step &&step) {
    try {
        pg::start_transaction();
        auto result = [&]() {
            pg::MemoryScope memory("chronicle retention");
            return step();
        }();
        pg::commit_transaction();
        return result;
    } catch (...) {
        pg::abort_transaction();
        throw;
    }
}

} // namespace

std::int64_t remove_expired_runs() {
    static TimestampTz due = 0;
    TimestampTz begun = GetCurrentTimestamp();
    if (settings::execution_retention < 0)
        return 0;
    if (begun < due)
        return due;
    TimestampTz before = begun - settings::execution_retention * USECS_PER_SEC;
    std::vector<pg::Uuid> roots = in_transaction([&]() { return expired_roots(before); });
    bool more = roots.size() == families_at_once;
    for (const pg::Uuid &root : roots) {
        while (in_transaction([&]() { return remove_some(root, before); }))
            pg::check_interrupts();
        if (GetCurrentTimestamp() - begun > step_us) {
            more = true;
            break;
        }
    }
    if (!more)
        in_transaction(remove_unused_calls);
    more = in_transaction([&]() { return remove_trigger_failures(before); }) || more;
    due = GetCurrentTimestamp() + (more ? pause_us : round_us);
    return due;
}

} // namespace chronicle::flow
