// create_trigger, and what a trigger does.
//
// An append asks each watcher whether what it stored is of interest (store/watch.hpp); ours looks the category up in
// the triggers, which each process keeps in memory. If so, the statement trigger on the event table starts the runs, in
// the appender's transaction: the event and its run commit together, or neither does. Nothing is started by a restore.
//
// A run is the workflow owner's, whoever appends; a trigger whose owner may not read the stream (any more) starts
// nothing, for the run's input is the event.
//
// An append does not fail because of a trigger: not when an upcaster raises, which is somebody else's code, and not
// when the event nests so deeply that it can be stored, but not once more inside of something. Then there is no run,
// but a row in trigger_failure (view trigger_failures). So events are read in a subtransaction; it writes nothing and
// costs a microsecond. If it fails, they are looked at again one by one, for one trigger at a time. A start gets a
// subtransaction of its own, which does write, only where something may be wrong: deep nesting.
// What must end the statement (a cancel, a serialization failure, a server out of memory) passes.
#include "flow/json.hpp"
#include "flow/start.hpp"
#include "flow/trigger.hpp"

#include "catalog/cached_table.hpp"
#include "catalog/names.hpp"
#include "catalog/objects.hpp"
#include "pg/xact.hpp"
#include "store/event_row.hpp"
#include "store/path_filter.hpp"
#include "store/watch.hpp"

extern "C" {
#include "access/stratnum.h"
#include "commands/trigger.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
}

