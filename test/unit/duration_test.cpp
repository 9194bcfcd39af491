#include "core/duration.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <string>

using namespace chronicle::core;

namespace {

double parsed(std::string_view text) {
    const auto result = parse_duration(text);
    EXPECT_TRUE(result) << text << ": " << result.problem;
    return result.value.value_or(-1);
}

TEST(Duration, UnitsAreThoseOfInterval) {
    EXPECT_EQ(parsed("500ms"), 500);
    EXPECT_EQ(parsed("1s"), 1000);
    EXPECT_EQ(parsed("1 sec"), 1000);
    EXPECT_EQ(parsed("1min"), 60'000);
    EXPECT_EQ(parsed("1m"), 60'000);
    EXPECT_EQ(parsed("1h"), 3'600'000);
    EXPECT_EQ(parsed("2 hours"), 7'200'000);
    EXPECT_EQ(parsed("1 day"), 86'400'000);
    EXPECT_EQ(parsed("1d"), 86'400'000);
    EXPECT_EQ(parsed("2 weeks"), 14 * 86'400'000.0);
    EXPECT_EQ(parsed("3 MINUTES"), 180'000);
    EXPECT_EQ(parsed("1.5 h"), 5'400'000);
}

TEST(Duration, PartsAddUp) {
    EXPECT_EQ(parsed("1h 30min"), 5'400'000);
    EXPECT_EQ(parsed("1h30min5s"), 5'405'000);
    EXPECT_EQ(parsed("01:30"), 5'400'000);
    EXPECT_EQ(parsed("00:00:30"), 30'000);
    EXPECT_EQ(parsed("1 day 02:00:00.5"), 93'600'500);
}

TEST(Duration, DigitsAloneAreSeconds) {
    EXPECT_EQ(parsed("30"), 30'000);
    EXPECT_EQ(parsed("  0.5 "), 500);
    EXPECT_EQ(parsed("0"), 0);
}

TEST(Duration, RefusesWhatHasNoFixedLengthOrNoMeaning) {
    for (const char *text : {"",    " ",    "-1s",  "+1s",       "1 month",  "1 year",       "1mon",  "soon",   "1 s x",
                             "s",   "1 2s", "1s 5", "inf",       "nan",      "1e3",          "1:99",  "1:2:99", "1:",
                             ":30", "1::2", "0x10", "1 day ago", "10 000 s", "1000001 days", "1e999s"}) {
        const auto result = parse_duration(text);
        EXPECT_FALSE(result) << text;
        EXPECT_FALSE(result.problem.empty()) << text;
    }
    EXPECT_FALSE(parse_duration(std::string(400, '9') + " days"));
    EXPECT_TRUE(parse_duration("1000000 days"));
}

TEST(Duration, ProblemQuotesOnlyTheBeginningOfALongText) {
    EXPECT_LT(parse_duration(std::string(100'000, 'x')).problem.size(), 300u);
}

TEST(Duration, OfJson) {
    EXPECT_EQ(*duration_ms(json(30)), 30'000);
    EXPECT_EQ(*duration_ms(json(0.25)), 250);
    EXPECT_EQ(*duration_ms(exact_number("0.50")), 500);
    EXPECT_EQ(*duration_ms(json("2min")), 120'000);
    EXPECT_FALSE(duration_ms(json(-1)));
    EXPECT_FALSE(duration_ms(json(1e300)));
    EXPECT_FALSE(duration_ms(json(true)));
    EXPECT_FALSE(duration_ms(json()));
    EXPECT_FALSE(duration_ms(json::array({1})));
}

} // namespace
