// create_projection and drop_projection.
#include "core/json.hpp"

#include "projection/batch.hpp"
#include "projection/inline.hpp"
#include "projection/manage.hpp"
#include "projection/progress.hpp"
#include "projection/staging.hpp"
#include "projection/rebuild.hpp"

#include "access/owner.hpp"
#include "catalog/names.hpp"
#include "catalog/objects.hpp"
#include "pg/xact.hpp"
#include "store/order.hpp"
#include "store/path_filter.hpp"
#include "worker/registry.hpp"

extern "C" {
#include "catalog/pg_type_d.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
}

namespace chronicle::projection {

namespace {

constexpr size_t longest_name = 200;
constexpr int patience_ms = 1000; // for appenders to finish, when an inline projection is created

// What the call declares, not stored yet.
struct Declared {
    Projection projection;
    std::string options;
    bool replace = false;
};

[[noreturn]] void refuse(std::string message, std::string hint = "") {
    pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = std::move(message), .hint = std::move(hint)});
}

std::optional<std::vector<std::string>> texts(const pg::Arguments &arguments, int i, const char *name) {
    if (arguments.null(i))
        return std::nullopt;
    struct Elements {
        Datum *values;
        bool *nulls;
        int count;
    };
    Datum array = arguments.datum(i);
    Elements e = pg::call([&]() noexcept {
        Elements found;
        deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &found.values, &found.nulls,
                          &found.count);
        return found;
    });
    if (e.count == 0)
        refuse(std::string(name) + " must not be empty", "NULL (or leaving it out) means all.");
    std::vector<std::string> found;
    for (int k = 0; k < e.count; k++) {
        if (e.nulls[k])
            pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = std::string(name) + " must not contain NULL"});
        found.push_back(pg::to_string(e.values[k]));
        catalog::check_name(found.back(), name);
    }
    return found;
}

Filter read_filter(const pg::Arguments &arguments) {
    Filter filter{texts(arguments, 4, "categories"), texts(arguments, 5, "streams"), texts(arguments, 6, "types"),
                  arguments.text(7)};
    for (const std::string &category : filter.categories.value_or(std::vector<std::string>{}))
        if (category.find('-') != std::string::npos)
            refuse("\"" + category + "\" is no category: a category has no \"-\"",
                   "The category of a stream is the part before the first \"-\"; name streams in \"streams\".");
    if (filter.stream_regex) {
        try {
            (void)matches_regex(*filter.stream_regex, "");
        } catch (const pg::Error &error) {
            if (error.sqlstate() != ERRCODE_INVALID_REGULAR_EXPRESSION)
                throw;
            refuse("stream_regex: " + error.message());
        }
    }
    return filter;
}

bool has(const std::string &handler, const pg::Signature &signature) {
    return OidIsValid(pg::find_function(handler, signature));
}

// The kind follows from the handler's signature.
void resolve_handler(Projection &p, const std::string &handler, bool wants_state) {
    bool folds = has(handler, state_signature()), writes = has(handler, handler_signature());
    if (folds && writes && !wants_state)
        pg::raise(ERRCODE_AMBIGUOUS_FUNCTION,
                  {.message = "function \"" + handler + "\" exists with both signatures of a handler",
                   .hint = "Give initial_state or partition_by for the one that returns a state, or name another."});
    if (!folds && !writes)
        pg::raise(ERRCODE_UNDEFINED_FUNCTION,
                  {.message = "function \"" + handler + "\" with the signature of a handler does not exist",
                   .hint = std::string("It must look like this: ") + handler_signature().text + ", or " +
                           state_signature().text + "."});
    p.kind = folds && (wants_state || !writes) ? Kind::state : Kind::handler;
    p.handler = pg::resolve_function(handler, p.kind == Kind::state ? state_signature() : handler_signature());
}

void check_partition(const Projection &p) {
    Datum path = 0;
    try {
        path = Partitioner(p).path();
    } catch (const pg::Error &error) {
        refuse("partition_by must be 'stream', 'category' or a jsonpath: " + error.message());
    }
    if (path != 0)
        store::refuse_variables(path, "partition_by");
}

