// schedule_workflow and its like; and the scheduler's part: starting what is due.
//
// A schedule's row has the next time at which it is due. The scheduler starts the run and moves that time in one
// transaction, with the row locked: each time fires once, whatever is killed when. The next time is always later than
// the one that fired and than now, so a clock that steps back repeats nothing; "every" is counted from the schedule's
// creation, so no delay adds up.
//
// A time is on time up to a minute late. What is later was missed (nothing could run): all that was missed is one run
// with catch_up, none without.
//
// overlap queue: a time that comes while the run before is not over is counted in waiting_runs. While any schedule
// waits, the end of each run of this database wakes the scheduler (worker::watch_ends); the flag is set before it
// looks.
//
// Locks: the schedule's row, then runs; the scheduler waits for a moment only, and tries again at its next look.
#include "flow/schedule.hpp"
#include "flow/control.hpp"
#include "flow/json.hpp"
#include "flow/patience.hpp"
#include "flow/start.hpp"

#include "pg/xact.hpp"
#include "worker/registry.hpp"

extern "C" {
#include "common/int.h"
#include "pgtime.h"
#include "utils/timestamp.h"
}

namespace chronicle::flow {

namespace {

constexpr int64 grace_us = 60 * USECS_PER_SEC;
constexpr int fire_limit = 100; // in one look of the scheduler
constexpr TimestampTz retry_us = USECS_PER_SEC; // after a deadlock, say

// --- times ---

struct Timing {
    std::optional<std::string> cron;
    int64 every_us = 0;
    std::string timezone;
};

int64 to_unix(TimestampTz at) { return static_cast<int64>(timestamptz_to_time_t(at)); }
TimestampTz from_unix(int64 seconds) { return time_t_to_timestamptz(static_cast<pg_time_t>(seconds)); }

core::Zone zone_of(const std::string &name) {
    const char *text = name.c_str();
    pg_tz *zone = pg::call([&]() noexcept { return pg_tzset(text); });
    if (!zone)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = "time zone \"" + name + "\" is not known"});
    return [zone](std::int64_t moment) {
        pg_time_t at = moment, boundary = 0;
        long before = 0, after = 0;
        int is_dst;
        int found = pg_next_dst_boundary(&at, &before, &is_dst, &boundary, &after, &is_dst, zone);
        return core::ZoneSpan{found < 0 ? 0 : before, found > 0 ? std::optional(boundary) : std::nullopt};
    };
}

// What is due of it, in TimestampTz. `since`: the oldest time that is due.
core::Due due_of(const Timing &timing, TimestampTz anchor, TimestampTz since, TimestampTz now) {
    if (!timing.cron)
        return core::due_every(anchor, timing.every_us, since, now, grace_us);
    core::Due due = core::due_cron(*core::parse_cron(*timing.cron), zone_of(timing.timezone), to_unix(since),
                                   to_unix(now), grace_us / USECS_PER_SEC);
    due.newest = from_unix(due.newest);
    if (due.next)
        due.next = from_unix(*due.next);
    return due;
}

std::optional<TimestampTz> first_after(const Timing &timing, TimestampTz anchor, TimestampTz now) {
    return due_of(timing, anchor, now, now).next;
}

// --- what users call ---

[[noreturn]] void raise_invalid(std::string message, const core::json &detail, std::string hint) {
    pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
              {.message = std::move(message), .detail = detail.dump(), .hint = std::move(hint)});
}

int64 interval_us(Datum interval) {
    const Interval *every = DatumGetIntervalP(interval);
    int64 us, days;
    bool overflow =
        pg_mul_s64_overflow(every->day, USECS_PER_DAY, &days) || pg_add_s64_overflow(every->time, days, &us);
    double ms = overflow ? 0 : static_cast<double>(us) / 1000;
    if (every->month != 0 || ms < core::shortest_every_ms || ms > core::longest_every_ms)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "every must be from 100 ms to 100000 days, without months",
                   .hint = "Months have no fixed length: use cron, '0 0 1 * *' for the first of each."});
    return us;
}

