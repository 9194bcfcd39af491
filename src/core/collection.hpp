// memory.collection: a JSON array as rows with inferred columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.hpp"
#include "core/result.hpp"

namespace chronicle::core {

inline constexpr std::size_t max_column_name = 63; ///< bytes: PostgreSQL's NAMEDATALEN - 1

enum class ColumnType : std::uint8_t { bigint, numeric, boolean, text, jsonb };

/// "bigint", "numeric", "boolean", "text", "jsonb".
std::string_view type_name(ColumnType type);

struct Column {
    std::string name;
    ColumnType type;

    bool operator==(const Column &) const = default;
};

struct Columns {
    bool objects = false; ///< the elements are objects with one column per key; else column "value"
    std::vector<Column> columns;
};

/// Infers the columns of an array's elements. Objects (and nulls): one column per key, ordered by
/// name. Anything else: one column "value"; a mixture of objects and others is jsonb.
/// Types: all integers that fit → bigint, other numbers → numeric, all booleans → boolean, all
/// strings → text, otherwise jsonb; null fits all, and nothing but nulls is text.
/// Problem: not an array; a key that cannot name a column (empty, over 63 bytes); more than 1,600
/// columns.
Result<Columns> infer_columns(const json &array);

/// One cell as text for the type's input function; empty is SQL NULL.
/// \param element one element of the array
/// \param column  index into columns.columns
std::optional<std::string> cell_text(const Columns &columns, const json &element, std::size_t column);

} // namespace chronicle::core
