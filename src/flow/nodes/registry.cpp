#include "flow/node.hpp"

namespace chronicle::flow {

namespace {

struct Entry {
    std::string_view type;
    NodeFunction function;
};

constexpr Entry entries[] = {
    {"sql.query", run_sql_query},
    {"sequence.numbers", run_sequence_numbers},
    {"memory.collection", run_memory_collection},
    {"filter", run_filter},
    {"table.write", run_table_write},
    {"console.log", run_console_log},
    {"function.call", run_function_call},
    {"wait.timer", run_wait_timer},
    {"wait.signal", run_wait_signal},
    {"workflow.call", run_workflow_call},
    {"map.each", run_map_each},
    {"task.external", run_task_external},
};

[[noreturn]] void wrong_type(std::string_view field, const char *wanted, const core::json &value) {
    pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
              {.message = "config \"" + std::string(field) + "\" must be " + wanted,
               .detail = core::json{{"field", field}, {"value", core::write_json(value)}}.dump()});
}

} // namespace

NodeFunction node_function(std::string_view type) {
    for (const Entry &entry : entries)
        if (entry.type == type)
            return entry.function;
    return nullptr;
}

std::string NodeContext::text(std::string_view field) const {
    core::json value = config(field);
    if (!value.is_string())
        wrong_type(field, "text", value);
    return value.get<std::string>();
}

int64 NodeContext::integer(std::string_view field) const {
    core::json value = config(field);
    std::optional<int64> number = core::integer_value(value);
    if (!number)
        wrong_type(field, "an integer", value);
    return *number;
}

const Rows &NodeContext::input_rows() {
    const Rows *rows = find("input");
    if (!rows)
        pg::raise(ERRCODE_UNDEFINED_TABLE, {.message = "node \"" + node().id + "\" has no input",
                                            .hint = "Connect it to a node that returns rows."});
    return *rows;
}

} // namespace chronicle::flow