Timing read_timing(const pg::Arguments &arguments) {
    Timing timing{arguments.text(1), 0, arguments.text(3).value_or("UTC")};
    if (timing.cron.has_value() == !arguments.null(2))
        raise_invalid("schedule_workflow needs exactly one of cron and every",
                      {{"cron", timing.cron.has_value()}, {"every", !arguments.null(2)}},
                      "cron => '0 9 * * 1-5' runs at nine on weekdays, every => '15 min' at a fixed rate.");
    if (std::string problem = timezone_problem(timing.timezone); !problem.empty())
        raise_invalid(problem, {{"timezone", timing.timezone}}, "View pg_timezone_names lists them.");
    if (!timing.cron) {
        timing.every_us = interval_us(arguments.datum(2));
        return timing;
    }
    if (core::Result<core::Cron> parsed = core::parse_cron(*timing.cron); !parsed)
        raise_invalid("invalid cron expression: " + parsed.problem,
                      {{"cron", *timing.cron}, {"reason", parsed.problem}},
                      "minute hour day-of-month month day-of-week");
    return timing;
}

void require_a_time(const Timing &timing, const std::optional<TimestampTz> &next) {
    if (!next)
        raise_invalid("the cron expression never fires",
                      {{"cron", timing.cron.value_or("")}, {"reason", "no such day within 60 years"}},
                      "Look at its day and month.");
}

struct NewSchedule {
    std::string workflow_id;
    Timing timing;
    std::optional<Datum> every; // the interval as it was given
    std::string input, overlap;
    bool catch_up = false, from_definition = false;
};

int64 insert_schedule(const NewSchedule &schedule) {
    static constexpr Oid types[] = {TEXTOID, TEXTOID, INTERVALOID, INT8OID, TEXTOID,        JSONBOID,
                                    TEXTOID, BOOLOID, BOOLOID,     TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
    static pg::Statement insert{
        "INSERT INTO chronicle_data.schedule (workflow_id, cron, every, every_us, timezone, input, overlap, catch_up, "
        "from_definition, created_by, created_at, next_run_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, "
        "$12) RETURNING schedule_id",
        types};
    TimestampTz now = GetCurrentTimestamp();
    std::optional<TimestampTz> next = first_after(schedule.timing, now, now);
    require_a_time(schedule.timing, next);
    std::string user = pg::call([]() noexcept { return GetUserNameFromId(GetSessionUserId(), false); });
    access::EngineScope engine;
    pg::Values values;
    values.text(schedule.workflow_id).maybe_text(schedule.timing.cron);
    schedule.every ? values.add(*schedule.every) : values.null();
    schedule.every ? values.int8(schedule.timing.every_us) : values.null();
    values.text(schedule.timing.timezone).jsonb(schedule.input).text(schedule.overlap).boolean(schedule.catch_up);
    values.boolean(schedule.from_definition).text(user).time(now).time(*next);
    int64 id = insert.run(values)[0].int8(1);
    worker::announce_scheduler();
    return id;
}

// The schedule, locked, of a workflow of the current user's; 42704 otherwise.
void require_schedule(int64 id) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement find{"SELECT w.owner FROM chronicle_data.schedule s JOIN chronicle_data.workflow w USING "
                              "(workflow_id) WHERE s.schedule_id = $1 FOR UPDATE OF s",
                              types};
    std::optional<std::string> owner;
    {
        access::EngineScope engine;
        pg::Values values;
        pg::Rows rows = find.run(values.int8(id));
        if (!rows.empty())
            owner = rows[0].text(1);
    }
    if (!owner || !access::may_act_for(*owner))
        pg::raise(ERRCODE_UNDEFINED_OBJECT, {.message = "schedule " + std::to_string(id) + " does not exist",
                                             .hint = "SELECT schedule_id, workflow_id FROM chronicle.schedules lists "
                                                     "them."});
}

int64 required_schedule(const pg::Arguments &arguments) {
    std::optional<int64> id = arguments.int8(0);
    if (!id)
        pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = "argument \"schedule_id\" must not be NULL"});
    require_schedule(*id);
    return *id;
}

// --- what the scheduler does ---

struct Schedule {
    int64 id = 0;
    std::string workflow_id;
    Timing timing;
    std::string input, overlap;
    bool catch_up = false;
    TimestampTz anchor = 0;
    std::optional<TimestampTz> next;
    std::optional<pg::Uuid> last;
    bool active = false; // its last run is not over
    int waiting = 0;
};

