// Every event carries its floor: when it was inserted, all positions up to it were over. A transaction that was over
// then had written its commit record before, so a standby that sees the event has replayed that commit: everything up
// to the floor is visible there, or never will be. Floors rise with positions, so the newest visible event has the
// greatest.
//
// The last events of an idle log lie above every floor. The scheduler therefore notes the mark in a row of its own
// (chronicle_data.log_floor) once a second; it is written after what it speaks of has become visible, so the same
// holds.
#include "store/floor.hpp"

#include "access/access.hpp"
#include "catalog/objects.hpp"
#include "pg/relation.hpp"
#include "pg/xact.hpp"
#include "store/order.hpp"

namespace chronicle::store {

namespace {

// The floor of the newest row that the snapshot sees, by the index on the position; 0: there is none.
int64 newest_floor(Oid table, Oid index, Snapshot snapshot) {
    pg::IndexReader reader(table, index, snapshot);
    bool is_null;
    return reader.next(true) ? DatumGetInt64(reader.column(5, &is_null)) : 0;
}

int64 noted_floor() {
    static pg::Statement find{"SELECT coalesce(max(floor), 0) FROM chronicle_data.log_floor"};
    access::EngineScope engine;
    pg::Values none;
    return find.run(none, true)[0].int8(1);
}

void raise_noted_floor() {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement update{"UPDATE chronicle_data.log_floor SET floor = $1 WHERE floor < $1", types};
    static pg::Statement insert{"INSERT INTO chronicle_data.log_floor (floor) SELECT $1 WHERE NOT EXISTS (SELECT FROM "
                                "chronicle_data.log_floor)",
                                types};
    access::EngineScope engine;
    int64 mark = order::mark(pg::call([]() noexcept { return GetActiveSnapshot(); }));
    if (mark <= noted_floor())
        return;
    pg::Values values;
    values.int8(mark);
    insert.run(values);
    update.run(values);
}

} // namespace

int64 standby_mark(Snapshot snapshot) {
    const catalog::Objects &c = catalog::objects();
    return std::max({noted_floor(), newest_floor(c.event, c.event_pkey, snapshot),
                     newest_floor(c.workflow_event, c.workflow_event_pkey, snapshot)});
}

TimestampTz note_floor() {
    static TimestampTz last = 0;
    TimestampTz now = GetCurrentTimestamp();
    if (now - last < USECS_PER_SEC) // the scheduler looks more often than a standby needs it
        return 0;
    last = now;
    pg::start_transaction();
    order::follow_sequence();
    raise_noted_floor();
    pg::commit_transaction();
    return 0;
}

} // namespace chronicle::store
