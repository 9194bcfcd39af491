// Definitions of aggregates, and the functions that make and drop them.
//
// Processes keep the table in memory (catalog::CachedTable). What states depend on is hashed into a fingerprint, which
// each snapshot carries: after a change of the aggregate or of its function (CREATE OR REPLACE FUNCTION tells nobody)
// old snapshots simply no longer match. No process has to hear of it in time, and nothing has to be deleted.
#include "core/json.hpp"

#include "state/aggregate.hpp"

#include "access/owner.hpp"
#include "catalog/cached_table.hpp"
#include "catalog/names.hpp"
#include "catalog/objects.hpp"
#include "settings.hpp"
#include "state/snapshot.hpp"
#include "types/upcast.hpp"

extern "C" {
#include "access/htup_details.h"
#include "common/hashfn.h"
#include "catalog/namespace.h"
#include "utils/fmgrprotos.h"
#include "utils/syscache.h"
}

namespace chronicle::state {

namespace {

catalog::CachedTable aggregate_table("aggregate");

int64 hash(std::string_view text, uint64 seed) {
    return static_cast<int64>(
        hash_bytes_extended(reinterpret_cast<const unsigned char *>(text.data()), static_cast<int>(text.size()), seed));
}

std::shared_ptr<const Aggregate> read_aggregate(const pg::Row &row) {
    auto a = std::make_shared<Aggregate>();
    a->category = row.text(1);
    a->apply = row.text(2);
    a->decide = row.maybe_text(3);
    bool is_null;
    Datum initial = pg::copy_datum(row.datum(4, &is_null), -1);
    a->initial.assign(DatumGetPointer(initial), DatumGetPointer(initial) + VARSIZE(DatumGetPointer(initial)));
    if (!row.null(5))
        a->snapshot_every = row.int4(5);
    if (!row.null(6))
        a->keep_snapshots = row.int4(6);
    a->idle_snapshots = !row.null(7);
    a->owner = row.text(8);
    a->search_path = row.text(9);
    a->definition = hash(a->apply, static_cast<uint64>(hash(a->search_path, 0)));
    a->definition = hash(pg::jsonb_to_string(initial), static_cast<uint64>(a->definition));
    return a;
}

using Aggregates = std::unordered_map<std::string, std::shared_ptr<const Aggregate>>;

const Aggregates &all_aggregates() {
    static Aggregates *cached = nullptr;
    static uint64 cached_generation = 0;
    uint64 generation = aggregate_table.generation();
    if (cached && cached_generation == generation)
        return *cached;
    static pg::Statement all{"SELECT category, apply, decide, initial_state, snapshot_every, keep_snapshots, "
                             "snapshot_after_idle, owner, search_path FROM chronicle_data.aggregate"};
    auto fresh = std::make_unique<Aggregates>();
    {
        access::EngineScope engine;
        pg::LatestSnapshotScope newest;
        pg::Values none;
        pg::Rows rows = all.run(none, true);
        for (uint64 i = 0; i < rows.count; i++)
            fresh->emplace(rows[i].text(1), read_aggregate(rows[i]));
    }
    delete cached;
    cached = fresh.release();
    cached_generation = generation;
    return *cached;
}

// --- create and drop ---

void check_category(const std::string &category) {
    catalog::check_name(category, "category");
    catalog::check_not_reserved(category);
    if (category.find('-') != std::string::npos)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "\"" + category + "\" is no category: a category has no \"-\"",
                   .hint = "The category of a stream is the part before the first \"-\"."});
}

void check_range(std::optional<int32> value, const char *name, int32 least, int32 most) {
    if (value && (*value < least || *value > most))
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = std::string(name) + " must be from " + std::to_string(least) + " to " +
                              std::to_string(most) + ", not " + std::to_string(*value),
                   .detail = core::json{{name, *value}, {"minimum", least}, {"maximum", most}}.dump()});
}

