// wait.timer: the time is worked out once, when the attempt begins, and kept as an absolute one: it survives restarts,
// and after a downtime what is due fires, once.
#include "flow/json.hpp"
#include "flow/waiting.hpp"

#include "flow/node.hpp"

#include "core/duration.hpp"

extern "C" {
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
}

namespace chronicle::flow {

namespace {

int64 parse_time(const std::string &text) {
    const char *from = text.c_str();
    TimestampTz at = pg::call([&]() noexcept {
        return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(from),
                                                       ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
    });
    if (TIMESTAMP_NOT_FINITE(at))
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = "config \"until\" must be a finite time"});
    return at;
}

} // namespace

NodeOutput run_wait_timer(NodeContext &context) {
    core::json wait{{"kind", "timer"}};
    core::json duration = context.config("for");
    if (duration.is_null())
        wait["until"] = parse_time(context.text("until"));
    else
        wait["for_us"] = static_cast<int64>(core::duration_ms(duration).value.value_or(0) * 1000.0);
    return {.wait = wait};
}

std::optional<pg::Error> begin_timer(WaitingNode &waiting) {
    if (waiting.wait.contains("for_us"))
        waiting.wait["until"] = waiting.started_at + waiting.wait["for_us"].get<int64>();
    return std::nullopt;
}

Settled look_timer(WaitingNode &waiting) {
    TimestampTz until = waiting.wait.at("until").get<int64>();
    if (until > waiting.now)
        return {.due = until};
    std::string due_at = time_text(until);
    Event event = make_node_event(waiting.execution, waiting.node, "TimerFired", waiting.attempt, waiting.now);
    event.data["dueAt"] = due_at;
    waiting.progress.note(std::move(event));
    return {.state = Settled::State::completed, .output = core::json{{"due_at", due_at}}.dump()};
}

} // namespace chronicle::flow
