// Taking a snapshot: fold → write the row → remove those that are not wanted any more.
//
// When: in the appending transaction, by a trigger AFTER INSERT on the event table, when a stream passes a multiple of
// snapshot_every; by take_snapshot(). The stream's lock is held in both, so nobody else writes this stream's rows but
// drop_snapshots() and drop_aggregate(), which delete. Rows are written and deleted directly and looked up with
// SnapshotSelf: SQL would fail with 40001 in a REPEATABLE READ transaction that is older than the last snapshot, and an
// append must not fail for that. A row that somebody else is deleting is left to them, never waited for.
//
// A failing apply function costs the append a WARNING, not its life: the fold runs in a subtransaction. What must stop
// the statement does (cancel, shutdown, serialization failures, lack of resources).
//
// Crash: a snapshot commits with its events, or not at all.
#include "core/json.hpp"

#include "state/snapshot.hpp"

#include "access/access.hpp"
#include "catalog/names.hpp"
#include "catalog/objects.hpp"
#include "state/fold.hpp"
#include "state/snapshot_row.hpp"
#include "store/stream.hpp"
#include "store/watch.hpp"

extern "C" {
#include "access/stratnum.h"
#include "access/tableam.h"
#include "utils/fmgroids.h"
}

namespace chronicle::state {

namespace {

// Columns of chronicle_data.snapshot.
enum Column { stream_id = 1, version, taken_at, fingerprint_, base, state, column_count = state };

// False when somebody else is at it.
bool remove_row(Oid oid, ItemPointerData tid) {
    pg::Table table(oid, RowExclusiveLock);
    return pg::call([&]() noexcept {
        TM_FailureData failure;
        return table_tuple_delete(table.get(), &tid, GetCurrentCommandId(true), SnapshotSelf, InvalidSnapshot, false,
                                  &failure, false) == TM_Ok;
    });
}

// Keeps the newest `keep` that can be used, and those that nothing can replace.
void prune(int64 stream, int64 hidden, int64 fingerprint, int32 keep) {
    for (const SnapshotRow &row : snapshot_rows(stream)) {
        bool usable = row.version > hidden && (row.base || row.fingerprint == fingerprint);
        if (usable && keep-- > 0)
            continue;
        if (!usable || !row.base)
            remove_snapshot(row);
    }
}

// What is to be kept, worked out. folded.version 0: nothing.
struct MadeSnapshot {
    store::Stream stream;
    State folded;
};

MadeSnapshot make_snapshot(const Aggregate &aggregate, const std::string &name) {
    std::optional<store::Stream> found = store::find_stream(name, SnapshotSelf);
    if (!found)
        return {};
    MadeSnapshot made{*found, fold_stream(aggregate, name, SnapshotSelf)};
    // Deleted: nothing to keep. The function was replaced meanwhile: whose state this is, nobody knows.
    if (made.folded.version <= found->hidden || fingerprint(aggregate, made.folded.function) != made.folded.fingerprint)
        made.folded.version = 0;
    return made;
}

// --- failures ---

void forget_failure(int64 stream) {
    const catalog::Objects &c = catalog::objects();
    std::optional<ItemPointerData> tid;
    {
        pg::IndexReader reader(c.snapshot_failure, c.snapshot_failure_pkey, SnapshotSelf);
        reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream));
        if (TupleTableSlot *slot = reader.next())
            tid = slot->tts_tid;
    }
    if (tid)
        remove_row(c.snapshot_failure, *tid);
}

void note_failure(int64 stream, int64 at_version, const pg::Error &error) {
    static constexpr Oid types[] = {INT8OID, INT8OID, TEXTOID, TEXTOID};
    static pg::Statement note{"INSERT INTO chronicle_data.snapshot_failure (stream_id, version, failed_at, sqlstate, "
                              "error) VALUES ($1, $2, pg_catalog.clock_timestamp(), $3, $4) ON CONFLICT DO NOTHING",
                              types};
    forget_failure(stream);
    access::EngineScope engine;
    pg::Values values;
    note.run(values.int8(stream).int8(at_version).text(error.sqlstate_text()).text(error.message()));
}

// By a base that a scavenger has not committed yet: it had the stream's lock for a moment only. Nobody waits for it;
// when it is undone, the snapshot is merely missing.
bool is_taken(int64 stream, int64 at_version) {
    const catalog::Objects &c = catalog::objects();
    SnapshotData dirty;
    InitDirtySnapshot(dirty);
    pg::IndexReader reader(c.snapshot, c.snapshot_pkey, &dirty);
    reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream));
    reader.key(2, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(at_version));
    return reader.next() != nullptr;
}