void check_idle(const pg::Arguments &arguments) {
    if (arguments.null(6))
        return;
    Datum idle = arguments.datum(6);
    bool positive = pg::call([&]() noexcept {
        Interval zero = {};
        return DatumGetBool(DirectFunctionCall2(interval_gt, idle, IntervalPGetDatum(&zero)));
    });
    if (!positive)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = "snapshot_after_idle must be positive"});
}

// The owner of the row as it is now: it stays so until the end of the transaction.
std::optional<std::string> lock_row(const std::string &category) {
    static constexpr Oid types[] = {TEXTOID};
    static pg::Statement find{"SELECT owner FROM chronicle_data.aggregate WHERE category = $1 FOR UPDATE", types};
    access::EngineScope engine;
    pg::Values values;
    pg::Rows rows = find.run(values.text(category));
    return rows.empty() ? std::nullopt : std::optional(rows[0].text(1));
}

[[noreturn]] void raise_not_owner(const std::string &category, const std::string &owner) {
    pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE, {.message = "must be owner of aggregate \"" + category + "\"",
                                               .hint = "It belongs to role \"" + owner + "\"."});
}

void require_owner_of(const std::string &category, const std::string &owner) {
    if (!access::may_act_for(owner))
        raise_not_owner(category, owner);
}

// Two sessions that create the same one at once meet at the primary key; the later one waits and finds it there.
bool store_row(const pg::Arguments &arguments, const Aggregate &a, bool replace) {
    static constexpr Oid types[] = {TEXTOID, TEXTOID,     TEXTOID, JSONBOID, INT4OID,
                                    INT4OID, INTERVALOID, TEXTOID, TEXTOID,  BOOLOID};
    static pg::Statement upsert{
        "INSERT INTO chronicle_data.aggregate AS a (category, apply, decide, initial_state, snapshot_every, "
        "keep_snapshots, snapshot_after_idle, owner, search_path, created_at, updated_at) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp()) "
        "ON CONFLICT (category) DO UPDATE SET apply = $2, decide = $3, initial_state = $4, snapshot_every = $5, "
        "keep_snapshots = $6, snapshot_after_idle = $7, search_path = $9, updated_at = excluded.updated_at WHERE $10",
        types};
    access::EngineScope engine;
    pg::Values values;
    values.text(a.category).text(a.apply).maybe_text(a.decide);
    values.add(arguments.null(2) ? pg::make_jsonb("{}") : arguments.datum(2));
    for (int i : {4, 5, 6})
        values.add(arguments.datum(i), arguments.null(i));
    values.text(a.owner).text(a.search_path).boolean(replace);
    return upsert.run(values).count == 1;
}

[[noreturn]] void raise_exists(const std::string &category) {
    pg::raise(ERRCODE_DUPLICATE_OBJECT, {.message = "aggregate \"" + category + "\" exists already",
                                         .detail = core::json{{"category", category}}.dump(),
                                         .hint = "Pass replace => true to change it."});
}

std::string role_name(Oid role) {
    return pg::call([&]() noexcept { return GetUserNameFromId(role, false); });
}

// The same checks as at a call, without the call.
std::optional<std::string> fault_of(const std::string &function, const pg::Signature &signature, Oid owner) {
    try {
        (void)pg::UserFunction(function, signature, owner);
        return std::nullopt;
    } catch (const pg::Error &error) { // raised by our own checks: nothing of PostgreSQL's is half done
        if (error.sqlstate() != ERRCODE_UNDEFINED_FUNCTION && error.sqlstate() != ERRCODE_INSUFFICIENT_PRIVILEGE)
            throw;
        return error.message();
    }
}

std::optional<std::string> find_fault(const std::string &apply, const std::optional<std::string> &decide,
                                      const std::string &owner) {
    access::EngineScope engine; // whoever looks may lack rights on the functions' schemas
    Oid role = access::find_role(owner);
    if (!OidIsValid(role))
        return "role \"" + owner + "\" does not exist";
    std::optional<std::string> fault = fault_of(apply, apply_signature(), role);
    return fault || !decide ? fault : fault_of(*decide, decide_signature(), role);
}

