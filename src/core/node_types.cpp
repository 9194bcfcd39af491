#include "core/node_types.hpp"

#include <algorithm>

#include "core/collection.hpp"
#include "core/excerpt.hpp"
#include "core/generate.hpp"
#include "core/names.hpp"

namespace chronicle::core {

namespace {

using Kind = ConfigField::Kind;

constexpr Role source_or_transform[] = {Role::source, Role::transform};
constexpr Role source_only[] = {Role::source};
constexpr Role transform_only[] = {Role::transform};
constexpr Role sink_only[] = {Role::sink};
constexpr Role control_only[] = {Role::control};

// ---- checks of what single fields do not say -------------------------------------------------

void check_generators(const json &fields, std::string_view path, std::vector<Fault> &faults) {
    if (is_reference(fields))
        return;
    if (fields.empty())
        faults.push_back({std::string(path), "needs at least one field"});
    for (const auto &[name, generator] : fields.items()) {
        const std::string here = path_key(path, name);
        if (name.empty() || name.size() > max_column_name)
            faults.push_back({here, "a column name has 1 to 63 bytes"});
        if (is_reference(generator))
            continue;
        if (!generator.is_string()) {
            faults.push_back({here, "must be text like \"random_int(1, 100)\""});
            continue;
        }
        const Result<Generator> parsed = parse_generator(generator.get_ref<const std::string &>());
        if (!parsed)
            faults.push_back({here, parsed.problem});
    }
}

void check_sequence(const json &config, std::string_view path, std::vector<Fault> &faults) {
    const auto literal = [&](const char *key, std::int64_t otherwise) {
        return config.contains(key) ? integer_value(config[key]) : std::optional(otherwise);
    };
    const auto start = literal("start", 1), end = literal("end", 100), step = literal("step", 1);
    if (step == 0)
        faults.push_back({path_key(path, "step"), "must not be 0"});
    else if (start && end && step)
        if (const auto count = sequence_count(*start, *end, *step); !count)
            faults.push_back({std::string(path), count.problem});
    if (config.contains("fields"))
        check_generators(config["fields"], path_key(path, "fields"), faults);
}

void check_collection(const json &config, std::string_view path, std::vector<Fault> &faults) {
    const json &data = config["data"];
    if (is_reference(data))
        return;
    if (const auto columns = infer_columns(data); !columns)
        faults.push_back({path_key(path, "data"), columns.problem});
}

// Exactly one of two keys: neither is a default of the other.
void check_one_of(const json &config, const char *a, const char *b, std::string_view path, std::vector<Fault> &faults) {
    if (config.contains(a) && config.contains(b))
        faults.push_back(
            {std::string(path), "has both \"" + std::string(a) + "\" and \"" + b + "\"; give one of them"});
    if (!config.contains(a) && !config.contains(b))
        faults.push_back({std::string(path), "needs \"" + std::string(a) + "\" or \"" + b + "\""});
}

void check_timer(const json &config, std::string_view path, std::vector<Fault> &faults) {
    check_one_of(config, "for", "until", path, faults);
}

void check_map(const json &config, std::string_view path, std::vector<Fault> &faults) {
    check_one_of(config, "workflow", "function", path, faults);
}

// ---- the fields ------------------------------------------------------------------------------

constexpr ConfigField sql_query_fields[] = {
    {.name = "sql",
     .alias = "query",
     .kind = Kind::text,
     .required = true,
     .description = "One SQL statement; its rows are the output. The relation input holds the rows "
                    "of the upstream node."},
    {.name = "parameters",
     .alias = "params",
     .kind = Kind::object,
     .default_json = "{}",
     .description = "Values for :name in the statement; bound, never pasted."},
    {.name = "batchSize",
     .kind = Kind::integer,
     .description = "Rows fetched at a time; does not change the result.",
     .minimum = 1},
    {.name = "timeout", .kind = Kind::duration, .description = "How long the statement may run."},
    {.name = "materialize",
     .kind = Kind::boolean,
     .default_json = "false",
     .description = "Puts the inputs into temporary tables, so that functions see them too."},
};

constexpr ConfigField sequence_fields[] = {
    {.name = "start", .kind = Kind::integer, .default_json = "1", .description = "The first value."},
    {.name = "end",
     .kind = Kind::integer,
     .default_json = "100",
     .description = "The value that the sequence does not pass."},
    {.name = "step",
     .kind = Kind::integer,
     .default_json = "1",
     .description = "From one value to the next; negative counts down."},
    {.name = "fields",
     .kind = Kind::object,
     .description = "One column per key: sequence, random_string(n), random_int(a, b), "
                    "random_double(a, b), random_choice(['x', 'y']) or constant(v). Without it, "
                    "one column value."},
};

constexpr ConfigField collection_fields[] = {
    {.name = "data",
     .kind = Kind::array,
     .required = true,
     .description = "The elements become rows; objects get one column per key."},
};

constexpr ConfigField filter_fields[] = {
    {.name = "condition",
     .kind = Kind::text,
     .required = true,
     .description = "SQL condition over the columns of a row; rows where it is true are kept."},
};

constexpr std::string_view write_modes[] = {"insert", "upsert", "replace"};

constexpr ConfigField table_write_fields[] = {
    {.name = "table",
     .alias = "tableName",
     .kind = Kind::text,
     .required = true,
     .description = "The table that gets the rows, with or without its schema."},
    {.name = "mode",
     .kind = Kind::choice,
     .default_json = "\"insert\"",
     .description = "insert adds the rows, upsert updates those whose keys exist, replace empties "
                    "the table first.",
     .choices = write_modes},
    {.name = "keys",
     .kind = Kind::names,
     .description = "The columns by which upsert finds a row; the primary key when left out."},
};

constexpr ConfigField function_fields[] = {
    {.name = "function",
     .kind = Kind::text,
     .required = true,
     .description = "fn(context jsonb) returns jsonb, with or without its schema."},
    {.name = "args", .kind = Kind::object, .description = "What the context has as \"args\"."},
};

constexpr std::string_view log_formats[] = {"text", "json"};

constexpr ConfigField console_fields[] = {
    {.name = "limit",
     .kind = Kind::integer,
     .default_json = "100",
     .description = "How many rows are logged at most.",
     .minimum = 0},
    {.name = "format",
     .kind = Kind::choice,
     .default_json = "\"text\"",
     .description = "How a row is written.",
     .choices = log_formats},
    {.name = "pretty", .kind = Kind::boolean, .default_json = "false", .description = "Indents JSON."},
};

constexpr ConfigField timer_fields[] = {
    {.name = "for", .kind = Kind::duration, .description = "How long to wait, from the start of the attempt."},
    {.name = "until", .kind = Kind::text, .description = "A timestamp with time zone; one that is past does not wait."},
};

constexpr std::string_view timeout_choices[] = {"fail", "continue"};

constexpr ConfigField signal_fields[] = {
    {.name = "name", .kind = Kind::text, .required = true, .description = "The signal's name."},
    {.name = "timeout", .kind = Kind::duration, .description = "How long to wait at most; left out: for ever."},
    {.name = "on_timeout",
     .kind = Kind::choice,
     .default_json = "\"fail\"",
     .description = "fail: the node fails with 57014; continue: it completes, timed_out is true.",
     .choices = timeout_choices},
};

constexpr ConfigField call_fields[] = {
    {.name = "workflow", .kind = Kind::text, .required = true, .description = "The id of the workflow to run."},
    {.name = "input", .default_json = "{}", .description = "Its input."},
    {.name = "wait",
     .kind = Kind::boolean,
     .default_json = "true",
     .description = "false: the node completes at once, and the run goes its own way."},
};

constexpr ConfigField map_fields[] = {
    {.name = "items", .kind = Kind::array, .required = true, .description = "One child for each element."},
    {.name = "workflow", .kind = Kind::text, .description = "The workflow to run, with the item as its input."},
    {.name = "function",
     .kind = Kind::text,
     .description = "fn(context jsonb) returns jsonb, called with the item as \"input\"."},
    {.name = "max_concurrency",
     .kind = Kind::integer,
     .description = "How many children may be under way at once; left out: all.",
     .minimum = 1},
};

constexpr ConfigField task_fields[] = {
    {.name = "queue", .kind = Kind::text, .required = true, .description = "The queue that claim_tasks names."},
    {.name = "input", .default_json = "null", .description = "What the worker gets."},
};

// ---- the registry ----------------------------------------------------------------------------

constexpr NodeType registry[] = {
    {.name = "sql.query",
     .roles = source_or_transform,
     .display_name = "SQL query",
     .category = "database",
     .description = "Runs one SQL statement.",
     .fields = sql_query_fields,
     .timeout_in_config = true},
    {.name = "sequence.numbers",
     .roles = source_only,
     .display_name = "Number sequence",
     .category = "generator",
     .description = "Makes rows from start to end, with generated columns if asked.",
     .fields = sequence_fields,
     .check = check_sequence},
    {.name = "memory.collection",
     .roles = source_only,
     .display_name = "Collection",
     .category = "generator",
     .description = "Makes rows from a JSON array.",
     .fields = collection_fields,
     .check = check_collection},
    {.name = "filter",
     .alias = "filter.condition",
     .roles = transform_only,
     .display_name = "Filter",
     .category = "transform",
     .description = "Keeps the rows that meet a condition.",
     .fields = filter_fields,
     .needs_input = true},
    {.name = "table.write",
     .alias = "mysql.write",
     .roles = sink_only,
     .display_name = "Write to table",
     .category = "database",
     .description = "Writes the rows into a table.",
     .fields = table_write_fields,
     .needs_input = true},
    {.name = "console.log",
     .roles = sink_only,
     .display_name = "Log",
     .category = "output",
     .description = "Writes the rows into the execution's log.",
     .fields = console_fields},
    {.name = "function.call",
     .roles = transform_only,
     .display_name = "Function call",
     .category = "database",
     .description = "Calls a function with the run's context.",
     .fields = function_fields},
    {.name = "wait.timer",
     .roles = control_only,
     .display_name = "Timer",
     .category = "control",
     .description = "Waits for a time.",
     .fields = timer_fields,
     .check = check_timer},
    {.name = "wait.signal",
     .roles = control_only,
     .display_name = "Signal",
     .category = "control",
     .description = "Waits for signal_execution.",
     .fields = signal_fields},
    {.name = "workflow.call",
     .roles = control_only,
     .display_name = "Workflow call",
     .category = "control",
     .description = "Starts a run of a workflow, and waits for its end.",
     .fields = call_fields},
    {.name = "map.each",
     .roles = control_only,
     .display_name = "Map",
     .category = "control",
     .description = "Starts a run for each item, and waits for their ends.",
     .fields = map_fields,
     .check = check_map},
    {.name = "task.external",
     .roles = control_only,
     .display_name = "External task",
     .category = "control",
     .description = "Waits for a program outside that claims the task and completes it.",
     .fields = task_fields},
};

// What to use instead of node types that other engines have and this one does not run.
struct Instead {
    std::string_view prefix;
    std::string_view hint;
};

constexpr std::string_view outside_worker =
    "it does not run inside the database; hand it to a worker outside with task.external";

constexpr Instead instead[] = {
    {"shell", outside_worker},
    {"script", outside_worker},
    {"python", outside_worker},
    {"javascript", outside_worker},
    {"ssh", outside_worker},
    {"email", outside_worker},
    {"kafka", "read and write events with event.stream and event.append, or hand it to a worker "
              "outside with task.external"},
    {"mongodb", outside_worker},
    {"redis", outside_worker},
    {"elasticsearch", outside_worker},
    {"s3", outside_worker},
};

std::string_view hint_instead(std::string_view name) {
    const std::string_view first_part = name.substr(0, name.find_first_of("._-"));
    for (const Instead &entry : instead)
        if (entry.prefix == first_part)
            return entry.hint;
    return {};
}

// The JSON Schema of one field.
json field_schema(const ConfigField &field) {
    json schema = {{"description", field.description}};
    switch (field.kind) {
    case Kind::any:
        break;
    case Kind::text:
        schema["type"] = "string";
        break;
    case Kind::integer:
        schema["type"] = "integer";
        break;
    case Kind::number:
        schema["type"] = "number";
        break;
    case Kind::boolean:
        schema["type"] = "boolean";
        break;
    case Kind::object:
        schema["type"] = "object";
        break;
    case Kind::array:
        schema["type"] = "array";
        break;
    case Kind::names:
        schema["type"] = "array";
        schema["items"] = {{"type", "string"}};
        break;
    case Kind::duration:
        schema["type"] = {"number", "string"};
        schema["format"] = "duration";
        break;
    case Kind::choice:
        schema["type"] = "string";
        schema["enum"] = field.choices;
        break;
    }
    if (!field.default_json.empty())
        schema["default"] = json::parse(field.default_json);
    if (field.minimum > -std::numeric_limits<double>::infinity())
        schema["minimum"] = static_cast<std::int64_t>(field.minimum);
    return schema;
}

} // namespace

std::string_view role_name(Role role) {
    switch (role) {
    case Role::source:
        return "source";
    case Role::transform:
        return "transform";
    case Role::sink:
        return "sink";
    case Role::control:
        return "control";
    }
    return {};
}

bool NodeType::has_role(Role role) const { return std::find(roles.begin(), roles.end(), role) != roles.end(); }

const ConfigField *NodeType::find_field(std::string_view key) const {
    for (const ConfigField &field : fields)
        if (same_key(key, field.name) || (!field.alias.empty() && same_key(key, field.alias)))
            return &field;
    return nullptr;
}

std::span<const NodeType> node_types() { return registry; }

const NodeType *find_node_type(std::string_view name) {
    for (const NodeType &type : registry)
        if (!name.empty() && (type.name == name || type.alias == name))
            return &type;
    return nullptr;
}

std::string unknown_node_type(std::string_view name) {
    std::string text = "unknown node type \"" + std::string(beginning(name, 100)) + "\"";
    if (const std::string_view hint = hint_instead(name); !hint.empty())
        return text + "; " + std::string(hint);
    std::vector<std::string_view> names;
    for (const NodeType &type : registry) {
        names.push_back(type.name);
        if (!type.alias.empty())
            names.push_back(type.alias);
    }
    if (const std::string_view near = nearest_name(name, names); !near.empty())
        return text + "; did you mean \"" + std::string(near) + "\"?";
    return text + "; the view node_types lists those that exist";
}

json config_schema(const NodeType &type) {
    json schema = {{"type", "object"},
                   {"properties", json::object()},
                   {"required", json::array()},
                   {"additionalProperties", false}};
    for (const ConfigField &field : type.fields) {
        const std::string name(field.name);
        schema["properties"][name] = field_schema(field);
        if (field.required)
            schema["required"].push_back(name);
    }
    return schema;
}

} // namespace chronicle::core
