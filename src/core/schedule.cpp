#include "core/schedule.hpp"

#include <algorithm>
#include <iterator>

#include "core/object_reader.hpp"

namespace chronicle::core {

namespace {

enum class Kind : std::uint8_t { none, fixed_rate, cron, immediate };

void read_cron(ObjectReader &reader, ScheduleSpec &spec) {
    const Member member = reader.find({"cron_expression", "cron"});
    const std::optional<std::string> text = reader.text(member);
    if (!member)
        reader.fault(path_key(reader.path(), "cronExpression"), "is missing; scheduleType cron needs it");
    if (!text)
        return;
    spec.cron = *text;
    if (const Result<Cron> parsed = parse_cron(*text); !parsed)
        reader.fault(member.path, parsed.problem);
    else if (!ever_fires(*parsed))
        reader.fault(member.path, "never fires: there is no such day");
}

void read_interval(ObjectReader &reader, ScheduleSpec &spec) {
    const std::string_view key = reader.find({"interval"}) ? "interval" : "every";
    if (!reader.find({key})) {
        reader.fault(path_key(reader.path(), "interval"), "is missing; scheduleType fixed_rate needs it");
        return;
    }
    const std::optional<double> every = reader.duration(key);
    if (!every)
        return;
    spec.every_ms = *every;
    if (*every < shortest_every_ms || *every > longest_every_ms)
        reader.fault(path_key(reader.path(), key), "must be from 100 ms to 100000 days");
}

std::int64_t floor_divide(std::int64_t a, std::int64_t b) { return a / b - (a % b < 0); }

} // namespace

std::optional<ScheduleSpec> definition_schedule(const json &document, std::vector<Fault> &faults) {
    if (!document.is_object() || !document.contains("metadata") || !document["metadata"].is_object())
        return std::nullopt; // the parser of definitions says what is wrong with it
    ObjectReader metadata(document["metadata"], "$.metadata", faults);
    const Member schedule = metadata.object("schedule");
    if (!schedule)
        return std::nullopt;
    const std::size_t before = faults.size();
    ObjectReader reader(*schedule.value, schedule.path, faults);
    if (!reader.boolean("enabled").value_or(false))
        return std::nullopt; // an editor keeps a schedule that is off, finished or not

    ScheduleSpec spec;
    const Kind kind =
        reader.choice<Kind>("schedule_type",
                            {{"fixed_rate", Kind::fixed_rate}, {"cron", Kind::cron}, {"immediate", Kind::immediate}},
                            Kind::none);
    if (!reader.find({"schedule_type"}))
        reader.fault(path_key(reader.path(), "scheduleType"), "is missing; one of fixed_rate, cron, immediate");
    if (kind == Kind::cron)
        read_cron(reader, spec);
    if (kind == Kind::fixed_rate)
        read_interval(reader, spec);
    spec.at_once = kind == Kind::immediate;
    spec.timezone = reader.text(reader.find({"time_zone", "timezone"})).value_or("UTC");
    spec.overlap = reader.choice<std::string>(
        "overlap", {{"skip", "skip"}, {"queue", "queue"}, {"allow", "allow"}, {"cancel_running", "cancel_running"}},
        "skip");
    spec.catch_up = reader.boolean("catch_up").value_or(false);
    if (const Member input = reader.find({"input"}))
        spec.input = *input.value;
    if (faults.size() > before)
        return std::nullopt;
    return spec;
}

Due due_every(std::int64_t anchor, std::int64_t every, std::int64_t since, std::int64_t now, std::int64_t grace) {
    Due due;
    due.newest = anchor + floor_divide(now - anchor, every) * every;
    due.on_time = due.newest >= since && due.newest >= now - grace;
    due.newest = std::max(due.newest, since);
    due.next = anchor + (floor_divide(now - anchor, every) + 1) * every;
    return due;
}

// The newest of what was missed may lie far back: it is looked for from now on backwards, each time twice as far.
Due due_cron(const Cron &cron, const Zone &zone, std::int64_t since, std::int64_t now, std::int64_t grace) {
    Due due{false, since, std::nullopt};
    for (std::int64_t back = std::max<std::int64_t>(grace, 1);; back *= 2) {
        const std::int64_t from = std::max(since, now - std::min(back, now - since));
        std::optional<std::int64_t> time = next_after(cron, from - 1, zone);
        const bool found = time && *time <= now;
        for (; time && *time <= now; time = next_after(cron, *time, zone))
            due.newest = *time;
        due.next = time;
        due.on_time = found && due.newest >= now - grace;
        if (found || from <= since)
            return due;
    }
}

} // namespace chronicle::core