void read_code(const pg::Arguments &arguments, Projection &p) {
    std::optional<std::string> handler = arguments.text(1), statement = arguments.text(2);
    if (handler.has_value() == statement.has_value())
        refuse("exactly one of handler and statement must be given",
               "A handler is a function; a statement is one SQL statement over the relation new_events.");
    if (!arguments.null(8))
        p.initial_state = pg::jsonb_to_string(arguments.datum(8));
    p.partition_by = arguments.text(9);
    if (handler) {
        resolve_handler(p, *handler, p.initial_state || p.partition_by);
        if (p.kind != Kind::state && p.initial_state)
            refuse("initial_state is for handlers that return a state");
    } else {
        p.kind = Kind::statement;
        p.statement = statement;
        if (p.initial_state)
            refuse("initial_state is for handlers that return a state");
        check_statement(*statement);
    }
    if (p.partition_by)
        check_partition(p);
}

void check_options(const Projection &p) {
    if (p.options.target && p.kind != Kind::statement)
        refuse("option \"target\" is for projections with a statement");
    if (p.options.target)
        require_target(p);
    if (p.options.reset && p.kind != Kind::handler)
        refuse("option \"reset\" is for handlers that write tables of their own");
    if (p.is_inline && p.filter.wants_category(catalog::workflow_category))
        refuse("an inline projection cannot follow category \"workflow\"",
               "Its events are written by the engine, not by append functions: use mode => 'async'.");
    if (p.is_inline && p.options.park)
        refuse("an inline projection cannot park events", "Its failure undoes the append.");
}

Declared read_call(const pg::Arguments &arguments) {
    Declared d;
    Projection &p = d.projection;
    p.name = arguments.required_text(0, "name");
    if (p.name.empty() || p.name.size() > longest_name)
        refuse("a projection's name has 1 to " + std::to_string(longest_name) + " bytes");
    if (p.name.front() == '$')
        pg::raise(ERRCODE_RESERVED_NAME, {.message = "names that begin with \"$\" are reserved"});
    std::string mode = arguments.text(3).value_or("async");
    if (mode != "inline" && mode != "async")
        refuse("mode must be 'inline' or 'async', not '" + mode + "'");
    p.is_inline = mode == "inline";
    p.owner = pg::call([]() noexcept { return GetUserNameFromId(GetUserId(), false); });
    p.search_path = pg::call([]() noexcept { return GetConfigOption("search_path", false, false); });
    p.filter = read_filter(arguments);
    read_code(arguments, p);
    d.options = arguments.null(10) ? "{}" : pg::jsonb_to_string(arguments.datum(10));
    p.options = parse_options(d.options);
    check_options(p);
    d.replace = arguments.boolean(11).value_or(false);
    return d;
}

void check_rights(const Projection &p) {
    if (p.filter.categories)
        for (const std::string &category : *p.filter.categories)
            if (category != catalog::workflow_category && !category.starts_with('$'))
                access::require_read(category);
}

pg::Values &add_texts(pg::Values &values, const std::optional<std::vector<std::string>> &list) {
    if (!list)
        return values.null();
    std::vector<Datum> elements;
    for (const std::string &text : *list)
        elements.push_back(pg::make_text(text));
    Datum *data = elements.data();
    int count = static_cast<int>(elements.size());
    return values.add(pg::call(
        [&]() noexcept { return PointerGetDatum(construct_array(data, count, TEXTOID, -1, false, TYPALIGN_INT)); }));
}

const char *kind_name(Kind kind) {
    return kind == Kind::handler ? "handler" : kind == Kind::state ? "state" : "statement";
}

int64 next_id() {
    static pg::Statement next{"SELECT nextval('chronicle_data.projection_id_seq')"};
    access::EngineScope engine;
    return next.run()[0].int8(1);
}

