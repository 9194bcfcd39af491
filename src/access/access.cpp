// Checking rights. What a role may do is worked out from two tables of role names (levels, and grants of categories),
// and kept per role until a role, a membership, a grant or the extension changes.
#include "access/access.hpp"
#include "catalog/names.hpp"

#include "access/rights.hpp"
#include "catalog/cached_table.hpp"
#include "catalog/objects.hpp"
#include "pg/relation.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/varlena.h"
}

namespace chronicle::access {

namespace {

constexpr const char *level_names[] = {"none", "reader", "writer", "operator", "admin"};
constexpr size_t cache_limit = 1000; // roles whose rights a process remembers

struct Rights {
    Level level = Level::none;
    std::set<std::string, std::less<>> read, append; // categories granted one by one
};

// What the rights were worked out from: memberships (counted by their invalidations) and our two tables.
struct Basis {
    uint64 roles = 0, levels = 0, categories = 0;
    bool operator==(const Basis &) const = default;
};
struct Cache {
    Basis basis;
    std::unordered_map<Oid, Rights> by_role;
};
Cache *cache = nullptr;
uint64 role_changes = 0;
bool registered = false;
catalog::CachedTable level_table{"access_level"}, category_table{"access_category"};

void on_role_change(Datum, int, uint32) { role_changes++; }

void register_callbacks() {
    if (registered)
        return;
    pg::call([]() noexcept {
        CacheRegisterSyscacheCallback(AUTHOID, on_role_change, Datum(0));
        CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, on_role_change, Datum(0));
    });
    registered = true;
}

// The role itself, and roles whose privileges it has (NOINHERIT counts).
bool counts_for(Oid role, const std::string &granted_to) {
    Oid granted = find_role(granted_to);
    return OidIsValid(granted) && pg::call([&]() noexcept { return has_privs_of_role(role, granted); });
}

std::string text_column(const pg::IndexReader &reader, int column) {
    bool is_null;
    return pg::to_string(reader.column(column, &is_null));
}

Oid internal_relation(const char *name) {
    return pg::call([&]() noexcept { return get_relname_relid(name, get_namespace_oid("chronicle_data", false)); });
}

// The newest committed state as one MVCC snapshot, as catalogs are read: parallel workers may take it, too.
// (SnapshotSelf may miss a row that is just changing: its new version is not there yet when the index is read, its old
// one is over when it is looked at.)
class NewestRows {
public:
    explicit NewestRows(Oid table)
        : snapshot_(pg::call([&]() noexcept { return RegisterSnapshot(GetCatalogSnapshot(table)); })),
          exceptions_(std::uncaught_exceptions()) {}
    ~NewestRows() {
        if (!pg::unwinding(exceptions_))
            UnregisterSnapshot(snapshot_);
    }
    NewestRows(const NewestRows &) = delete;
    NewestRows &operator=(const NewestRows &) = delete;
    Snapshot get() const { return snapshot_; }

private:
    Snapshot snapshot_;
    int exceptions_;
};

Rights stored_rights(Oid role) {
    Rights rights;
    NewestRows newest(internal_relation("access_level"));
    pg::IndexReader levels(internal_relation("access_level"), internal_relation("access_level_pkey"), newest.get());
    while (levels.next())
        if (counts_for(role, text_column(levels, 1)))
            rights.level = std::max(rights.level, parse_level(text_column(levels, 2)));
    pg::IndexReader categories(internal_relation("access_category"), internal_relation("access_category_pkey"),
                               newest.get());
    while (categories.next())
        if (counts_for(role, text_column(categories, 1)))
            (text_column(categories, 3) == "append" ? rights.append : rights.read).insert(text_column(categories, 2));
    return rights;
}

// Valid until the next call. The basis is taken before the rows are read: what changes meanwhile counts next time.
const Rights &rights_of(Oid role) {
    register_callbacks();
    if (!cache)
        cache = new Cache();
    Basis basis{role_changes, level_table.generation(), category_table.generation()};
    if (cache->basis != basis || cache->by_role.size() >= cache_limit)
        *cache = Cache{basis, {}};
    if (auto found = cache->by_role.find(role); found != cache->by_role.end())
        return found->second;
    Oid owner = catalog::objects().owner;
    Rights rights;
    if (pg::call([&]() noexcept { return superuser_arg(role) || has_privs_of_role(role, owner); }))
        rights.level = Level::admin;
    else
        rights = stored_rights(role);
    return cache->by_role.insert_or_assign(role, std::move(rights)).first->second;
}

const Rights &own_rights() { return rights_of(GetUserId()); }

// The category whose readers see the stream.
std::string_view category_of_rights(std::string_view stream) {
    if (stream.starts_with(catalog::stream_events_prefix))
        stream.remove_prefix(catalog::stream_events_prefix.size());
    return catalog::category_of(stream);
}

// As regrole reads it, in quotes.
std::string role_literal(Oid role) {
    return std::string(
        pg::call([&]() noexcept { return quote_literal_cstr(quote_identifier(GetUserNameFromId(role, false))); }));
}

std::string level_grant(Level level) {
    return "SELECT chronicle.grant_access(" + role_literal(GetUserId()) + ", '" + level_name(level) + "')";
}

[[noreturn]] void raise_denied(const std::string &doing, std::string_view category, Level level,
                               const char *privilege) {
    std::string name(category), hint = "An admin can run: " + level_grant(level);
    if (!category.starts_with('$'))
        hint += "; or for this category alone: SELECT chronicle.grant_category(" + role_literal(GetUserId()) + ", " +
                quoted(name) + ", '" + privilege + "')";
    pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE,
              {.message = "permission denied to " + doing + " category \"" + name + "\"", .hint = hint + "."});
}

} // namespace