#define SELECT_SCHEDULE                                                                                                \
    "SELECT s.schedule_id, s.workflow_id, s.cron, coalesce(s.every_us, 0), s.timezone, s.input, s.overlap, "           \
    "s.catch_up, s.created_at, s.next_run_at, s.last_execution_id, s.waiting_runs, coalesce((SELECT e.ended_at IS "    \
    "NULL FROM chronicle_data.execution e WHERE e.execution_id = s.last_execution_id), false) "                        \
    "FROM chronicle_data.schedule s "

std::optional<Schedule> read_schedule(const pg::Rows &rows) {
    if (rows.empty())
        return std::nullopt;
    pg::Row row = rows[0];
    Schedule s;
    s.id = row.int8(1);
    s.workflow_id = row.text(2);
    s.timing = {row.maybe_text(3), row.int8(4), row.text(5)};
    s.input = row.jsonb(6);
    s.overlap = row.text(7);
    s.catch_up = row.boolean(8);
    s.anchor = row.time(9);
    if (!row.null(10))
        s.next = row.time(10);
    if (!row.null(11))
        s.last = row.uuid(11);
    s.waiting = row.int4(12);
    s.active = row.boolean(13);
    return s;
}

std::optional<Schedule> lock_due() {
    static constexpr Oid types[] = {TIMESTAMPTZOID};
    static pg::Statement find{SELECT_SCHEDULE "WHERE NOT s.paused AND s.next_run_at <= $1 "
                                              "ORDER BY s.next_run_at LIMIT 1 FOR UPDATE OF s SKIP LOCKED",
                              types};
    pg::Values now;
    return read_schedule(find.run(now.time(GetCurrentTimestamp())));
}

// One whose next run waits for the end of the one before, which is there.
std::optional<Schedule> lock_waiting() {
    static pg::Statement find{
        SELECT_SCHEDULE "WHERE s.waiting_runs > 0 AND NOT s.paused AND NOT EXISTS (SELECT FROM "
                        "chronicle_data.execution e WHERE e.execution_id = s.last_execution_id AND e.ended_at IS NULL) "
                        "LIMIT 1 FOR UPDATE OF s SKIP LOCKED"};
    return read_schedule(find.run());
}
#undef SELECT_SCHEDULE

pg::Uuid start_scheduled(const Schedule &s, const Startable &what, std::optional<TimestampTz> time) {
    core::json origin{{"scheduleId", s.id}};
    if (time)
        origin["scheduledFor"] = time_text(*time);
    return start_execution(
        what, {.input = s.input, .metadata = core::write_json(origin), .started_by = what.owner, .origin = origin});
}

// What a time that has come does to a schedule.
struct Fired {
    std::optional<pg::Uuid> started;
    std::optional<std::string> error;
};

// A run of this time, unless the overlap forbids it. `s.waiting` is kept.
Fired fire(Schedule &s, std::optional<TimestampTz> time) {
    Fired fired;
    std::optional<Startable> what = find_startable(s.workflow_id, std::nullopt);
    if (!what || !what->enabled)
        return fired;
    if (s.overlap == "queue" && (s.active || (s.waiting > 0 && time))) {
        s.waiting++;
        return fired;
    }
    if (s.overlap == "skip" && s.active)
        return fired;
    std::optional<pg::Error> failed = pg::attempt([&]() {
        if (s.overlap == "cancel_running" && s.active) {
            access::EngineScope engine;
            cancel_run(*s.last, "the next run of its schedule is due");
        }
        fired.started = start_scheduled(s, *what, time);
    });
    if (failed && failed->is_transient())
        throw *failed;
    if (failed)
        fired = {std::nullopt, failed->message()};
    return fired;
}

void store_fired(const Schedule &s, const std::optional<TimestampTz> &next, const Fired &fired) {
    static constexpr Oid types[] = {INT8OID, TIMESTAMPTZOID, UUIDOID, INT4OID, TEXTOID};
    static pg::Statement update{
        "UPDATE chronicle_data.schedule SET next_run_at = $2, waiting_runs = $4, last_error = CASE WHEN $3 IS NULL AND "
        "$5 IS NULL THEN last_error ELSE $5 END, last_execution_id = coalesce($3, last_execution_id), "
        "last_run_at = CASE WHEN $3 IS NULL THEN last_run_at ELSE (SELECT queued_at FROM chronicle_data.execution "
        "WHERE execution_id = $3) END WHERE schedule_id = $1",
        types};
    pg::Values values;
    values.int8(s.id);
    next ? values.time(*next) : values.null();
    fired.started ? values.uuid(*fired.started) : values.null();
    update.run(values.int4(s.waiting).maybe_text(fired.error));
    if (fired.error)
        pg::call([&]() noexcept {
            ereport(WARNING, (errmsg("chronicle: schedule %lld could not start workflow \"%s\": %s",
                                     static_cast<long long>(s.id), s.workflow_id.c_str(), fired.error->c_str())));
        });
}

