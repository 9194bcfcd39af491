#include "core/cron.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

namespace {

using namespace chronicle::core;

std::int64_t at(const char *text) {
    std::tm tm{};
    EXPECT_EQ(std::sscanf(text, "%d-%d-%d %d:%d:%d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
                          &tm.tm_sec),
              6)
        << text;
    tm.tm_year -= 1900;
    tm.tm_mon--;
    return timegm(&tm);
}

std::string text_of(std::int64_t moment) {
    const std::time_t time = moment;
    std::tm tm{};
    gmtime_r(&time, &tm);
    char text[32];
    std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
    return text;
}

ZoneSpan utc(std::int64_t) { return {0, std::nullopt}; }

struct Change {
    std::int64_t at, offset;
};

Zone zone_with(std::int64_t first_offset, std::vector<Change> changes) {
    return [=](std::int64_t moment) {
        ZoneSpan span{first_offset, std::nullopt};
        for (const Change &change : changes) {
            if (change.at > moment) {
                span.until = change.at;
                break;
            }
            span.offset = change.offset;
        }
        return span;
    };
}

// Europe/Berlin in 2026: 02:00 → 03:00 on March 29, 03:00 → 02:00 on October 25.
Zone berlin() { return zone_with(3600, {{at("2026-03-29 01:00:00"), 7200}, {at("2026-10-25 01:00:00"), 3600}}); }

// The firings after a moment, in UTC.
std::vector<std::string> firings(const char *cron, const char *after, int count, const Zone &zone = utc) {
    const Result<Cron> parsed = parse_cron(cron);
    EXPECT_TRUE(parsed) << cron << ": " << parsed.problem;
    std::vector<std::string> result;
    std::optional<std::int64_t> moment = at(after);
    for (int i = 0; i < count && moment; i++) {
        moment = next_after(*parsed, *moment, zone);
        result.push_back(moment ? text_of(*moment) : "never");
    }
    return result;
}

using Times = std::vector<std::string>;

TEST(Cron, FiresStrictlyAfter) {
    EXPECT_EQ(firings("* * * * *", "2026-01-01 00:00:00", 2), (Times{"2026-01-01 00:01:00", "2026-01-01 00:02:00"}));
    EXPECT_EQ(firings("* * * * *", "2026-01-01 00:00:59", 1), (Times{"2026-01-01 00:01:00"}));
    EXPECT_EQ(firings("* * * * * *", "2026-01-01 00:00:59", 2), (Times{"2026-01-01 00:01:00", "2026-01-01 00:01:01"}));
    EXPECT_EQ(firings("*/20 30 5 * * *", "2026-01-01 05:30:20", 2),
              (Times{"2026-01-01 05:30:40", "2026-01-02 05:30:00"}));
}

TEST(Cron, RangesListsSteps) {
    EXPECT_EQ(firings("5,10-12,50/5 8-9/1 * * *", "2026-01-01 08:10:30", 6),
              (Times{"2026-01-01 08:11:00", "2026-01-01 08:12:00", "2026-01-01 08:50:00", "2026-01-01 08:55:00",
                     "2026-01-01 09:05:00", "2026-01-01 09:10:00"}));
    EXPECT_EQ(firings("0 0 1 */3 *", "2026-01-01 00:00:00", 4),
              (Times{"2026-04-01 00:00:00", "2026-07-01 00:00:00", "2026-10-01 00:00:00", "2027-01-01 00:00:00"}));
    EXPECT_EQ(firings("0 12 * FEB,dec mon-Wed", "2026-02-24 12:00:00", 2),
              (Times{"2026-02-25 12:00:00", "2026-12-01 12:00:00"}));
    EXPECT_EQ(firings("0 0 * * fri-sun", "2026-01-01 00:00:00", 4),
              (Times{"2026-01-02 00:00:00", "2026-01-03 00:00:00", "2026-01-04 00:00:00", "2026-01-09 00:00:00"}));
    EXPECT_EQ(firings("0 0 * * 7", "2026-01-01 00:00:00", 1), firings("0 0 ? * 0", "2026-01-01 00:00:00", 1));
    EXPECT_EQ(firings("@weekly", "2026-01-01 00:00:00", 1), (Times{"2026-01-04 00:00:00"}));
    EXPECT_EQ(firings("@yearly", "2026-01-01 00:00:00", 1), (Times{"2027-01-01 00:00:00"}));
    EXPECT_EQ(firings(" @Hourly", "2026-01-01 00:00:00", 0), Times{});
}

TEST(Cron, TwoDayFields) {
    // Both restricted: either is enough. The 13th, and Fridays.
    EXPECT_EQ(firings("0 0 13 * 5", "2026-01-09 00:00:00", 3),
              (Times{"2026-01-13 00:00:00", "2026-01-16 00:00:00", "2026-01-23 00:00:00"}));
    // One begins with *: both must match.
    EXPECT_EQ(firings("0 0 */2 * 5", "2026-01-01 00:00:00", 2), (Times{"2026-01-09 00:00:00", "2026-01-23 00:00:00"}));
}

TEST(Cron, RareAndNever) {
    EXPECT_EQ(firings("0 0 29 2 *", "2026-01-01 00:00:00", 2), (Times{"2028-02-29 00:00:00", "2032-02-29 00:00:00"}));
    EXPECT_EQ(firings("0 0 29 2 *", "2096-03-01 00:00:00", 1), (Times{"2104-02-29 00:00:00"}));
    EXPECT_EQ(firings("0 0 30 2 *", "2026-01-01 00:00:00", 1), (Times{"never"}));
    EXPECT_EQ(firings("0 0 31 4,6,9,11 *", "2026-01-01 00:00:00", 1, berlin()), (Times{"never"}));
    EXPECT_EQ(firings("59 23 31 12 *", "1969-12-31 23:58:00", 2),
              (Times{"1969-12-31 23:59:00", "1970-12-31 23:59:00"}));
}

TEST(Cron, LocalTime) {
    EXPECT_EQ(firings("30 9 * * *", "2026-01-10 00:00:00", 1, berlin()), (Times{"2026-01-10 08:30:00"}));
    EXPECT_EQ(firings("30 9 * * *", "2026-07-10 00:00:00", 1, berlin()), (Times{"2026-07-10 07:30:00"}));
    // Saturday 00:30 in Berlin is Friday 23:30 in UTC.
    EXPECT_EQ(firings("30 0 * * 6", "2026-01-01 00:00:00", 1, berlin()), (Times{"2026-01-02 23:30:00"}));
}

TEST(Cron, SkippedTimeFiresAtTheChange) {
    EXPECT_EQ(firings("30 2 * * *", "2026-03-28 00:00:00", 3, berlin()),
              (Times{"2026-03-28 01:30:00", "2026-03-29 01:00:00", "2026-03-30 00:30:00"}));
    // Many skipped times: once.
    EXPECT_EQ(firings("*/10 2 * * *", "2026-03-28 01:50:00", 2, berlin()),
              (Times{"2026-03-29 01:00:00", "2026-03-30 00:00:00"}));
    // The time at which clocks arrive is itself one: not twice.
    EXPECT_EQ(firings("0 2,3 * * *", "2026-03-28 02:00:00", 2, berlin()),
              (Times{"2026-03-29 01:00:00", "2026-03-30 00:00:00"}));
    // The hours go on: nothing is made up.
    EXPECT_EQ(firings("30 * * * *", "2026-03-29 00:00:00", 3, berlin()),
              (Times{"2026-03-29 00:30:00", "2026-03-29 01:30:00", "2026-03-29 02:30:00"}));
    EXPECT_EQ(firings("30 */2 * * *", "2026-03-28 23:00:00", 2, berlin()),
              (Times{"2026-03-28 23:30:00", "2026-03-29 02:30:00"}));
}

TEST(Cron, RepeatedTimeFiresOnce) {
    // 02:30 comes at 00:30 and at 01:30 UTC.
    EXPECT_EQ(firings("30 2 * * *", "2026-10-24 12:00:00", 2, berlin()),
              (Times{"2026-10-25 00:30:00", "2026-10-26 01:30:00"}));
    EXPECT_EQ(firings("30 2 * * *", "2026-10-25 00:30:00", 1, berlin()), (Times{"2026-10-26 01:30:00"}));
    EXPECT_EQ(firings("30 2 * * *", "2026-10-25 01:10:00", 1, berlin()), (Times{"2026-10-26 01:30:00"}));
    EXPECT_EQ(firings("0 2,3 * * *", "2026-10-24 12:00:00", 3, berlin()),
              (Times{"2026-10-25 00:00:00", "2026-10-25 02:00:00", "2026-10-26 01:00:00"}));
    // Every hour is every hour.
    EXPECT_EQ(firings("30 * * * *", "2026-10-25 00:00:00", 3, berlin()),
              (Times{"2026-10-25 00:30:00", "2026-10-25 01:30:00", "2026-10-25 02:30:00"}));
}

TEST(Cron, ALostDay) {
    // Pacific/Apia skipped 2011-12-30: from UTC-10 to UTC+14.
    const Zone apia = zone_with(-36000, {{at("2011-12-30 10:00:00"), 50400}});
    EXPECT_EQ(firings("0 12 * * *", "2011-12-29 00:00:00", 3, apia),
              (Times{"2011-12-29 22:00:00", "2011-12-30 10:00:00", "2011-12-30 22:00:00"}));
}

TEST(Cron, AgreesWithASimpleWalk) {
    // Every minute of 2026 in Berlin, tested one by one.
    const Zone zone = berlin();
    for (const char *text : {"*/7 * * * *", "13 */5 * * *", "0 0-23/3 * * 1-5", "17 4 1,15 * *"}) {
        const Cron cron = *parse_cron(text);
        std::vector<std::int64_t> expected, found;
        for (std::int64_t moment = at("2026-04-01 00:00:00"); moment < at("2026-10-01 00:00:00"); moment += 60) {
            const std::time_t local = moment + zone(moment).offset;
            std::tm tm{};
            gmtime_r(&local, &tm);
            const auto in = [](std::uint64_t bits, int value) { return (bits >> value) & 1; };
            const bool day = in(cron.days, tm.tm_mday), weekday = in(cron.weekdays, tm.tm_wday);
            if (in(cron.minutes, tm.tm_min) && in(cron.hours, tm.tm_hour) && in(cron.months, tm.tm_mon + 1) &&
                (cron.any_day || cron.any_weekday ? day && weekday : day || weekday))
                expected.push_back(moment);
        }
        std::optional<std::int64_t> moment = at("2026-04-01 00:00:00") - 1;
        while ((moment = next_after(cron, *moment, zone)) && *moment < at("2026-10-01 00:00:00"))
            found.push_back(*moment);
        EXPECT_EQ(found, expected) << text;
    }
}

TEST(Cron, Problems) {
    for (const char *text : {"",
                             "* * * *",
                             "* * * * * * *",
                             "60 * * * *",
                             "* 24 * * *",
                             "* * 0 * *",
                             "* * 32 * *",
                             "* * * 13 *",
                             "* * * * 8",
                             "-1 * * * *",
                             "5-1 * * * *",
                             "*/0 * * * *",
                             "*/x * * * *",
                             "1, * * * *",
                             "a * * * *",
                             "* * L * *",
                             "* * * * 5#2",
                             "@reboot",
                             "@every 5m",
                             "1.5 * * * *",
                             "99999999999999999999 * * * *",
                             "* * * jann *",
                             "? * * * *"}) {
        const Result<Cron> parsed = parse_cron(text);
        EXPECT_FALSE(parsed) << text;
        EXPECT_FALSE(parsed.problem.empty()) << text;
    }
    EXPECT_EQ(parse_cron("* 24 * * *").problem, "the hour \"24\" is not one from 0 to 23");
}

TEST(Cron, KnowsWhetherItEverFires) {
    EXPECT_TRUE(ever_fires(*parse_cron("0 0 29 2 *")));
    EXPECT_FALSE(ever_fires(*parse_cron("0 0 30 2 *")));
    EXPECT_FALSE(ever_fires(*parse_cron("0 0 31 4,6,9,11 *")));
    EXPECT_TRUE(ever_fires(*parse_cron("0 0 30 2 1"))); // or on a Monday
}

} // namespace