namespace chronicle::flow {

namespace {

catalog::CachedTable trigger_table("workflow_trigger");

using Names = std::optional<std::vector<std::string>>; // nothing: all

struct Trigger {
    int64 id;
    std::string workflow_id;
    Names categories, types;
    std::optional<store::PathFilter> filter;
};

bool among(const Names &wanted, std::string_view name) {
    return !wanted || std::find(wanted->begin(), wanted->end(), name) != wanted->end();
}

Names names_of(const pg::Row &row, int column) {
    bool is_null;
    Datum array = row.datum(column, &is_null);
    return is_null ? std::nullopt : std::optional(pg::to_strings(array, "names"));
}

struct Triggers {
    std::vector<Trigger> all;
    MemoryContext memory; // of their filters
};

std::unique_ptr<Triggers> read_triggers() {
    static pg::Statement find{"SELECT trigger_id, workflow_id, categories, types, filter FROM "
                              "chronicle_data.workflow_trigger ORDER BY trigger_id"};
    auto fresh = std::make_unique<Triggers>();
    fresh->memory = pg::call(
        []() noexcept { return AllocSetContextCreate(TopMemoryContext, "chronicle triggers", ALLOCSET_SMALL_SIZES); });
    access::EngineScope engine;
    pg::LatestSnapshotScope newest;
    pg::Values none;
    pg::Rows rows = find.run(none, true);
    for (uint64 i = 0; i < rows.count; i++) {
        pg::Row row = rows[i];
        Trigger trigger{row.int8(1), row.text(2), names_of(row, 3), names_of(row, 4), std::nullopt};
        if (!row.null(5)) {
            bool is_null;
            pg::MemorySwitch kept(fresh->memory);
            trigger.filter.emplace(pg::copy_datum(row.datum(5, &is_null), -1));
        }
        fresh->all.push_back(std::move(trigger));
    }
    return fresh;
}

// Valid until the next call.
const std::vector<Trigger> &all_triggers() {
    static Triggers *cached = nullptr;
    static uint64 cached_generation = 0;
    uint64 generation = trigger_table.generation();
    if (!cached || cached_generation != generation) {
        std::unique_ptr<Triggers> fresh = read_triggers();
        if (cached)
            MemoryContextDelete(cached->memory);
        delete cached;
        cached = fresh.release();
        cached_generation = generation;
    }
    return cached->all;
}

bool is_watched(const store::StoredBatch &batch) {
    const std::vector<Trigger> &all = all_triggers();
    return std::any_of(all.begin(), all.end(), [&](const Trigger &t) { return among(t.categories, batch.category); });
}

// --- what a trigger does ---

// The event is system's own: a delete, say.
bool is_system(const store::EventRow &event) { return event.type.starts_with("$") || event.stream.starts_with("$"); }

bool owner_may_read(const std::string &owner, std::string_view stream) {
    const char *name = owner.c_str();
    Oid role = pg::call([&]() noexcept { return get_role_oid(name, true); });
    if (!OidIsValid(role))
        return false;
    pg::UserScope as_owner(role, SECURITY_LOCAL_USERID_CHANGE);
    return access::may_read_stream(stream);
}

struct Start {
    int64 trigger;
    std::string workflow_id, event;
    int64 position;
};

// Nothing: the workflow is disabled, or gone, or its owner may not read the stream.
std::optional<Startable> find_willing(const std::string &workflow_id, std::string_view stream) {
    pg::NewestScope newest; // as the triggers themselves: they may be newer than the transaction's snapshot
    std::optional<Startable> what = find_startable(workflow_id, std::nullopt);
    return what && what->enabled && owner_may_read(what->owner, stream) ? what : std::nullopt;
}

void start_run(const Start &start, std::string_view stream) {
    std::optional<Startable> what = find_willing(start.workflow_id, stream);
    if (!what)
        return;
    core::json origin{{"triggerId", start.trigger}, {"globalPosition", start.position}};
    start_execution(*what, {.input = start.event,
                            .metadata = core::write_json(origin),
                            .started_by = what->owner,
                            .origin = origin});
}

// An event that a trigger may want.
struct Candidate {
    std::string type;
    int64 position;
    Datum object;
};

// Which of the batch's events, and for which trigger; 0: for all of them.
struct Look {
    int64 first_version, last_version, trigger;
};

class BatchReader : public pg::IndexReader {
public:
    BatchReader(const store::StoredBatch &batch, int64 first_version, int64 last_version)
        : pg::IndexReader(catalog::objects().event, catalog::objects().event_stream_version_key, SnapshotSelf) {
        key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(batch.stream_id));
        key(2, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(first_version));
        key(2, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(last_version));
    }
};

// Upcasters are users' code, which may change triggers: so all events are made before the first trigger is looked at.
std::vector<Candidate> read_candidates(const store::StoredBatch &batch, const Look &look) {
    std::vector<Candidate> candidates;
    store::EventMaker maker;
    BatchReader reader(batch, look.first_version, look.last_version);
    while (reader.next()) {
        store::EventRow event = maker.make(reader, batch.stream);
        if (!is_system(event))
            candidates.push_back({std::string(event.type), event.position, store::event_object(event)});
    }
    return candidates;
}

bool wants(const Trigger &trigger, const store::StoredBatch &batch, std::string_view type) {
    return among(trigger.categories, batch.category) && among(trigger.types, type);
}

// Collected first: starting a run may read the triggers anew.
std::vector<Start> find_starts(const store::StoredBatch &batch, const Look &look) {
    std::vector<Candidate> candidates = read_candidates(batch, look);
    std::vector<Start> starts;
    const std::vector<Trigger> &all = all_triggers();
    for (const Candidate &event : candidates)
        for (const Trigger &trigger : all)
            if ((look.trigger == 0 || look.trigger == trigger.id) && wants(trigger, batch, event.type) &&
                (!trigger.filter || trigger.filter->passes(event.object)))
                starts.push_back({trigger.id, trigger.workflow_id, pg::jsonb_to_string(event.object), event.position});
    return starts;
}

// --- what a trigger could not do ---

// Only of what the workflow's owner, who sees it, may read.
void note_failure(const Start &start, std::string_view stream, const pg::Error &error) {
    static constexpr Oid types[] = {INT8OID, INT8OID, TEXTOID, TEXTOID};
    static pg::Statement insert{"INSERT INTO chronicle_data.trigger_failure (trigger_id, global_position, sqlstate, "
                                "error) VALUES ($1, $2, $3, $4)",
                                types};
    if (error.must_pass())
        throw error;
    if (!find_willing(start.workflow_id, stream))
        return;
    access::EngineScope engine;
    pg::Values values;
    values.int8(start.trigger).int8(start.position).text(error.sqlstate_text());
    insert.run(values.text(error.message()));
}

// The triggers that would look at an event; it may not be possible to make one of it.
std::vector<Start> candidates_for(const store::StoredBatch &batch, int64 version) {
    std::vector<Start> wanted;
    BatchReader reader(batch, version, version);
    if (!reader.next())
        return wanted;
    bool is_null;
    int64 position = DatumGetInt64(reader.column(1, &is_null));
    std::string type = store::kind_of(DatumGetInt32(reader.column(6, &is_null))).type;
    for (const Trigger &trigger : all_triggers())
        if (wants(trigger, batch, type))
            wanted.push_back({trigger.id, trigger.workflow_id, {}, position});
    return wanted;
}

std::vector<Start> find_one_by_one(const store::StoredBatch &batch) {
    std::vector<Start> starts;
    for (int64 version = batch.first_version; version <= batch.last_version; version++)
        for (const Start &candidate : candidates_for(batch, version)) {
            std::vector<Start> found;
            std::optional<pg::Error> error = pg::attempt([&]() {
                found = find_starts(batch, {version, version, candidate.trigger});
            });
            if (error)
                note_failure(candidate, batch.stream, *error);
            else
                starts.insert(starts.end(), found.begin(), found.end());
        }
    return starts;
}

// Perhaps: it has that many brackets.
bool nests_deeply(const std::string &json) {
    constexpr int many = 200;
    return std::count_if(json.begin(), json.end(), [](char c) { return c == '[' || c == '{'; }) >= many;
}

void start_triggered(const store::StoredBatch &batch) {
    std::vector<Start> starts;
    std::optional<pg::Error> error = pg::attempt([&]() {
        starts = find_starts(batch, {batch.first_version, batch.last_version, 0});
    });
    if (error && error->must_pass())
        throw *std::move(error);
    if (error)
        starts = find_one_by_one(batch);
    for (const Start &start : starts)
        if (!nests_deeply(start.event))
            start_run(start, batch.stream);
        else if (std::optional<pg::Error> refused = pg::attempt([&]() { start_run(start, batch.stream); }))
            note_failure(start, batch.stream, *refused);
}

// --- create and drop ---

// An empty list would match nothing, for ever.
void check_not_empty(const Names &names, const char *argument) {
    if (names && names->empty())
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = std::string(argument) + " must not be empty",
                                                    .detail = core::json{{"argument", argument}}.dump(),
                                                    .hint = "NULL stands for all of them."});
}

