// The registry of node types: one constexpr table, from which validation, defaults and the view
// node_types all follow. To add a type, add its fields and its row in node_types.cpp.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.hpp"

namespace chronicle::core {

/// A fault of a document: where it lies (a JSON path like $.nodes[2].config.sql), and what is wrong.
struct Fault {
    std::string path;
    std::string problem;

    bool operator==(const Fault &) const = default;
};

enum class Role : std::uint8_t { source, transform, sink, control };

/// "source", "transform", "sink", "control".
std::string_view role_name(Role role);

/// One key of a node's config. Names are matched in camelCase and snake_case.
struct ConfigField {
    enum class Kind : std::uint8_t {
        any, ///< any JSON value
        text, ///< a string that is not blank
        integer, ///< 64 bits; also as a string
        number, ///< also as a string
        boolean, ///< also "true" and "false"
        object,
        array,
        names, ///< an array of strings; one string stands for an array of one
        duration, ///< seconds, or text like "500ms"; see duration.hpp
        choice, ///< one of `choices`
    };

    std::string_view name;
    std::string_view alias = {};
    Kind kind = Kind::any;
    bool required = false;
    std::string_view default_json = {}; ///< JSON text; empty: none
    std::string_view description = {};
    std::span<const std::string_view> choices = {};
    double minimum = -std::numeric_limits<double>::infinity(); ///< of integers and numbers
};

struct NodeType {
    std::string_view name;
    std::string_view alias = {};
    std::span<const Role> roles;
    std::string_view display_name;
    std::string_view category;
    std::string_view description;
    std::span<const ConfigField> fields;
    bool needs_input = false; ///< makes no sense without an incoming edge
    bool timeout_in_config = false; ///< the config's timeout limits the node, as the node's own does
    /// Checks what the fields alone do not say; gets the config with canonical names. References
    /// are still unresolved and must be let through. May be null.
    void (*check)(const json &config, std::string_view path, std::vector<Fault> &faults) = nullptr;

    bool has_role(Role role) const;
    /// The field of this name or alias, in either spelling; null: no such key.
    const ConfigField *find_field(std::string_view key) const;
};

/// All node types that this build runs.
std::span<const NodeType> node_types();

/// The type of this name or alias; null when there is none.
const NodeType *find_node_type(std::string_view name);

/// What to tell a user who asked for a type that we do not have: "unknown node type …", followed
/// by the nearest name, or by what to use instead of shell, kafka.* and the like.
std::string unknown_node_type(std::string_view name);

/// JSON Schema of the type's config, for the view node_types.
json config_schema(const NodeType &type);

} // namespace chronicle::core
