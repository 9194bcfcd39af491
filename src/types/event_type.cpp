// The registry of event types: the tables in memory, and the functions that change them.
//
// A process reads both tables whole when one of them has changed (catalog::CachedTable); schemas whose text is the same
// stay compiled. Readers and appenders hold the entry that they work with, so a change in between, even by a function
// that they call, does not pull it away.
#include "core/json.hpp"
#include "core/schema.hpp"

#include "types/event_type.hpp"

#include "access/access.hpp"
#include "catalog/cached_table.hpp"
#include "catalog/names.hpp"
#include "pg/lock.hpp"

namespace chronicle::types {

namespace {

catalog::CachedTable type_table("event_type"), upcaster_table("upcaster");

using Types = std::unordered_map<std::string, std::shared_ptr<const EventType>>;
struct Registry {
    uint64 types_generation = 0, upcasters_generation = 0;
    Types types;
    bool any_upcasters = false;
};
Registry *registry = nullptr;

std::shared_ptr<const core::Schema> compile(const std::string &text) {
    core::Result<core::json> document = core::parse_json(text);
    core::SchemaFault fault{"$", document.problem};
    std::optional<core::Schema> schema;
    if (document)
        schema = core::Schema::compile(*document, core_guard, fault);
    if (!schema)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "invalid schema: " + fault.path + ": " + fault.reason,
                   .detail = core::json{{"path", fault.path}, {"reason", fault.reason}}.dump(),
                   .hint = "Schemas are JSON Schema, draft 7, complete in themselves."});
    return std::make_shared<const core::Schema>(std::move(*schema));
}

// Compiled once: by the registry before, if the text is the same.
std::shared_ptr<const core::Schema> compiled_schema(const std::string &type, int32 version, const std::string &text) {
    if (registry)
        if (auto known = registry->types.find(type); known != registry->types.end())
            if (auto same = known->second->versions.find(version);
                same != known->second->versions.end() && same->second.schema_text == text)
                return same->second.schema;
    return compile(text);
}

void read_versions(std::unordered_map<std::string, EventType> &types) {
    static pg::Statement all{
        "SELECT type, version, schema, validator, owner, search_path FROM chronicle_data.event_type"};
    pg::Values none;
    pg::Rows rows = all.run(none, true);
    for (uint64 i = 0; i < rows.count; i++) {
        std::string name = rows[i].text(1);
        int32 number = rows[i].int4(2);
        Version version;
        if (!rows[i].null(3)) {
            version.schema_text = rows[i].jsonb(3);
            version.schema = compiled_schema(name, number, version.schema_text);
        }
        if (std::optional<std::string> validator = rows[i].maybe_text(4))
            version.validator = OwnedFunction{*validator, rows[i].text(5), rows[i].text(6)};
        EventType &type = types[name];
        type.newest = std::max(type.newest, number);
        type.versions.emplace(number, std::move(version));
    }
}

bool read_upcasters(std::unordered_map<std::string, EventType> &types) {
    static pg::Statement all{"SELECT type, from_version, upcast, owner, search_path FROM chronicle_data.upcaster"};
    pg::Values none;
    pg::Rows rows = all.run(none, true);
    for (uint64 i = 0; i < rows.count; i++) {
        EventType &type = types[rows[i].text(1)];
        int32 from = rows[i].int4(2);
        type.newest = std::max(type.newest, from + 1);
        type.upcasters.emplace(from, OwnedFunction{rows[i].text(3), rows[i].text(4), rows[i].text(5)});
    }
    return rows.count > 0;
}

// The generations are taken before the rows are read: what changes meanwhile counts next time.
const Registry &current() {
    uint64 types_generation = type_table.generation(), upcasters_generation = upcaster_table.generation();
    if (registry && registry->types_generation == types_generation &&
        registry->upcasters_generation == upcasters_generation)
        return *registry;
    auto fresh = std::make_unique<Registry>();
    fresh->types_generation = types_generation;
    fresh->upcasters_generation = upcasters_generation;
    std::unordered_map<std::string, EventType> types;
    {
        access::EngineScope engine;
        pg::LatestSnapshotScope newest;
        read_versions(types);
        fresh->any_upcasters = read_upcasters(types);
    }
    for (auto &[name, type] : types)
        fresh->types.emplace(name, std::make_shared<const EventType>(std::move(type)));
    delete registry;
    registry = fresh.release();
    return *registry;
}

// --- registering ---

std::string type_argument(const pg::Arguments &arguments) {
    std::string type = arguments.required_text(0, "type");
    catalog::check_name(type, "event type");
    catalog::check_type_not_reserved(type);
    return type;
}

int32 version_argument(int32 version, const char *name) {
    if (version < 1 || version == PG_INT32_MAX)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = std::string(name) + " must be from 1 to " + std::to_string(PG_INT32_MAX - 1) + ", not " +
                              std::to_string(version),
                   .detail = core::json{{name, version}}.dump()});
    return version;
}

std::string current_role() {
    return pg::call([]() noexcept { return GetUserNameFromId(GetUserId(), false); });
}

