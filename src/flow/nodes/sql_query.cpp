// sql.query: one statement; its rows are the output.
#include "flow/node.hpp"

namespace chronicle::flow {

NodeOutput run_sql_query(NodeContext &context) {
    core::json parameters = context.config("parameters");
    if (!parameters.is_object())
        parameters = core::json::object();
    if (!parameters.contains("input"))
        parameters["input"] = context.input();
    StatementResult result = run_statement(context.text("sql"), parameters, context);
    return {result.rows, result.touched};
}

} // namespace chronicle::flow
