#include "core/generate.hpp"

#include <gtest/gtest.h>

#include <cctype>
#include <limits>
#include <map>
#include <set>
#include <string>

using namespace chronicle::core;

namespace {

constexpr auto lowest = std::numeric_limits<std::int64_t>::min();
constexpr auto highest = std::numeric_limits<std::int64_t>::max();

Generator parsed(std::string_view text) {
    const auto result = parse_generator(text);
    EXPECT_TRUE(result) << text << ": " << result.problem;
    return result.value.value_or(Generator{});
}

template <typename T> T produced(const Generator &generator, Random &random, std::int64_t sequence = 1) {
    return std::get<T>(generator.produce(sequence, random));
}

// ---- counting --------------------------------------------------------------------------------

TEST(Sequence, Count) {
    EXPECT_EQ(*sequence_count(1, 100, 1), 100);
    EXPECT_EQ(*sequence_count(1, 100, 30), 4);
    EXPECT_EQ(*sequence_count(1, 1, 5), 1);
    EXPECT_EQ(*sequence_count(1, 0, 1), 0);
    EXPECT_EQ(*sequence_count(10, 1, -3), 4);
    EXPECT_EQ(*sequence_count(0, 1, -1), 0);
    EXPECT_EQ(*sequence_count(0, 0, lowest), 1);
    EXPECT_FALSE(sequence_count(1, 2, 0));
}

TEST(Sequence, CountDoesNotOverflow) {
    EXPECT_EQ(*sequence_count(lowest, highest, highest), 3);
    EXPECT_EQ(*sequence_count(highest, lowest, lowest), 2);
    EXPECT_EQ(*sequence_count(1, highest, 1), highest);
    EXPECT_EQ(*sequence_count(lowest, highest, 4), (std::int64_t{1} << 62));
    EXPECT_FALSE(sequence_count(0, highest, 1));
    EXPECT_FALSE(sequence_count(lowest, highest, 1));
    EXPECT_FALSE(sequence_count(highest, lowest, -1));
}

TEST(Sequence, LastValueDoesNotPassTheEnd) {
    const std::int64_t bounds[] = {lowest, lowest + 1, -7, 0, 1, 100, highest - 1, highest};
    const std::int64_t steps[] = {lowest, -1000, -3, -1, 1, 2, 1000, highest};
    for (const auto start : bounds)
        for (const auto end : bounds)
            for (const auto step : steps) {
                const auto count = sequence_count(start, end, step);
                if (!count || *count == 0)
                    continue;
                const std::int64_t last = sequence_value(start, step, *count - 1);
                EXPECT_EQ(sequence_value(start, step, 0), start);
                EXPECT_TRUE(step > 0 ? last <= end && last >= start : last >= end && last <= start);
                // one more step would pass the end
                const auto left = step > 0 ? static_cast<std::uint64_t>(end) - static_cast<std::uint64_t>(last)
                                           : static_cast<std::uint64_t>(last) - static_cast<std::uint64_t>(end);
                const auto stride = step > 0 ? static_cast<std::uint64_t>(step) : 0 - static_cast<std::uint64_t>(step);
                EXPECT_LT(left, stride);
            }
}

// ---- randomness ------------------------------------------------------------------------------

// The first outputs of the reference implementation of SplitMix64 for the seed 1234567.
TEST(Random, IsSplitMix64) {
    Random random{1234567};
    EXPECT_EQ(random.next(), 6457827717110365317u);
    EXPECT_EQ(random.next(), 3203168211198807973u);
    EXPECT_EQ(random.next(), 9817491932198370423u);
}

TEST(Random, IntegersReachBothEndsAndStayWithin) {
    Random random{42};
    std::map<std::int64_t, int> seen;
    for (int i = 0; i < 6000; i++)
        seen[random.integer(-2, 3)]++;
    ASSERT_EQ(seen.size(), 6u);
    EXPECT_EQ(seen.begin()->first, -2);
    EXPECT_EQ(seen.rbegin()->first, 3);
    for (const auto &[value, count] : seen)
        EXPECT_NEAR(count, 1000, 200) << value; // fixed seed: always the same counts
    EXPECT_EQ(random.integer(7, 7), 7);
    std::set<bool> signs;
    for (int i = 0; i < 100; i++)
        signs.insert(random.integer(lowest, highest) < 0);
    EXPECT_EQ(signs.size(), 2u);
}

// 2^64 is no multiple of 3 * 2^62: without drawing again, the first third would come half of the time.
TEST(Random, NoIntegerIsMoreLikelyThanAnother) {
    Random random{5};
    int first_third = 0;
    for (int i = 0; i < 3000; i++)
        first_third += random.integer(lowest, (std::int64_t{1} << 62) - 1) < lowest / 2;
    EXPECT_NEAR(first_third, 1000, 100); // fixed seed: always the same count
}

TEST(Random, UnitIsBelowOne) {
    Random random{1};
    for (int i = 0; i < 10'000; i++) {
        const double value = random.unit();
        ASSERT_GE(value, 0);
        ASSERT_LT(value, 1);
    }
}

// ---- generators ------------------------------------------------------------------------------

TEST(Generator, Sequence) {
    Random random{1};
    EXPECT_EQ(parsed("sequence").type, ValueType::bigint);
    EXPECT_EQ(produced<std::int64_t>(parsed("sequence"), random, 17), 17);
    EXPECT_EQ(produced<std::int64_t>(parsed(" sequence() "), random, -3), -3);
}

TEST(Generator, RandomString) {
    Random random{1};
    EXPECT_EQ(parsed("random_string").type, ValueType::text);
    EXPECT_EQ(produced<std::string>(parsed("random_string"), random).size(), 10u);
    const Generator five = parsed("random_string(5)");
    const std::string text = produced<std::string>(five, random);
    EXPECT_EQ(text.size(), 5u);
    for (const char c : text)
        EXPECT_TRUE(std::isalnum(static_cast<unsigned char>(c)));
    EXPECT_NE(produced<std::string>(five, random), text);
}

TEST(Generator, RandomNumbers) {
    Random random{1};
    const Generator integers = parsed("random_int(1, 5)");
    EXPECT_EQ(integers.type, ValueType::bigint);
    std::set<std::int64_t> seen;
    for (int i = 0; i < 200; i++)
        seen.insert(produced<std::int64_t>(integers, random));
    EXPECT_EQ(seen, (std::set<std::int64_t>{1, 2, 3, 4, 5}));

    const Generator doubles = parsed("random_double( -1.5 ,2)");
    EXPECT_EQ(doubles.type, ValueType::float8);
    for (int i = 0; i < 200; i++) {
        const double value = produced<double>(doubles, random);
        EXPECT_GE(value, -1.5);
        EXPECT_LT(value, 2);
    }
    int negative = 0;
    for (int i = 0; i < 100; i++) {
        const double huge = produced<double>(parsed("random_double(-1.7e308, 1.7e308)"), random);
        EXPECT_TRUE(huge >= -1.7e308 && huge < 1.7e308);
        negative += huge < 0;
    }
    EXPECT_NEAR(negative, 50, 20);
    EXPECT_EQ(produced<double>(parsed("random_double(0.10, 0.10)"), random), 0.1);
}

TEST(Generator, ChoiceHasTheTypeThatHoldsAll) {
    Random random{1};
    const Generator words = parsed("random_choice(['a,b', 'it''s', \"c]\"])");
    EXPECT_EQ(words.type, ValueType::text);
    std::set<std::string> seen;
    for (int i = 0; i < 100; i++)
        seen.insert(produced<std::string>(words, random));
    EXPECT_EQ(seen, (std::set<std::string>{"a,b", "it's", "c]"}));

    EXPECT_EQ(parsed("random_choice([1, 2])").type, ValueType::bigint);
    EXPECT_EQ(parsed("random_choice([1, 2.5])").type, ValueType::float8);
    EXPECT_EQ(parsed("random_choice([true, null])").type, ValueType::boolean);
    EXPECT_EQ(parsed("random_choice([null])").type, ValueType::text);
    EXPECT_EQ(produced<double>(parsed("random_choice([2.50])"), random), 2.5);
    const Generator mixed = parsed("random_choice(['a', 1, {\"k\": [1, 2]}])");
    EXPECT_EQ(mixed.type, ValueType::jsonb);
    seen.clear();
    for (int i = 0; i < 100; i++)
        seen.insert(produced<std::string>(mixed, random));
    EXPECT_EQ(seen, (std::set<std::string>{"\"a\"", "1", "{\"k\":[1,2]}"}));
}

TEST(Generator, Constant) {
    Random random{1};
    EXPECT_EQ(produced<std::int64_t>(parsed("constant(5)"), random), 5);
    EXPECT_EQ(produced<double>(parsed("constant(5.5)"), random), 5.5);
    EXPECT_EQ(produced<bool>(parsed("constant(true)"), random), true);
    EXPECT_EQ(produced<std::string>(parsed("constant('x y')"), random), "x y");
    EXPECT_EQ(produced<std::string>(parsed("constant(EUR)"), random), "EUR");
    EXPECT_EQ(produced<std::string>(parsed("constant('a)')"), random), "a)");
    EXPECT_EQ(parsed("constant({\"a\": 1})").type, ValueType::jsonb);
    EXPECT_EQ(parsed("constant(null)").type, ValueType::text);
    EXPECT_TRUE(std::holds_alternative<std::monostate>(parsed("constant(null)").produce(1, random)));
    EXPECT_EQ(parsed("constant(123456789012345678901)").type, ValueType::float8);
}

TEST(Generator, SameSeedSameRows) {
    const Generator generator = parsed("random_string(20)");
    Random a{99}, b{99};
    EXPECT_EQ(generator.produce(1, a), generator.produce(1, b));
}

TEST(Generator, RefusesWhatItCannotParse) {
    for (const char *text : {"",
                             "(",
                             ")",
                             "random",
                             "random_int",
                             "random_int()",
                             "random_int(1)",
                             "random_int(1,2,3)",
                             "random_int(5, 1)",
                             "random_int(1.5, 2)",
                             "random_int('1', '2')",
                             "random_int(1, 2",
                             "random_int(1, 99999999999999999999)",
                             "random_double(a, b)",
                             "random_double(2, 1)",
                             "random_choice",
                             "random_choice()",
                             "random_choice([])",
                             "random_choice(['a)",
                             "random_choice(['a' 'b'])",
                             "random_choice(x, y)",
                             "random_choice([x])",
                             "random_choice([1,,2])",
                             "random_string(0)",
                             "random_string(-1)",
                             "random_string(10001)",
                             "random_string(x)",
                             "constant",
                             "constant()",
                             "sequence(1)",
                             "Sequence"}) {
        const auto result = parse_generator(text);
        EXPECT_FALSE(result) << text;
        EXPECT_FALSE(result.problem.empty()) << text;
    }
}

} // namespace
