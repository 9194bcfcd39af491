// Event types: versions, what their data must look like, and how older data becomes newer. Told in README.md.
#pragma once

#include "pg/datum.hpp"
#include "pg/user_function.hpp"

namespace chronicle::core {
class Schema;
}

namespace chronicle::types {

/// A user's function as it was registered: as whom it runs, and with what search_path.
struct OwnedFunction {
    std::string name; // stored form
    std::string owner, search_path;
};

/// One version of a type. Without schema and validator: only its number.
struct Version {
    std::string schema_text; // empty: none
    std::shared_ptr<const core::Schema> schema;
    std::optional<OwnedFunction> validator;
};

struct EventType {
    int32 newest = 1; // of the versions, and of those that upcasters lead to
    std::unordered_map<int32, Version> versions;
    std::unordered_map<int32, OwnedFunction> upcasters; // by the version that they take
};

/// What is registered of a type, from this process's copy of the tables; nullptr: nothing. It does not change, also
/// when the type does.
std::shared_ptr<const EventType> find_type(std::string_view type);
/// False while no type has an upcaster: the cheap question of every read.
bool any_upcasters();
/// Another number when the registry may have changed.
uint64 registry_generation();
using EachUpcaster = std::function<void(const std::string &type, int32 from, const OwnedFunction &upcaster)>;
void for_each_upcaster(const EachUpcaster &visit);

pg::Signature validator_signature(); // validator(data jsonb) returns text
pg::Signature upcast_signature(); // upcast(data jsonb) returns jsonb

/// The OID of the function's owner; 42704 when the role is gone, naming what the function is.
Oid owner_of(const OwnedFunction &function, const std::string &what);

/// Called by long work of src/core: serves cancels, and ends a recursion that is too deep (54001).
void core_guard();

} // namespace chronicle::types
