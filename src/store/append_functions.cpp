// The SQL functions that append: their arguments as store::Append.
#include "core/json.hpp"
#include "core/uuid.hpp"

#include "store/append.hpp"

#include "access/access.hpp"
#include "store/order.hpp"

extern "C" {
#include "catalog/pg_type_d.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
}

namespace chronicle::store {

namespace {

Datum empty_object() { return pg::make_jsonb("{}"); }

[[noreturn]] void raise_bad_element(const std::string &path, const std::string &problem) {
    pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
              {.message = path + ": " + problem, .detail = core::json{{"path", path}, {"reason", problem}}.dump()});
}

pg::Uuid parse_uuid(const std::string &text, const std::string &path) {
    const char *form = text.c_str();
    try {
        return pg::to_uuid(pg::call([&]() noexcept { return DirectFunctionCall1(uuid_in, CStringGetDatum(form)); }));
    } catch (const pg::Error &) { // it has only looked at the text
        raise_bad_element(path, "must be a UUID");
    }
}

// --- jsonb ---

// The value of a key, copied out of its object; nothing when absent or null.
std::optional<Datum> member(Datum object, const char *key) {
    struct Found {
        Datum value;
        bool present;
    };
    Found found = pg::call([&]() noexcept {
        Jsonb *jsonb = DatumGetJsonbP(object);
        JsonbValue buffer;
        JsonbValue *value = getKeyJsonValueFromContainer(&jsonb->root, key, static_cast<int>(strlen(key)), &buffer);
        if (!value || value->type == jbvNull)
            return Found{Datum(0), false};
        return Found{JsonbPGetDatum(JsonbValueToJsonb(value)), true};
    });
    return found.present ? std::optional(found.value) : std::nullopt;
}

std::optional<std::string> text_member(Datum object, const char *key, const std::string &path) {
    std::optional<Datum> value = member(object, key);
    if (!value)
        return std::nullopt;
    core::Result<core::json> parsed = core::parse_json(pg::jsonb_to_string(*value));
    if (!parsed || !parsed->is_string())
        raise_bad_element(path + "." + key, "must be a string");
    return parsed->get<std::string>();
}

// The elements of an array that must all be objects with no other keys than these.
std::vector<Datum> objects_in(Datum array, const std::string &path, std::span<const std::string_view> keys) {
    Jsonb *jsonb = pg::call([&]() noexcept { return DatumGetJsonbP(array); });
    if (!JB_ROOT_IS_ARRAY(jsonb) || JB_ROOT_IS_SCALAR(jsonb))
        raise_bad_element(path, "must be a JSON array");
    uint32 count = JB_ROOT_COUNT(jsonb);
    std::vector<Datum> elements;
    elements.reserve(count);
    for (uint32 i = 0; i < count; i++) {
        Datum element = pg::call([&]() noexcept {
            return JsonbPGetDatum(JsonbValueToJsonb(getIthJsonbValueFromContainer(&jsonb->root, i)));
        });
        std::string at = core::path_index(path, i);
        if (!JB_ROOT_IS_OBJECT(DatumGetJsonbP(element)))
            raise_bad_element(at, "must be an object");
        pg::for_each_key(element, [&](std::string_view key) {
            if (std::find(keys.begin(), keys.end(), key) == keys.end())
                raise_bad_element(core::path_key(at, key), "unknown key");
        });
        elements.push_back(element);
    }
    return elements;
}

} // namespace

std::vector<NewEvent> parse_events(Datum array, const std::string &path) {
    static constexpr std::string_view keys[] = {"type", "data", "metadata", "event_id"};
    std::vector<NewEvent> events;
    for (Datum object : objects_in(array, path, keys)) {
        std::string at = core::path_index(path, events.size());
        std::optional<std::string> type = text_member(object, "type", at);
        if (!type)
            raise_bad_element(at + ".type", "is missing");
        std::optional<std::string> id = text_member(object, "event_id", at);
        std::optional<Datum> data = member(object, "data"), metadata = member(object, "metadata");
        events.push_back({*type, data ? *data : empty_object(), metadata ? *metadata : empty_object(),
                          id ? std::optional(parse_uuid(*id, at + ".event_id")) : std::nullopt});
    }
    return events;
}

namespace {

std::vector<Append> parse_batches(Datum batches) {
    static constexpr std::string_view keys[] = {"stream", "expected_version", "events"};
    std::vector<Append> appends;
    for (Datum object : objects_in(batches, "$", keys)) {
        std::string at = core::path_index("$", appends.size());
        std::optional<std::string> stream = text_member(object, "stream", at);
        if (!stream)
            raise_bad_element(at + ".stream", "is missing");
        Append append{*stream, std::nullopt, {}};
        if (std::optional<Datum> expected = member(object, "expected_version")) {
            core::Result<core::json> parsed = core::parse_json(pg::jsonb_to_string(*expected));
            if (parsed)
                append.expected_version = core::integer_value(*parsed);
            if (!append.expected_version)
                raise_bad_element(at + ".expected_version", "must be an integer");
        }
        if (std::optional<Datum> events = member(object, "events"))
            append.events = parse_events(*events, at + ".events");
        appends.push_back(std::move(append));
    }
    return appends;
}

// --- arrays ---

struct Elements {
    Datum *values;
    bool *nulls;
    int count;
};

// A one-dimensional array of the wanted length (-1: any); an empty one for NULL.
Elements elements_of(const pg::Arguments &arguments, int i, const char *name, Oid type, int wanted) {
    if (arguments.null(i))
        return {nullptr, nullptr, 0};
    Datum array = arguments.datum(i);
    struct Result {
        Elements elements;
        int dimensions;
    };
    Result result = pg::call([&]() noexcept {
        ArrayType *plain = DatumGetArrayTypeP(array);
        int16 length;
        bool by_value;
        char alignment;
        get_typlenbyvalalign(type, &length, &by_value, &alignment);
        Result r{{}, ARR_NDIM(plain)};
        deconstruct_array(plain, type, length, by_value, alignment, &r.elements.values, &r.elements.nulls,
                          &r.elements.count);
        return r;
    });
    if (result.dimensions > 1)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = std::string("argument \"") + name + "\" must have one dimension"});
    if (wanted >= 0 && result.elements.count != wanted)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = std::string("argument \"") + name + "\" has " + std::to_string(result.elements.count) +
                              " elements, \"types\" has " + std::to_string(wanted)});
    return result.elements;
}

