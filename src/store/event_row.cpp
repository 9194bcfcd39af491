#include "core/json.hpp"
#include "core/uuid.hpp"

#include "store/event_row.hpp"

#include "pg/datum.hpp"
#include "store/kind.hpp"

extern "C" {
#include "utils/tuplestore.h"
}

namespace chronicle::store {

namespace {

constexpr int event_columns = 13;

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

EventRow read_user_event(const pg::IndexReader &reader, std::string_view stream) {
    bool is_null;
    const Kind &kind = kind_of(DatumGetInt32(reader.column(6, &is_null)));
    return {.position = DatumGetInt64(reader.column(1, &is_null)),
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
}

void put_event(ReturnSetInfo *result, const EventRow &row) {
    bool nulls[event_columns] = {};
    Datum values[event_columns] = {Int64GetDatum(row.position),
                                   pg::make_text(row.stream),
                                   Int64GetDatum(row.version),
                                   pg::make_text(row.type),
                                   row.data,
                                   row.metadata,
                                   row.event_id,
                                   row.recorded_at,
                                   pg::make_text(row.category),
                                   Int32GetDatum(row.type_version),
                                   metadata_key(row.metadata, "correlation_id", "$correlationId", &nulls[10]),
                                   metadata_key(row.metadata, "causation_id", "$causationId", &nulls[11]),
                                   row.actor};
    pg::call([&]() noexcept { tuplestore_putvalues(result->setResult, result->setDesc, values, nulls); });
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