int64 keep_snapshot(const Aggregate &aggregate, const MadeSnapshot &made) {
    int64 stream = made.stream.id, at_version = made.folded.version;
    if (at_version == 0 || (made.folded.events_applied == 0 && made.folded.snapshot_version))
        return at_version; // nothing, or it is there
    for (const SnapshotRow &row : snapshot_rows(stream)) // one of another function at the same version
        if (row.version == at_version && (row.base || !remove_snapshot(row)))
            return at_version;
    if (is_taken(stream, at_version))
        return at_version;
    insert_snapshot(stream, at_version, made.folded.fingerprint, false, made.folded.state);
    prune(stream, made.stream.hidden, made.folded.fingerprint, aggregate.keep());
    forget_failure(stream);
    return at_version;
}

// Removed before the aggregate was there: who asks for a state is told so, an append is not bothered.
bool is_beginning_lost(const std::string &name) {
    std::optional<store::Stream> found = store::find_stream(name, SnapshotSelf);
    return found && found->removed > found->hidden &&
           base_version(found->id, found->hidden, SnapshotSelf) < found->removed;
}

bool passes_multiple(const Aggregate &aggregate, const store::StoredBatch &batch) {
    return batch.last_version / aggregate.every() > (batch.first_version - 1) / aggregate.every();
}

bool is_wanted(const store::StoredBatch &batch) {
    std::shared_ptr<const Aggregate> aggregate = find_aggregate(batch.category);
    return aggregate && passes_multiple(*aggregate, batch);
}

void snapshot_after_append(const store::StoredBatch &batch) {
    std::shared_ptr<const Aggregate> aggregate = find_aggregate(batch.category);
    if (aggregate && passes_multiple(*aggregate, batch))
        snapshot_or_note(*aggregate, std::string(batch.stream));
}

} // namespace

std::vector<SnapshotRow> snapshot_rows(int64 stream) {
    const catalog::Objects &c = catalog::objects();
    pg::IndexReader reader(c.snapshot, c.snapshot_pkey, SnapshotSelf);
    reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream));
    std::vector<SnapshotRow> rows;
    bool is_null;
    while (TupleTableSlot *slot = reader.next(true))
        rows.push_back({slot->tts_tid, DatumGetInt64(reader.column(Column::version, &is_null)),
                        DatumGetInt64(reader.column(Column::fingerprint_, &is_null)),
                        DatumGetBool(reader.column(Column::base, &is_null))});
    return rows;
}

bool remove_snapshot(const SnapshotRow &row) { return remove_row(catalog::objects().snapshot, row.tid); }

void insert_snapshot(int64 stream, int64 at_version, int64 fingerprint, bool base, const NullableDatum &made) {
    Datum values[Column::column_count] = {
        Int64GetDatum(stream),      Int64GetDatum(at_version), TimestampTzGetDatum(GetCurrentTimestamp()),
        Int64GetDatum(fingerprint), BoolGetDatum(base),        made.value};
    const bool nulls[Column::column_count] = {false, false, false, false, false, made.isnull};
    pg::TableWriter(catalog::objects().snapshot).insert(values, nulls);
}

void warn_of_failure(const std::string &stream, int64 at_version, const pg::Error &error) {
    std::string message = "no snapshot of stream \"" + stream + "\": its apply function failed: " + error.message();
    std::string detail =
        core::json{{"stream", stream}, {"version", at_version}, {"sqlstate", error.sqlstate_text()}}.dump();
    std::string hint = "SELECT * FROM chronicle.replay(" + access::quoted(stream) + ") shows where.";
    const char *texts[] = {message.c_str(), detail.c_str(), hint.c_str(), error.context().c_str()};
    int sqlstate = error.sqlstate();
    pg::call([&]() noexcept {
        ereport(WARNING, (errcode(sqlstate), errmsg_internal("%s", texts[0]), errdetail_internal("%s", texts[1]),
                          errhint("%s", texts[2]), errcontext_msg("%s", texts[3])));
    });
}

