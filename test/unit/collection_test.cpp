#include "core/collection.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

using namespace chronicle::core;

namespace {

using Cell = std::optional<std::string>;

struct Table {
    Columns columns;
    std::vector<std::vector<Cell>> rows;
};

Table table(std::string_view text) {
    const json array = parse_json(text).value.value();
    const auto columns = infer_columns(array);
    EXPECT_TRUE(columns) << columns.problem;
    Table result{columns.value.value(), {}};
    for (const json &element : array) {
        auto &row = result.rows.emplace_back();
        for (std::size_t i = 0; i < result.columns.columns.size(); i++)
            row.push_back(cell_text(result.columns, element, i));
    }
    return result;
}

ColumnType type_of_value(std::string_view text) {
    const Columns columns = table(text).columns;
    EXPECT_EQ(columns.columns.size(), 1u);
    EXPECT_EQ(columns.columns.at(0).name, "value");
    EXPECT_FALSE(columns.objects);
    return columns.columns.at(0).type;
}

TEST(Collection, ObjectsBecomeColumnsByName) {
    const Table orders =
        table(R"([{"id": 1, "name": "a", "paid": true}, {"id": 2, "paid": null, "extra": {"x": [1]}}])");
    EXPECT_TRUE(orders.columns.objects);
    EXPECT_EQ(orders.columns.columns, (std::vector<Column>{{"extra", ColumnType::jsonb},
                                                           {"id", ColumnType::bigint},
                                                           {"name", ColumnType::text},
                                                           {"paid", ColumnType::boolean}}));
    EXPECT_EQ(orders.rows[0], (std::vector<Cell>{std::nullopt, "1", "a", "true"}));
    EXPECT_EQ(orders.rows[1], (std::vector<Cell>{R"({"x":[1]})", "2", std::nullopt, std::nullopt}));
}

TEST(Collection, NullElementIsARowOfNulls) {
    const Table rows = table(R"([{"a": 1}, null])");
    EXPECT_TRUE(rows.columns.objects);
    EXPECT_EQ(rows.rows[1], (std::vector<Cell>{std::nullopt}));
}

TEST(Collection, TypeHoldsEveryValue) {
    EXPECT_EQ(type_of_value("[1, -2, null]"), ColumnType::bigint);
    EXPECT_EQ(type_of_value("[1, 2.5]"), ColumnType::numeric);
    EXPECT_EQ(type_of_value("[9223372036854775807]"), ColumnType::bigint);
    EXPECT_EQ(type_of_value("[9223372036854775808]"), ColumnType::numeric);
    EXPECT_EQ(type_of_value("[123456789012345678901234567890]"), ColumnType::numeric);
    EXPECT_EQ(type_of_value("[true, false]"), ColumnType::boolean);
    EXPECT_EQ(type_of_value("[\"a\", null]"), ColumnType::text);
    EXPECT_EQ(type_of_value("[null, null]"), ColumnType::text);
    EXPECT_EQ(type_of_value("[]"), ColumnType::text);
    EXPECT_EQ(type_of_value("[1, \"a\"]"), ColumnType::jsonb);
    EXPECT_EQ(type_of_value("[1, true]"), ColumnType::jsonb);
    EXPECT_EQ(type_of_value("[[1], [2]]"), ColumnType::jsonb);
    EXPECT_EQ(type_of_value("[{\"a\": 1}, 2]"), ColumnType::jsonb);
    EXPECT_EQ(type_of_value("[{\"a\": 1}, \"b\", null]"), ColumnType::jsonb);
    EXPECT_EQ(type_of_value("[{}, {}]"), ColumnType::jsonb);
}

TEST(Collection, NumbersKeepTheirText) {
    const Table prices = table("[19.90, 1, 12345678901234567890.12345, 1e2, 18446744073709551616]");
    EXPECT_EQ(prices.columns.columns[0].type, ColumnType::numeric);
    EXPECT_EQ(prices.rows, (std::vector<std::vector<Cell>>{
                               {"19.90"}, {"1"}, {"12345678901234567890.12345"}, {"1e2"}, {"18446744073709551616"}}));
    EXPECT_EQ(table(R"([{"a": {"price": 19.90}}])").rows[0][0], R"({"price":19.90})");
}

TEST(Collection, MixtureIsOneColumnOfJson) {
    const Table mixture = table(R"([{"a": 1}, "text", 2.50, [true], null])");
    EXPECT_EQ(mixture.rows,
              (std::vector<std::vector<Cell>>{{R"({"a":1})"}, {"\"text\""}, {"2.50"}, {"[true]"}, {std::nullopt}}));
}

TEST(Collection, RefusesWhatIsNoRelation) {
    EXPECT_FALSE(infer_columns(json::object()));
    EXPECT_FALSE(infer_columns(json("x")));
    EXPECT_FALSE(infer_columns(json::parse(R"([{"": 1}])")));
    EXPECT_TRUE(infer_columns(json::array({{{std::string(63, 'x'), 1}}})));
    EXPECT_FALSE(infer_columns(json::array({{{std::string(64, 'x'), 1}}})));
    json wide = json::object();
    for (int i = 0; i < 1600; i++)
        wide["c" + std::to_string(i)] = i;
    EXPECT_TRUE(infer_columns(json::array({wide})));
    wide["more"] = 1;
    EXPECT_FALSE(infer_columns(json::array({wide})));
}

} // namespace
