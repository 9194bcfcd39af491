// A node's config: checking it against its node type, and reading it.
#pragma once

#include <string_view>
#include <vector>

#include "core/json.hpp"
#include "core/node_types.hpp"
#include "core/result.hpp"

namespace chronicle::core {

/// Brings a value into its field's form: "10" becomes 10 for an integer, "a" becomes ["a"] for
/// names. Doing it again changes nothing. Durations stay as written (see duration_ms). A reference
/// ({"$": …}, {"$secret": …}) passes unchanged: the engine resolves it and calls coerce again.
/// Problem: the value does not fit the field.
Result<json> coerce(const ConfigField &field, const json &value);

/// Checks a config and returns it with canonical keys and coerced values; null values count as
/// missing. Every fault is appended with its path.
/// \param path the JSON path of the config
json check_config(const NodeType &type, const json &config, std::string_view path, std::vector<Fault> &faults);

/// The value of a field in a config that check_config returned: as given, else its default, else
/// null. \param field the field's name or alias. Throws std::logic_error for an unknown field.
json config_value(const NodeType &type, const json &config, std::string_view field);

} // namespace chronicle::core
