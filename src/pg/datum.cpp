#include "core/uuid.hpp"

#include "pg/datum.hpp"

extern "C" {
#include "utils/fmgrprotos.h"
#include "utils/json.h"
}

namespace chronicle::pg {

Datum make_int_array(const std::vector<int> &values) {
    size_t count = values.size();
    const int *from = values.data();
    return call([&]() noexcept {
        Datum *elements = static_cast<Datum *>(palloc(sizeof(Datum) * (count + 1)));
        for (size_t i = 0; i < count; i++)
            elements[i] = Int32GetDatum(from[i]);
        return PointerGetDatum(construct_array(elements, static_cast<int>(count), INT4OID, 4, true, TYPALIGN_INT));
    });
}

std::vector<int> to_ints(Datum int_array) {
    struct Elements {
        Datum *values;
        int count;
    };
    Elements elements = call([&]() noexcept {
        Elements e;
        deconstruct_array(DatumGetArrayTypeP(int_array), INT4OID, 4, true, TYPALIGN_INT, &e.values, nullptr, &e.count);
        return e;
    });
    std::vector<int> result;
    for (int i = 0; i < elements.count; i++)
        result.push_back(DatumGetInt32(elements.values[i]));
    return result;
}

std::vector<std::string> to_strings(Datum array, const char *name) {
    struct Elements {
        Datum *values;
        bool *nulls;
        int count;
    };
    Elements e = call([&]() noexcept {
        Elements found;
        deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &found.values, &found.nulls,
                          &found.count);
        return found;
    });
    std::vector<std::string> texts;
    for (int i = 0; i < e.count; i++) {
        if (e.nulls[i])
            raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = std::string(name) + " must not contain NULL"});
        texts.push_back(to_string(e.values[i]));
    }
    return texts;
}

std::optional<std::vector<std::string>> Arguments::texts(int i, const char *name) const {
    return null(i) ? std::nullopt : std::optional(to_strings(datum(i), name));
}

std::string to_string(Datum value) {
    text *plain = call([&]() noexcept { return DatumGetTextPP(value); });
    return std::string(VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain));
}

Datum make_text(std::string_view value) {
    return PointerGetDatum(
        call([&]() noexcept { return cstring_to_text_with_len(value.data(), static_cast<int>(value.size())); }));
}

std::string jsonb_to_string(Datum value) {
    return call([&]() noexcept {
        Jsonb *jsonb = DatumGetJsonbP(value);
        return JsonbToCString(nullptr, &jsonb->root, VARSIZE(jsonb));
    });
}

Datum make_jsonb(std::string_view json_text) {
    std::string terminated(json_text);
    const char *input = terminated.c_str();
    return call([&]() noexcept { return DirectFunctionCall1(jsonb_in, CStringGetDatum(input)); });
}

std::optional<std::string> jsonb_field(Datum value, std::string_view key) {
    struct Found {
        char *text;
    };
    Found found = call([&]() noexcept {
        Jsonb *jsonb = DatumGetJsonbP(value);
        if (!JB_ROOT_IS_OBJECT(jsonb))
            return Found{nullptr};
        LOCAL_FCINFO(fcinfo, 2);
        InitFunctionCallInfoData(*fcinfo, nullptr, 2, InvalidOid, nullptr, nullptr);
        fcinfo->args[0] = {JsonbPGetDatum(jsonb), false};
        fcinfo->args[1] = {PointerGetDatum(cstring_to_text_with_len(key.data(), static_cast<int>(key.size()))), false};
        Datum result = jsonb_object_field_text(fcinfo);
        return Found{fcinfo->isnull ? nullptr : text_to_cstring(DatumGetTextPP(result))};
    });
    if (!found.text)
        return std::nullopt;
    return std::string(found.text);
}

void for_each_key(Datum value, const std::function<void(std::string_view)> &visit) {
    JsonbIterator *iterator = call([&]() noexcept { return JsonbIteratorInit(&DatumGetJsonbP(value)->root); });
    for (;;) {
        JsonbValue key;
        JsonbIteratorToken token = call([&]() noexcept { return JsonbIteratorNext(&iterator, &key, true); });
        if (token == WJB_DONE)
            return;
        if (token == WJB_KEY)
            visit({key.val.string.val, static_cast<size_t>(key.val.string.len)});
    }
}

std::string uuid_to_string(const Uuid &uuid) { return core::uuid_to_text(uuid); }

Uuid new_uuid() {
    static core::UuidV7Generator generator;
    core::UuidRandom random;
    if (!pg_strong_random(random.data(), random.size()))
        raise(ERRCODE_INTERNAL_ERROR, {.message = "could not generate random bytes for an id"});
    // Microseconds since 2000 to milliseconds since 1970.
    int64 since_1970 =
        GetCurrentTimestamp() / 1000 + int64(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000;
    return generator.next(static_cast<uint64_t>(since_1970), random);
}

std::optional<std::string> Arguments::text(int i) const {
    return null(i) ? std::nullopt : std::optional(to_string(datum(i)));
}
std::optional<int64> Arguments::int8(int i) const {
    return null(i) ? std::nullopt : std::optional<int64>(DatumGetInt64(datum(i)));
}
std::optional<int32> Arguments::int4(int i) const {
    return null(i) ? std::nullopt : std::optional<int32>(DatumGetInt32(datum(i)));
}
std::optional<bool> Arguments::boolean(int i) const {
    return null(i) ? std::nullopt : std::optional(DatumGetBool(datum(i)));
}
std::optional<Uuid> Arguments::uuid(int i) const { return null(i) ? std::nullopt : std::optional(to_uuid(datum(i))); }

std::string Arguments::required_text(int i, const char *name) const {
    if (null(i))
        raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = std::string("argument \"") + name + "\" must not be NULL"});
    return to_string(datum(i));
}

Uuid Arguments::required_uuid(int i, const char *name) const {
    if (null(i))
        raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = std::string("argument \"") + name + "\" must not be NULL"});
    return to_uuid(datum(i));
}

} // namespace chronicle::pg
