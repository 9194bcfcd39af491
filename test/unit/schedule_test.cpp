#include "core/schedule.hpp"

#include <gtest/gtest.h>

#include <string>

namespace {

using namespace chronicle::core;

std::optional<ScheduleSpec> read(const std::string &schedule, std::vector<Fault> *faults = nullptr) {
    std::vector<Fault> own;
    return definition_schedule(*parse_json("{\"metadata\": {\"schedule\": " + schedule + "}}"), faults ? *faults : own);
}

std::string problem_of(const std::string &schedule) {
    std::vector<Fault> faults;
    EXPECT_FALSE(read(schedule, &faults)) << schedule;
    return faults.size() == 1 ? faults[0].path + ": " + faults[0].problem : std::to_string(faults.size()) + " faults";
}

TEST(Schedule, OfADefinition) {
    EXPECT_EQ(read(R"({"enabled": true, "scheduleType": "fixed_rate", "interval": "30s"})")->every_ms, 30000);
    EXPECT_EQ(read(R"({"enabled": true, "schedule_type": "fixed_rate", "interval": 0.5})")->every_ms, 500);
    const auto cron = read(R"({"enabled": true, "scheduleType": "cron", "cronExpression": "0 9 * * 1-5",
        "timeZone": "Europe/Berlin", "overlap": "queue", "catchUp": true, "input": {"a": 1}})");
    EXPECT_EQ(cron->cron, "0 9 * * 1-5");
    EXPECT_EQ(cron->timezone, "Europe/Berlin");
    EXPECT_EQ(cron->overlap, "queue");
    EXPECT_TRUE(cron->catch_up);
    EXPECT_EQ(cron->input["a"], 1);
    EXPECT_TRUE(read(R"({"enabled": true, "scheduleType": "immediate"})")->at_once);
}

TEST(Schedule, NoneWhenOff) {
    std::vector<Fault> faults;
    EXPECT_FALSE(definition_schedule(*parse_json(R"({"metadata": {}})"), faults));
    EXPECT_FALSE(definition_schedule(*parse_json(R"({"id": "x"})"), faults));
    EXPECT_FALSE(definition_schedule(*parse_json("[]"), faults));
    EXPECT_FALSE(read(R"({"enabled": false, "scheduleType": "cron", "cronExpression": ""})", &faults));
    EXPECT_FALSE(read(R"({"scheduleType": "nonsense"})", &faults));
    EXPECT_TRUE(faults.empty());
}

TEST(Schedule, Faults) {
    EXPECT_EQ(problem_of(R"({"enabled": true, "scheduleType": "cron", "cronExpression": "* * *"})").substr(0, 35),
              "$.metadata.schedule.cronExpression:");
    EXPECT_EQ(problem_of(R"({"enabled": true, "scheduleType": "cron"})"),
              "$.metadata.schedule.cronExpression: is missing; scheduleType cron needs it");
    EXPECT_EQ(problem_of(R"({"enabled": true, "scheduleType": "fixed_rate"})"),
              "$.metadata.schedule.interval: is missing; scheduleType fixed_rate needs it");
    EXPECT_EQ(problem_of(R"({"enabled": true, "scheduleType": "fixed_rate", "interval": "10ms"})"),
              "$.metadata.schedule.interval: must be from 100 ms to 100000 days");
    EXPECT_EQ(problem_of(R"({"enabled": true, "scheduleType": "sometimes"})"),
              "$.metadata.schedule.scheduleType: must be one of fixed_rate, cron, immediate");
    EXPECT_EQ(problem_of(R"({"enabled": true})"),
              "$.metadata.schedule.scheduleType: is missing; one of fixed_rate, cron, immediate");
    EXPECT_EQ(problem_of(R"({"enabled": true, "scheduleType": "immediate", "overlap": "never"})"),
              "$.metadata.schedule.overlap: must be one of skip, queue, allow, cancel_running");
    EXPECT_EQ(problem_of(R"({"enabled": "yes"})"), "$.metadata.schedule.enabled: must be true or false");
    EXPECT_EQ(problem_of("[]"), "$.metadata.schedule: must be an object");
}

TEST(Schedule, FixedRateDoesNotDrift) {
    // Every 10 from 5: 5, 15, 25 …
    Due due = due_every(5, 10, 15, 17, 100);
    EXPECT_TRUE(due.on_time);
    EXPECT_EQ(due.newest, 15);
    EXPECT_EQ(due.next, 25);
    due = due_every(5, 10, 15, 48, 100); // late: several at once are one
    EXPECT_TRUE(due.on_time);
    EXPECT_EQ(due.newest, 45);
    EXPECT_EQ(due.next, 55);
    due = due_every(5, 1000, 1005, 1500, 100); // too late
    EXPECT_FALSE(due.on_time);
    EXPECT_EQ(due.newest, 1005);
    EXPECT_EQ(due.next, 2005);
    due = due_every(5, 10, 25, 25, 0); // at the very moment
    EXPECT_TRUE(due.on_time);
    EXPECT_EQ(due.next, 35);
}

TEST(Schedule, CronLateAndOnTime) {
    const Cron cron = *parse_cron("*/5 * * * *");
    const Zone utc = [](std::int64_t) { return ZoneSpan{0, std::nullopt}; };
    Due due = due_cron(cron, utc, 300, 302, 60);
    EXPECT_TRUE(due.on_time);
    EXPECT_EQ(due.newest, 300);
    EXPECT_EQ(due.next, 600);
    due = due_cron(cron, utc, 300, 400, 60);
    EXPECT_FALSE(due.on_time);
    EXPECT_EQ(due.next, 600);
    EXPECT_EQ(due.newest, 300);
    due = due_cron(cron, utc, 300, 86400 * 1000 + 250, 60); // missed many: the last one counts
    EXPECT_FALSE(due.on_time);
    EXPECT_EQ(due.newest, 86400 * 1000);
    EXPECT_EQ(due.next, 86400 * 1000 + 300);
    due = due_cron(*parse_cron("0 0 1 1 *"), utc, 0, 86400 * 400, 60); // 1971-01-01, of a year before
    EXPECT_FALSE(due.on_time);
    EXPECT_EQ(due.newest, 86400 * 365);
    EXPECT_EQ(due.next, 86400 * 730);
    due = due_cron(cron, utc, 300, 3630, 60); // missed some, and one is on time
    EXPECT_TRUE(due.on_time);
    EXPECT_EQ(due.newest, 3600);
    EXPECT_EQ(due.next, 3900);
    due = due_cron(*parse_cron("0 0 30 2 *"), utc, 0, 10, 60);
    EXPECT_FALSE(due.on_time);
    EXPECT_FALSE(due.next);
}

} // namespace
