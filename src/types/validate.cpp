#include "core/excerpt.hpp"
#include "core/json.hpp"
#include "core/schema.hpp"

#include "types/validate.hpp"

#include "access/access.hpp"

extern "C" {
#include "catalog/pg_type_d.h"
}

namespace chronicle::types {

namespace {

std::optional<Refusal> by_schema(const core::Schema &schema, Datum data) {
    core::Result<core::json> value = core::parse_json(pg::jsonb_to_string(data));
    if (!value)
        return Refusal{"$", "the data cannot be checked: " + std::string(core::beginning(value.problem, 100))};
    std::optional<core::SchemaFault> fault = schema.check(*value, core_guard);
    return fault ? std::optional(Refusal{fault->path, fault->reason}) : std::nullopt;
}

std::optional<Refusal> by_function(const OwnedFunction &validator, Datum data) {
    Oid owner = owner_of(validator, "validator " + validator.name);
    access::OwnerScope as_owner(owner, validator.search_path);
    pg::UserFunction function(validator.name, validator_signature(), owner); // one that is gone is nobody's bad data
    try {
        NullableDatum argument{data, false};
        NullableDatum said = function.call(&argument);
        return said.isnull ? std::nullopt : std::optional(Refusal{"$", pg::to_string(said.value)});
    } catch (const pg::Error &error) {
        if (error.must_pass())
            throw;
        return Refusal{"$", error.message(), error.sqlstate_text(), error.context()};
    }
}

} // namespace

pg::Signature validator_signature() { return {"validator(data jsonb) returns text", 1, {JSONBOID}, TEXTOID}; }

std::optional<Refusal> validate(const EventType &type, int32 version, Datum data, bool &called_user) {
    auto found = type.versions.find(version);
    if (found == type.versions.end()) {
        // One that an upcaster takes or makes has no checks of its own; any other would be a way around the checks.
        if (type.upcasters.contains(version) || type.upcasters.contains(version - 1))
            return std::nullopt;
        return Refusal{"metadata.schema_version", "version " + std::to_string(version) + " is not registered"};
    }
    const Version &wanted = found->second;
    if (wanted.schema)
        if (std::optional<Refusal> refusal = by_schema(*wanted.schema, data))
            return refusal;
    if (!wanted.validator)
        return std::nullopt;
    called_user = true;
    return by_function(*wanted.validator, data);
}

} // namespace chronicle::types
