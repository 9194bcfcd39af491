// read_stream: one stream in version order, by the index on (stream, version).
#include "core/uuid.hpp"

#include "access/access.hpp"
#include "compat/compat.hpp"
#include "pg/relation.hpp"
#include "store/catalog.hpp"
#include "store/kind.hpp"
#include "store/stream.hpp"

extern "C" {
#include "access/stratnum.h"
#include "funcapi.h"
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

// Columns of the composite type chronicle.event.
constexpr int event_columns = 13;

Datum metadata_key(Datum metadata, const char *key, const char *other_key, bool *is_null) {
    std::optional<std::string> found = pg::jsonb_field(metadata, key);
    if (!found)
        found = pg::jsonb_field(metadata, other_key);
    *is_null = !found;
    return found ? pg::make_text(*found) : Datum(0);
}

void put_event(ReturnSetInfo *result, const pg::IndexReader &row, Datum stream, Datum category) {
    Datum values[event_columns];
    bool nulls[event_columns] = {};
    values[0] = row.column(1, &nulls[0]); // global_position
    values[1] = stream;
    values[2] = row.column(3, &nulls[2]); // version
    values[3] = pg::make_text(kind_of(DatumGetInt32(row.column(6, &nulls[3]))).type);
    values[4] = row.column(11, &nulls[4]); // data
    values[5] = row.column(12, &nulls[5]); // metadata
    values[6] = row.column(8, &nulls[6]); // event_id
    values[7] = row.column(4, &nulls[7]); // recorded_at
    values[8] = category;
    values[9] = row.column(7, &nulls[9]); // type_version
    values[10] = metadata_key(values[5], "correlation_id", "$correlationId", &nulls[10]);
    values[11] = metadata_key(values[5], "causation_id", "$causationId", &nulls[11]);
    values[12] = row.column(10, &nulls[12]); // actor
    pg::call([&]() noexcept { tuplestore_putvalues(result->setResult, result->setDesc, values, nulls); });
}

void read_stream(ReturnSetInfo *result, const std::string &stream, const Range &range) {
    std::optional<int64> id = find_stream(stream);
    if (!id)
        return;
    const Catalog &c = catalog();
    Datum name = pg::make_text(stream), category = pg::make_text(category_of(stream));
    pg::IndexReader reader(c.event, c.event_stream_version_key,
                           pg::call([]() noexcept { return GetActiveSnapshot(); }));
    reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(*id));
    if (range.from)
        reader.key(2, range.backwards ? BTLessEqualStrategyNumber : BTGreaterEqualStrategyNumber,
                   range.backwards ? F_INT8LE : F_INT8GE, Int64GetDatum(*range.from));
    pg::MemoryScope per_row("chronicle read_stream");
    for (int64 n = 0; (!range.count || n < *range.count) && reader.next(range.backwards); n++) {
        put_event(result, reader, name, category);
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

} // namespace chronicle::store
