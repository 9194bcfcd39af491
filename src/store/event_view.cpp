// What view events asks for beside its joins.
//
// Upcast data (upcast_data): anybody may call what a view calls, so the data is not taken from the caller, who could
// hand anything to the owner's function: it is read again, by its position, if the caller may read it and it is not
// hidden.
//
// One's own events that one's own snapshot cannot name (own_unnamed_events): in REPEATABLE READ and SERIALIZABLE a
// transaction may append to a stream, or an event of a kind, that another session made after its snapshot. It sees its
// event, but not the row of the stream (of the kind), so the view, which joins them, would leave the event out. It
// takes these events from here. They are among what this transaction has appended, so others and READ COMMITTED, where
// each statement has a newer snapshot, pay for the question only.
#include "access/access.hpp"
#include "catalog/names.hpp"
#include "catalog/objects.hpp"
#include "pg/relation.hpp"
#include "store/event_row.hpp"
#include "store/kind.hpp"
#include "store/order.hpp"
#include "store/retention.hpp"
#include "store/stream.hpp"
#include "types/upcast.hpp"

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
    const catalog::Objects &c = catalog::objects();
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

// A stream that this transaction has appended to, as its own snapshot reads it.
struct OwnStream {
    std::string name;
    bool seen, readable;
    int64 hidden;
};

OwnStream find_own_stream(int64 id, Snapshot snapshot, HiddenVersions &hidden) {
    OwnStream own{};
    std::optional<Stream> stream = find_stream_by_id(id, snapshot, &own.name);
    own.seen = stream.has_value();
    if (!own.seen && !find_stream_by_id(id, SnapshotSelf, &own.name))
        return own;
    own.readable = access::may_read_stream(own.name);
    own.hidden = hidden.of(stream.value_or(Stream{id}), catalog::category_of(own.name));
    return own;
}

void put_unnamed_events(ReturnSetInfo *result, int64 first) {
    Snapshot snapshot = pg::call([]() noexcept { return GetActiveSnapshot(); });
    const catalog::Objects &c = catalog::objects();
    HiddenVersions hidden(snapshot);
    std::unordered_map<int64, OwnStream> streams;
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
        int64 id = DatumGetInt64(reader.column(2, &is_null));
        auto found = streams.find(id);
        if (found == streams.end())
            found = streams.emplace(id, find_own_stream(id, snapshot, hidden)).first;
        const OwnStream &stream = found->second;
        bool named = stream.seen && sees_kind(DatumGetInt32(reader.column(6, &is_null)), snapshot);
        if (!named && stream.readable && DatumGetInt64(reader.column(3, &is_null)) > stream.hidden)
            put(result, maker.make(reader, stream.name));
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

CHRONICLE_FUNCTION(chronicle_upcast_data) {
    int64 position = *pg::Arguments(fcinfo).int8(0);
    const catalog::Objects &c = catalog::objects();
    pg::IndexReader reader(c.event, c.event_pkey, pg::call([]() noexcept { return GetActiveSnapshot(); }));
    reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(position));
    if (!reader.next())
        PG_RETURN_NULL();
    bool is_null;
    std::optional<int64> hidden = hidden_from_caller(fcinfo, DatumGetInt64(reader.column(2, &is_null)));
    if (!hidden || DatumGetInt64(reader.column(3, &is_null)) <= *hidden)
        PG_RETURN_NULL();
    Kind kind = kind_of(DatumGetInt32(reader.column(6, &is_null)));
    int32 version = DatumGetInt32(reader.column(7, &is_null));
    Datum data = pg::copy_datum(reader.column(11, &is_null), -1);
    types::Upcasts().apply(kind.type, position, version, data);
    PG_RETURN_DATUM(data);
}

} // namespace chronicle::store
