// create_workflow, validate_workflow, and the cache of parsed definitions.
#include "flow/json.hpp"
#include "flow/definition.hpp"
#include "flow/schedule.hpp"

#include "catalog/objects.hpp"
#include "pg/lock.hpp"
#include "pg/xact.hpp"
#include "settings.hpp"
#include "sqlstates.hpp"

extern "C" {
#include "access/htup_details.h"
#include "funcapi.h"
#include "utils/fmgrprotos.h"
#include "utils/tuplestore.h"
}

namespace chronicle::flow {

namespace {

constexpr size_t cache_limit = 200;
std::unordered_map<int64, std::shared_ptr<const StoredDefinition>> *cache = nullptr;
uint64 cache_generation = 0;

// A jsonpath of the document, and where it stands.
struct Path {
    std::string at, text;
};

void parse_jsonpath(const std::string &path) {
    const char *text = path.c_str();
    pg::call([&]() noexcept { (void)DirectFunctionCall1(jsonpath_in, CStringGetDatum(text)); });
}

// What is wrong with a jsonpath; empty: nothing. The parser raises, so it runs in a savepoint.
std::string jsonpath_problem(const std::string &path) {
    std::optional<pg::Error> error = pg::attempt([&]() { parse_jsonpath(path); });
    if (!error)
        return "";
    if (error->sqlstate() != ERRCODE_SYNTAX_ERROR && ERRCODE_TO_CATEGORY(error->sqlstate()) != ERRCODE_DATA_EXCEPTION)
        throw *error; // a cancel, memory …: not the definition's fault
    return "no jsonpath: " + error->message();
}

void collect_references(const core::json &value, const std::string &at, std::vector<Path> &paths) {
    if (core::is_reference(value) && value.contains("$") && value["$"].is_string()) {
        paths.push_back({core::path_key(at, "$"), value["$"].get<std::string>()});
    } else if (value.is_object()) {
        for (const auto &[key, item] : value.items())
            collect_references(item, core::path_key(at, key), paths);
    } else if (value.is_array()) {
        for (size_t i = 0; i < value.size(); i++)
            collect_references(value[i], core::path_index(at, i), paths);
    }
}

// Conditions of edges, references in nodes and the key of limits, in a document that may have any other fault.
std::vector<Path> jsonpaths_in(const core::json &document) {
    std::vector<Path> paths;
    if (!document.is_object())
        return paths;
    if (auto nodes = document.find("nodes"); nodes != document.end())
        collect_references(*nodes, "$.nodes", paths);
    if (auto limit = document.find("concurrency"); limit != document.end() && limit->is_object())
        if (auto key = limit->find("key"); key != limit->end() && key->is_string())
            paths.push_back({"$.concurrency.key", key->get<std::string>()});
    auto edges = document.find("edges");
    for (size_t i = 0; edges != document.end() && edges->is_array() && i < edges->size(); i++)
        if ((*edges)[i].is_object() && (*edges)[i].contains("condition") && (*edges)[i]["condition"].is_string())
            paths.push_back(
                {core::path_index("$.edges", i) + ".condition", (*edges)[i]["condition"].get<std::string>()});
    return paths;
}

// What PostgreSQL's jsonpath parser refuses is a fault of the definition, not of a run. One savepoint when all are
// fine.
void check_jsonpaths(const core::json &document, core::Parsed &parsed) {
    std::vector<Path> paths = jsonpaths_in(document);
    auto parse_all = [&]() {
        for (const Path &path : paths)
            parse_jsonpath(path.text);
    };
    if (paths.empty() || !pg::attempt(parse_all))
        return;
    for (const Path &path : paths)
        if (std::string problem = jsonpath_problem(path.text); !problem.empty())
            parsed.faults.push_back({path.at, problem});
    if (!parsed.faults.empty())
        parsed.definition.reset();
}

// `metadata.schedule` of the document; its faults join the others.
std::optional<core::ScheduleSpec> check_schedule(const core::json &document, core::Parsed &parsed) {
    size_t before = parsed.faults.size();
    std::optional<core::ScheduleSpec> spec = core::definition_schedule(document, parsed.faults);
    if (spec)
        if (std::string problem = timezone_problem(spec->timezone); !problem.empty())
            parsed.faults.push_back({"$.metadata.schedule.timeZone", problem});
    if (parsed.faults.size() > before)
        parsed.definition.reset();
    return spec;
}

// `is_new`: a definition that was stored has passed the rest already.
core::Parsed parse(const std::string &text, bool is_new, std::optional<core::ScheduleSpec> *schedule = nullptr) {
    core::Result<core::json> document = core::parse_json(text);
    if (!document)
        return {std::nullopt, {{"$", document.problem}}};
    core::Parsed parsed = core::parse_definition(*document);
    if (is_new) {
        check_jsonpaths(*document, parsed);
        std::optional<core::ScheduleSpec> spec = check_schedule(*document, parsed);
        if (schedule)
            *schedule = std::move(spec);
    }
    return parsed;
}

[[noreturn]] void raise_faults(const std::vector<core::Fault> &faults) {
    core::json detail = core::json::array();
    for (const core::Fault &fault : faults)
        detail.push_back({{"path", fault.path}, {"problem", fault.problem}});
    std::string first = faults.front().path + ": " + faults.front().problem;
    pg::raise(invalid_workflow, {.message = faults.size() == 1 ? "invalid workflow: " + first
                                                               : "invalid workflow: " + std::to_string(faults.size()) +
                                                                     " faults, the first at " + first,
                                 .detail = detail.dump(),
                                 .hint = "SELECT * FROM chronicle.validate_workflow(…) lists them."});
}

[[noreturn]] void not_built(const std::string &what) {
    pg::raise(ERRCODE_FEATURE_NOT_SUPPORTED,
              {.message = "workflow uses " + what + ", which this version does not run yet"});
}

bool has_secret(const core::json &value) {
    if (core::is_reference(value))
        return value.contains("$secret");
    return value.is_structured() && std::any_of(value.begin(), value.end(), has_secret);
}

void refuse_what_is_not_built(const core::Node &node) {
    if (node.config.contains("materialize") && node.config["materialize"] != false)
        not_built("\"materialize\" (node " + node.id + ")");
    if (has_secret(node.config))
        not_built("\"$secret\" (node " + node.id + ")");
}

// What the contract has and this version does not run is refused, not ignored.
void refuse_what_is_not_built(const core::Definition &graph) {
    for (const core::Node &node : graph.nodes) {
        refuse_what_is_not_built(node);
        if (node.compensate)
            refuse_what_is_not_built(*node.compensate);
    }
}

std::string current_user() {
    return std::string(pg::call([]() noexcept { return GetUserNameFromId(GetUserId(), false); }));
}

struct Current {
    bool exists = false;
    int version = 0;
    std::string owner = {}, content = {};
};

Current find_current(const std::string &id) {
    static constexpr Oid types[] = {TEXTOID};
    static pg::Statement find{
        "SELECT w.version, w.owner, v.content FROM chronicle_data.workflow w "
        "JOIN chronicle_data.workflow_version v USING (workflow_id, version) WHERE w.workflow_id = $1",
        types};
    static pg::Statement last{
        "SELECT coalesce(max(version), 0) FROM chronicle_data.workflow_version WHERE workflow_id = $1", types};
    pg::Values values;
    pg::Rows rows = find.run(values.text(id));
    if (rows.empty()) // a dropped one counts on
        return {.version = last.run(values)[0].int4(1)};
    return {true, rows[0].int4(1), rows[0].text(2), rows[0].jsonb(3)};
}

void insert_version(const std::string &id, int version, const std::string &document, const std::string &content,
                    const std::string &search_path, const std::string &user, const std::string &owner) {
    static constexpr Oid version_types[] = {TEXTOID, INT4OID, JSONBOID, JSONBOID, TEXTOID, TEXTOID};
    static pg::Statement insert{
        "INSERT INTO chronicle_data.workflow_version (definition_id, workflow_id, version, definition, content, "
        "search_path, created_by) VALUES (nextval('chronicle_data.definition_id_seq'), $1, $2, $3, $4, $5, $6)",
        version_types};
    static constexpr Oid workflow_types[] = {TEXTOID, INT4OID, TEXTOID};
    static pg::Statement upsert{"INSERT INTO chronicle_data.workflow (workflow_id, version, first_version, owner) "
                                "VALUES ($1, $2, $2, $3) "
                                "ON CONFLICT (workflow_id) DO UPDATE SET version = excluded.version",
                                workflow_types};
    pg::Values of_version;
    insert.run(of_version.text(id).int4(version).jsonb(document).jsonb(content).text(search_path).text(user));
    pg::Values of_workflow;
    upsert.run(of_workflow.text(id).int4(version).text(owner));
}

struct Stored {
    int version;
    bool is_new;
};

// The lock makes two creators of one id follow each other; the second sees the first one's version.
Stored store(const core::Definition &graph, const std::string &document) {
    std::string user = current_user();
    std::string search_path = GetConfigOption("search_path", false, false);
    std::string content = core::write_json(core::content_of(to_json(document)));
    pg::lock(pg::LockKind::workflow, pg::lock_key(graph.id));
    bool may_replace = true;
    Current current;
    {
        access::EngineScope engine;
        current = find_current(graph.id);
    }
    if (current.exists)
        may_replace = access::may_run_as(current.owner);
    if (!may_replace)
        pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE,
                  {.message = "workflow \"" + graph.id + "\" belongs to another role",
                   .hint = "Choose another id, or become a member of its owner's role."});
    access::EngineScope engine;
    std::string stored_form = pg::jsonb_to_string(pg::make_jsonb(content)); // as jsonb writes it: comparable
    if (current.exists && current.content == stored_form)
        return {current.version, false};
    insert_version(graph.id, current.version + 1, document, content, search_path, user,
                   current.exists ? current.owner : user);
    return {current.version + 1, true};
}

std::shared_ptr<const StoredDefinition> load(int64 definition_id) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement find{
        "SELECT workflow_id, version, search_path, definition FROM chronicle_data.workflow_version "
        "WHERE definition_id = $1",
        types};
    access::EngineScope engine;
    pg::Values values;
    pg::Rows rows = find.run(values.int8(definition_id));
    if (rows.empty())
        pg::raise(ERRCODE_UNDEFINED_OBJECT, {.message = "the workflow's definition is not there any more"});
    core::Parsed parsed = parse(rows[0].jsonb(4), false);
    if (!parsed.definition)
        raise_faults(parsed.faults); // stored by another version of chronicle, which took it
    return std::make_shared<const StoredDefinition>(StoredDefinition{definition_id, rows[0].text(1), rows[0].int4(2),
                                                                     rows[0].text(3), std::move(*parsed.definition)});
}

} // namespace

