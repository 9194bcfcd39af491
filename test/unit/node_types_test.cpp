#include "core/node_types.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "core/config.hpp"
#include "core/definition.hpp"

using namespace chronicle::core;

namespace {

const NodeType &type(std::string_view name) {
    const NodeType *found = find_node_type(name);
    EXPECT_NE(found, nullptr) << name;
    return *found;
}

std::vector<Fault> faults_of(std::string_view name, const char *config) {
    std::vector<Fault> faults;
    check_config(type(name), json::parse(config), "$.config", faults);
    return faults;
}

json checked(std::string_view name, const char *config) {
    std::vector<Fault> faults;
    json result = check_config(type(name), json::parse(config), "$.config", faults);
    for (const Fault &fault : faults)
        ADD_FAILURE() << fault.path << ": " << fault.problem;
    return result;
}

// ---- the table -------------------------------------------------------------------------------

TEST(NodeTypes, TableIsConsistent) {
    std::set<std::string_view> names;
    for (const NodeType &type : node_types()) {
        EXPECT_TRUE(names.insert(type.name).second) << type.name;
        EXPECT_TRUE(type.alias.empty() || names.insert(type.alias).second) << type.alias;
        EXPECT_FALSE(type.roles.empty()) << type.name;
        EXPECT_FALSE(type.display_name.empty() || type.category.empty() || type.description.empty()) << type.name;
        EXPECT_EQ(find_node_type(type.name), &type);
        std::set<std::string_view> fields;
        for (const ConfigField &field : type.fields) {
            EXPECT_TRUE(fields.insert(field.name).second) << type.name << " " << field.name;
            EXPECT_FALSE(field.description.empty()) << type.name << " " << field.name;
            EXPECT_EQ(field.kind == ConfigField::Kind::choice, !field.choices.empty())
                << type.name << " " << field.name;
            EXPECT_FALSE(field.required && !field.default_json.empty()) << type.name << " " << field.name;
            const json value = field.default_json.empty() ? json() : json::parse(field.default_json);
            EXPECT_TRUE(value.is_null() || coerce(field, value)) << type.name << " " << field.name;
        }
    }
}

TEST(NodeTypes, FoundByNameAndAlias) {
    for (const char *name :
         {"sql.query", "sequence.numbers", "memory.collection", "filter", "table.write", "console.log"})
        EXPECT_EQ(type(name).name, name);
    EXPECT_EQ(type("filter.condition").name, "filter");
    EXPECT_EQ(type("mysql.write").name, "table.write");
    EXPECT_EQ(find_node_type("SQL.query"), nullptr);
    EXPECT_EQ(find_node_type(""), nullptr);
}

TEST(NodeTypes, UnknownOnesGetAHint) {
    EXPECT_NE(unknown_node_type("sql.qeury").find("did you mean \"sql.query\"?"), std::string::npos);
    EXPECT_NE(unknown_node_type("shell").find("task.external"), std::string::npos);
    EXPECT_NE(unknown_node_type("shell.script").find("task.external"), std::string::npos);
    EXPECT_NE(unknown_node_type("kafka.consumer").find("event.stream"), std::string::npos);
    EXPECT_NE(unknown_node_type("frobnicate").find("node_types"), std::string::npos);
    EXPECT_LT(unknown_node_type(std::string(1'000'000, 'x')).size(), 300u);
}

TEST(NodeTypes, SchemaDescribesTheFields) {
    const json schema = config_schema(type("table.write"));
    EXPECT_EQ(schema["required"], json::array({"table"}));
    EXPECT_EQ(schema["additionalProperties"], false);
    EXPECT_EQ(schema["properties"]["mode"]["enum"], (json{"insert", "upsert", "replace"}));
    EXPECT_EQ(schema["properties"]["mode"]["default"], "insert");
    EXPECT_EQ(schema["properties"]["keys"]["items"]["type"], "string");
    EXPECT_EQ(config_schema(type("console.log"))["properties"]["limit"]["default"], 100);
    EXPECT_EQ(config_schema(type("console.log"))["properties"]["limit"]["minimum"], 0);
    for (const NodeType &each : node_types())
        EXPECT_EQ(config_schema(each)["properties"].size(), each.fields.size());
}

// ---- checking a config -----------------------------------------------------------------------

TEST(Config, KeysBecomeCanonicalAndValuesTyped) {
    EXPECT_EQ(checked("sql.query", R"({"query": "SELECT 1", "batch_size": "10", "materialize": "true"})"),
              json::parse(R"({"sql": "SELECT 1", "batchSize": 10, "materialize": true})"));
    EXPECT_EQ(checked("table.write", R"({"table_name": "t", "keys": "id"})"),
              json::parse(R"({"table": "t", "keys": ["id"]})"));
    EXPECT_EQ(checked("sequence.numbers", R"({"start": "5", "end": 10.0, "step": null})"),
              json::parse(R"({"start": 5, "end": 10})"));
}

TEST(Config, ReferencesStandForAnyValue) {
    const char *config = R"({"sql": {"$": "$.input.sql"}, "batchSize": {"$secret": "n"}, "parameters": {"$": "$"}})";
    EXPECT_EQ(checked("sql.query", config), json::parse(config));
    checked("sequence.numbers", R"({"step": {"$": "$.x"}, "fields": {"$": "$.y"}})");
    checked("sequence.numbers", R"({"fields": {"a": {"$": "$.x"}}})");
    checked("memory.collection", R"({"data": {"$": "$.input"}})");
}

TEST(Config, EveryFaultHasItsPath) {
    EXPECT_EQ(faults_of("sql.query", "{}"), (std::vector<Fault>{{"$.config.sql", "is missing; sql.query needs it"}}));
    EXPECT_EQ(faults_of("sql.query", R"({"sql": null})").size(), 1u);
    const auto faults =
        faults_of("sql.query", R"({"batch_size": 0, "sqll": "x", "timeout": "soon", "materialize": 1})");
    ASSERT_EQ(faults.size(), 5u);
    EXPECT_EQ(faults[0].path, "$.config.batch_size");
    EXPECT_EQ(faults[0].problem, "must be at least 1");
    EXPECT_EQ(faults[1].path, "$.config.materialize");
    EXPECT_EQ(faults[2].path, "$.config.sqll");
    EXPECT_NE(faults[2].problem.find("did you mean \"sql\"?"), std::string::npos);
    EXPECT_EQ(faults[3].path, "$.config.timeout");
    EXPECT_EQ(faults[4].path, "$.config.sql");
}

TEST(Config, WrongKindsAreNamed) {
    const auto problem = [](std::string_view name, const char *config) {
        const auto faults = faults_of(name, config);
        EXPECT_EQ(faults.size(), 1u) << config;
        return faults.empty() ? "" : faults[0].problem;
    };
    EXPECT_EQ(problem("sql.query", R"({"sql": 5})"), "must be text, not a number");
    EXPECT_EQ(problem("sql.query", R"({"sql": "  "})"), "must not be empty");
    EXPECT_EQ(problem("sql.query", R"({"sql": "x", "parameters": [1]})"), "must be an object, not an array");
    EXPECT_EQ(problem("memory.collection", R"({"data": "x"})"), "must be an array, not text");
    EXPECT_EQ(problem("console.log", R"({"limit": "many"})"), "must be a whole number, not text");
    EXPECT_EQ(problem("console.log", R"({"limit": 1.5})"), "must be a whole number of 64 bits");
    EXPECT_EQ(problem("console.log", R"({"limit": -1})"), "must be at least 0");
    EXPECT_EQ(problem("console.log", R"({"format": "xml"})"), "must be one of text, json");
    EXPECT_EQ(problem("console.log", R"({"pretty": "yes"})"), "must be true or false, not text");
    EXPECT_EQ(problem("table.write", R"({"table": "t", "keys": []})"), "must be a list of names");
    EXPECT_EQ(problem("table.write", R"({"table": "t", "keys": ["a", 1]})"), "must be a list of names");
    EXPECT_EQ(problem("filter", R"({"condition": "x", "expression": "y"})").find("filter has no such config key"), 0u);
    EXPECT_NE(problem("table.write", R"({"table": "t", "host": "db"})").find("CREATE SERVER"), std::string::npos);
    EXPECT_NE(problem("sql.query", R"({"sql": "a", "query": "b"})").find("given twice"), std::string::npos);
}

TEST(Config, WholeConfigOfAWrongKind) {
    EXPECT_EQ(faults_of("console.log", "[]"), (std::vector<Fault>{{"$.config", "must be an object, not an array"}}));
    EXPECT_TRUE(faults_of("console.log", "null").empty());
}

TEST(Config, SequenceIsCheckedAsAWhole) {
    EXPECT_EQ(faults_of("sequence.numbers", R"({"step": 0})"),
              (std::vector<Fault>{{"$.config.step", "must not be 0"}}));
    EXPECT_EQ(faults_of("sequence.numbers", R"({"start": 0, "end": 9223372036854775807})").at(0).path, "$.config");
    EXPECT_EQ(faults_of("sequence.numbers", R"({"fields": {}})").at(0).path, "$.config.fields");
    const auto faults = faults_of("sequence.numbers",
                                  R"-({"fields": {"a": "sequence", "b": "random_int(2, 1)", "c": 5, "we ird": "x"}})-");
    ASSERT_EQ(faults.size(), 3u);
    EXPECT_EQ(faults[0].path, "$.config.fields.b");
    EXPECT_EQ(faults[1].path, "$.config.fields.c");
    EXPECT_EQ(faults[2].path, "$.config.fields.\"we ird\"");
}

TEST(Config, CollectionIsCheckedAsAWhole) {
    EXPECT_EQ(faults_of("memory.collection", R"({"data": [{"": 1}]})").at(0).path, "$.config.data");
}

TEST(Config, CoercingTwiceChangesNothing) {
    for (const NodeType &each : node_types())
        for (const ConfigField &field : each.fields)
            for (const char *text :
                 {"\"10\"", "10", "true", "\"true\"", "\"30s\"", "[\"a\"]", "{}", "\"text\"", "\"insert\"", "2.0"})
                if (const auto once = coerce(field, json::parse(text)); once) {
                    const auto twice = coerce(field, *once);
                    ASSERT_TRUE(twice) << each.name << " " << field.name << " " << text;
                    EXPECT_EQ(*twice, *once);
                }
}

TEST(Config, ValueIsGivenOrDefaultOrNull) {
    const json config = checked("sql.query", R"({"query": "SELECT 1", "batch_size": "10"})");
    const NodeType &sql = type("sql.query");
    EXPECT_EQ(config_value(sql, config, "sql"), "SELECT 1");
    EXPECT_EQ(config_value(sql, config, "query"), "SELECT 1");
    EXPECT_EQ(config_value(sql, config, "batchSize"), 10);
    EXPECT_EQ(config_value(sql, config, "batch_size"), 10);
    EXPECT_EQ(config_value(sql, config, "parameters"), json::object());
    EXPECT_EQ(config_value(sql, config, "materialize"), false);
    EXPECT_EQ(config_value(sql, config, "timeout"), json());
    EXPECT_THROW(config_value(sql, config, "nonsense"), std::logic_error);
}

} // namespace