// The schedule that is due first; false: none is.
bool fire_due() {
    access::EngineScope engine;
    std::optional<Schedule> s = lock_due();
    if (!s)
        return false;
    core::Due due = due_of(s->timing, s->anchor, *s->next, GetCurrentTimestamp());
    Fired fired;
    if (due.on_time || s->catch_up)
        fired = fire(*s, due.newest);
    store_fired(*s, due.next, fired);
    return true;
}

bool start_waiting() {
    access::EngineScope engine;
    std::optional<Schedule> s = lock_waiting();
    if (!s)
        return false;
    s->active = false;
    Fired fired = fire(*s, std::nullopt);
    if (fired.started || fired.error)
        s->waiting--;
    store_fired(*s, s->next, fired);
    return fired.started.has_value();
}

// In a transaction of its own. Nothing: it has to be tried again.
std::optional<bool> in_transaction(bool (*step)()) {
    bool done = false;
    return try_in_transaction([&]() { done = step(); }) ? std::optional(done) : std::nullopt;
}

struct Outlook {
    TimestampTz next = 0;
    bool waiting = false;
};

Outlook look_ahead() {
    static pg::Statement find{"SELECT (SELECT min(next_run_at) FROM chronicle_data.schedule WHERE NOT paused), "
                              "EXISTS (SELECT FROM chronicle_data.schedule WHERE waiting_runs > 0)"};
    pg::start_transaction();
    Outlook outlook;
    {
        access::EngineScope engine;
        pg::Rows rows = find.run();
        outlook = {rows[0].null(1) ? 0 : rows[0].time(1), rows[0].boolean(2)};
    }
    pg::commit_transaction();
    return outlook;
}

} // namespace

std::string timezone_problem(const std::string &name) {
    const char *text = name.c_str();
    bool known = name.size() <= TZ_STRLEN_MAX && pg::call([&]() noexcept {
                     pg_tz *zone = pg_tzset(text);
                     return zone && pg_tz_acceptable(zone);
                 });
    return known ? "" : "time zone \"" + name + "\" is not known";
}

void set_definition_schedule(const std::string &workflow_id, const std::optional<core::ScheduleSpec> &spec) {
    static constexpr Oid find_types[] = {TEXTOID, TEXTOID, INT8OID, TEXTOID, JSONBOID, TEXTOID, BOOLOID};
    static pg::Statement same{
        "SELECT 1 FROM chronicle_data.schedule WHERE from_definition AND workflow_id = $1 AND cron "
        "IS NOT DISTINCT FROM $2 AND coalesce(every_us, 0) = $3 AND timezone = $4 AND input = $5 "
        "AND overlap = $6 AND catch_up = $7",
        find_types};
    static constexpr Oid types[] = {TEXTOID};
    static pg::Statement remove{"DELETE FROM chronicle_data.schedule WHERE from_definition AND workflow_id = $1",
                                types};
    NewSchedule schedule;
    if (spec) {
        schedule = {workflow_id, {}, {}, core::write_json(spec->input), spec->overlap, spec->catch_up, true};
        schedule.timing.timezone = spec->timezone;
        if (!spec->cron.empty())
            schedule.timing.cron = spec->cron;
        schedule.timing.every_us = static_cast<int64>(spec->every_ms * 1000);
    }
    bool wanted = spec && !spec->at_once;
    {
        access::EngineScope engine;
        pg::Values values;
        values.text(workflow_id).maybe_text(schedule.timing.cron).int8(schedule.timing.every_us);
        values.text(schedule.timing.timezone).jsonb(wanted ? schedule.input : "{}").text(schedule.overlap);
        if (wanted && !same.run(values.boolean(schedule.catch_up)).empty())
            return;
        pg::Values of_remove;
        remove.run(of_remove.text(workflow_id));
    }
    if (spec && spec->at_once)
        if (Startable what = *find_startable(workflow_id, std::nullopt); what.enabled)
            start_execution(what, {.input = schedule.input});
    if (!wanted)
        return;
    if (!schedule.timing.cron)
        schedule.every = pg::call([&]() noexcept {
            Interval *every = static_cast<Interval *>(palloc0(sizeof(Interval)));
            every->time = schedule.timing.every_us;
            return PointerGetDatum(every);
        });
    insert_schedule(schedule);
}

