// The marks that ended children leave in awaited_child, and whom they wake. Told in child.cpp.
//
//   find   the marks, by index awaited_child_told: (state) of what does not run. Read directly: such a scan removes the
//          entries of marks that were taken before, which a bitmap scan of the planner's would walk over each time.
//   take   for each parent whose node is parked, under that row's lock: marks of ends are removed, those of failures
//          noted. A node that is being looked at keeps its marks until it is parked again.
//   wake   the node is ready when more can be started, when a child has failed, or when none runs any more.
//
// Each step is cheap in the number of a call's children, whatever has ended before: the scheduler looks many times
// while the children of one map end.
#include "flow/child.hpp"

#include "catalog/objects.hpp"
#include "flow/queue.hpp"
#include "pg/relation.hpp"
#include "pg/xact.hpp"

extern "C" {
#include "access/stratnum.h"
#include "catalog/pg_collation_d.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
}

#include <map>

namespace chronicle::flow {

namespace {

constexpr int marks_at_once = 5000;
enum Column { call_number = 1, item_number = 2, parent_id = 3, parent_index = 4 }; // of awaited_child

struct Call {
    pg::Uuid parent;
    int node;
    std::vector<ItemPointerData> ended; // where their rows are
    std::vector<int> failed; // items
};
using Calls = std::map<int64, Call>; // by the call's number

// Children in this state, at most so many; `visit` is called for each. False: there may be more.
template <typename Visit> bool read_marks(const char *state, int limit, Visit visit) {
    const catalog::Objects &c = catalog::objects();
    pg::LatestSnapshotScope snapshot;
    pg::IndexReader reader(c.awaited_child, c.awaited_child_told, GetActiveSnapshot());
    reader.key(1, BTEqualStrategyNumber, F_TEXTEQ, pg::make_text(state), C_COLLATION_OID);
    for (int count = 0; count < limit; count++) {
        TupleTableSlot *row = reader.next();
        if (!row)
            return true;
        visit(reader, row->tts_tid);
    }
    return false;
}

Calls find_marks(bool &all) {
    Calls calls;
    bool is_null;
    auto find_call = [&](const pg::IndexReader &row) -> Call & {
        Call &call = calls[DatumGetInt64(row.column(call_number, &is_null))];
        call.parent = pg::to_uuid(row.column(parent_id, &is_null));
        call.node = DatumGetInt32(row.column(parent_index, &is_null));
        return call;
    };
    all = read_marks("ended", marks_at_once, [&](const pg::IndexReader &row, const ItemPointerData &at) {
        find_call(row).ended.push_back(at);
    });
    all &= read_marks("failed", marks_at_once, [&](const pg::IndexReader &row, const ItemPointerData &) {
        find_call(row).failed.push_back(DatumGetInt32(row.column(item_number, &is_null)));
    });
    return calls;
}

bool any_abandoned() {
    bool any = false;
    (void)read_marks("abandoned", 1, [&](const pg::IndexReader &, const ItemPointerData &) { any = true; });
    return any;
}

// From the end: the youngest are the likeliest to run, and those that have ended may still have entries.
bool any_running(int64 call) {
    const catalog::Objects &c = catalog::objects();
    pg::LatestSnapshotScope snapshot;
    pg::IndexReader reader(c.awaited_child, c.awaited_child_running, GetActiveSnapshot());
    reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(call));
    return reader.next(true) != nullptr;
}

bool any_failed(int64 call) {
    bool any = false, is_null;
    (void)read_marks("failed", PG_INT32_MAX, [&](const pg::IndexReader &row, const ItemPointerData &) {
        any |= DatumGetInt64(row.column(call_number, &is_null)) == call;
    });
    return any;
}

Datum make_tid_array(const std::vector<ItemPointerData> &tids) {
    std::vector<Datum> elements;
    for (const ItemPointerData &tid : tids)
        elements.push_back(PointerGetDatum(&tid));
    Datum *values = elements.data();
    int count = static_cast<int>(elements.size());
    return pg::call([&]() noexcept {
        return PointerGetDatum(construct_array(values, count, TIDOID, sizeof(ItemPointerData), false, TYPALIGN_SHORT));
    });
}

// By their places: by the key, a planner may walk over all children of the call. (Who has given the call up meanwhile
// has removed them; then other rows may be there.)
void remove_ended(int64 number, const Call &call) {
    static constexpr Oid types[] = {INT8OID, TIDARRAYOID};
    static pg::Statement remove{"DELETE FROM chronicle_data.awaited_child WHERE ctid = ANY ($2) AND call = $1 "
                                "AND (state = 'ended') IS NOT FALSE",
                                types};
    if (call.ended.empty())
        return;
    pg::Values values;
    remove.run(values.int8(number).add(make_tid_array(call.ended)));
}

// How many. One that a retry has in hand (await_again) is passed over.
uint64 note_failed(int64 number, const Call &call) {
    static constexpr Oid types[] = {INT8OID, INT4ARRAYOID};
    static pg::Statement note{
        "UPDATE chronicle_data.awaited_child AS c SET state = 'noted' FROM (SELECT item FROM "
        "chronicle_data.awaited_child WHERE call = $1 AND item = ANY ($2) AND (state = 'failed') IS NOT FALSE "
        "ORDER BY item FOR UPDATE SKIP LOCKED) AS told WHERE c.call = $1 AND c.item = told.item RETURNING c.item",
        types};
    if (call.failed.empty())
        return 0;
    pg::Values values;
    return note.run(values.int8(number).add(pg::make_int_array(call.failed))).count;
}

// The parked node, locked: whether it has more to start. Nothing: it is not parked, waits for another call, or somebody
// has its row.
std::optional<bool> lock_parked(int64 number, const Call &call) {
    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement lock{"SELECT (wait ->> 'call')::bigint, coalesce((wait ->> 'pending')::boolean, false) "
                              "FROM chronicle_data.node_task WHERE execution_id = $1 AND node_index = $2 "
                              "AND state = 'waiting' FOR UPDATE SKIP LOCKED",
                              types};
    pg::Values values;
    pg::Rows rows = lock.run(values.uuid(call.parent).int4(call.node));
    if (rows.empty() || rows[0].null(1) || rows[0].int8(1) != number)
        return std::nullopt;
    return rows[0].boolean(2);
}

bool is_parked(const Call &call) {
    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement find{"SELECT FROM chronicle_data.node_task WHERE execution_id = $1 AND node_index = $2 "
                              "AND state = 'waiting'",
                              types};
    pg::Values values;
    return !find.run(values.uuid(call.parent).int4(call.node)).empty();
}

// False: something of it is locked; look again soon.
bool tell_parent(int64 number, const Call &call) {
    std::optional<bool> pending = lock_parked(number, call);
    if (!pending)
        return !is_parked(call);
    remove_ended(number, call);
    uint64 noted = note_failed(number, call);
    if (*pending || noted > 0 || (!any_running(number) && !any_failed(number)))
        wake(call.parent, call.node);
    return noted == call.failed.size();
}

} // namespace

TimestampTz wake_parents() {
    access::EngineScope engine;
    bool all;
    Calls calls = find_marks(all);
    for (const auto &[number, call] : calls)
        all &= tell_parent(number, call);
    return all && !any_abandoned() ? 0 : look_again_at();
}

} // namespace chronicle::flow
