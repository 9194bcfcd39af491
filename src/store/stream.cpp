#include "core/json.hpp"

#include "store/stream.hpp"

#include "access/access.hpp"
#include "catalog/names.hpp"
#include "catalog/objects.hpp"
#include "pg/datum.hpp"
#include "pg/lock.hpp"
#include "pg/relation.hpp"
#include "pg/xact.hpp"
#include "settings.hpp"
#include "sqlstates.hpp"
#include "store/head.hpp"

extern "C" {
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "catalog/pg_collation_d.h"
#include "commands/sequence.h"
#include "utils/fmgroids.h"
}

namespace chronicle::store {

namespace {

constexpr size_t seen_limit = 20000; // streams whose last version a process remembers

// Streams that this transaction has locked: each is an entry of the server's lock table, which has a fixed size.
// Counted by nest level, because a savepoint that is undone gives its locks back.
int locked = 0;
std::vector<int> *locked_at = nullptr;

void on_transaction(XactEvent event, void *) {
    if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE) {
        locked = 0;
        locked_at->clear();
    }
}

void on_subtransaction(SubXactEvent event, SubTransactionId, SubTransactionId, void *) {
    size_t level = static_cast<size_t>(GetCurrentTransactionNestLevel());
    if (level >= locked_at->size() || (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB))
        return;
    int count = std::exchange((*locked_at)[level], 0);
    if (event == SUBXACT_EVENT_ABORT_SUB)
        locked -= count;
    else
        (*locked_at)[level - 1] += count;
}

void count_lock() {
    if (!locked_at) {
        locked_at = new std::vector<int>();
        pg::call([]() noexcept {
            RegisterXactCallback(on_transaction, nullptr);
            RegisterSubXactCallback(on_subtransaction, nullptr);
        });
    }
    size_t level = static_cast<size_t>(GetCurrentTransactionNestLevel());
    if (level >= locked_at->size())
        locked_at->resize(level + 1);
    (*locked_at)[level]++;
    if (++locked > settings::max_streams_per_transaction)
        pg::raise(ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                  {.message = "transaction appends to more than chronicle.max_streams_per_transaction streams",
                   .detail = "{\"streams\": " + std::to_string(locked) +
                             ", \"limit\": " + std::to_string(settings::max_streams_per_transaction) + "}",
                   .hint = "Commit in between, or raise the setting (and max_locks_per_transaction)."});
}

} // namespace

// PostgreSQL's deadlock detector fails the waiter that looks first, and that may be one who merely stands in the queue
// between two whose transactions wait for each other. One that holds nothing cannot be a part of their deadlock: it
// queues anew, behind them, and the detector finds them.
static bool wait_for_stream(uint64 key) {
    bool holds_nothing = locked == 0 && !TransactionIdIsValid(GetTopTransactionIdIfAny());
    if (!holds_nothing)
        return pg::lock(pg::LockKind::stream, key);
    std::optional<pg::Error> failed = pg::attempt([&] { (void)pg::lock(pg::LockKind::stream, key); });
    if (!failed)
        return true;
    if (failed->sqlstate() != ERRCODE_T_R_DEADLOCK_DETECTED)
        throw std::move(*failed);
    return pg::lock(pg::LockKind::stream, key);
}

void lock_streams_sorted(const std::vector<std::string_view> &streams) {
    std::vector<uint64> keys;
    for (std::string_view stream : streams)
        keys.push_back(pg::lock_key(stream));
    std::sort(keys.begin(), keys.end());
    for (uint64 key : keys) {
        std::optional<bool> taken = pg::lock_if_free(pg::LockKind::stream, key);
        if (taken ? *taken : wait_for_stream(key))
            count_lock();
    }
}

// The row of chronicle_data.stream that the reader stands on.
static Stream read_row(const pg::RowReader &reader) {
    bool is_null;
    Stream stream{DatumGetInt64(reader.column(1, &is_null)), DatumGetInt64(reader.column(5, &is_null)),
                  DatumGetBool(reader.column(6, &is_null)), DatumGetInt64(reader.column(7, &is_null))};
    auto maybe_int8 = [&](int column) {
        Datum value = reader.column(column, &is_null);
        return is_null ? std::nullopt : std::optional<int64>(DatumGetInt64(value));
    };
    stream.retention.max_count = maybe_int8(9);
    if (Datum age = reader.column(10, &is_null); !is_null)
        stream.retention.max_age = *DatumGetIntervalP(age);
    stream.retention.truncate_before = maybe_int8(11);
    return stream;
}

