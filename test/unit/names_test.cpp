#include "core/names.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

using namespace chronicle::core;

namespace {

TEST(Names, CamelAndSnake) {
    EXPECT_EQ(snake_case("maxAttempts"), "max_attempts");
    EXPECT_EQ(snake_case("max_attempts"), "max_attempts");
    EXPECT_EQ(camel_case("max_attempts"), "maxAttempts");
    EXPECT_EQ(camel_case("own_transaction"), "ownTransaction");
    EXPECT_EQ(camel_case("id"), "id");
    EXPECT_EQ(camel_case("_a_"), "_a_");
    EXPECT_TRUE(same_key("batchSize", "batch_size"));
    EXPECT_TRUE(same_key("batch_size", "batchSize"));
    EXPECT_FALSE(same_key("batchsize", "batch_size"));
    EXPECT_FALSE(same_key("", "a"));
}

TEST(Names, Trim) {
    EXPECT_EQ(trim("  a b\t\n"), "a b");
    EXPECT_EQ(trim(" \r\n"), "");
    EXPECT_EQ(trim(""), "");
}

TEST(Names, NearestIsASlipOrAFamily) {
    const std::vector<std::string_view> names = {"sql.query", "console.log", "filter", "table.write"};
    EXPECT_EQ(nearest_name("sql.qurey", names), "sql.query");
    EXPECT_EQ(nearest_name("SQLQuery", names), "sql.query");
    EXPECT_EQ(nearest_name("filters", names), "filter");
    EXPECT_EQ(nearest_name("console.print", names), "console.log");
    EXPECT_EQ(nearest_name("lgo", std::vector<std::string_view>{"log"}), "log");
    EXPECT_EQ(nearest_name("lxx", std::vector<std::string_view>{"log"}), "");
    EXPECT_EQ(nearest_name("abcdefx", std::vector<std::string_view>{"abcdef", "abcdxx"}), "abcdef");
    EXPECT_EQ(nearest_name("xyz", names), "");
    EXPECT_EQ(nearest_name("", names), "");
    EXPECT_EQ(nearest_name(std::string(100'000, 's'), names), "");
    EXPECT_EQ(nearest_name("sql", {}), "");
}

} // namespace
