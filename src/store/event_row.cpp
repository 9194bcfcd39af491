#include "core/uuid.hpp"

#include "store/event_row.hpp"

#include "catalog/names.hpp"
#include "pg/datum.hpp"

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

JsonbValue json_string(std::string_view text) noexcept {
    JsonbValue value{};
    value.type = jbvString;
    value.val.string.val = const_cast<char *>(text.data());
    value.val.string.len = static_cast<int>(text.size());
    return value;
}

JsonbValue json_number(int64 number) noexcept {
    JsonbValue value{};
    value.type = jbvNumeric;
    value.val.numeric = int64_to_numeric(number);
    return value;
}

JsonbValue json_value(Datum datum) noexcept {
    Jsonb *jsonb = DatumGetJsonbP(datum);
    JsonbValue value{};
    if (JB_ROOT_IS_SCALAR(jsonb)) {
        (void)JsonbExtractScalar(&jsonb->root, &value);
    } else {
        value.type = jbvBinary;
        value.val.binary.data = &jsonb->root;
        value.val.binary.len = VARSIZE_ANY_EXHDR(jsonb);
    }
    return value;
}

void push_member(JsonbParseState **state, const char *key, JsonbValue value) noexcept {
    JsonbValue name = json_string(key);
    (void)pushJsonbValue(state, WJB_KEY, &name);
    (void)pushJsonbValue(state, WJB_VALUE, &value);
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

const EventMaker::Known &EventMaker::kind(int32 kind_id) {
    if (last_ && last_kind_ == kind_id)
        return *last_;
    Known &known = kinds_[kind_id];
    if (known.type_text == 0) {
        known.kind = kind_of(kind_id);
        pg::MemorySwitch to_scan(memory_);
        known.type_text = pg::make_text(known.kind.type);
    }
    last_kind_ = kind_id;
    last_ = &known;
    return known;
}

void EventMaker::make(const pg::RowReader &reader, std::string_view stream, EventRow &row) {
    bool is_null;
    const Known &known = kind(DatumGetInt32(reader.column(6, &is_null)));
    row.position = DatumGetInt64(reader.column(1, &is_null));
    row.version = DatumGetInt64(reader.column(3, &is_null));
    row.stream = stream;
    row.category = known.kind.category;
    row.type = known.kind.type;
    row.data = reader.column(11, &is_null);
    row.metadata = reader.column(12, &is_null);
    row.event_id = reader.column(8, &is_null);
    row.recorded_at = reader.column(4, &is_null);
    row.actor = reader.column(10, &is_null);
    row.stream_text = 0;
    row.type_text = known.type_text;
    row.type_version = DatumGetInt32(reader.column(7, &is_null));
    if (!as_stored_)
        upcasts_.apply(known.kind.type, row.position, row.type_version, row.data);
}

EventRow read_run_event(const pg::RowReader &reader, std::string_view stream, std::string &type) {
    bool is_null;
    type = pg::to_string(reader.column(7, &is_null));
    return {.position = DatumGetInt64(reader.column(1, &is_null)),
            .version = DatumGetInt64(reader.column(3, &is_null)),
            .stream = stream,
            .category = catalog::workflow_category,
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
        set(2, row.stream_text != 0 ? row.stream_text : pg::make_text(row.stream));
    set(3, Int64GetDatum(row.version));
    if (wants(4))
        set(4, row.type_text != 0 ? row.type_text : pg::make_text(row.type));
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

// Put together from values: as text it would be written and parsed again.
Datum event_object(const EventRow &row) {
    std::string event_id = core::uuid_to_text(pg::to_uuid(row.event_id)), actor = pg::to_string(row.actor);
    return pg::call([&]() noexcept {
        JsonbParseState *state = nullptr;
        (void)pushJsonbValue(&state, WJB_BEGIN_OBJECT, nullptr);
        push_member(&state, "global_position", json_number(row.position));
        push_member(&state, "stream", json_string(row.stream));
        push_member(&state, "version", json_number(row.version));
        push_member(&state, "type", json_string(row.type));
        push_member(&state, "category", json_string(row.category));
        push_member(&state, "type_version", json_number(row.type_version));
        push_member(&state, "event_id", json_string(event_id));
        push_member(&state, "actor", json_string(actor));
        push_member(&state, "data", json_value(row.data));
        push_member(&state, "metadata", json_value(row.metadata));
        return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, nullptr)));
    });
}

} // namespace chronicle::store
