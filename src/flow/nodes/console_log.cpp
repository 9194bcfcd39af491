// console.log: the first rows of its input as lines of view execution_logs. Output: its input, unchanged.
#include "flow/json.hpp"
#include "flow/node.hpp"

#include "access/access.hpp"

namespace chronicle::flow {

namespace {

// One line per row, made as the owner: the texts come from types' own output functions.
std::vector<std::string> format_lines(const core::json &rows, bool as_json, bool pretty) {
    std::vector<std::string> lines;
    for (const core::json &row : rows) {
        if (as_json) {
            lines.push_back(pretty ? core::write_json(row, 2) : core::write_json(row));
            continue;
        }
        std::string line;
        for (const auto &[name, value] : row.items())
            line += (line.empty() ? "" : "  ") + name + "=" +
                    (value.is_string() ? value.get<std::string>() : core::write_json(value));
        lines.push_back(std::move(line));
    }
    return lines;
}

void store_lines(const NodeContext &context, const std::vector<std::string> &lines) {
    static constexpr Oid types[] = {UUIDOID, TEXTOID, INT8OID, TEXTOID};
    static pg::Statement insert{
        "INSERT INTO chronicle_data.execution_log (execution_id, node_id, seq, message) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT (execution_id, node_id, seq) DO UPDATE SET message = excluded.message, at = excluded.at",
        types};
    access::EngineScope engine;
    int64 seq = 0;
    for (const std::string &line : lines) {
        pg::Values values;
        insert.run(values.uuid(context.execution()).text(context.node().id).int8(++seq).text(line));
    }
}

} // namespace

NodeOutput run_console_log(NodeContext &context) {
    const Rows &rows = context.input_rows();
    std::optional<std::string> json = rows_to_json(rows, std::max<int64>(0, context.integer("limit")));
    core::json first = json ? to_json(*json) : core::json::array({core::json{{"note", "rows too large to print"}}});
    core::json pretty = context.config("pretty");
    store_lines(context,
                format_lines(first, context.text("format") == "json", pretty.is_boolean() && pretty.get<bool>()));
    return {rows, rows.count};
}

} // namespace chronicle::flow
