#include "core/config.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "core/duration.hpp"
#include "core/names.hpp"

namespace chronicle::core {

namespace {

using Kind = ConfigField::Kind;

std::string_view kind_of(const json &value) {
    if (is_number(value))
        return "a number";
    switch (value.type()) {
    case json::value_t::null:
        return "null";
    case json::value_t::boolean:
        return "a boolean";
    case json::value_t::string:
        return "text";
    case json::value_t::array:
        return "an array";
    case json::value_t::object:
        return "an object";
    default:
        return "something else";
    }
}

Result<json> expected(std::string_view what, const json &value) {
    return problem<json>("must be " + std::string(what) + ", not " + std::string(kind_of(value)));
}

bool is_blank(const json &value) { return trim(value.get_ref<const std::string &>()).empty(); }

Result<json> coerce_text(const json &value) {
    if (!value.is_string())
        return expected("text", value);
    return is_blank(value) ? problem<json>("must not be empty") : ok(value);
}

Result<json> coerce_integer(const ConfigField &field, const json &value) {
    const std::optional<std::int64_t> number = integer_value(value);
    if (!number)
        return is_number(value) ? problem<json>("must be a whole number of 64 bits")
                                : expected("a whole number", value);
    if (static_cast<double>(*number) < field.minimum)
        return problem<json>("must be at least " + std::to_string(static_cast<std::int64_t>(field.minimum)));
    return ok(json(*number));
}

Result<json> coerce_number(const ConfigField &field, const json &value) {
    const std::optional<double> number = number_value(value);
    if (!number)
        return expected("a number", value);
    if (*number < field.minimum)
        return problem<json>("must be at least " + json(field.minimum).dump());
    return ok(is_number(value) ? value : json(*number));
}

Result<json> coerce_boolean(const json &value) {
    if (value.is_boolean())
        return ok(value);
    if (value == "true")
        return ok(json(true));
    if (value == "false")
        return ok(json(false));
    return expected("true or false", value);
}

Result<json> coerce_names(const json &value) {
    const json list = value.is_string() ? json::array({value}) : value;
    const bool fits = list.is_array() && !list.empty() && std::all_of(list.begin(), list.end(), [](const json &name) {
                          return name.is_string() && !is_blank(name);
                      });
    return fits ? ok(list) : problem<json>("must be a list of names");
}

Result<json> coerce_choice(const ConfigField &field, const json &value) {
    if (value.is_string() && std::find(field.choices.begin(), field.choices.end(),
                                       value.get_ref<const std::string &>()) != field.choices.end())
        return ok(value);
    std::string text = "must be one of";
    for (const std::string_view choice : field.choices)
        text += (choice == field.choices.front() ? " " : ", ") + std::string(choice);
    return problem<json>(text);
}

// Host and password belong into CREATE SERVER, where PostgreSQL keeps them safe.
bool is_connection_setting(std::string_view key) {
    constexpr std::string_view settings[] = {"host",     "hostname", "port",
                                             "user",     "username", "password",
                                             "database", "url",      "connection_string"};
    return std::find(std::begin(settings), std::end(settings), snake_case(key)) != std::end(settings);
}

std::string unknown_key(const NodeType &type, std::string_view key) {
    const std::string text = std::string(type.name) + " has no such config key";
    if (is_connection_setting(key))
        return text + "; connection settings belong into CREATE SERVER and CREATE USER MAPPING, and the "
                      "node reads or writes a foreign table";
    std::vector<std::string_view> names;
    for (const ConfigField &field : type.fields)
        names.push_back(field.name);
    const std::string_view near = nearest_name(key, names);
    return near.empty() ? text : text + "; did you mean \"" + std::string(near) + "\"?";
}

// Takes one key of a config into the result.
void take(const NodeType &type, const std::string &key, const json &value, std::string_view path, json &result,
          std::vector<Fault> &faults) {
    const ConfigField *field = type.find_field(key);
    if (!field) {
        faults.push_back({path_key(path, key), unknown_key(type, key)});
        return;
    }
    if (value.is_null())
        return;
    const std::string name(field->name);
    if (result.contains(name)) {
        faults.push_back({path_key(path, key), "is the same key as \"" + name + "\", given twice"});
        return;
    }
    Result<json> coerced = coerce(*field, value);
    if (!coerced)
        faults.push_back({path_key(path, key), coerced.problem});
    result[name] = coerced ? std::move(*coerced.value) : value; // present, though faulty
}

} // namespace

Result<json> coerce(const ConfigField &field, const json &value) {
    if (is_reference(value))
        return ok(value);
    switch (field.kind) {
    case Kind::any:
        return ok(value);
    case Kind::text:
        return coerce_text(value);
    case Kind::integer:
        return coerce_integer(field, value);
    case Kind::number:
        return coerce_number(field, value);
    case Kind::boolean:
        return coerce_boolean(value);
    case Kind::object:
        return value.is_object() ? ok(value) : expected("an object", value);
    case Kind::array:
        return value.is_array() ? ok(value) : expected("an array", value);
    case Kind::names:
        return coerce_names(value);
    case Kind::choice:
        return coerce_choice(field, value);
    case Kind::duration: {
        const Result<double> duration = duration_ms(value);
        return duration ? ok(value) : problem<json>(duration.problem);
    }
    }
    throw std::logic_error("config field of unknown kind");
}

json check_config(const NodeType &type, const json &config, std::string_view path, std::vector<Fault> &faults) {
    json result = json::object();
    if (!config.is_object() && !config.is_null()) {
        faults.push_back({std::string(path), expected("an object", config).problem});
        return result;
    }
    const std::size_t faults_before = faults.size();
    if (config.is_object())
        for (const auto &[key, value] : config.items())
            take(type, key, value, path, result, faults);
    for (const ConfigField &field : type.fields)
        if (field.required && !result.contains(std::string(field.name)))
            faults.push_back({path_key(path, field.name), "is missing; " + std::string(type.name) + " needs it"});
    if (type.check && faults.size() == faults_before)
        type.check(result, path, faults);
    return result;
}

json config_value(const NodeType &type, const json &config, std::string_view field) {
    const ConfigField *known = type.find_field(field);
    if (!known)
        throw std::logic_error(std::string(type.name) + " has no config field " + std::string(field));
    const auto given = config.find(std::string(known->name));
    if (given != config.end())
        return *given;
    return known->default_json.empty() ? json() : json::parse(known->default_json);
}

} // namespace chronicle::core
