// workflow.call and map.each as their owner sees them: which runs are to be started. The rest is child.cpp.
#include "flow/json.hpp"
#include "flow/node.hpp"

#include "flow/start.hpp"
#include "pg/user_function.hpp"

namespace chronicle::flow {

namespace {

constexpr pg::Signature context_function{"fn(context jsonb) returns jsonb", 1, {JSONBOID}, JSONBOID};

void describe(core::json &wait, const Startable &what) {
    wait["workflow"] = what.workflow_id;
    wait["definition"] = what.definition_id;
    wait["version"] = what.version;
    wait["owner"] = what.owner;
}

Startable find_workflow(const std::string &workflow) {
    Startable what = require_startable(workflow, std::nullopt);
    check_enabled(what);
    return what;
}

// A function's calls are runs of a workflow of one node, which exists once for each version of the caller, node and
// function, as long as runs of it are kept. Its id has slashes, so it is nobody's; it is in no view of workflows.
Startable call_function(const NodeContext &context, const std::string &function) {
    static constexpr Oid find_types[] = {UUIDOID, TEXTOID};
    static constexpr Oid types[] = {UUIDOID, TEXTOID, JSONBOID};
    static pg::Statement find{
        "SELECT v.definition_id, v.workflow_id, v.version, e.owner FROM chronicle_data.execution AS e "
        "JOIN chronicle_data.workflow_version AS v ON v.workflow_id = e.workflow_id || '/' || $2 "
        "AND v.version = e.version WHERE e.execution_id = $1 FOR KEY SHARE OF v", // against retention
        find_types};
    static pg::Statement insert{
        "INSERT INTO chronicle_data.workflow_version (definition_id, workflow_id, version, definition, content, "
        "search_path, created_by) SELECT nextval('chronicle_data.definition_id_seq'), e.workflow_id || '/' || $2, "
        "e.version, $3, '{}', v.search_path, e.owner FROM chronicle_data.execution AS e "
        "JOIN chronicle_data.workflow_version AS v USING (definition_id) WHERE e.execution_id = $1 "
        "ON CONFLICT (workflow_id, version) DO NOTHING",
        types};
    std::string name = context.node().id + "/" + function;
    core::json definition{{"id", context.node().id},
                          {"name", name},
                          {"nodes",
                           {{{"id", "call"}, {"nodeType", "function.call"}, {"config", {{"function", function}}}}}}};
    std::string text = core::write_json(definition);
    access::EngineScope engine;
    for (;;) {
        pg::Values values;
        pg::Rows rows = find.run(values.uuid(context.execution()).text(name));
        if (!rows.empty())
            return {rows[0].text(2), rows[0].int8(1), rows[0].int4(3), rows[0].text(4)};
        pg::Values of_insert;
        insert.run(of_insert.uuid(context.execution()).text(name).jsonb(text));
    }
}

} // namespace

NodeOutput run_function_call(NodeContext &context) {
    std::string whole = context.context();
    core::json arguments = context.config("args");
    if (!arguments.is_null()) {
        whole.pop_back();
        whole += ", \"args\": " + core::write_json(arguments) + "}";
    }
    std::string stored = pg::resolve_function(context.text("function"), context_function);
    pg::UserFunction function(stored, context_function, GetUserId());
    NullableDatum argument{pg::make_jsonb(whole), false};
    NullableDatum result = function.call(&argument);
    return {.records = 1, .value = result.isnull ? "null" : pg::jsonb_to_string(result.value)};
}

NodeOutput run_workflow_call(NodeContext &context) {
    core::json wait{{"kind", "children"}, {"input", context.config("input")}, {"await", context.config("wait")}};
    describe(wait, find_workflow(context.text("workflow")));
    return {.wait = wait};
}

NodeOutput run_map_each(NodeContext &context) {
    core::json wait{{"kind", "children"}, {"map", true}, {"items", context.config("items")}};
    core::json limit = context.config("max_concurrency");
    if (!limit.is_null())
        wait["limit"] = context.integer("max_concurrency");
    core::json function = context.config("function");
    wait["function"] = !function.is_null();
    if (function.is_null()) {
        describe(wait, find_workflow(context.text("workflow")));
    } else {
        std::string stored = pg::resolve_function(context.text("function"), context_function);
        describe(wait, call_function(context, stored));
    }
    return {.wait = wait};
}

} // namespace chronicle::flow