void store_definition(const Declared &d, bool insert) {
    static constexpr Oid types[] = {INT8OID,      TEXTOID, TEXTOID,  TEXTOID,      TEXTOID,
                                    TEXTOID,      TEXTOID, TEXTOID,  TEXTARRAYOID, TEXTARRAYOID,
                                    TEXTARRAYOID, TEXTOID, JSONBOID, TEXTOID,      JSONBOID};
    static pg::Statement add{
        "INSERT INTO chronicle_data.projection (projection_id, name, owner, mode, kind, handler, statement, "
        "search_path, categories, streams, types, stream_regex, initial_state, partition_by, options) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        types};
    static pg::Statement change{
        "UPDATE chronicle_data.projection SET name = $2, owner = $3, mode = $4, kind = $5, handler = $6, "
        "statement = $7, search_path = $8, categories = $9, streams = $10, types = $11, stream_regex = $12, "
        "initial_state = $13, partition_by = $14, options = $15 WHERE projection_id = $1",
        types};
    const Projection &p = d.projection;
    access::EngineScope engine;
    pg::Values values;
    values.int8(p.id).text(p.name).text(p.owner).text(p.is_inline ? "inline" : "async").text(kind_name(p.kind));
    values.maybe_text(p.handler).maybe_text(p.statement).text(p.search_path);
    add_texts(values, p.filter.categories);
    add_texts(values, p.filter.streams);
    add_texts(values, p.filter.types);
    values.maybe_text(p.filter.stream_regex);
    p.initial_state ? values.jsonb(*p.initial_state) : values.null();
    values.maybe_text(p.partition_by).jsonb(d.options);
    (insert ? add : change).run(values);
}

void insert_progress(const Projection &p, int64 position, int64 origin, const std::string &status) {
    static constexpr Oid types[] = {INT8OID, TEXTOID, TEXTOID, INT8OID, INT8OID};
    static pg::Statement insert{
        "INSERT INTO chronicle_data.projection_progress (projection_id, owner, status, position, origin, "
        "started_from) VALUES ($1, $2, $3, $4, $5, $4)",
        types};
    access::EngineScope engine;
    pg::Values values;
    insert.run(values.int8(p.id).text(p.owner).text(status).int8(position).int8(origin));
}

// An inline projection over nothing goes live at once: with all appenders out no event can be missed. It shuts appends
// out until this transaction ends, as CREATE TRIGGER does; when that would take long, the worker sets it going.
bool can_start_live(const Projection &p, int64 position) {
    Oid event = catalog::objects().event;
    std::optional<pg::Error> failed = pg::attempt([&]() {
        pg::LockTimeoutScope patience(patience_ms);
        pg::call([&]() noexcept { LockRelationOid(event, ShareLock); });
    });
    if (failed && failed->sqlstate() != ERRCODE_LOCK_NOT_AVAILABLE)
        throw *failed;
    return !failed && !has_events(p, position, PG_INT64_MAX);
}

void notice_cancelled(const Projection &p) {
    const char *name = p.name.c_str();
    pg::call([&]() noexcept {
        ereport(NOTICE, errmsg("the rebuild of projection \"%s\" is cancelled", name),
                errhint("rebuild_projection starts anew, with the new definition."));
    });
}

void replace(Declared &d, const Projection &former) {
    require_owner(former);
    if (!access::may_run_as(former.owner)) // an admin may look after it, not have code run as its owner
        pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE, {.message = "must be owner of projection \"" + former.name + "\"",
                                                   .hint = "It belongs to role \"" + former.owner + "\"."});
    if (former.is_inline != d.projection.is_inline || former.kind != d.projection.kind)
        refuse("replace cannot change the mode or the kind of projection \"" + former.name + "\"",
               "Drop it and create it anew.");
    d.projection.id = former.id;
    d.projection.owner = former.owner;
    lock_rebuild(former.id);
    if (is_being_rebuilt(former.id))
        notice_cancelled(former);
    end_rebuild(former); // it would be half of the one definition, half of the other
    lock_projection(former.id);
    if (former.is_inline)
        keep_appenders_out(former.id, 0);
    store_definition(d, false);
    try_again(former.id); // what failed may not fail now
}