std::shared_ptr<const StoredDefinition> stored_definition(int64 definition_id) {
    uint64 generation = catalog::objects().generation;
    if (!cache)
        cache = new std::unordered_map<int64, std::shared_ptr<const StoredDefinition>>();
    if (cache_generation != generation || cache->size() > cache_limit)
        cache->clear();
    cache_generation = generation;
    auto found = cache->find(definition_id);
    if (found == cache->end())
        found = cache->emplace(definition_id, load(definition_id)).first;
    return found->second;
}

CHRONICLE_FUNCTION(chronicle_create_workflow) {
    pg::Arguments arguments(fcinfo);
    if (arguments.null(0))
        pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = "argument \"definition\" must not be NULL"});
    access::require(access::Level::operator_, "create workflows");
    std::string document = pg::jsonb_to_string(arguments.datum(0));
    std::optional<core::ScheduleSpec> schedule;
    core::Parsed parsed = parse(document, true, &schedule);
    if (!parsed.definition)
        raise_faults(parsed.faults);
    refuse_what_is_not_built(*parsed.definition);
    Stored stored = store(*parsed.definition, document);
    if (stored.is_new)
        set_definition_schedule(parsed.definition->id, schedule);
    pg::call([&]() noexcept { InitMaterializedSRF(fcinfo, 0); });
    ReturnSetInfo *result = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);
    Datum values[] = {pg::make_text(parsed.definition->id), Int32GetDatum(stored.version)};
    bool nulls[] = {false, false};
    pg::call([&]() noexcept { tuplestore_putvalues(result->setResult, result->setDesc, values, nulls); });
    PG_RETURN_NULL();
}

CHRONICLE_FUNCTION(chronicle_validate_workflow) {
    pg::Arguments arguments(fcinfo);
    if (arguments.null(0))
        pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = "argument \"definition\" must not be NULL"});
    core::Parsed parsed = parse(pg::jsonb_to_string(arguments.datum(0)), true);
    pg::call([&]() noexcept { InitMaterializedSRF(fcinfo, 0); });
    ReturnSetInfo *result = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);
    for (const core::Fault &fault : parsed.faults) {
        Datum values[] = {pg::make_text(fault.path), pg::make_text(fault.problem)};
        bool nulls[] = {false, false};
        pg::call([&]() noexcept { tuplestore_putvalues(result->setResult, result->setDesc, values, nulls); });
    }
    PG_RETURN_NULL();
}

} // namespace chronicle::flow
