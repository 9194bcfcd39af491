// One's own events that one's own snapshot cannot name.
//
// In REPEATABLE READ and SERIALIZABLE a transaction may append to a stream, or an event of a kind, that another session
// made after its snapshot. It sees its event, but not the row of the stream (of the kind), so view events, which joins
// them, would leave the event out. It takes these events from here. They are among what this transaction has appended,
// so others and READ COMMITTED, where each statement has a newer snapshot, pay for the question only.
#include "access/access.hpp"
#include "pg/relation.hpp"
#include "store/catalog.hpp"
#include "store/event_row.hpp"
#include "store/kind.hpp"
#include "store/order.hpp"
#include "store/stream.hpp"

extern "C" {
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/sysattr.h"
#include "funcapi.h"
#include "utils/fmgroids.h"
#include "utils/tuplestore.h"
}

namespace chronicle::store {

namespace {

bool sees_kind(int32 kind, Snapshot snapshot) {
    const Catalog &c = catalog();
    pg::IndexReader reader(c.event_kind, c.event_kind_pkey, snapshot);
    reader.key(1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(kind));
    return reader.next() != nullptr;
}

bool is_own(const pg::IndexReader &reader) {
    bool is_null;
    return TransactionIdIsCurrentTransactionId(
        DatumGetTransactionId(reader.column(MinTransactionIdAttributeNumber, &is_null)));
}

void put(ReturnSetInfo *result, const EventRow &row) {
    Datum values[event_columns];
    bool nulls[event_columns];
    event_values(row, all_columns, values, nulls);
    pg::call([&]() noexcept { tuplestore_putvalues(result->setResult, result->setDesc, values, nulls); });
}

void put_unnamed_events(ReturnSetInfo *result, int64 first) {
    Snapshot snapshot = pg::call([]() noexcept { return GetActiveSnapshot(); });
    const Catalog &c = catalog();
    pg::IndexReader reader(c.event, c.event_pkey, snapshot);
    reader.key(1, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(first));
    EventMaker maker;
    pg::MemoryScope per_row("chronicle own events");
    while (reader.next()) {
        per_row.reset();
        pg::check_interrupts();
        if (!is_own(reader))
            continue;
        bool is_null;
        int64 stream = DatumGetInt64(reader.column(2, &is_null));
        bool named = find_stream_by_id(stream, snapshot, nullptr) &&
                     sees_kind(DatumGetInt32(reader.column(6, &is_null)), snapshot);
        std::string name;
        if (!named && find_stream_by_id(stream, SnapshotSelf, &name) && access::may_read_stream(name))
            put(result, maker.make(reader, name));
    }
}

} // namespace

CHRONICLE_FUNCTION(chronicle_own_unnamed_events) {
    pg::call([&]() noexcept { InitMaterializedSRF(fcinfo, 0); });
    std::optional<int64> first = order::first_held();
    if (IsolationUsesXactSnapshot() && first)
        put_unnamed_events(reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo), *first);
    PG_RETURN_NULL();
}

} // namespace chronicle::store
