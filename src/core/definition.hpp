// A workflow's definition: contract, section 6. parse_definition is linear in the document's size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/backoff.hpp"
#include "core/config.hpp"
#include "core/json.hpp"
#include "core/node_types.hpp"

namespace chronicle::core {

inline constexpr std::size_t max_nodes = 10000;

enum class OnFailure : std::uint8_t { fail, proceed /* "continue" */, compensate };
enum class Join : std::uint8_t { all, any };

struct Edge {
    std::string id;
    int source; ///< index into Definition::nodes
    int target;
    std::optional<std::string> condition; ///< a lax jsonpath predicate over the source's output
};

struct Node {
    std::string id;
    const NodeType *type = nullptr;
    Role role = Role::transform;
    std::string label;
    json config; ///< canonical keys, coerced values; read it through config_value
    RetryPolicy retry;
    std::optional<double> timeout_ms; ///< of the node, else of its config; a timeout of 0 is none
    int priority = 0;
    bool own_transaction = false;
    OnFailure on_failure = OnFailure::fail;
    Join join = Join::all;
    /// What undoes this node: a node with its id, and its own type, config, retry and timeout. Null: nothing does.
    std::shared_ptr<const Node> compensate;
    std::vector<int> in, out; ///< indices into Definition::edges
};

struct Definition {
    std::string id, name, description, version_label;
    std::vector<std::string> tags;
    std::vector<Node> nodes;
    std::vector<Edge> edges;
    std::vector<int> topological; ///< node indices, every source before its targets
    std::optional<double> timeout_ms; ///< a timeout of 0 is none
    json concurrency; ///< null, or {"limit": integer >= 1, "key": text}, both optional
    json metadata; ///< an object
    std::unordered_map<std::string, int> index; ///< node id → index into nodes

    /// The index of a node, -1 when there is none.
    int find(std::string_view node_id) const;
};

struct Parsed {
    std::optional<Definition> definition; ///< present exactly when there are no faults
    std::vector<Fault> faults; ///< header, nodes, edges, then the graph
};

/// Checks a definition and builds its graph; reports every fault at once.
Parsed parse_definition(const json &document);

/// The document without what only an editor needs (position, viewport, width, selected, style …).
/// Two documents with equal content make no new version.
json content_of(const json &document);

/// The value of a config field: as given, else the type's default, else null.
/// Throws std::logic_error for a field that the node's type does not have.
json config_value(const Node &node, std::string_view field);

} // namespace chronicle::core