const char *level_name(Level level) { return level_names[static_cast<int>(level)]; }

Level parse_level(const std::string &name) {
    for (int i = 1; i <= static_cast<int>(Level::admin); i++)
        if (name == level_names[i])
            return static_cast<Level>(i);
    pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = "unknown access level \"" + name + "\"",
                                                .hint = "Levels are reader, writer, operator and admin."});
}

void levels_changed() { level_table.changed(); }
void categories_changed() { category_table.changed(); }

std::string quoted(const std::string &text) {
    const char *form = text.c_str();
    return std::string(pg::call([&]() noexcept { return quote_literal_cstr(form); }));
}

Oid find_role(const std::string &name) {
    const char *text = name.c_str();
    return pg::call([&]() noexcept { return get_role_oid(text, true); });
}

namespace {

// The kept path with the temporary schema last. Unnamed it would be searched first for tables and types, and in the
// caller's session it is the caller's: a table of the right name there would run the caller's triggers as the owner.
std::string without_temporary(const std::string &kept) {
    const char *text = kept.c_str();
    return pg::call([&]() noexcept -> const char * {
        List *names;
        if (!SplitIdentifierString(pstrdup(text), ',', &names))
            return "pg_catalog, pg_temp";
        StringInfoData path;
        initStringInfo(&path);
        ListCell *cell;
        foreach (cell, names) {
            const char *name = static_cast<const char *>(lfirst(cell));
            if (strcmp(name, "pg_temp") != 0)
                appendStringInfo(&path, "%s, ", quote_identifier(name));
        }
        appendStringInfoString(&path, "pg_temp");
        return path.data;
    });
}

} // namespace

OwnerScope::OwnerScope(Oid owner, const std::optional<std::string> &search_path)
    : user_(owner, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION) {
    if (search_path)
        settings_.set("search_path", without_temporary(*search_path).c_str());
    else if (owner != GetOuterUserId()) // no code of the owner's runs here but in scopes inside, with their own paths
        settings_.set("search_path", "pg_catalog, pg_temp");
}

EngineScope::EngineScope() : user_(catalog::objects().owner, SECURITY_LOCAL_USERID_CHANGE) {
    settings_.set("search_path", "pg_catalog, pg_temp");
}

Level level_of(Oid role) { return rights_of(role).level; }

void require(Level level, const char *doing) {
    if (level_of(GetUserId()) < level)
        pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE, {.message = std::string("permission denied to ") + doing,
                                                   .hint = "An admin can run: " + level_grant(level) + "."});
}

bool may_read(std::string_view category) {
    const Rights &rights = own_rights();
    return rights.level >= Level::reader || rights.read.contains(category);
}

bool may_append(std::string_view category) {
    const Rights &rights = own_rights();
    return rights.level >= Level::writer || rights.append.contains(category);
}

bool may_read_stream(std::string_view stream) { return may_read(category_of_rights(stream)); }

std::optional<std::set<std::string, std::less<>>> readable_categories() {
    const Rights &rights = own_rights();
    return rights.level >= Level::reader ? std::nullopt : std::optional(rights.read);
}

void require_read(std::string_view category) {
    if (!may_read(category))
        raise_denied("read events of", category, Level::reader, "read");
}

void require_read_stream(std::string_view stream) { require_read(category_of_rights(stream)); }

void require_append(std::string_view category) {
    if (!may_append(category))
        raise_denied("append events to", category, Level::writer, "append");
}

void require_read_any() {
    if (own_rights().read.empty())
        require(Level::reader, "read events");
}

bool may_run_as(const std::string &owner) {
    Oid role = find_role(owner);
    return OidIsValid(role) && pg::call([&]() noexcept { return has_privs_of_role(GetUserId(), role); });
}

bool may_act_for(const std::string &owner) { return level_of(GetUserId()) == Level::admin || may_run_as(owner); }

// --- for views: what the reader may see ---

CHRONICLE_FUNCTION(chronicle_has_level) {
    Level level = parse_level(pg::Arguments(fcinfo).required_text(0, "level"));
    PG_RETURN_BOOL(level_of(GetUserId()) >= level);
}

CHRONICLE_FUNCTION(chronicle_may_read) { PG_RETURN_BOOL(may_read(pg::Arguments(fcinfo).required_text(0, "category"))); }

CHRONICLE_FUNCTION(chronicle_may_append) {
    PG_RETURN_BOOL(may_append(pg::Arguments(fcinfo).required_text(0, "category")));
}

CHRONICLE_FUNCTION(chronicle_may_read_stream) {
    PG_RETURN_BOOL(may_read_stream(pg::Arguments(fcinfo).required_text(0, "stream")));
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