std::vector<NewEvent> events_of_arrays(const pg::Arguments &arguments) {
    if (arguments.null(1))
        pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = "argument \"types\" must not be NULL"});
    Elements types = elements_of(arguments, 1, "types", TEXTOID, -1);
    Elements data = elements_of(arguments, 2, "data", JSONBOID, arguments.null(2) ? -1 : types.count);
    Elements metadata = elements_of(arguments, 4, "metadata", JSONBOID, arguments.null(4) ? -1 : types.count);
    Elements ids = elements_of(arguments, 5, "event_ids", UUIDOID, arguments.null(5) ? -1 : types.count);
    Datum empty = empty_object();
    std::vector<NewEvent> events;
    events.reserve(static_cast<size_t>(types.count));
    for (int i = 0; i < types.count; i++) {
        if (types.nulls[i])
            pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED,
                      {.message = "types[" + std::to_string(i + 1) + "] must not be NULL"});
        auto or_empty = [&](const Elements &e) { return e.count == 0 || e.nulls[i] ? empty : e.values[i]; };
        events.push_back({pg::to_string(types.values[i]), or_empty(data), or_empty(metadata),
                          ids.count == 0 || ids.nulls[i] ? std::nullopt : std::optional(pg::to_uuid(ids.values[i]))});
    }
    return events;
}

int64 append_to_one(Append &&one) { return append(std::vector<Append>{std::move(one)}).front().last; }

} // namespace

CHRONICLE_FUNCTION(chronicle_append_event) {
    pg::Arguments arguments(fcinfo);
    Append one{arguments.required_text(0, "stream"), arguments.int8(4), {}};
    one.events.push_back({arguments.required_text(1, "type"), arguments.null(2) ? empty_object() : arguments.datum(2),
                          arguments.null(3) ? empty_object() : arguments.datum(3), arguments.uuid(5)});
    PG_RETURN_INT64(append_to_one(std::move(one)));
}

CHRONICLE_FUNCTION(chronicle_append_events) {
    pg::Arguments arguments(fcinfo);
    Append one{arguments.required_text(0, "stream"), arguments.int8(2), {}};
    if (arguments.null(1))
        pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = "argument \"events\" must not be NULL"});
    one.events = parse_events(arguments.datum(1), "$");
    PG_RETURN_INT64(append_to_one(std::move(one)));
}

CHRONICLE_FUNCTION(chronicle_append_event_arrays) {
    pg::Arguments arguments(fcinfo);
    Append one{arguments.required_text(0, "stream"), arguments.int8(3), events_of_arrays(arguments)};
    PG_RETURN_INT64(append_to_one(std::move(one)));
}

CHRONICLE_FUNCTION(chronicle_append_streams) {
    pg::Arguments arguments(fcinfo);
    if (arguments.null(0))
        pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = "argument \"batches\" must not be NULL"});
    std::vector<Append> appends = parse_batches(arguments.datum(0));
    std::vector<Appended> results = append(appends);
    pg::call([&]() noexcept { InitMaterializedSRF(fcinfo, 0); });
    ReturnSetInfo *result = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);
    for (size_t i = 0; i < appends.size(); i++) {
        Datum values[] = {pg::make_text(appends[i].stream), Int64GetDatum(results[i].first),
                          Int64GetDatum(results[i].last)};
        bool nulls[] = {false, results[i].first == 0, false};
        pg::call([&]() noexcept { tuplestore_putvalues(result->setResult, result->setDesc, values, nulls); });
    }
    PG_RETURN_NULL();
}

CHRONICLE_FUNCTION(chronicle_delete_stream) {
    pg::Arguments arguments(fcinfo);
    std::string stream = arguments.required_text(0, "stream");
    access::require(access::Level::writer, "delete streams");
    PG_RETURN_INT64(delete_stream(stream, arguments.int8(1), false));
}

CHRONICLE_FUNCTION(chronicle_tombstone_stream) {
    pg::Arguments arguments(fcinfo);
    std::string stream = arguments.required_text(0, "stream");
    access::require(access::Level::admin, "tombstone streams");
    PG_RETURN_INT64(delete_stream(stream, arguments.int8(1), true));
}

CHRONICLE_FUNCTION(chronicle_last_position) {
    if (order::last_position() == 0)
        PG_RETURN_NULL();
    PG_RETURN_INT64(order::last_position());
}

CHRONICLE_FUNCTION(chronicle_safe_position) {
    PG_RETURN_INT64(order::mark(pg::call([]() noexcept { return GetActiveSnapshot(); })));
}

} // namespace chronicle::store
