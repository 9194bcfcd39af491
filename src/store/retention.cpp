// Retention: what readers see of a stream. Hidden are the versions up to the greatest of
//
//   what delete_stream hid · what was scavenged · truncate_before - 1 · last version - max_count
//   the last version recorded before now - max_age
//
// A stream's own field wins over its category's. So what is hidden is always the beginning of a stream, one number, and
// everybody asks for it here. All of it follows the reader's snapshot, and in REPEATABLE READ one time for the whole
// transaction: a reader sees one log.
//
// Streams without retention pay a look at three NULLs, and at the size of the category table: its rows are never
// deleted, so without a page in it no snapshot sees a row. (A relation cache's invalidation could come after a snapshot
// that sees the row.)
#include "store/retention.hpp"

#include "access/access.hpp"
#include "catalog/names.hpp"
#include "catalog/objects.hpp"
#include "pg/relation.hpp"
#include "store/scavenge.hpp"
#include "store/time.hpp"

extern "C" {
#include "access/stratnum.h"
#include "access/xact.h"
#include "catalog/pg_collation_d.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
}

namespace chronicle::store {

namespace {

constexpr int32 longest_age_months = 12 * 1000;

bool any_category_row() {
    pg::Table table(catalog::objects().category, AccessShareLock);
    Relation relation = table.get();
    return pg::call([&]() noexcept { return RelationGetNumberOfBlocks(relation) > 0; });
}

Retention find_category_retention(std::string_view category, Snapshot snapshot) {
    if (!any_category_row())
        return {};
    const catalog::Objects &c = catalog::objects();
    pg::IndexReader reader(c.category, c.category_pkey, snapshot);
    reader.key(1, BTEqualStrategyNumber, F_TEXTEQ, pg::make_text(category), C_COLLATION_OID);
    Retention retention;
    if (!reader.next())
        return retention;
    bool is_null;
    if (Datum count = reader.column(3, &is_null); !is_null)
        retention.max_count = DatumGetInt64(count);
    if (Datum age = reader.column(4, &is_null); !is_null)
        retention.max_age = *DatumGetIntervalP(age);
    return retention;
}

// In UTC: what is hidden must not depend on the reader's time zone.
TimestampTz minus_age(TimestampTz now, const Interval &age) {
    return pg::call([&]() noexcept {
        return DatumGetTimestamp(
            DirectFunctionCall2(timestamp_mi_interval, TimestampGetDatum(now), IntervalPGetDatum(&age)));
    });
}

} // namespace

int64 last_visible_version(int64 stream_id, Snapshot snapshot) {
    const catalog::Objects &c = catalog::objects();
    pg::IndexReader reader(c.event, c.event_stream_version_key, snapshot);
    reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream_id));
    bool is_null;
    return reader.next(true) ? DatumGetInt64(reader.column(3, &is_null)) : 0;
}

TimestampTz retention_now() {
    return IsolationUsesXactSnapshot() ? GetCurrentTransactionStartTimestamp() : GetCurrentStatementStartTimestamp();
}

TimestampTz age_cutoff(const Interval &max_age) { return minus_age(retention_now(), max_age); }

int64 hidden_versions(const Stream &stream, std::string_view category, Snapshot snapshot) {
    return HiddenVersions(snapshot).of(stream, category);
}

int64 HiddenVersions::of(const Stream &stream, std::string_view category) {
    auto known = categories_.find(category);
    if (known == categories_.end())
        known = categories_.emplace(category, find_category_retention(category, snapshot_)).first;
    int64 hidden = std::max(stream.hidden, stream.removed);
    Retention kept = known->second;
    if (!kept.any() && !stream.retention.any())
        return hidden;
    if (stream.retention.max_count)
        kept.max_count = stream.retention.max_count;
    if (stream.retention.max_age)
        kept.max_age = stream.retention.max_age;
    if (stream.retention.truncate_before)
        hidden = std::max(hidden, *stream.retention.truncate_before - 1);
    if (!kept.max_count && !kept.max_age)
        return hidden;
    int64 last = last_visible_version(stream.id, snapshot_);
    if (kept.max_count)
        hidden = std::max(hidden, last - *kept.max_count);
    if (kept.max_age && hidden < last)
        hidden = last_version_before(stream.id, hidden, last, age_cutoff(*kept.max_age), snapshot_);
    return hidden;
}

// --- setting it ---

namespace {

void check_positive(std::optional<int64> value, const char *name) {
    if (value && *value < 1)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = std::string(name) + " must be at least 1, not " + std::to_string(*value)});
}

// More than nothing, and a time that can be counted back from now.
void check_age(const pg::Arguments &arguments, int i) {
    if (arguments.null(i))
        return;
    Interval age = *DatumGetIntervalP(arguments.datum(i));
    // Within both limits the clock does not go out of range.
    Interval longest{0, 0, longest_age_months}, shortest{0, 0, -longest_age_months};
    bool fits = pg::call([&]() noexcept {
        return DatumGetBool(DirectFunctionCall2(interval_le, IntervalPGetDatum(&age), IntervalPGetDatum(&longest))) &&
               DatumGetBool(DirectFunctionCall2(interval_ge, IntervalPGetDatum(&age), IntervalPGetDatum(&shortest)));
    });
    TimestampTz now = GetCurrentTimestamp();
    if (!fits || minus_age(now, age) >= now)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "max_age must be more than zero and at most 1000 years"});
}

pg::Values &add_argument(pg::Values &values, const pg::Arguments &arguments, int i) {
    return values.add(arguments.null(i) ? Datum(0) : arguments.datum(i), arguments.null(i));
}