void check_categories(const Names &names) {
    check_not_empty(names, "categories");
    for (const std::string &name : names.value_or(std::vector<std::string>())) {
        catalog::check_name(name, "category");
        catalog::check_not_reserved(name);
        if (name.find('-') != std::string::npos)
            pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                      {.message = "\"" + name + "\" is no category: a category has no \"-\"",
                       .hint = "The category of a stream is the part before the first \"-\"."});
    }
}

void check_types(const Names &names) {
    check_not_empty(names, "types");
    for (const std::string &name : names.value_or(std::vector<std::string>())) {
        catalog::check_name(name, "type");
        if (name.starts_with("$"))
            pg::raise(ERRCODE_RESERVED_NAME, {.message = "type \"" + name + "\" is reserved",
                                              .hint = "Events of the system start no workflow."});
    }
}

// The categories that it names, else all of them (a level of reader).
bool owner_reads(const std::string &owner, const Names &categories) {
    if (!categories)
        return owner_may_read(owner, "");
    return std::all_of(categories->begin(), categories->end(),
                       [&](const std::string &category) { return owner_may_read(owner, category); });
}

void check_owner_reads(const std::string &owner, const Names &categories) {
    if (!owner_reads(owner, categories))
        pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE,
                  {.message = "the workflow's owner, role \"" + owner + "\", may not read the events of this trigger",
                   .hint = "Its runs get them as input: grant it reader, or the categories."});
}

} // namespace

void init_triggers() { store::add_watcher(is_watched); }

CHRONICLE_FUNCTION(chronicle_start_triggered) {
    if (!CALLED_AS_TRIGGER(fcinfo))
        pg::raise(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                  {.message = "chronicle_start_triggered is a trigger function"});
    const std::vector<store::StoredBatch> *batches = store::current_append();
    for (size_t i = 0; batches && i < batches->size(); i++) {
        const store::StoredBatch &batch = (*batches)[i];
        if (!is_watched(batch))
            continue;
        pg::MemoryScope memory("chronicle triggers");
        start_triggered(batch);
    }
    PG_RETURN_POINTER(nullptr);
}

