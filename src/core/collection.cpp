#include "core/collection.hpp"

#include <algorithm>
#include <map>

namespace chronicle::core {

namespace {

constexpr std::size_t max_columns = 1600; // PostgreSQL's MaxHeapAttributeNumber

// The type that holds both; empty: nothing but nulls so far.
using Seen = std::optional<ColumnType>;

Seen type_of(const json &value) {
    if (value.is_null())
        return std::nullopt;
    if (value.is_boolean())
        return ColumnType::boolean;
    if (value.is_string())
        return ColumnType::text;
    if (value.is_number_integer() && integer_value(value))
        return ColumnType::bigint;
    return is_number(value) ? ColumnType::numeric : ColumnType::jsonb;
}

void widen(Seen &seen, const json &value) {
    const Seen type = type_of(value);
    const auto numeric = [](Seen t) { return t == ColumnType::bigint || t == ColumnType::numeric; };
    if (!type || type == seen)
        return;
    if (!seen)
        seen = type;
    else
        seen = numeric(seen) && numeric(type) ? ColumnType::numeric : ColumnType::jsonb;
}

Result<Columns> object_columns(const json &array) {
    std::map<std::string_view, Seen> seen;
    for (const json &element : array)
        if (element.is_object())
            for (const auto &[key, value] : element.items())
                widen(seen[key], value);
    if (seen.size() > max_columns)
        return problem<Columns>("the objects have " + std::to_string(seen.size()) +
                                " different keys; a relation has at most " + std::to_string(max_columns) + " columns");
    Columns result{.objects = true, .columns = {}};
    for (const auto &[key, type] : seen) {
        if (key.empty() || key.size() > max_column_name)
            return problem<Columns>("the key \"" + std::string(key) + "\" is no column name; it has 1 to 63 bytes");
        result.columns.push_back({std::string(key), type.value_or(ColumnType::text)});
    }
    return ok(std::move(result));
}

// Objects and arrays are jsonb, so a mixture with anything else is jsonb too.
Columns value_column(const json &array) {
    Seen seen;
    for (const json &element : array)
        widen(seen, element);
    return {.objects = false, .columns = {{"value", seen.value_or(ColumnType::text)}}};
}

} // namespace

std::string_view type_name(ColumnType type) {
    switch (type) {
    case ColumnType::bigint:
        return "bigint";
    case ColumnType::numeric:
        return "numeric";
    case ColumnType::boolean:
        return "boolean";
    case ColumnType::text:
        return "text";
    case ColumnType::jsonb:
        return "jsonb";
    }
    return {};
}

Result<Columns> infer_columns(const json &array) {
    if (!array.is_array())
        return problem<Columns>("must be an array");
    bool any_key = false, any_other = false;
    for (const json &element : array) {
        any_key |= element.is_object() && !element.empty();
        any_other |= !element.is_object() && !element.is_null();
    }
    return any_key && !any_other ? object_columns(array) : ok(value_column(array));
}

std::optional<std::string> cell_text(const Columns &columns, const json &element, std::size_t column) {
    const Column &wanted = columns.columns.at(column);
    const json *value = &element;
    if (columns.objects) {
        const auto found = element.find(wanted.name);
        if (found == element.end())
            return std::nullopt;
        value = &*found;
    }
    if (value->is_null())
        return std::nullopt;
    switch (wanted.type) {
    case ColumnType::bigint:
    case ColumnType::numeric:
        return number_text(*value);
    case ColumnType::boolean:
        return value->get<bool>() ? "true" : "false";
    case ColumnType::text:
        return value->get<std::string>();
    case ColumnType::jsonb:
        return write_json(*value);
    }
    return std::nullopt;
}

} // namespace chronicle::core
