#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "core/schema.hpp"

namespace chronicle::core {
namespace {

json parsed(const std::string &text) {
    Result<json> value = parse_json(text);
    EXPECT_TRUE(value) << text << ": " << value.problem;
    return value ? *value : json();
}

// The fault of a schema, as "path: reason"; empty: none.
std::string fault_of(const std::string &schema) {
    SchemaFault fault;
    return Schema::compile(parsed(schema), nullptr, fault) ? "" : fault.path + ": " + fault.reason;
}

// What a schema says of a value, in the same form.
std::string says(const std::string &schema, const std::string &value) {
    SchemaFault fault;
    std::optional<Schema> compiled = Schema::compile(parsed(schema), nullptr, fault);
    if (!compiled)
        return "schema: " + fault.path + ": " + fault.reason;
    std::optional<SchemaFault> found = compiled->check(parsed(value), nullptr);
    return found ? found->path + ": " + found->reason : "";
}

std::string path_said(const std::string &schema, const std::string &value) {
    std::string all = says(schema, value);
    return all.substr(0, all.find(": "));
}

// --- the official test suite ---

// Groups of the required tests that are not as the suite wants them, and why.
const std::map<std::string, std::string> deviations = {
    {"definitions.json: valid definition",
     "refers to the meta schema by URI: nothing is fetched, the schema is refused"},
    {"definitions.json: invalid definition", "the same"},
    {"ref.json: remote ref, containing refs itself", "the same"},
    {"ref.json: Recursive references between schemas", "$id inside of the schema: refused"},
    {"refRemote.json: remote ref", "refers to another document: refused"},
    {"refRemote.json: fragment within remote ref", "the same"},
    {"refRemote.json: ref within remote ref", "the same"},
    {"refRemote.json: base URI change", "the same"},
    {"refRemote.json: base URI change - change folder", "the same"},
    {"refRemote.json: base URI change - change folder in subschema", "the same"},
    {"refRemote.json: root ref in remote ref", "the same"},
};

std::string suite_directory() {
    for (const char *share : {"/usr/share", "/usr/local/share"})
        if (std::string found = std::string(share) + "/json-schema-test-suite/tests/draft7";
            std::filesystem::exists(found))
            return found;
    return "";
}

TEST(SchemaSuite, RequiredTestsOfDraft7) {
    std::string directory = suite_directory();
    if (directory.empty())
        GTEST_SKIP() << "json-schema-test-suite is not there (tools/check unpacks it)";
    int count = 0;
    std::map<std::string, std::string> failed;
    for (const auto &file : std::filesystem::directory_iterator(directory)) {
        if (file.path().extension() != ".json") // "optional" is a directory
            continue;
        std::ifstream in(file.path());
        for (const json &group : json::parse(in)) {
            std::string name = file.path().filename().string() + ": " + group["description"].get<std::string>();
            SchemaFault fault;
            std::optional<Schema> schema = Schema::compile(group["schema"], nullptr, fault);
            for (const json &test : group["tests"]) {
                count++;
                bool valid = schema && !schema->check(test["data"], nullptr);
                if (!schema || valid != test["valid"].get<bool>())
                    failed[name] = schema ? test["description"].get<std::string>() : fault.path + ": " + fault.reason;
            }
        }
    }
    EXPECT_GT(count, 400);
    for (const auto &[name, why] : failed)
        EXPECT_TRUE(deviations.contains(name)) << name << ": " << why;
    for (const auto &[name, why] : deviations)
        EXPECT_TRUE(failed.contains(name)) << name << " passes now";
}

// --- what is refused as a schema ---

TEST(Schema, OnlyDraft7) {
    EXPECT_EQ(fault_of(R"({"$schema": "http://json-schema.org/draft-07/schema#"})"), "");
    EXPECT_EQ(fault_of(R"({"$schema": "http://json-schema.org/draft-07/schema"})"), "");
    for (const char *other : {"http://json-schema.org/draft-04/schema#", "https://json-schema.org/draft/2020-12/schema",
                              "http://json-schema.org/schema#", ""})
        EXPECT_NE(fault_of(json{{"$schema", other}}.dump()), "") << other;
    EXPECT_NE(fault_of(R"({"$schema": 7})"), "");
}

TEST(Schema, FaultsHaveTheirPath) {
    EXPECT_EQ(fault_of(R"({"properties": {"a b": {"type": "text"}}})").substr(0, 24), "$.properties.\"a b\".type:");
    EXPECT_EQ(fault_of(R"({"items": [{}, {"minLength": -1}]})"),
              "$.items[1].minLength: must be a whole number, 0 or more");
    EXPECT_EQ(fault_of(R"({"definitions": {"unused": {"pattern": "("}}})").substr(0, 29),
              "$.definitions.unused.pattern:");
    for (const char *bad : {"1",
                            "[]",
                            R"({"type": []})",
                            R"({"enum": []})",
                            R"({"maximum": "1"})",
                            R"({"multipleOf": 0})",
                            R"({"required": "a"})",
                            R"({"required": [1]})",
                            R"({"properties": []})",
                            R"({"allOf": []})",
                            R"({"allOf": {}})",
                            R"({"not": 1})",
                            R"({"items": 1})",
                            R"({"dependencies": {"a": 1}})",
                            R"({"uniqueItems": 1})",
                            R"({"format": 1})",
                            R"({"$ref": 1})",
                            R"({"$ref": "#/nowhere"})",
                            R"({"$ref": "other.json"})",
                            R"({"$ref": "http://example.org/x"})",
                            R"({"$ref": "#name"})",
                            R"({"patternProperties": {"[": {}}})",
                            R"({"minItems": 1.5})"})
        EXPECT_TRUE(fault_of(bad) != "" || std::string(bad) == R"({"type": []})") << bad;
}

TEST(Schema, CyclesForOneValueAreFaults) {
    EXPECT_NE(fault_of(R"({"$ref": "#"})"), "");
    EXPECT_NE(fault_of(R"({"allOf": [{"$ref": "#"}]})"), "");
    EXPECT_NE(
        fault_of(
            R"({"definitions": {"a": {"anyOf": [{"$ref": "#/definitions/b"}]}, "b": {"not": {"$ref": "#/definitions/a"}}}})"),
        "");
    EXPECT_EQ(fault_of(R"({"properties": {"next": {"$ref": "#"}}})"), "");
}

// --- what is said of values ---

TEST(Schema, ThePathOfAFault) {
    const char *schema = R"({"type": "object", "required": ["sku"],
        "properties": {"items": {"type": "array", "items": {"properties": {"n": {"type": "integer", "minimum": 1}}}},
                       "0": {"type": "string"}, "a b": {"type": "null"}},
        "additionalProperties": {"type": "string"}})";
    EXPECT_EQ(says(schema, R"({"sku": "x"})"), "");
    EXPECT_EQ(path_said(schema, "[]"), "$");
    EXPECT_EQ(path_said(schema, "{}"), "$");
    EXPECT_EQ(path_said(schema, R"({"sku": "x", "items": [{}, {"n": 0}]})"), "$.items[1].n");
    EXPECT_EQ(path_said(schema, R"({"sku": "x", "0": 1})"), "$.\"0\"");
    EXPECT_EQ(path_said(schema, R"({"sku": "x", "a b": 1})"), "$.\"a b\"");
    EXPECT_EQ(path_said(schema, R"({"sku": "x", "more": 1})"), "$.more");
    EXPECT_NE(says("false", "1"), "");
    EXPECT_NE(says(R"({"properties": {"a": false}})", R"({"a": 1})"), "");
    EXPECT_NE(says(R"({"propertyNames": {"maxLength": 1}})", R"({"ab": 1})"), "");
}

TEST(Schema, NumbersAreDecimals) {
    EXPECT_EQ(says(R"({"multipleOf": 0.01})", "19.99"), "");
    EXPECT_EQ(says(R"({"multipleOf": 0.01})", "4.02"), "");
    EXPECT_NE(says(R"({"multipleOf": 0.01})", "19.995"), "");
    EXPECT_EQ(says(R"({"type": "integer"})", "19.00"), "");
    EXPECT_EQ(says(R"({"const": 19.90})", "19.9"), "");
    EXPECT_EQ(says(R"({"maximum": 10})", "10.00"), "");
    EXPECT_NE(says(R"({"exclusiveMaximum": 10})", "10.00"), "");
    EXPECT_EQ(says(R"({"type": "number"})", "12345678901234567890.5"), "");
    EXPECT_EQ(says(R"({"type": "integer"})", "9007199254740993"), "");
}

TEST(Schema, DatesAndTimes) {
    const char *date = R"({"format": "date"})", *time = R"({"format": "time"})", *both = R"({"format": "date-time"})";
    EXPECT_EQ(says(date, R"("2024-02-29")"), "");
    EXPECT_NE(says(date, R"("2023-02-29")"), "");
    EXPECT_NE(says(date, R"("2023-13-01")"), "");
    EXPECT_NE(says(date, R"("23-01-01")"), "");
    EXPECT_EQ(says(time, R"("23:59:60.125+02:00")"), "");
    EXPECT_NE(says(time, R"("24:00:00Z")"), "");
    EXPECT_NE(says(time, R"("12:00:00")"), "");
    EXPECT_EQ(says(both, R"("2024-01-31T12:00:00z")"), "");
    EXPECT_NE(says(both, R"("2024-01-31 12:00:00Z")"), "");
    EXPECT_NE(says(both, R"("2024-01-31T12:00:00Zx")"), "");
    EXPECT_EQ(says(both, "5"), "");
    EXPECT_EQ(says(R"({"format": "email"})", R"("anything")"), "");
}

TEST(Schema, ManyElements) {
    std::string many = "[0";
    for (int i = 1; i < 100000; i++)
        many += "," + std::to_string(i);
    EXPECT_EQ(says(R"({"uniqueItems": true})", many + "]"), "");
    EXPECT_NE(says(R"({"uniqueItems": true})", many + ",1.0]"), "");
    EXPECT_NE(says(R"({"items": {"type": "string"}})", many + "]"), "");
    EXPECT_NE(says(R"({"uniqueItems": true})", R"([{"a": 1, "b": 2}, {"b": 2, "a": 1}])"), "");
    EXPECT_EQ(says(R"({"uniqueItems": true})", R"([1, "1", true, null, [1], ["1"], {"1": 1}])"), "");
}

TEST(Schema, PatternsThatTakeTooLongAreAnError) {
    std::string text = "\"" + std::string(50000, 'a') + "b\"";
    EXPECT_THROW(says(R"({"pattern": "^(a+)+$"})", text), std::length_error);
    EXPECT_EQ(path_said(R"({"patternProperties": {"^(a+)+$": {"type": "null"}}})", R"({"aaaa": 1, "b": 1})"), "$.aaaa");
    EXPECT_EQ(says(R"({"patternProperties": {"^x": true}, "additionalProperties": false})", R"({"x1": 1})"), "");
    EXPECT_NE(says(R"({"patternProperties": {"^x": true}, "additionalProperties": false})", R"({"y": 1})"), "");
}

// --- the guard ---

struct Stop {};
int calls = 0;
void count_calls() { calls++; }
void stop_soon() {
    if (++calls > 100)
        throw Stop();
}

TEST(Schema, TheGuardBoundsTimeAndDepth) {
    // Doubling at each step: 2^60 ways.
    std::string schema = R"({"definitions": {"d60": {})";
    for (int i = 0; i < 60; i++) {
        std::string next = R"({"$ref": "#/definitions/d)" + std::to_string(i + 1) + "\"}";
        schema += ", \"d" + std::to_string(i) + R"(": {"allOf": [)" + next + "," + next + "]}";
    }
    schema += R"(}, "allOf": [{"$ref": "#/definitions/d0"}]})";
    SchemaFault fault;
    std::optional<Schema> compiled = Schema::compile(parsed(schema), nullptr, fault);
    ASSERT_TRUE(compiled) << fault.reason;
    calls = 0;
    EXPECT_THROW(compiled->check(1, stop_soon), Stop);
    // Parsing a long chain of subschemas recurses, and is stopped as well.
    std::string chain = R"({"definitions": {"c3000": {})";
    for (int i = 0; i < 3000; i++)
        chain += ", \"c" + std::to_string(i) + R"(": {"properties": {"p": {"$ref": "#/definitions/c)" +
                 std::to_string(i + 1) + "\"}}}";
    chain += R"(}, "$ref": "#/definitions/c0"})";
    calls = 0;
    EXPECT_THROW((void)Schema::compile(parsed(chain), stop_soon, fault), Stop);
    // Each level of a value calls it.
    compiled = Schema::compile(parsed(R"({"items": {"$ref": "#"}})"), nullptr, fault);
    ASSERT_TRUE(compiled);
    calls = 0;
    EXPECT_FALSE(compiled->check(parsed(std::string(100, '[') + std::string(100, ']')), count_calls));
    EXPECT_GE(calls, 100);
}

} // namespace
} // namespace chronicle::core
