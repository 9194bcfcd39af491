#include "access/access.hpp"

#include "store/catalog.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace chronicle::access {

namespace {

constexpr const char *level_names[] = {"none", "reader", "writer", "operator", "admin"};

Level parse_level(const std::string &name) {
    for (int i = 1; i <= static_cast<int>(Level::admin); i++)
        if (name == level_names[i])
            return static_cast<Level>(i);
    pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = "unknown access level \"" + name + "\"",
                                                .hint = "Levels are reader, writer, operator and admin."});
}

// The current user's level, kept until a role, a membership or a grant changes.
struct Cached {
    Oid role;
    uint64 catalog_generation;
    Level level;
    bool valid;
} cached;
bool registered = false;
Oid table_oid = InvalidOid;

void on_syscache_change(Datum, int, uint32) { cached.valid = false; }
void on_relcache_change(Datum, Oid relation) {
    if (!OidIsValid(relation) || relation == table_oid)
        cached.valid = false;
}

void register_callbacks() {
    if (registered)
        return;
    pg::call([]() noexcept {
        CacheRegisterSyscacheCallback(AUTHOID, on_syscache_change, Datum(0));
        CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, on_syscache_change, Datum(0));
        CacheRegisterRelcacheCallback(on_relcache_change, Datum(0));
    });
    registered = true;
}

Level stored_level(Oid role) {
    static pg::Statement all{"SELECT role, level FROM chronicle_data.access_level"};
    Level best = Level::none;
    EngineScope engine;
    pg::Rows rows = all.run();
    for (uint64 i = 0; i < rows.count; i++) {
        Oid granted = find_role(rows[i].text(1));
        if (OidIsValid(granted) && pg::call([&]() noexcept { return has_privs_of_role(role, granted); }))
            best = std::max(best, parse_level(rows[i].text(2)));
    }
    return best;
}

std::string role_name(Oid role) {
    return std::string(pg::call([&]() noexcept { return GetUserNameFromId(role, false); }));
}

// As regrole reads it, in quotes.
std::string role_literal(Oid role) {
    return std::string(
        pg::call([&]() noexcept { return quote_literal_cstr(quote_identifier(GetUserNameFromId(role, false))); }));
}

void change_level(FunctionCallInfo fcinfo, bool grant) {
    pg::Arguments arguments(fcinfo);
    if (arguments.null(0))
        pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = "argument \"role\" must not be NULL"});
    Level level = parse_level(arguments.required_text(1, "level"));
    Oid role = DatumGetObjectId(arguments.datum(0));
    if (role_name(role).empty()) // raises 42704 for a role that does not exist
        return;
    require(Level::admin, "change access levels");

    static constexpr Oid two_texts[] = {TEXTOID, TEXTOID};
    static pg::Statement raise_level{"INSERT INTO chronicle_data.access_level AS l (role, level) VALUES ($1, $2) "
                                     "ON CONFLICT (role) DO UPDATE SET level = excluded.level",
                                     two_texts};
    static constexpr Oid one_text[] = {TEXTOID};
    static pg::Statement current{"SELECT level FROM chronicle_data.access_level WHERE role = $1", one_text};
    static pg::Statement remove{"DELETE FROM chronicle_data.access_level WHERE role = $1", one_text};

    std::string name = role_name(role);
    EngineScope engine;
    pg::Values by_name;
    by_name.text(name);
    pg::Rows rows = current.run(by_name);
    Level now = rows.empty() ? Level::none : parse_level(rows[0].text(1));
    Level wanted = grant ? std::max(now, level) : std::min(now, static_cast<Level>(static_cast<int>(level) - 1));
    if (wanted == now)
        return;
    pg::Values values;
    values.text(name);
    if (wanted == Level::none)
        remove.run(values);
    else
        raise_level.run(values.text(level_names[static_cast<int>(wanted)]));
    pg::call([]() noexcept { CacheInvalidateRelcacheByRelid(table_oid); });
}

} // namespace

Oid find_role(const std::string &name) {
    const char *text = name.c_str();
    return pg::call([&]() noexcept { return get_role_oid(text, true); });
}

OwnerScope::OwnerScope(Oid owner, const std::optional<std::string> &search_path)
    : user_(owner, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION) {
    if (search_path)
        settings_.set("search_path", search_path->c_str());
}

EngineScope::EngineScope() : user_(store::catalog().owner, SECURITY_LOCAL_USERID_CHANGE) {
    settings_.set("search_path", "pg_catalog, pg_temp");
}

Level level_of(Oid role) {
    register_callbacks();
    const store::Catalog &catalog = store::catalog();
    if (cached.valid && cached.role == role && cached.catalog_generation == catalog.generation)
        return cached.level;
    if (!OidIsValid(table_oid) || cached.catalog_generation != catalog.generation)
        table_oid = pg::call(
            []() noexcept { return get_relname_relid("access_level", get_namespace_oid("chronicle_data", false)); });
    bool owns = pg::call([&]() noexcept { return superuser_arg(role) || has_privs_of_role(role, catalog.owner); });
    uint64 generation = catalog.generation;
    Level level = owns ? Level::admin : stored_level(role);
    cached = {role, generation, level, true};
    return level;
}

void require(Level level, const char *doing) {
    if (level_of(GetUserId()) < level)
        pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE,
                  {.message = std::string("permission denied to ") + doing,
                   .hint = "An admin can run: SELECT chronicle.grant_access(" + role_literal(GetUserId()) + ", '" +
                           level_names[static_cast<int>(level)] + "')."});
}

bool may_act_for(const std::string &owner) {
    if (level_of(GetUserId()) == Level::admin)
        return true;
    Oid role = find_role(owner);
    return OidIsValid(role) && pg::call([&]() noexcept { return has_privs_of_role(GetUserId(), role); });
}

CHRONICLE_FUNCTION(chronicle_grant_access) {
    change_level(fcinfo, true);
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_revoke_access) {
    change_level(fcinfo, false);
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_has_level) {
    Level level = parse_level(pg::Arguments(fcinfo).required_text(0, "level"));
    PG_RETURN_BOOL(level_of(GetUserId()) >= level);
}

// NULL for a role that is not known (an execution of a workflow without a run, say): that one gives no right.
CHRONICLE_FUNCTION(chronicle_sees_execution) {
    pg::Arguments arguments(fcinfo);
    if (level_of(GetUserId()) == Level::admin)
        PG_RETURN_BOOL(true);
    for (int i = 0; i < 2; i++) {
        std::optional<std::string> role = arguments.text(i);
        if (role && may_act_for(*role))
            PG_RETURN_BOOL(true);
    }
    PG_RETURN_BOOL(false);
}

} // namespace chronicle::access
