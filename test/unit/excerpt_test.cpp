#include "core/excerpt.hpp"

#include <gtest/gtest.h>

#include "core/json.hpp"

namespace {

using namespace chronicle::core;

TEST(Excerpt, KeepsWhatIsShort) {
    EXPECT_EQ(excerpt("", 200), "");
    EXPECT_EQ(excerpt(std::string(200, 'x'), 200), std::string(200, 'x'));
    EXPECT_EQ(excerpt_of_json(R"({"a":["x","\"y\\"],"b":null})", 10), R"({"a":["x","\"y\\"],"b":null})");
}

TEST(Excerpt, KeepsBothEnds) {
    const std::string text = "category \"" + std::string(100'000, 'x') + "\" has no aggregate";
    const std::string cut = excerpt(text, 300);
    EXPECT_LE(cut.size(), 310U);
    EXPECT_TRUE(cut.starts_with("category \"xxx"));
    EXPECT_TRUE(cut.ends_with("xxx\" has no aggregate"));
    EXPECT_NE(cut.find("x…x"), std::string::npos);
}

TEST(Beginning, CutsNoCharacter) {
    EXPECT_EQ(beginning("", 0), "");
    EXPECT_EQ(beginning("abc", 3), "abc");
    EXPECT_EQ(beginning("abc", 2), "ab");
    const std::string text = "a\xE2\x82\xAC\xC3\xA4"; // a€ä
    EXPECT_EQ(beginning(text, 6), text);
    EXPECT_EQ(beginning(text, 5), "a\xE2\x82\xAC");
    EXPECT_EQ(beginning(text, 4), "a\xE2\x82\xAC");
    EXPECT_EQ(beginning(text, 3), "a");
    EXPECT_EQ(beginning(text, 1), "a");
    EXPECT_EQ(beginning("\xE2\x82\xAC", 2), "");
}

TEST(Excerpt, CutsNoCharacter) {
    for (std::size_t limit = 200; limit < 210; limit++) {
        std::string text = "a";
        for (int i = 0; i < 200; i++)
            text += "\xE2\x82\xAC"; // €
        EXPECT_TRUE(parse_json("\"" + excerpt(text, limit) + "\""));
        EXPECT_TRUE(parse_json(excerpt_of_json("[\"" + text + "\"]", limit)));
    }
}

TEST(Excerpt, StaysJson) {
    for (std::size_t limit = 1; limit < 20; limit++) {
        const json value = {{"a", std::string(30, '"')},
                            {"b", std::string(30, '\\')},
                            {"c", {std::string(30, '\x01'), 1}}};
        const auto cut = parse_json(excerpt_of_json(value.dump(), limit));
        ASSERT_TRUE(cut) << limit;
        EXPECT_TRUE((*cut)["a"].get<std::string>().ends_with("…"));
        EXPECT_EQ((*cut)["c"][1], 1);
    }
}

} // namespace
