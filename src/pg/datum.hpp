// Values across the seam: text, jsonb, uuid and arguments of SQL functions.
#pragma once

#include "pg/guard.hpp"

extern "C" {
#include "utils/datum.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
}

namespace chronicle::pg {

/// A copy of a text (or varchar, bytea) datum.
std::string to_string(Datum text);
/// A palloc'ed text datum.
Datum make_text(std::string_view text);
/// The elements of a text[]; 22004 that names the array when one is NULL.
std::vector<std::string> to_strings(Datum array, const char *name);
/// jsonb's text form, and back (22P02 when it is not JSON).
std::string jsonb_to_string(Datum jsonb);
Datum make_jsonb(std::string_view json_text);
/// `jsonb ->> key`; nothing when the key is absent, null, or the value is no object.
std::optional<std::string> jsonb_field(Datum jsonb, std::string_view key);

/// Calls `visit` with each key of a jsonb object.
void for_each_key(Datum jsonb, const std::function<void(std::string_view)> &visit);

/// A copy in the current memory context (length as in pg_type.typlen; -1: varlena, detoasted).
inline Datum copy_datum(Datum value, int length) {
    return call([&]() noexcept {
        return length == -1 ? PointerGetDatum(PG_DETOAST_DATUM_COPY(value)) : datumCopy(value, false, length);
    });
}

using Uuid = std::array<uint8_t, 16>;
inline Datum make_uuid(const Uuid &uuid) {
    pg_uuid_t *copy = static_cast<pg_uuid_t *>(call([]() noexcept { return palloc(sizeof(pg_uuid_t)); }));
    memcpy(copy->data, uuid.data(), uuid.size());
    return UUIDPGetDatum(copy);
}
inline Uuid to_uuid(Datum uuid) {
    Uuid copy;
    memcpy(copy.data(), DatumGetUUIDP(uuid)->data, copy.size());
    return copy;
}
std::string uuid_to_string(const Uuid &uuid);
/// int4[]
Datum make_int_array(const std::vector<int> &values);
std::vector<int> to_ints(Datum int_array);
/// A new UUIDv7 (RFC 9562) from the wall clock and the server's strong random source, rising in one process.
Uuid new_uuid();

/// The arguments of an SQL function. Where an argument is NULL the optional is empty.
class Arguments {
public:
    explicit Arguments(FunctionCallInfo fcinfo) : fcinfo_(fcinfo) {}
    bool null(int i) const { return fcinfo_->args[i].isnull; }
    Datum datum(int i) const { return fcinfo_->args[i].value; }
    std::optional<std::string> text(int i) const;
    std::optional<int64> int8(int i) const;
    std::optional<int32> int4(int i) const;
    std::optional<bool> boolean(int i) const;
    std::optional<Uuid> uuid(int i) const;
    std::optional<std::vector<std::string>> texts(int i, const char *name) const;
    /// Not NULL, or 22004 that names the argument.
    std::string required_text(int i, const char *name) const;
    Uuid required_uuid(int i, const char *name) const;

private:
    FunctionCallInfo fcinfo_;
};

} // namespace chronicle::pg
