// wait.signal and signal_execution.
//
// A signal is a row, written under the run's lock in the caller's transaction, together with its event and the wake-up
// of the node that has waited longest for this name. A look takes the oldest signal of its name that nobody took: so a
// signal before its wait is kept, two waits take two signals, and a wait that timed out takes none.
#include "flow/json.hpp"
#include "flow/waiting.hpp"

#include "flow/node.hpp"

#include "core/duration.hpp"
#include "sqlstates.hpp"

namespace chronicle::flow {

NodeOutput run_wait_signal(NodeContext &context) {
    core::json wait{{"kind", "signal"}, {"name", context.text("name")}, {"on_timeout", context.text("on_timeout")}};
    core::json timeout = context.config("timeout");
    if (!timeout.is_null())
        wait["timeout_us"] = static_cast<int64>(core::duration_ms(timeout).value.value_or(0) * 1000.0);
    return {.wait = wait};
}

std::optional<pg::Error> begin_signal(WaitingNode &waiting) {
    if (waiting.wait.contains("timeout_us"))
        waiting.wait["timeout_at"] = waiting.started_at + waiting.wait["timeout_us"].get<int64>();
    return std::nullopt;
}

namespace {

struct Signal {
    int64 id;
    std::string payload; // JSON text
};

// The oldest signal of this name that no wait took: it is this node's now.
std::optional<Signal> take_signal(const WaitingNode &waiting) {
    static constexpr Oid types[] = {UUIDOID, TEXTOID, TEXTOID, TIMESTAMPTZOID};
    static pg::Statement take{
        "UPDATE chronicle_data.signal SET taken_by = $3, taken_at = $4 WHERE signal_id = (SELECT signal_id "
        "FROM chronicle_data.signal WHERE execution_id = $1 AND name = $2 AND taken_at IS NULL ORDER BY signal_id "
        "LIMIT 1) RETURNING signal_id, coalesce(payload, 'null')",
        types};
    pg::Values values;
    values.uuid(waiting.execution.id).text(waiting.wait.at("name").get<std::string>());
    pg::Rows rows = take.run(values.text(waiting.node.id).time(waiting.now));
    if (rows.empty())
        return std::nullopt;
    return Signal{rows[0].int8(1), rows[0].jsonb(2)};
}

std::string output_of(const WaitingNode &waiting, const std::string &payload, bool timed_out) {
    return "{\"name\": " + waiting.wait.at("name").dump() + ", \"payload\": " + payload +
           ", \"timed_out\": " + (timed_out ? "true" : "false") + "}";
}

} // namespace

Settled look_signal(WaitingNode &waiting) {
    if (std::optional<Signal> signal = take_signal(waiting))
        return {.state = Settled::State::completed,
                .output = output_of(waiting, signal->payload, false),
                .more = {{"signalId", signal->id}}};
    if (!waiting.wait.contains("timeout_at"))
        return {};
    TimestampTz until = waiting.wait["timeout_at"].get<int64>();
    if (until > waiting.now)
        return {.due = until};
    Event event = make_node_event(waiting.execution, waiting.node, "WaitTimedOut", waiting.attempt, waiting.now);
    event.data["waitingFor"] = "signal";
    event.data["name"] = waiting.wait.at("name");
    event.data["dueAt"] = time_text(until);
    waiting.progress.note(std::move(event));
    if (waiting.wait.at("on_timeout") == "continue")
        return {.state = Settled::State::completed, .output = output_of(waiting, "null", true)};
    return {.state = Settled::State::failed,
            .error = pg::Error(ERRCODE_QUERY_CANCELED,
                               {.message = "signal \"" + waiting.wait.at("name").get<std::string>() +
                                           "\" did not come in time",
                                .hint = "With \"on_timeout\": \"continue\" the run goes on without it."})};
}

namespace {

constexpr size_t longest_name = 1024;

int64 insert_signal(const pg::Uuid &execution, const std::string &name, const std::optional<std::string> &payload,
                    TimestampTz now) {
    static constexpr Oid types[] = {UUIDOID, TEXTOID, JSONBOID, TEXTOID, TIMESTAMPTZOID};
    static pg::Statement insert{"INSERT INTO chronicle_data.signal (execution_id, name, payload, sent_by, sent_at) "
                                "VALUES ($1, $2, $3, $4, $5) RETURNING signal_id",
                                types};
    const char *caller = pg::call([]() noexcept { return GetUserNameFromId(GetSessionUserId(), false); });
    pg::Values values;
    values.uuid(execution).text(name);
    payload ? values.jsonb(*payload) : values.null();
    return insert.run(values.text(caller).time(now))[0].int8(1);
}

// The node of the run that has waited longest for this name; nothing when none does.
std::optional<int> find_waiting(const pg::Uuid &execution, const std::string &name) {
    static constexpr Oid types[] = {UUIDOID, TEXTOID};
    static pg::Statement find{
        "SELECT node_index FROM chronicle_data.node_task WHERE execution_id = $1 AND state = 'waiting' "
        "AND wait ->> 'kind' = 'signal' AND wait ->> 'name' = $2 ORDER BY started_at, node_index LIMIT 1",
        types};
    pg::Values values;
    pg::Rows rows = find.run(values.uuid(execution).text(name));
    return rows.empty() ? std::nullopt : std::optional(rows[0].int4(1));
}

// The run, locked; CH031 when it is unknown, not the caller's, or over.
Execution lock_for_signal(const pg::Uuid &id) {
    Execution found = lock_for_caller(id);
    if (is_over(found.status)) {
        std::string text = core::uuid_to_text(id);
        pg::raise(invalid_execution_state,
                  {.message = "execution " + text + " is " + found.status + ": nothing waits for a signal any more",
                   .detail = core::json{{"execution", text}, {"state", found.status}}.dump()});
    }
    return found;
}

void send_signal(const Execution &execution, const std::string &name, const std::optional<std::string> &payload) {
    access::EngineScope engine;
    pg::NewestScope newest;
    TimestampTz now = GetCurrentTimestamp();
    int64 id = insert_signal(execution.id, name, payload, now);
    Event event = make_event(execution, "SignalReceived", now);
    event.data["signalId"] = id;
    event.data["name"] = name;
    event.data["payload"] = payload ? to_json(*payload) : core::json();
    write_events(execution.id, execution.owner, {event});
    if (std::optional<int> node = find_waiting(execution.id, name))
        wake(execution.id, *node);
}

} // namespace

CHRONICLE_FUNCTION(chronicle_signal_execution) {
    pg::Arguments arguments(fcinfo);
    pg::Uuid id = arguments.required_uuid(0, "execution_id");
    std::string name = arguments.required_text(1, "name");
    if (name.empty() || name.size() > longest_name)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "a signal's name must have 1 to " + std::to_string(longest_name) + " bytes",
                   .detail = core::json{{"bytes", name.size()}}.dump()});
    std::optional<std::string> payload;
    if (!arguments.null(2))
        payload = pg::jsonb_to_string(arguments.datum(2));
    send_signal(lock_for_signal(id), name, payload);
    PG_RETURN_VOID();
}

} // namespace chronicle::flow