CHRONICLE_FUNCTION(chronicle_create_trigger) {
    static constexpr Oid types[] = {TEXTOID, TEXTARRAYOID, TEXTARRAYOID, JSONPATHOID, TEXTOID};
    static pg::Statement insert{"INSERT INTO chronicle_data.workflow_trigger (workflow_id, categories, types, filter, "
                                "created_by) VALUES ($1, $2, $3, $4, $5) RETURNING trigger_id",
                                types};
    pg::Arguments arguments(fcinfo);
    std::string workflow = arguments.required_text(0, "workflow_id");
    Names categories = arguments.texts(1, "categories"), wanted_types = arguments.texts(2, "types");
    check_categories(categories);
    check_types(wanted_types);
    if (!arguments.null(3))
        store::refuse_variables(arguments.datum(3), "filter");
    check_owner_reads(require_startable(workflow, std::nullopt).owner, categories);
    std::string user = pg::call([]() noexcept { return GetUserNameFromId(GetSessionUserId(), false); });
    access::EngineScope engine;
    pg::Values values;
    values.text(workflow);
    for (int i = 1; i <= 3; i++)
        arguments.null(i) ? values.null() : values.add(arguments.datum(i));
    int64 id = insert.run(values.text(user))[0].int8(1);
    trigger_table.changed();
    PG_RETURN_INT64(id);
}

// For view triggers; it tells others nothing.
CHRONICLE_FUNCTION(chronicle_trigger_fault) {
    pg::Arguments arguments(fcinfo);
    std::optional<Startable> what = find_startable(arguments.required_text(0, "workflow_id"), std::nullopt);
    if (!what || !access::may_act_for(what->owner))
        PG_RETURN_NULL();
    const char *owner = what->owner.c_str();
    std::string role = "role \"" + what->owner + "\"";
    if (!OidIsValid(pg::call([&]() noexcept { return get_role_oid(owner, true); })))
        return pg::make_text("the owner, " + role + ", does not exist");
    if (!owner_reads(what->owner, arguments.texts(1, "categories")))
        return pg::make_text("the owner, " + role + ", may not read the events");
    if (!what->enabled)
        return pg::make_text("the workflow is disabled");
    PG_RETURN_NULL();
}

void drop_triggers_of(const std::string &workflow_id) {
    static constexpr Oid types[] = {TEXTOID};
    static pg::Statement remove_failures{
        "DELETE FROM chronicle_data.trigger_failure WHERE trigger_id IN "
        "(SELECT trigger_id FROM chronicle_data.workflow_trigger WHERE workflow_id = $1)",
        types};
    static pg::Statement remove{"DELETE FROM chronicle_data.workflow_trigger WHERE workflow_id = $1", types};
    pg::Values values;
    remove_failures.run(values.text(workflow_id));
    if (remove.run(values).count > 0)
        trigger_table.changed();
}

CHRONICLE_FUNCTION(chronicle_drop_trigger) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement find{"SELECT w.owner FROM chronicle_data.workflow_trigger t JOIN chronicle_data.workflow w "
                              "USING (workflow_id) WHERE t.trigger_id = $1",
                              types};
    static pg::Statement remove_failures{"DELETE FROM chronicle_data.trigger_failure WHERE trigger_id = $1", types};
    static pg::Statement remove{"DELETE FROM chronicle_data.workflow_trigger WHERE trigger_id = $1", types};
    std::optional<int64> id = pg::Arguments(fcinfo).int8(0);
    if (!id)
        pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = "argument \"trigger_id\" must not be NULL"});
    std::optional<std::string> owner;
    {
        access::EngineScope engine;
        pg::Values values;
        pg::Rows rows = find.run(values.int8(*id));
        if (!rows.empty())
            owner = rows[0].text(1);
    }
    if (!owner || !access::may_act_for(*owner))
        pg::raise(ERRCODE_UNDEFINED_OBJECT,
                  {.message = "trigger " + std::to_string(*id) + " does not exist",
                   .hint = "SELECT trigger_id, workflow_id FROM chronicle.triggers lists them."});
    access::EngineScope engine;
    pg::Values values;
    remove_failures.run(values.int8(*id));
    remove.run(values);
    trigger_table.changed();
    PG_RETURN_VOID();
}

} // namespace chronicle::flow