namespace {

// Where streams' rows were seen. A stream keeps its id and its name; its row moves when something else of it changes.
// Ids are never given twice, also not those of streams whose making was undone.
struct Place {
    int64 id;
    ItemPointerData row;
};
std::unordered_map<std::string, Place> &places() {
    static std::unordered_map<std::string, Place> *known = nullptr;
    static uint64 generation = 0;
    if (!known)
        known = new std::unordered_map<std::string, Place>();
    if (generation != catalog::objects().generation || known->size() >= seen_limit)
        known->clear();
    generation = catalog::objects().generation;
    return *known;
}

} // namespace

std::optional<int64> known_stream_id(const std::string &stream) {
    auto &known = places();
    auto found = known.find(stream);
    return found == known.end() ? std::nullopt : std::optional(found->second.id);
}

std::optional<Stream> find_newest_stream(const std::string &stream) {
    const catalog::Objects &c = catalog::objects();
    auto &known = places();
    if (auto found = known.find(stream); found != known.end()) {
        pg::PlaceReader row(c.stream);
        if (row.read(found->second.row, SnapshotSelf))
            if (Stream there = read_row(row); there.id == found->second.id)
                return there;
    }
    pg::IndexReader reader(c.stream, c.stream_name_key, SnapshotSelf);
    reader.key(1, BTEqualStrategyNumber, F_TEXTEQ, pg::make_text(stream), C_COLLATION_OID);
    if (!reader.next())
        return find_stream(stream, SnapshotSelf); // which looks again: a row that is just changing can be missed
    Stream there = read_row(reader);
    known.insert_or_assign(stream, Place{there.id, reader.place()}); // one of ours that is undone is not there any more
    return there;
}

// SnapshotSelf may miss a row that is just changing (a retention, the scavenger): its new version is passed before the
// commit, its old one after it. A look with an MVCC snapshot that is younger sees exactly one of them.
template <typename Look> static std::optional<Stream> look_surely(Snapshot snapshot, const Look &look) {
    std::optional<Stream> found = look(snapshot);
    if (found || snapshot != SnapshotSelf)
        return found;
    pg::LatestSnapshotScope latest;
    return look(GetActiveSnapshot());
}

std::optional<Stream> find_stream(std::string_view stream, Snapshot snapshot) {
    return look_surely(snapshot, [&](Snapshot by) -> std::optional<Stream> {
        const catalog::Objects &c = catalog::objects();
        pg::IndexReader reader(c.stream, c.stream_name_key, by);
        reader.key(1, BTEqualStrategyNumber, F_TEXTEQ, pg::make_text(stream), C_COLLATION_OID);
        return reader.next() ? std::optional(read_row(reader)) : std::nullopt;
    });
}

std::optional<Stream> find_stream_by_id(int64 id, Snapshot snapshot, std::string *name) {
    return look_surely(snapshot, [&](Snapshot by) -> std::optional<Stream> {
        const catalog::Objects &c = catalog::objects();
        pg::IndexReader reader(c.stream, c.stream_pkey, by);
        reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
        if (!reader.next())
            return std::nullopt;
        bool is_null;
        if (name)
            *name = pg::to_string(reader.column(2, &is_null));
        return read_row(reader);
    });
}

namespace {

// Where rows of streams were seen, by the streams' ids. A row that has moved is not visible there, or is another's.
std::unordered_map<int64, ItemPointerData> &places_by_id() {
    static std::unordered_map<int64, ItemPointerData> *known = nullptr;
    static uint64 generation = 0;
    if (!known)
        known = new std::unordered_map<int64, ItemPointerData>();
    if (generation != catalog::objects().generation || known->size() >= seen_limit)
        known->clear();
    generation = catalog::objects().generation;
    return *known;
}

Stream named_row(const pg::RowReader &reader, std::string *name) {
    bool is_null;
    if (name)
        *name = pg::to_string(reader.column(2, &is_null));
    return read_row(reader);
}

} // namespace

StreamFinder::StreamFinder(Snapshot snapshot)
    : snapshot_(snapshot), place_(catalog::objects().stream),
      index_(catalog::objects().stream, catalog::objects().stream_pkey, snapshot) {}

std::optional<Stream> StreamFinder::find(int64 id, std::string *name) {
    auto &known = places_by_id();
    bool is_null;
    if (auto found = known.find(id); found != known.end() && place_.read(found->second, snapshot_) &&
                                     DatumGetInt64(place_.column(1, &is_null)) == id)
        return named_row(place_, name);
    index_.restart();
    index_.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
    if (!index_.next())
        return std::nullopt;
    known.insert_or_assign(id, index_.place());
    return named_row(index_, name);
}