std::string category_argument(const pg::Arguments &arguments) {
    std::string category = arguments.required_text(0, "category");
    catalog::check_category(category);
    catalog::check_not_reserved(category);
    return category;
}

} // namespace

CHRONICLE_FUNCTION(chronicle_set_stream_retention) {
    static constexpr Oid types[] = {INT8OID, INT8OID, INTERVALOID, INT8OID};
    static pg::Statement update{
        "UPDATE chronicle_data.stream SET max_count = $2, max_age = $3, truncate_before = $4 WHERE stream_id = $1",
        types};
    pg::Arguments arguments(fcinfo);
    std::string name = arguments.required_text(0, "stream");
    catalog::check_name(name, "stream name");
    catalog::check_not_reserved(name);
    check_positive(arguments.int8(1), "max_count");
    check_age(arguments, 2);
    check_positive(arguments.int8(3), "truncate_before");
    access::require(access::Level::admin, "set retention");
    std::optional<Stream> stream = find_stream(name, SnapshotSelf);
    if (!stream) { // nobody makes it beside us
        lock_streams_sorted({name});
        stream = find_stream(name, SnapshotSelf);
        if (!stream)
            stream = make_stream(name);
        pg::call([]() noexcept { CommandCounterIncrement(); });
    }
    check_not_tombstoned(name, *stream);
    access::EngineScope engine;
    pg::Values values;
    values.int8(stream->id);
    for (int i = 1; i <= 3; i++)
        add_argument(values, arguments, i);
    if (update.run(values).count == 0)
        raise_made_since_snapshot();
    queue_for_scavenger(stream->id); // what an earlier retention had it keep may be hidden now
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_set_category_retention) {
    static constexpr Oid types[] = {TEXTOID, INT8OID, INTERVALOID};
    static pg::Statement set{"INSERT INTO chronicle_data.category AS c (category, max_count, max_age) "
                             "VALUES ($1, $2, $3) ON CONFLICT (category) "
                             "DO UPDATE SET max_count = excluded.max_count, max_age = excluded.max_age",
                             types};
    pg::Arguments arguments(fcinfo);
    std::string category = category_argument(arguments);
    check_positive(arguments.int8(1), "max_count");
    check_age(arguments, 2);
    access::require(access::Level::admin, "set retention");
    access::EngineScope engine;
    pg::Values values;
    values.text(category);
    add_argument(values, arguments, 1);
    set.run(add_argument(values, arguments, 2));
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_describe_category) {
    static constexpr Oid types[] = {TEXTOID, TEXTOID};
    static pg::Statement set{"INSERT INTO chronicle_data.category AS c (category, description) VALUES ($1, $2) "
                             "ON CONFLICT (category) DO UPDATE SET description = excluded.description",
                             types};
    pg::Arguments arguments(fcinfo);
    std::string category = category_argument(arguments);
    access::require(access::Level::operator_, "describe categories");
    access::EngineScope engine;
    pg::Values values;
    set.run(values.text(category).maybe_text(arguments.text(1)));
    PG_RETURN_VOID();
}

// --- for views ---

namespace {

// A row of a view asks for each event: the answers, by stream, in a place of the call. They hold for one snapshot, time
// and user; one place may serve several (an expression of PL/pgSQL keeps its own through a whole transaction).
struct Asked {
    TransactionId xmin, xmax; // with the counts they tell snapshots apart: a later one has another end, or fewer in it
    uint32 running;
    int32 running_below;
    CommandId command;
    TimestampTz now;
    Oid user;
    bool operator==(const Asked &) const = default;
};
struct Answer {
    int64 stream_id, hidden;
};
struct Answers {
    Asked asked;
    Answer by_stream[1024];
};

Answers &answers_of(FunctionCallInfo fcinfo, Snapshot snapshot) {
    void *&kept = fcinfo->flinfo->fn_extra;
    if (!kept)
        kept = pg::call([&]() noexcept { return MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Answers)); });
    Answers &answers = *static_cast<Answers *>(kept);
    Asked now{snapshot->xmin,   snapshot->xmax,  snapshot->xcnt, snapshot->subxcnt,
              snapshot->curcid, retention_now(), GetUserId()};
    if (answers.asked != now) {
        memset(answers.by_stream, 0, sizeof(answers.by_stream));
        answers.asked = now;
    }
    return answers;
}

} // namespace

std::optional<int64> hidden_from_caller(FunctionCallInfo fcinfo, int64 stream_id) {
    Snapshot snapshot = pg::call([]() noexcept { return GetActiveSnapshot(); });
    Answers &answers = answers_of(fcinfo, snapshot);
    Answer &answer = answers.by_stream[static_cast<size_t>(stream_id) % std::size(answers.by_stream)];
    if (answer.stream_id != stream_id) {
        std::string name;
        std::optional<Stream> stream = find_stream_by_id(stream_id, snapshot, &name);
        if (!stream || !access::may_read_stream(name))
            return std::nullopt;
        answer = {stream_id, hidden_versions(*stream, catalog::category_of(name), snapshot)};
    }
    return answer.hidden;
}

CHRONICLE_FUNCTION(chronicle_hidden_versions) {
    std::optional<int64> id = pg::Arguments(fcinfo).int8(0);
    std::optional<int64> hidden = id ? hidden_from_caller(fcinfo, *id) : std::nullopt;
    if (!hidden)
        PG_RETURN_NULL();
    PG_RETURN_INT64(*hidden);
}

} // namespace chronicle::store
