// The SQL functions that read. One stream: by the index on (stream, version). The log: log.cpp.
#include "core/uuid.hpp"

#include "access/access.hpp"
#include "compat/compat.hpp"
#include "store/catalog.hpp"
#include "store/event_row.hpp"
#include "store/log.hpp"
#include "store/stream.hpp"

extern "C" {
#include "access/stratnum.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/tuplestore.h"
}

namespace chronicle::store {

namespace {

struct Range {
    std::optional<int64> from;
    std::optional<int64> count;
    bool backwards;
};

void read_stream(ReturnSetInfo *result, const std::string &stream, const Range &range) {
    Snapshot snapshot = pg::call([]() noexcept { return GetActiveSnapshot(); });
    std::optional<Stream> found = find_stream(stream, snapshot);
    if (!found) { // made by another session after the snapshot: our own events in it are ours to see
        found = find_stream(stream, SnapshotSelf);
        if (!found)
            return;
        found->hidden = 0;
    }
    const Catalog &c = catalog();
    pg::IndexReader reader(c.event, c.event_stream_version_key, snapshot);
    reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(found->id));
    reader.key(2, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(found->hidden));
    if (range.from)
        reader.key(2, range.backwards ? BTLessEqualStrategyNumber : BTGreaterEqualStrategyNumber,
                   range.backwards ? F_INT8LE : F_INT8GE, Int64GetDatum(*range.from));
    pg::MemoryScope per_row("chronicle read_stream");
    for (int64 n = 0; (!range.count || n < *range.count) && reader.next(range.backwards); n++) {
        put_event(result, read_user_event(reader, stream));
        per_row.reset();
        pg::check_interrupts();
    }
}

void require_positive(std::optional<int64> value, const char *name) {
    if (value && *value < 1)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = std::string(name) + " must be at least 1, not " + std::to_string(*value)});
}

// The run that a stream "workflow-<workflow>/<execution>" belongs to, when the caller may see it.
std::optional<core::Uuid> visible_execution(const std::string &stream) {
    static constexpr Oid types[] = {UUIDOID, TEXTOID};
    static pg::Statement find{"SELECT owner, started_by FROM chronicle_data.execution "
                              "WHERE execution_id = $1 AND 'workflow-' || workflow_id || '/' || execution_id = $2",
                              types};
    size_t slash = stream.rfind('/');
    std::optional<core::Uuid> id =
        slash == std::string::npos ? std::nullopt : core::uuid_from_text(std::string_view(stream).substr(slash + 1));
    if (!id)
        return std::nullopt;
    std::string owner, started_by;
    {
        access::EngineScope engine;
        pg::Values values;
        pg::Rows rows = find.run(values.uuid(*id).text(stream), true);
        if (rows.empty())
            return std::nullopt;
        owner = rows[0].text(1);
        started_by = rows[0].text(2);
    }
    return access::may_act_for(owner) || access::may_act_for(started_by) ? id : std::nullopt;
}

void read_workflow_stream(ReturnSetInfo *result, const std::string &stream, const Range &range) {
    static constexpr Oid types[] = {UUIDOID, TEXTOID, INT8OID, INT8OID};
#define EVENT_ROW                                                                                                      \
    "SELECT e.global_position, $2, e.version, e.type, e.data, '{}'::jsonb, e.event_id, e.recorded_at, "                \
    "'workflow'::text, "                                                                                               \
    "1, NULL::text, NULL::text, e.actor FROM chronicle_data.workflow_event e WHERE e.execution_id = $1 "
    static pg::Statement forwards{EVENT_ROW "AND e.version >= coalesce($3, 1) ORDER BY e.version LIMIT $4", types};
    static pg::Statement backwards{
        EVENT_ROW "AND e.version <= coalesce($3, 9223372036854775807) ORDER BY e.version DESC LIMIT $4", types};
#undef EVENT_ROW
    std::optional<core::Uuid> execution = visible_execution(stream);
    if (!execution)
        return;
    access::EngineScope engine;
    pg::Values values;
    values.uuid(*execution).text(stream).maybe_int8(range.from).maybe_int8(range.count);
    pg::Rows rows = (range.backwards ? backwards : forwards).run(values, true);
    for (uint64 i = 0; i < rows.count; i++)
        pg::call([&]() noexcept { tuplestore_puttuple(result->setResult, rows.table->vals[i]); });
}

} // namespace

