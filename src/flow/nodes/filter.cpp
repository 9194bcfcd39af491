// filter: keeps the rows of its input for which an SQL condition is true.
#include "flow/node.hpp"

namespace chronicle::flow {

NodeOutput run_filter(NodeContext &context) {
    context.input_rows();
    // On a line of its own: a comment at the condition's end must not swallow the parenthesis.
    std::string sql = "SELECT * FROM input WHERE (\n" + context.text("condition") + "\n)";
    StatementResult result = run_statement(sql, core::json::object(), context);
    return {result.rows, result.touched};
}

} // namespace chronicle::flow