// Of a category's aggregate as it is now; nothing: it has none, or its function is gone.
std::optional<int64> present_fingerprint(const std::string &category) {
    std::shared_ptr<const Aggregate> aggregate = find_aggregate(category);
    if (!aggregate)
        return std::nullopt;
    access::EngineScope engine; // whoever asks may lack rights on the function's schema
    Oid function = pg::find_function(aggregate->apply, apply_signature());
    return OidIsValid(function) ? std::optional(fingerprint(*aggregate, function)) : std::nullopt;
}

// A scavenger that ran beside the drop may have left bases of the aggregate before.
void begin_with_bases(const std::string &category) {
    put_bases_away(category, std::nullopt);
    if (std::optional<int64> present = present_fingerprint(category))
        take_bases_back(category, *present);
}

} // namespace

pg::Signature apply_signature() {
    return {"apply(state jsonb, event chronicle.event) returns jsonb",
            2,
            {JSONBOID, catalog::objects().event_type},
            JSONBOID};
}

pg::Signature decide_signature() {
    return {"decide(state jsonb, command text, payload jsonb) returns jsonb",
            3,
            {JSONBOID, TEXTOID, JSONBOID},
            JSONBOID};
}

int32 Aggregate::every() const { return snapshot_every.value_or(settings::snapshot_every); }
int32 Aggregate::keep() const { return keep_snapshots.value_or(settings::keep_snapshots); }

Oid Aggregate::owner_oid() const {
    Oid role = access::find_role(owner);
    if (!OidIsValid(role))
        pg::raise(ERRCODE_UNDEFINED_OBJECT,
                  {.message = "role \"" + owner + "\", the owner of aggregate \"" + category + "\", does not exist",
                   .hint = "An admin can give it to another role: set_owner('aggregate', …)."});
    return role;
}

std::shared_ptr<const Aggregate> find_aggregate(std::string_view category) {
    const Aggregates &all = all_aggregates();
    if (all.empty())
        return nullptr;
    auto found = all.find(std::string(category));
    return found == all.end() ? nullptr : found->second;
}

std::shared_ptr<const Aggregate> aggregate_of(const std::string &stream) {
    std::string category(catalog::category_of(stream));
    std::shared_ptr<const Aggregate> found = find_aggregate(category);
    if (!found)
        pg::raise(ERRCODE_UNDEFINED_OBJECT,
                  {.message = "category \"" + category + "\" has no aggregate",
                   .detail = core::json{{"category", category}}.dump(),
                   .hint = "Make one: SELECT chronicle.create_aggregate('" + category + "', 'apply_function')."});
    return found;
}

void require_owner(const Aggregate &aggregate) { require_owner_of(aggregate.category, aggregate.owner); }

namespace {

std::optional<std::string> owner_of(const std::string &category) { return lock_row(category); }

bool give(const std::string &category, const std::string &former, const std::string &role) {
    static constexpr Oid types[] = {TEXTOID, TEXTOID, TEXTOID};
    static pg::Statement update{"UPDATE chronicle_data.aggregate SET owner = $3, "
                                "updated_at = pg_catalog.clock_timestamp() WHERE category = $1 AND owner = $2",
                                types};
    {
        access::EngineScope engine;
        pg::Values values;
        if (update.run(values.text(category).text(former).text(role)).count == 0)
            return false;
    }
    aggregate_table.changed();
    return true;
}

} // namespace

void init_owned() { access::add_owned_kind({"aggregate", owner_of, give}); }

std::vector<std::shared_ptr<const Aggregate>> aggregates_of_caller() {
    std::vector<std::shared_ptr<const Aggregate>> found;
    for (const auto &[category, aggregate] : Aggregates(all_aggregates()))
        if (access::may_act_for(aggregate->owner))
            found.push_back(aggregate);
    return found;
}