CHRONICLE_FUNCTION(chronicle_read_stream) {
    pg::Arguments arguments(fcinfo);
    std::string stream = arguments.required_text(0, "stream");
    Range range{arguments.int8(1), arguments.int8(2), arguments.boolean(3).value_or(false)};
    check_name(stream, "stream name");
    require_positive(range.from, "from_version");
    require_positive(range.count, "max_count");
    pg::call([&]() noexcept { InitMaterializedSRF(fcinfo, 0); });
    ReturnSetInfo *result = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);
    if (category_of(stream) == workflow_category) {
        read_workflow_stream(result, stream, range);
    } else {
        access::require(access::Level::reader, "read events");
        read_stream(result, stream, range);
    }
    PG_RETURN_NULL();
}

namespace {

std::optional<std::vector<std::string>> text_array(const pg::Arguments &arguments, int i, const char *name) {
    if (arguments.null(i))
        return std::nullopt;
    struct Elements {
        Datum *values;
        bool *nulls;
        int count;
    };
    Datum array = arguments.datum(i);
    Elements e = pg::call([&]() noexcept {
        Elements found;
        deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &found.values, &found.nulls,
                          &found.count);
        return found;
    });
    std::vector<std::string> texts;
    for (int k = 0; k < e.count; k++) {
        if (e.nulls[k])
            pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = std::string(name) + " must not contain NULL"});
        texts.push_back(pg::to_string(e.values[k]));
    }
    return texts;
}

std::optional<TimestampTz> time_argument(const pg::Arguments &arguments, int i) {
    return arguments.null(i) ? std::nullopt : std::optional<TimestampTz>(DatumGetTimestampTz(arguments.datum(i)));
}

void check_position(std::optional<int64> position) {
    if (position && *position < 0)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "after_position must not be negative, is " + std::to_string(*position)});
}

// A group and a member of it, or neither.
void read_group(const pg::Arguments &arguments, LogQuery &query) {
    std::optional<int32> size = arguments.int4(3), member = arguments.int4(4);
    if (!size && !member)
        return;
    if (!size || !member || *size < 1 || *member < 0 || *member >= *size)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "consumer_group_size must be at least 1, and consumer_group_member from 0 to size - 1"});
    query.group_size = *size;
    query.group_member = *member;
}

} // namespace

CHRONICLE_FUNCTION(chronicle_read_all) {
    pg::Arguments arguments(fcinfo);
    LogQuery query{.after = arguments.int8(0),
                   .count = arguments.int8(1).value_or(1000),
                   .categories = text_array(arguments, 2, "categories"),
                   .types = text_array(arguments, 3, "types"),
                   .stream_regex = arguments.text(4),
                   .type_regex = arguments.text(5),
                   .since = time_argument(arguments, 6),
                   .until = time_argument(arguments, 7),
                   .filter = arguments.null(8) ? std::nullopt : std::optional(arguments.datum(8)),
                   .backwards = arguments.boolean(9).value_or(false),
                   .include_system = arguments.boolean(10).value_or(false)};
    check_position(query.after);
    require_positive(query.count, "max_count");
    pg::call([&]() noexcept { InitMaterializedSRF(fcinfo, 0); });
    read_log(reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo), query);
    PG_RETURN_NULL();
}

CHRONICLE_FUNCTION(chronicle_read_category) {
    pg::Arguments arguments(fcinfo);
    std::string category = arguments.required_text(0, "category");
    check_name(category, "category");
    if (category.find('-') != std::string::npos)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "\"" + category + "\" is no category: a category has no \"-\"",
                   .hint =
                       "The category of a stream is the part before the first \"-\"; read_stream reads one stream."});
    LogQuery query{.after = arguments.int8(1),
                   .count = arguments.int8(2).value_or(1000),
                   .categories = std::vector{category}};
    check_position(query.after);
    require_positive(query.count, "max_count");
    read_group(arguments, query);
    pg::call([&]() noexcept { InitMaterializedSRF(fcinfo, 0); });
    read_log(reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo), query);
    PG_RETURN_NULL();
}

CHRONICLE_FUNCTION(chronicle_stream_version) {
    std::string stream = pg::Arguments(fcinfo).required_text(0, "stream");
    check_name(stream, "stream name");
    access::require(access::Level::reader, "read events");
    std::optional<Stream> found = find_stream(stream, SnapshotSelf);
    int64 version = found ? last_version(found->id) : 0;
    if (version == 0)
        PG_RETURN_NULL();
    PG_RETURN_INT64(version);
}

} // namespace chronicle::store
