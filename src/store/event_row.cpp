#include "core/json.hpp"
#include "core/uuid.hpp"

#include "store/event_row.hpp"

#include "pg/datum.hpp"
#include "store/kind.hpp"
#include "store/stream.hpp"

namespace chronicle::store {

namespace {

Datum metadata_key(Datum metadata, const char *key, const char *other_key, bool *is_null) {
    if (pg::call([&]() noexcept { return JB_ROOT_COUNT(DatumGetJsonbP(metadata)) == 0; })) {
        *is_null = true;
        return Datum(0);
    }
    std::optional<std::string> found = pg::jsonb_field(metadata, key);
    if (!found)
        found = pg::jsonb_field(metadata, other_key);
    *is_null = !found;
    return found ? pg::make_text(*found) : Datum(0);
}

} // namespace

EventSource::EventSource()
    : row_memory_(pg::call([]() noexcept {
          return AllocSetContextCreateInternal(CurrentMemoryContext, "chronicle event", ALLOCSET_DEFAULT_SIZES);
      })),
      exceptions_(std::uncaught_exceptions()) {}

EventSource::~EventSource() {
    if (!pg::unwinding(exceptions_))
        MemoryContextDelete(row_memory_);
}

EventRow read_user_event(const pg::RowReader &reader, std::string_view stream, types::Upcasts &upcasts) {
    bool is_null;
    int32 kind_id = DatumGetInt32(reader.column(6, &is_null));
    const Kind &kind = kind_of(kind_id);
    EventRow row{.position = DatumGetInt64(reader.column(1, &is_null)),
                 .version = DatumGetInt64(reader.column(3, &is_null)),
                 .stream = stream,
                 .category = kind.category,
                 .type = kind.type,
                 .data = reader.column(11, &is_null),
                 .metadata = reader.column(12, &is_null),
                 .event_id = reader.column(8, &is_null),
                 .recorded_at = reader.column(4, &is_null),
                 .actor = reader.column(10, &is_null),
                 .type_version = DatumGetInt32(reader.column(7, &is_null))};
    if (upcasts.apply(kind.type, row.position, row.type_version, row.data)) {
        const Kind &again = kind_of(kind_id); // users' code ran, and may have emptied the cache of kinds
        row.category = again.category;
        row.type = again.type;
    }
    return row;
}

EventRow read_run_event(const pg::RowReader &reader, std::string_view stream, std::string &type) {
    bool is_null;
    type = pg::to_string(reader.column(7, &is_null));
    return {.position = DatumGetInt64(reader.column(1, &is_null)),
            .version = DatumGetInt64(reader.column(3, &is_null)),
            .stream = stream,
            .category = workflow_category,
            .type = type,
            .data = reader.column(10, &is_null),
            .metadata = pg::make_jsonb("{}"),
            .event_id = reader.column(6, &is_null),
            .recorded_at = reader.column(4, &is_null),
            .actor = reader.column(8, &is_null),
            .type_version = 1};
}

void event_values(const EventRow &row, EventColumns wanted, Datum *values, bool *nulls) {
    auto wants = [&](int column) { return (wanted >> (column - 1) & 1) != 0; };
    auto set = [&](int column, Datum value) {
        values[column - 1] = value;
        nulls[column - 1] = false;
    };
    std::fill(nulls, nulls + event_columns, true);
    set(1, Int64GetDatum(row.position));
    if (wants(2))
        set(2, pg::make_text(row.stream));
    set(3, Int64GetDatum(row.version));
    if (wants(4))
        set(4, pg::make_text(row.type));
    set(5, row.data);
    set(6, row.metadata);
    set(7, row.event_id);
    set(8, row.recorded_at);
    if (wants(9))
        set(9, pg::make_text(row.category));
    set(10, Int32GetDatum(row.type_version));
    if (wants(11))
        values[10] = metadata_key(row.metadata, "correlation_id", "$correlationId", &nulls[10]);
    if (wants(12))
        values[11] = metadata_key(row.metadata, "causation_id", "$causationId", &nulls[11]);
    set(13, row.actor);
}

Datum event_object(const EventRow &row) {
    core::json head{{"global_position", row.position},
                    {"stream", row.stream},
                    {"version", row.version},
                    {"type", row.type},
                    {"category", row.category},
                    {"type_version", row.type_version},
                    {"event_id", core::uuid_to_text(pg::to_uuid(row.event_id))},
                    {"actor", pg::to_string(row.actor)}};
    std::string text = head.dump();
    text.pop_back();
    return pg::make_jsonb(text + ", \"data\": " + pg::jsonb_to_string(row.data) +
                          ", \"metadata\": " + pg::jsonb_to_string(row.metadata) + "}");
}

} // namespace chronicle::store