std::optional<Stream> find_visible_stream(std::string_view stream, Snapshot snapshot) {
    std::optional<Stream> found = find_stream(stream, snapshot);
    if (found || snapshot == SnapshotSelf)
        return found;
    found = find_stream(stream, SnapshotSelf);
    if (found)
        *found = {found->id};
    return found;
}

Stream make_stream(std::string_view stream) {
    const catalog::Objects &c = catalog::objects();
    int64 id = pg::call([&]() noexcept { return nextval_internal(c.stream_id_seq, false); });
    Datum values[] = {Int64GetDatum(id),
                      pg::make_text(stream),
                      pg::make_text(catalog::category_of(stream)),
                      TimestampTzGetDatum(GetCurrentTimestamp()),
                      Int64GetDatum(0),
                      BoolGetDatum(false),
                      Int64GetDatum(0),
                      Datum(0),
                      Datum(0),
                      Datum(0),
                      Datum(0)};
    const bool nulls[std::size(values)] = {false, false, false, false, false, false, false, true, true, true, true};
    pg::TableWriter(c.stream).insert(values, nulls);
    return {id};
}

void raise_tombstoned(const std::vector<std::string> &streams) {
    core::json detail = core::json::array();
    for (const std::string &stream : streams)
        detail.push_back({{"stream", stream}});
    bool one = streams.size() == 1;
    pg::raise(stream_deleted, {.message = (one ? "" : std::to_string(streams.size()) + " streams are tombstoned; ") +
                                          "stream \"" + streams.front() + "\" is tombstoned",
                               .detail = (one ? detail[0] : detail).dump(),
                               .hint = "It can never be written again; use another stream."});
}

void check_not_tombstoned(const std::string &name, const std::optional<Stream> &stream) {
    if (stream && stream->tombstoned)
        raise_tombstoned({name});
}

void raise_made_since_snapshot() {
    pg::raise(ERRCODE_T_R_SERIALIZATION_FAILURE,
              {.message = "could not serialize access: the stream was made after this transaction's snapshot",
               .hint = "Repeat the transaction."});
}

namespace {
constexpr int max_hooks = 2;
AfterHiding hooks[max_hooks];
int hook_count = 0;
} // namespace

void add_after_hiding(AfterHiding hook) {
    Assert(hook_count < max_hooks);
    hooks[hook_count++] = hook;
}

void hide_stream(const Stream &stream, int64 hidden, bool tombstone) {
    static constexpr Oid types[] = {INT8OID, INT8OID, BOOLOID};
    static pg::Statement update{"UPDATE chronicle_data.stream SET hidden = $2, tombstoned = tombstoned OR $3, "
                                "changed_at = pg_catalog.clock_timestamp() WHERE stream_id = $1",
                                types};
    forget_head(stream.id);
    {
        access::EngineScope engine;
        pg::Values values;
        if (update.run(values.int8(stream.id).int8(hidden).boolean(tombstone)).count == 0)
            raise_made_since_snapshot();
    }
    for (int i = 0; i < hook_count; i++)
        hooks[i](stream.id, hidden);
}

// The newest version of at least `bound`; 0: none.
static int64 newest_version(int64 stream_id, int64 bound) {
    const catalog::Objects &c = catalog::objects();
    pg::IndexReader reader(c.event, c.event_stream_version_key, SnapshotSelf);
    reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream_id));
    reader.key(2, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(bound));
    bool is_null;
    return reader.next(true) ? DatumGetInt64(reader.column(3, &is_null)) : 0;
}

// The index looks at every entry of the stream on a page before it gives the last one, so the version that this process
// saw last bounds the scan. A bound that was undone finds nothing, and the scan is repeated without it.
int64 last_version(int64 stream_id) {
    static std::unordered_map<int64, int64> *seen = nullptr;
    static uint64 generation = 0;
    if (!seen)
        seen = new std::unordered_map<int64, int64>();
    if (generation != catalog::objects().generation || seen->size() >= seen_limit)
        seen->clear();
    generation = catalog::objects().generation;
    int64 &bound = (*seen)[stream_id];
    int64 version = newest_version(stream_id, bound);
    if (version == 0 && bound > 0)
        version = newest_version(stream_id, 0);
    bound = version;
    if (version > 0)
        return version;
    // Nothing there, or scavenged: looked at in this order, a scavenger that commits in between is seen.
    std::optional<Stream> stream = find_stream_by_id(stream_id, SnapshotSelf, nullptr);
    return stream ? stream->removed : 0;
}

} // namespace chronicle::store