TimestampTz fire_schedules() {
    bool again = false;
    for (int i = 0; i < fire_limit; i++) {
        std::optional<bool> fired = in_transaction(fire_due);
        again = !fired.has_value();
        if (!fired.value_or(false))
            break;
    }
    Outlook outlook = look_ahead();
    worker::watch_ends(outlook.waiting);
    if (outlook.waiting)
        for (int i = 0; i < fire_limit; i++) {
            std::optional<bool> started = in_transaction(start_waiting);
            again |= !started.has_value();
            if (!started.value_or(false))
                break;
        }
    TimestampTz now = GetCurrentTimestamp();
    if (outlook.next == 0 && !again)
        return 0;
    // What is due and locked by somebody is looked at again soon, not at once.
    TimestampTz soonest = now + (again ? retry_us : retry_us / 20);
    return again ? soonest : std::max(outlook.next, outlook.next <= now ? soonest : outlook.next);
}

CHRONICLE_FUNCTION(chronicle_schedule_workflow) {
    pg::Arguments arguments(fcinfo);
    std::string workflow = arguments.required_text(0, "workflow_id");
    NewSchedule schedule{workflow, read_timing(arguments), {}, "{}", arguments.text(5).value_or("skip"), false, false};
    schedule.catch_up = arguments.boolean(6).value_or(false);
    if (!arguments.null(2))
        schedule.every = arguments.datum(2);
    if (!arguments.null(4))
        schedule.input = pg::jsonb_to_string(arguments.datum(4));
    if (std::find(std::begin(core::overlap_choices), std::end(core::overlap_choices), schedule.overlap) ==
        std::end(core::overlap_choices))
        raise_invalid("unknown overlap \"" + schedule.overlap + "\"", {{"overlap", schedule.overlap}},
                      "One of skip, queue, allow, cancel_running.");
    (void)require_startable(workflow, std::nullopt);
    (void)to_json(schedule.input);
    PG_RETURN_INT64(insert_schedule(schedule));
}

CHRONICLE_FUNCTION(chronicle_unschedule_workflow) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement remove{"DELETE FROM chronicle_data.schedule WHERE schedule_id = $1", types};
    int64 id = required_schedule(pg::Arguments(fcinfo));
    access::EngineScope engine;
    pg::Values values;
    remove.run(values.int8(id));
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_pause_schedule) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement pause{"UPDATE chronicle_data.schedule SET paused = true WHERE schedule_id = $1", types};
    int64 id = required_schedule(pg::Arguments(fcinfo));
    access::EngineScope engine;
    pg::Values values;
    pause.run(values.int8(id));
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_resume_schedule) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement find{"SELECT cron, coalesce(every_us, 0), timezone, created_at FROM chronicle_data.schedule "
                              "WHERE schedule_id = $1 AND paused",
                              types};
    static constexpr Oid update_types[] = {INT8OID, TIMESTAMPTZOID};
    static pg::Statement resume{
        "UPDATE chronicle_data.schedule SET paused = false, next_run_at = $2 WHERE schedule_id = $1", update_types};
    int64 id = required_schedule(pg::Arguments(fcinfo));
    access::EngineScope engine;
    pg::Values values;
    pg::Rows rows = find.run(values.int8(id));
    if (rows.empty())
        PG_RETURN_VOID();
    Timing timing{rows[0].maybe_text(1), rows[0].int8(2), rows[0].text(3)};
    std::optional<TimestampTz> next = first_after(timing, rows[0].time(4), GetCurrentTimestamp());
    pg::Values of_resume;
    of_resume.int8(id);
    next ? of_resume.time(*next) : of_resume.null();
    resume.run(of_resume);
    worker::announce_scheduler();
    PG_RETURN_VOID();
}

} // namespace chronicle::flow