void create(Declared &d) {
    Projection &p = d.projection;
    p.id = next_id();
    int64 position = start_position(p.options.start_from);
    bool empty = p.is_inline ? can_start_live(p, position) : !has_events(p, position, std::nullopt);
    store_definition(d, true);
    insert_progress(p, empty && p.is_inline ? std::max(position, store::order::last_given()) : position, position,
                    empty ? "running" : "rebuilding");
}

} // namespace

CHRONICLE_FUNCTION(chronicle_create_projection) {
    pg::Arguments arguments(fcinfo);
    access::require(access::Level::operator_, "create projections");
    Declared d = read_call(arguments);
    check_rights(d.projection);
    lock_name(d.projection.name);
    ProjectionPointer former = find_projection(d.projection.name);
    if (former && !d.replace)
        pg::raise(ERRCODE_DUPLICATE_OBJECT,
                  {.message = "projection \"" + d.projection.name + "\" exists already",
                   .hint = "Use replace => true: it keeps the position and what was projected."});
    if (former)
        replace(d, *former);
    else
        create(d);
    projections_changed();
    announce(d.projection.owner);
    PG_RETURN_VOID();
}

namespace {

std::optional<std::string> owner_of_name(const std::string &name) {
    ProjectionPointer p = find_projection(name);
    return p ? std::optional(p->owner) : std::nullopt;
}

bool give(const std::string &name, const std::string &former, const std::string &role) {
    lock_name(name);
    ProjectionPointer p = find_projection(name);
    if (!p || p->owner != former)
        return false;
    lock_rebuild(p->id);
    end_rebuild(*p); // its staging table is the former owner's
    lock_projection(p->id);
    if (p->is_inline)
        keep_appenders_out(p->id, 0);
    static constexpr Oid types[] = {INT8OID, TEXTOID};
    static pg::Statement updates[] = {
        pg::Statement{"UPDATE chronicle_data.projection SET owner = $2 WHERE projection_id = $1", types},
        pg::Statement{"UPDATE chronicle_data.projection_progress SET owner = $2 WHERE projection_id = $1", types}};
    {
        access::EngineScope engine;
        for (pg::Statement &update : updates) {
            pg::Values values;
            update.run(values.int8(p->id).text(role));
        }
    }
    projections_changed();
    announce(role);
    return true;
}

} // namespace

void init_owned() { access::add_owned_kind({"projection", owner_of_name, give}); }

CHRONICLE_FUNCTION(chronicle_drop_projection) {
    pg::Arguments arguments(fcinfo);
    std::string name = arguments.required_text(0, "name");
    bool if_exists = arguments.boolean(1).value_or(false);
    lock_name(name);
    ProjectionPointer p = find_projection(name);
    if (!p && if_exists)
        PG_RETURN_VOID();
    p = require_projection(name);
    require_owner(*p);
    lock_rebuild(p->id);
    end_rebuild(*p);
    lock_projection(p->id);
    if (p->is_inline)
        keep_appenders_out(p->id, 0);
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement removals[] = {
        pg::Statement{"DELETE FROM chronicle_data.projection WHERE projection_id = $1", types},
        pg::Statement{"DELETE FROM chronicle_data.projection_progress WHERE projection_id = $1", types},
        pg::Statement{"DELETE FROM chronicle_data.projection_state WHERE projection_id = $1", types},
        pg::Statement{"DELETE FROM chronicle_data.projection_parked WHERE projection_id = $1", types}};
    {
        access::EngineScope engine;
        for (pg::Statement &removal : removals) {
            pg::Values values;
            removal.run(values.int8(p->id));
        }
    }
    projections_changed();
    announce(p->owner);
    worker::announce_projected();
    PG_RETURN_VOID();
}

} // namespace chronicle::projection