int64 fingerprint(const Aggregate &aggregate, Oid apply) {
    uint64 functions =
        static_cast<uint64>(pg::function_hash(apply)) + static_cast<uint64>(types::upcasters_fingerprint());
    return hash({reinterpret_cast<const char *>(&aggregate.definition), sizeof(int64)}, functions);
}

CHRONICLE_FUNCTION(chronicle_create_aggregate) {
    pg::Arguments arguments(fcinfo);
    Aggregate a;
    a.category = arguments.required_text(0, "category");
    std::string apply = arguments.required_text(1, "apply");
    check_category(a.category);
    check_range(arguments.int4(4), "snapshot_every", 10, 10000);
    check_range(arguments.int4(5), "keep_snapshots", 1, 10);
    check_idle(arguments);
    bool replace = arguments.boolean(7).value_or(false);
    access::require(access::Level::operator_, "create aggregates");
    a.apply = pg::resolve_function(apply, apply_signature());
    if (std::optional<std::string> decide = arguments.text(3))
        a.decide = pg::resolve_function(*decide, decide_signature());
    a.owner = role_name(GetUserId());
    a.search_path = namespace_search_path;
    std::optional<std::string> existing = lock_row(a.category);
    if (existing) {
        require_owner_of(a.category, *existing);
        if (!replace)
            raise_exists(a.category);
        if (!access::may_run_as(*existing)) // an admin may look after it, not have code run as its owner
            raise_not_owner(a.category, *existing);
    }
    if (!store_row(arguments, a, replace))
        raise_exists(a.category);
    aggregate_table.changed();
    if (!existing)
        begin_with_bases(a.category);
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_drop_aggregate) {
    static constexpr Oid types[] = {TEXTOID};
    static pg::Statement remove_snapshots{"DELETE FROM chronicle_data.snapshot AS n USING chronicle_data.stream AS s "
                                          "WHERE s.category = $1 AND n.stream_id = s.stream_id",
                                          types};
    static pg::Statement remove_failures{
        "DELETE FROM chronicle_data.snapshot_failure AS f USING chronicle_data.stream AS s "
        "WHERE s.category = $1 AND f.stream_id = s.stream_id",
        types};
    static pg::Statement remove_idle{"DELETE FROM chronicle_data.aggregate_idle WHERE category = $1", types};
    static pg::Statement remove_held{"DELETE FROM chronicle_data.aggregate_idle_held WHERE category = $1", types};
    static pg::Statement remove{"DELETE FROM chronicle_data.aggregate WHERE category = $1", types};
    pg::Arguments arguments(fcinfo);
    std::string category = arguments.required_text(0, "category");
    bool if_exists = arguments.boolean(1).value_or(false);
    access::require(access::Level::operator_, "drop aggregates");
    std::optional<std::string> existing = lock_row(category);
    if (!existing && if_exists)
        PG_RETURN_VOID();
    if (!existing)
        pg::raise(ERRCODE_UNDEFINED_OBJECT, {.message = "aggregate \"" + category + "\" does not exist",
                                             .detail = core::json{{"category", category}}.dump()});
    require_owner_of(category, *existing);
    put_bases_away(category, present_fingerprint(category));
    {
        access::EngineScope engine;
        for (pg::Statement *statement : {&remove_snapshots, &remove_failures, &remove_idle, &remove_held, &remove}) {
            pg::Values values;
            statement->run(values.text(category));
        }
    }
    aggregate_table.changed();
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_aggregate_fault) {
    pg::Arguments arguments(fcinfo);
    std::optional<std::string> fault =
        find_fault(arguments.required_text(0, "apply"), arguments.text(1), arguments.required_text(2, "owner"));
    if (!fault)
        PG_RETURN_NULL();
    return pg::make_text(*fault);
}

} // namespace chronicle::state
