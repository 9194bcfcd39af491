// How a node type plugs in: one function, one row in nodes/registry.cpp; its config is described in src/core.
#pragma once

#include "core/definition.hpp"

#include "flow/statement.hpp"

namespace chronicle::flow {

/// What a running node sees: its config with references resolved, the run, and relations by name.
class NodeContext : public NamedRelations {
public:
    virtual const core::Node &node() const = 0;
    /// A config value: as given (references resolved), else the type's default, else null.
    virtual core::json config(std::string_view field) const = 0;
    virtual const pg::Uuid &execution() const = 0;
    virtual core::json input() const = 0; // of the run; 54000 when it cannot be read
    /// The context that references read, as JSON text: input, execution_id, nodes.
    virtual std::string context() = 0;

    // Typed readers of config; 22023 with the field's name when a resolved reference does not fit.
    std::string text(std::string_view field) const;
    int64 integer(std::string_view field) const;
    /// The relation `input`; 42P01 with an explanation when no live upstream hands on rows.
    const Rows &input_rows();
};

/// What a node leaves: rows for its successors (none: nothing to hand on), and how many records it processed.
/// Or a value (JSON text). A control node leaves what it is to wait for: waiting.hpp.
struct NodeOutput {
    std::optional<Rows> rows = {};
    int64 records = 0;
    std::optional<std::string> value = {};
    core::json wait = {}; // null: it does not wait
};

using NodeFunction = NodeOutput (*)(NodeContext &);

/// The function of a node type; nullptr when this build has none.
NodeFunction node_function(std::string_view type);

// src/flow/nodes, one file each.
NodeOutput run_sql_query(NodeContext &);
NodeOutput run_sequence_numbers(NodeContext &);
NodeOutput run_memory_collection(NodeContext &);
NodeOutput run_filter(NodeContext &);
NodeOutput run_table_write(NodeContext &);
NodeOutput run_console_log(NodeContext &);
NodeOutput run_function_call(NodeContext &);

// Control nodes: timer.cpp, signal.cpp …
NodeOutput run_wait_timer(NodeContext &);
NodeOutput run_wait_signal(NodeContext &);
NodeOutput run_workflow_call(NodeContext &);
NodeOutput run_map_each(NodeContext &);
NodeOutput run_task_external(NodeContext &);

} // namespace chronicle::flow
