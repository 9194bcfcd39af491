#include "core/json.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <string>

using namespace chronicle::core;

namespace {

std::string there_and_back(std::string_view text) {
    const auto value = parse_json(text);
    EXPECT_TRUE(value) << text << ": " << value.problem;
    return value ? write_json(*value) : "";
}

TEST(Json, EveryKindGoesThereAndBack) {
    for (const char *text :
         {"null", "true", "0", "-5", "18446744073709551615", "\"a\\\"b\\u0001ä\"", "[]", "{}", "[[],{},[1,[2,{}]]]",
          R"({"a":[1,2,{"b":null}],"c":{"d":{"e":false}},"f":"x"})", "[1,1,1]", "[0.5,[0.5],\"0.5\"]"})
        EXPECT_EQ(there_and_back(text), text);
}

TEST(Json, NumbersKeepTheirDigits) {
    for (const char *text : {"19.90", "12345678901234567890.5", "0.1", "1e5", "-0.0", "123456789012345678901234567890",
                             "0.1000000000000000055511151231257827", "1.0", "[1.10,{\"a\":2.20,\"b\":[]},3]",
                             R"({"a":[1.10,2],"b":"1.10"})"})
        EXPECT_EQ(there_and_back(text), text);
}

TEST(Json, IndentedLikeTheLibrary) {
    const char *text = R"({"a":[1,{"b":[],"c":{}},[2]],"d":"x"})";
    json value = json::parse(text);
    EXPECT_EQ(write_json(value, 2), value.dump(2));
    const std::string plain = value.dump(2);
    value["a"][0] = exact_number("1.0"); // now it is our own writer
    EXPECT_EQ(write_json(value, 2), std::string(plain).replace(plain.find('1'), 1, "1.0"));
    EXPECT_EQ(write_json(json::array({exact_number("1.10")}), 0), "[\n1.10\n]");
}

TEST(Json, ResultWithoutValueIsNotReadBlindly) {
    EXPECT_THROW(*parse_json("{"), std::bad_optional_access);
    EXPECT_THROW(parse_json("{")->size(), std::bad_optional_access);
}

TEST(Json, PlainNumbersStayPlain) {
    EXPECT_TRUE(parse_json("0.5").value->is_number_float());
    EXPECT_TRUE(parse_json("7").value->is_number_integer());
    EXPECT_FALSE(parse_json("0.50").value->is_number());
    EXPECT_TRUE(is_number(*parse_json("0.50").value));
    EXPECT_TRUE(is_exact_number(*parse_json("0.50").value));
    EXPECT_FALSE(is_exact_number(json::binary({'1'})));
    EXPECT_FALSE(is_number(json("1")));
}

TEST(Json, BadTextIsAProblemAndNoException) {
    for (const char *text :
         {"", "{", "[1,]", "{\"a\"}", "nul", "1 2", "\"\\x\"", "\"\xff\"", "1e400", "[1}", "'a'", "NaN"}) {
        const auto value = parse_json(text);
        EXPECT_FALSE(value) << text;
        EXPECT_FALSE(value.problem.empty()) << text;
        EXPECT_EQ(value.problem.find("json.exception"), std::string::npos) << value.problem;
    }
}

TEST(Json, DepthIsLimited) {
    const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
    EXPECT_TRUE(parse_json(nested(max_json_depth)));
    EXPECT_FALSE(parse_json(nested(max_json_depth + 1)));
    EXPECT_FALSE(parse_json(nested(10'000'000)));
    EXPECT_TRUE(parse_json("[[1]]", 2));
    EXPECT_FALSE(parse_json("[[[1]]]", 2));
    EXPECT_FALSE(parse_json(R"({"a":{"b":{}}})", 2));
    EXPECT_EQ(json_depth(json(1), 10), 0u);
    EXPECT_EQ(json_depth(json::parse("[]"), 10), 1u);
    EXPECT_EQ(json_depth(json::parse(R"([1,{"a":[2]},[]])"), 10), 3u);
    EXPECT_EQ(json_depth(json::parse("[[[[[]]]]]"), 3), 4u);
}

TEST(Json, BytesThatAreNoUtf8AreReplaced) { EXPECT_EQ(write_json(json("a\xff")), "\"a\xef\xbf\xbd\""); }

TEST(Json, IntegersFitOrAreNone) {
    constexpr auto highest = std::numeric_limits<std::int64_t>::max();
    EXPECT_EQ(integer_value(json(5)), 5);
    EXPECT_EQ(integer_value(json(-5)), -5);
    EXPECT_EQ(integer_value(json("10")), 10);
    EXPECT_EQ(integer_value(json(" -10 ")), -10);
    EXPECT_EQ(integer_value(json(10.0)), 10);
    EXPECT_EQ(integer_value(json("10.0")), 10);
    EXPECT_EQ(integer_value(exact_number("1e5")), 100'000);
    EXPECT_EQ(integer_value(json(highest)), highest);
    EXPECT_EQ(integer_value(json("9223372036854775807")), highest);
    for (const json &none :
         {json(10.5), json("x"), json(""), json("1 2"), json(true), json(), json::array(), json("9223372036854775808"),
          json(std::uint64_t{9223372036854775808u}), json(1e300), exact_number("9007199254740993.0"), json("0x10")})
        EXPECT_FALSE(integer_value(none)) << none;
}

TEST(Json, NumbersOfStringsAreFinite) {
    EXPECT_EQ(number_value(json("0.5")), 0.5);
    EXPECT_EQ(number_value(json(2)), 2);
    EXPECT_EQ(number_value(exact_number("0.50")), 0.5);
    for (const char *text : {"inf", "nan", "1e999", "", "1,5"})
        EXPECT_FALSE(number_value(json(text))) << text;
}

TEST(Json, References) {
    EXPECT_TRUE(is_reference(json::parse(R"({"$": "$.input.x"})")));
    EXPECT_TRUE(is_reference(json::parse(R"({"$secret": "token"})")));
    EXPECT_FALSE(is_reference(json::parse(R"({"$": 5})")));
    EXPECT_FALSE(is_reference(json::parse(R"({"$": "$.a", "b": 1})")));
    EXPECT_FALSE(is_reference(json::parse(R"({"$other": "x"})")));
    EXPECT_FALSE(is_reference(json("$")));
    EXPECT_FALSE(is_reference(json::object()));
}

TEST(Json, PathsQuoteWhatIsNoIdentifier) {
    EXPECT_EQ(path_key("$.nodes[0]", "config"), "$.nodes[0].config");
    EXPECT_EQ(path_key("$", "batch_size2"), "$.batch_size2");
    EXPECT_EQ(path_key("$", "we ird\"key"), R"($."we ird\"key")");
    EXPECT_EQ(path_key("$", ""), R"($."")");
    EXPECT_EQ(path_key("$", "1st"), R"($."1st")");
    EXPECT_EQ(path_index("$.nodes", 12), "$.nodes[12]");
}

} // namespace
