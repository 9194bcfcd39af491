#include "core/json.hpp"

#include "types/upcast.hpp"

#include "access/access.hpp"

extern "C" {
#include "common/hashfn.h"
#include "catalog/pg_type_d.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/syscache.h"
}

namespace chronicle::types {

namespace {

std::string step_text(const std::string &type, int32 version) {
    return "upcaster of event type \"" + type + "\" from version " + std::to_string(version);
}

// The original error with what it was about; its SQLSTATE stays.
[[noreturn]] void raise_failed(const pg::Error &error, const OwnedFunction &upcaster, const std::string &type,
                               int32 version, int64 position) {
    core::json detail{{"type", type},
                      {"version", version},
                      {"upcast", upcaster.name},
                      {"global_position", position},
                      {"sqlstate", error.sqlstate_text()},
                      {"message", error.message()}};
    if (!error.context().empty())
        detail["context"] = error.context();
    pg::raise(error.sqlstate(), {.message = step_text(type, version) + " failed: " + error.message(),
                                 .detail = core::write_json(detail),
                                 .hint = "Mend function " + upcaster.name + ", or register another upcaster."});
}

// How far the chain leads from a version.
int32 reached(const EventType &type, int32 version) {
    while (version < type.newest && type.upcasters.contains(version))
        version++;
    return version;
}

} // namespace

namespace {

uint64 function_changes = 0; // of any function of this database

int64 hash(const std::string &text) {
    return static_cast<int64>(
        hash_bytes_extended(reinterpret_cast<const unsigned char *>(text.data()), static_cast<int>(text.size()), 0));
}

std::string function_text(const OwnedFunction &upcaster) {
    Oid oid = pg::find_function(upcaster.name, upcast_signature());
    if (!OidIsValid(oid))
        return "";
    return pg::to_string(
        pg::call([&]() noexcept { return DirectFunctionCall1(pg_get_functiondef, ObjectIdGetDatum(oid)); }));
}

} // namespace

// Worked out again when the registry or any function has changed, which is rare. A sum, as the order is arbitrary.
int64 upcasters_fingerprint() {
    static bool registered = false;
    static uint64 generation = 0, changes = 0;
    static int64 known = 0;
    if (!any_upcasters())
        return 0;
    if (!std::exchange(registered, true))
        pg::call([]() noexcept {
            CacheRegisterSyscacheCallback(
                PROCOID, [](Datum, int, uint32) { function_changes++; }, Datum(0));
        });
    uint64 now = registry_generation(), changes_now = function_changes;
    if (generation == now && changes == changes_now)
        return known;
    access::EngineScope engine; // whoever asks may lack rights on the functions' schemas
    uint64 sum = 0;
    for_each_upcaster([&](const std::string &type, int32 from, const OwnedFunction &upcaster) {
        sum += static_cast<uint64>(hash(type + '\0' + std::to_string(from) + '\0' + function_text(upcaster)));
    });
    generation = now;
    changes = changes_now;
    return known = static_cast<int64>(sum);
}

pg::Signature upcast_signature() { return {"upcast(data jsonb) returns jsonb", 1, {JSONBOID}, JSONBOID}; }

Datum Upcasts::run(const OwnedFunction &upcaster, const std::string &type, int32 version, Datum data) {
    std::string key = upcaster.name + '\0' + upcaster.owner + '\0' + upcaster.search_path;
    auto found = steps_.find(key);
    if (found == steps_.end()) {
        Oid owner = owner_of(upcaster, step_text(type, version));
        access::OwnerScope as_owner(owner, upcaster.search_path);
        pg::MemorySwitch keep(memory_);
        pg::UserFunction function(upcaster.name, upcast_signature(), owner);
        found = steps_.emplace(key, Step{owner, upcaster.search_path, function}).first;
    }
    Step &step = found->second;
    access::OwnerScope as_owner(step.owner, step.search_path);
    NullableDatum argument{data, false};
    NullableDatum made = step.function.call(&argument);
    if (made.isnull)
        pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = "it returned NULL"});
    return made.value;
}

void Upcasts::follow(const std::string &type, int64 position, int32 &version, Datum &data) {
    std::shared_ptr<const EventType> known = find_type(type);
    if (!known)
        return;
    int32 end = reached(*known, version);
    for (; version < end; version++) {
        const OwnedFunction &upcaster = known->upcasters.at(version);
        try {
            data = run(upcaster, type, version, data);
        } catch (const pg::Error &error) {
            if (error.must_pass())
                throw;
            raise_failed(error, upcaster, type, version, position);
        }
    }
}

// --- for view events: its data comes by upcast_data, in store/event_view.cpp ---

CHRONICLE_FUNCTION(chronicle_upcast_version) {
    pg::Arguments arguments(fcinfo);
    std::shared_ptr<const EventType> known = find_type(arguments.required_text(0, "type"));
    int32 version = *arguments.int4(1);
    PG_RETURN_INT32(known ? reached(*known, version) : version);
}

} // namespace chronicle::types
