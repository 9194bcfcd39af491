// sql.query: one statement; its rows are the output.
#include "flow/node.hpp"

namespace chronicle::flow {

NodeOutput run_sql_query(NodeContext &context) {
    core::json parameters = context.config("parameters");
    if (!parameters.is_object())
        parameters = core::json::object();
    std::string sql = context.text("sql");
    if (!parameters.contains("input") && sql.find(":input") != std::string::npos)
        parameters["input"] = context.input();
    StatementResult result = run_statement(sql, parameters, context);
    return {result.rows, result.touched};
}

} // namespace chronicle::flow