// Who registers first owns the type. The lock keeps two from being first; it is held until the end of the transaction.
void require_own_type(const std::string &type) {
    static constexpr Oid types[] = {TEXTOID};
    static pg::Statement owners{"SELECT owner FROM chronicle_data.event_type WHERE type = $1 "
                                "UNION SELECT owner FROM chronicle_data.upcaster WHERE type = $1",
                                types};
    access::require(access::Level::operator_, "register event types");
    pg::lock(pg::LockKind::event_type, pg::lock_key(type));
    std::vector<std::string> found;
    {
        access::EngineScope engine;
        pg::LatestSnapshotScope newest;
        pg::Values values;
        pg::Rows rows = owners.run(values.text(type), true);
        for (uint64 i = 0; i < rows.count; i++)
            found.push_back(rows[i].text(1));
    }
    for (const std::string &owner : found)
        if (!access::may_act_for(owner))
            pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE, {.message = "must be owner of event type \"" + type + "\"",
                                                       .hint = "It belongs to role \"" + owner + "\"."});
}

std::optional<std::string> function_argument(const std::optional<std::string> &name, const pg::Signature &signature) {
    return name ? std::optional(pg::resolve_function(*name, signature)) : std::nullopt;
}

} // namespace

void core_guard() {
    pg::call([]() noexcept {
        check_stack_depth();
        CHECK_FOR_INTERRUPTS();
    });
}

std::shared_ptr<const EventType> find_type(std::string_view type) {
    const Registry &known = current();
    if (known.types.empty())
        return nullptr;
    auto found = known.types.find(std::string(type));
    return found == known.types.end() ? nullptr : found->second;
}

bool any_upcasters() { return current().any_upcasters; }

uint64 registry_generation() {
    const Registry &known = current();
    return known.types_generation ^ (known.upcasters_generation << 32);
}

void for_each_upcaster(const EachUpcaster &visit) {
    for (const auto &[name, type] : Types(current().types))
        for (const auto &[from, upcaster] : type->upcasters)
            visit(name, from, upcaster);
}

Oid owner_of(const OwnedFunction &function, const std::string &what) {
    Oid role = access::find_role(function.owner);
    if (!OidIsValid(role))
        pg::raise(ERRCODE_UNDEFINED_OBJECT,
                  {.message = "role \"" + function.owner + "\", the owner of " + what + ", does not exist",
                   .hint = "Register it again as another role."});
    return role;
}

// The row belongs to who wrote it last, also when that is an admin: a function never runs as somebody who did not
// register it.
CHRONICLE_FUNCTION(chronicle_register_event_type) {
    static constexpr Oid types[] = {TEXTOID, INT4OID, JSONBOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
    static pg::Statement upsert{
        "INSERT INTO chronicle_data.event_type (type, version, schema, validator, description, owner, search_path, "
        "registered_at) VALUES ($1, $2, $3, $4, $5, $6, $7, pg_catalog.clock_timestamp()) "
        "ON CONFLICT (type, version) DO UPDATE SET schema = $3, validator = $4, description = $5, owner = $6, "
        "search_path = $7, registered_at = excluded.registered_at",
        types};
    pg::Arguments arguments(fcinfo);
    std::string type = type_argument(arguments);
    int32 version = version_argument(arguments.int4(3).value_or(1), "version");
    if (!arguments.null(1)) // a schema that is refused is refused now
        (void)compile(pg::jsonb_to_string(arguments.datum(1)));
    require_own_type(type);
    std::optional<std::string> validator = function_argument(arguments.text(2), validator_signature());
    std::string owner = current_role(), path = GetConfigOption("search_path", false, false);
    {
        access::EngineScope engine;
        pg::Values values;
        values.text(type).int4(version).add(arguments.datum(1), arguments.null(1));
        values.maybe_text(validator).maybe_text(arguments.text(4)).text(owner).text(path);
        upsert.run(values);
    }
    type_table.changed();
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_register_upcaster) {
    static constexpr Oid types[] = {TEXTOID, INT4OID, TEXTOID, TEXTOID, TEXTOID};
    static pg::Statement upsert{
        "INSERT INTO chronicle_data.upcaster (type, from_version, upcast, owner, search_path, registered_at) "
        "VALUES ($1, $2, $3, $4, $5, pg_catalog.clock_timestamp()) "
        "ON CONFLICT (type, from_version) DO UPDATE SET upcast = $3, owner = $4, search_path = $5, "
        "registered_at = excluded.registered_at",
        types};
    pg::Arguments arguments(fcinfo);
    std::string type = type_argument(arguments);
    if (arguments.null(1))
        pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = "argument \"from_version\" must not be NULL"});
    int32 from = version_argument(*arguments.int4(1), "from_version");
    std::string name = arguments.required_text(2, "upcast");
    require_own_type(type);
    std::string upcast = pg::resolve_function(name, upcast_signature());
    std::string owner = current_role(), path = GetConfigOption("search_path", false, false);
    {
        access::EngineScope engine;
        pg::Values values;
        upsert.run(values.text(type).int4(from).text(upcast).text(owner).text(path));
    }
    upcaster_table.changed();
    PG_RETURN_VOID();
}

} // namespace chronicle::types