std::optional<StoredSnapshot> find_snapshot(int64 stream, std::optional<int64> fingerprint, int64 above, int64 up_to,
                                            Snapshot snapshot) {
    std::optional<pg::LatestSnapshotScope> latest;
    if (snapshot == SnapshotSelf) // could miss a base that a scavenger is just replacing: the new row and the old one
        snapshot = (latest.emplace(), GetActiveSnapshot());
    const catalog::Objects &c = catalog::objects();
    pg::IndexReader reader(c.snapshot, c.snapshot_pkey, snapshot);
    reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream));
    reader.key(2, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(above));
    if (up_to < PG_INT64_MAX)
        reader.key(2, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(up_to));
    bool is_null;
    while (reader.next(true)) {
        bool matches = DatumGetInt64(reader.column(Column::fingerprint_, &is_null)) == fingerprint;
        if (!matches && !DatumGetBool(reader.column(Column::base, &is_null)))
            continue;
        int64 at_version = DatumGetInt64(reader.column(Column::version, &is_null));
        int64 made_by = DatumGetInt64(reader.column(Column::fingerprint_, &is_null));
        Datum kept = reader.column(Column::state, &is_null);
        if (is_null)
            return StoredSnapshot{at_version, made_by, {Datum(0), true}};
        return StoredSnapshot{at_version, made_by, {pg::copy_datum(kept, -1), false}};
    }
    return std::nullopt;
}

void snapshot_or_note(const Aggregate &aggregate, const std::string &stream) {
    pg::MemoryScope memory("chronicle snapshot");
    if (is_beginning_lost(stream))
        return;
    MadeSnapshot made; // in the subtransaction nothing is written, so that it needs no transaction id of its own
    std::optional<pg::Error> failed = pg::attempt([&] { made = make_snapshot(aggregate, stream); });
    if (!failed) {
        (void)keep_snapshot(aggregate, made);
        return;
    }
    if (failed->must_pass())
        throw *failed;
    std::optional<store::Stream> row = store::find_stream(stream, SnapshotSelf);
    int64 at_version = row ? store::last_version(row->id) : 0;
    warn_of_failure(stream, at_version, *failed);
    if (row)
        note_failure(row->id, at_version, *failed);
}

int64 base_version(int64 stream, int64 above, Snapshot snapshot) {
    std::optional<StoredSnapshot> found = find_snapshot(stream, std::nullopt, above, PG_INT64_MAX, snapshot);
    return found ? found->version : 0;
}

int64 take_snapshot(const Aggregate &aggregate, const std::string &stream) {
    return keep_snapshot(aggregate, make_snapshot(aggregate, stream));
}

void init_snapshots() { store::add_watcher(is_wanted); }

CHRONICLE_FUNCTION(chronicle_snapshot_after_append) {
    if (const std::vector<store::StoredBatch> *batches = store::current_append())
        for (const store::StoredBatch &batch : *batches)
            snapshot_after_append(batch);
    PG_RETURN_POINTER(nullptr);
}

CHRONICLE_FUNCTION(chronicle_take_snapshot) {
    std::string stream = pg::Arguments(fcinfo).required_text(0, "stream");
    catalog::check_name(stream, "stream name");
    access::require(access::Level::operator_, "take snapshots");
    std::shared_ptr<const Aggregate> aggregate = aggregate_of(stream);
    require_owner(*aggregate);
    pg::call([]() noexcept {
        PreventCommandIfReadOnly("take_snapshot()");
        PreventCommandIfParallelMode("take_snapshot()");
        CommandCounterIncrement(); // rows of this command's could not be deleted in it
    });
    store::lock_streams_sorted({stream});
    PG_RETURN_INT64(take_snapshot(*aggregate, stream));
}

CHRONICLE_FUNCTION(chronicle_drop_snapshots) {
    static constexpr Oid types[] = {TEXTOID, TEXTOID};
    static pg::Statement remove{"DELETE FROM chronicle_data.snapshot AS n USING chronicle_data.stream AS s "
                                "WHERE s.stream_id = n.stream_id AND NOT n.base AND s.category = $1 "
                                "AND ($2 IS NULL OR s.name = $2)",
                                types};
    pg::Arguments arguments(fcinfo);
    std::optional<std::string> stream = arguments.text(0), category = arguments.text(1);
    if (stream && category)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = "give a stream or a category, not both"});
    access::require(access::Level::operator_, "drop snapshots");
    std::vector<std::shared_ptr<const Aggregate>> aggregates;
    if (stream || category) {
        aggregates.push_back(aggregate_of(stream ? *stream : *category));
        require_owner(*aggregates.front());
    } else {
        aggregates = aggregates_of_caller();
    }
    access::EngineScope engine;
    uint64 removed = 0;
    for (const auto &aggregate : aggregates) {
        pg::Values values;
        removed += remove.run(values.text(aggregate->category).maybe_text(stream)).count;
    }
    PG_RETURN_INT64(static_cast<int64>(removed));
}

} // namespace chronicle::state
