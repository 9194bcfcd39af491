// JSON as the core sees it. Include the headers of src/core before postgres.h: its macros and
// nlohmann's templates do not mix.
//
// PostgreSQL's jsonb keeps numbers as `numeric`; a C++ double would silently change
// 12345678901234567890.5 or 19.90. parse_json therefore keeps a number whose text a double does not
// give back as an *exact number* (a JSON binary value that holds the text), and write_json writes it
// as the same digits. Everything else is plain nlohmann::json.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.hpp"

namespace chronicle::core {

using json = nlohmann::json;

inline constexpr std::size_t max_json_depth = 512;

/// Parses JSON text (UTF-8) without recursion.
/// \param max_depth deeper nesting of arrays and objects is a problem, so that later recursive
///        copies and writes stay within the stack
/// Problem: a syntax error, a number beyond the range of a double, too deep nesting. jsonb can hold
/// the latter two, so a caller checks the result also when the text comes from jsonb.
Result<json> parse_json(std::string_view text, std::size_t max_depth = max_json_depth);

/// JSON text of a value, exact numbers included (which nlohmann's dump() does not know).
/// Bytes that are no UTF-8 are replaced by U+FFFD.
/// \param indent spaces per level, each member on a line of its own; negative: all on one line
std::string write_json(const json &value, int indent = -1);

/// How deep arrays and objects nest: 0 for a scalar, 1 for [] or {}. Does not recurse; stops
/// counting one level above \p limit.
std::size_t json_depth(const json &value, std::size_t limit);

/// True for every number, exact ones included.
bool is_number(const json &value);

/// True for a number kept as its text (see above).
bool is_exact_number(const json &value);

/// An exact number with this text; the caller has checked that it is a JSON number.
json exact_number(std::string_view text);

/// The text of a number; empty when the value is none.
std::string number_text(const json &value);

/// The number as double: of a number, or of a string that holds one ("10").
std::optional<double> number_value(const json &value);

/// The number as 64-bit integer: of an integer, of a decimal without a fraction (10.0), or of a
/// string that holds one of them. Empty when it does not fit.
std::optional<std::int64_t> integer_value(const json &value);

/// True for {"$": "jsonpath"} and {"$secret": "name"}, which stand in place of a config value.
bool is_reference(const json &value);

/// Appends an object key to a JSON path: $.a + b = $.a.b, quoted when it is no plain identifier.
std::string path_key(std::string_view path, std::string_view key);

/// Appends an array index to a JSON path: $.a + 2 = $.a[2].
std::string path_index(std::string_view path, std::size_t index);

} // namespace chronicle::core
