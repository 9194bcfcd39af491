// Nodes that wait.
//
// A node that waits is claimed and begins like any other. Its function (nodes/wait_*.cpp …) runs as the owner and only
// says what is to be waited for; everything else happens when the batch is recorded, under the run's lock:
//
//   begin   once per attempt: a timer's time, a child, a task, …
//   look    is it there? then the node is over, in this transaction, as any other
//   park    else the node goes back to the queue as `waiting`, with the time when it is to be looked at at the latest
//           (due_at), and the executor goes on to other work
//
// Whatever may end a wait makes the parked node `ready` again (`wake`): a signal, the end of a task, the end of a
// child, the scheduler when due_at has come. An executor claims it, as the same attempt: no new Started, no function of
// the node; just another look. A look that finds nothing (two waits, one signal) parks it again. So a wait is over
// exactly once, whoever comes first, because only a look under the run's lock ends it.
//
// Crash: a parked node is a row of node_task, and a signal, a task, a child are rows, too. A claim that is lost makes
// the node ready again, and the next look finds the same.
#include "flow/waiting.hpp"

#include "settings.hpp"
#include "worker/registry.hpp"

namespace chronicle::flow {

namespace {

struct Kind {
    std::string_view name;
    std::optional<pg::Error> (*begin)(WaitingNode &);
    Settled (*look)(WaitingNode &);
    void (*abandon)(const Execution &, const core::Node &, int, const core::json &); // null: nothing to give up
};

constexpr Kind kinds[] = {
    {"timer", begin_timer, look_timer, nullptr},
    {"signal", begin_signal, look_signal, nullptr},
    {"children", begin_children, look_children, abandon_children},
    {"task", begin_task, look_task, abandon_task},
};

const Kind &kind_of(const core::json &wait) {
    const std::string &name = wait.at("kind").get_ref<const std::string &>();
    for (const Kind &kind : kinds)
        if (kind.name == name)
            return kind;
    pg::raise(ERRCODE_FEATURE_NOT_SUPPORTED,
              {.message = "a node waits for \"" + name + "\", which this version does not know"});
}

// When the node's own timeout is over; nothing: it has none.
std::optional<TimestampTz> timeout_at(const WaitingNode &waiting) {
    if (!waiting.node.timeout_ms || *waiting.node.timeout_ms <= 0)
        return std::nullopt;
    return waiting.started_at + static_cast<int64>(*waiting.node.timeout_ms * 1000.0);
}

Settled time_out(WaitingNode &waiting) {
    Event event = make_node_event(waiting.execution, waiting.node, "WaitTimedOut", waiting.attempt, waiting.now);
    event.data["waitingFor"] = waiting.wait.at("kind");
    waiting.progress.note(std::move(event));
    auto ms = static_cast<int64>(*waiting.node.timeout_ms);
    return {.state = Settled::State::failed,
            .error = pg::Error(ERRCODE_QUERY_CANCELED, {.message = "node \"" + waiting.node.id + "\" timed out after " +
                                                                   std::to_string(ms) + " ms",
                                                        .hint = "Raise the node's \"timeout\"."})};
}

} // namespace

Settled settle(WaitingNode &waiting, bool begin) {
    const Kind &kind = kind_of(waiting.wait);
    if (begin)
        if (std::optional<pg::Error> error = kind.begin(waiting))
            return {.state = Settled::State::failed, .error = error};
    Settled settled = kind.look(waiting);
    if (settled.state == Settled::State::completed &&
        settled.output.size() > static_cast<size_t>(settings::max_output_bytes))
        settled = {.state = Settled::State::failed,
                   .error = pg::Error(ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                                      {.message = "the output of node \"" + waiting.node.id +
                                                  "\" exceeds chronicle.max_output_bytes",
                                       .detail = core::json{{"limit", settings::max_output_bytes}}.dump()})};
    if (settled.state == Settled::State::waiting)
        if (std::optional<TimestampTz> limit = timeout_at(waiting)) {
            if (*limit <= waiting.now)
                settled = time_out(waiting);
            else
                settled.due = std::min(settled.due.value_or(*limit), *limit);
        }
    if (settled.state == Settled::State::failed)
        abandon(waiting.execution, waiting.node, waiting.index, waiting.wait);
    return settled;
}

Event waiting_event(const WaitingNode &waiting, const Settled &settled) {
    Event event =
        make_node_event(waiting.execution, waiting.node, "NodeExecutionWaiting", waiting.attempt, waiting.now);
    event.data["waitingFor"] = waiting.wait.at("kind");
    for (const char *key : {"name", "childExecutionId", "total", "taskId", "queue"})
        if (waiting.wait.contains(key))
            event.data[key] = waiting.wait[key];
    event.data["dueAt"] = settled.due ? core::json(time_text(*settled.due)) : core::json();
    return event;
}

void park(const WaitingNode &waiting, const Settled &settled) {
    static constexpr Oid types[] = {UUIDOID, INT4OID,        TEXTOID,        TEXTOID, INT4OID,
                                    INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, JSONBOID};
    static pg::Statement upsert{
        "INSERT INTO chronicle_data.node_task AS t (execution_id, node_index, node_id, state, owner, priority, "
        "attempt, begun, started_at, due_at, wait) VALUES ($1, $2, $3, 'waiting', $4, $5, $6, true, $7, $8, $9) "
        "ON CONFLICT (execution_id, node_index) DO UPDATE SET state = 'waiting', begun = true, lost = false, losses = "
        "0, attempt = excluded.attempt, started_at = excluded.started_at, "
        "due_at = excluded.due_at, wait = excluded.wait, lease_slot = NULL, lease_generation = NULL",
        types};
    const Execution &execution = waiting.execution;
    pg::Values values;
    values.uuid(execution.id).int4(waiting.index).text(waiting.node.id).text(execution.owner);
    values.int4(task_priority(execution, waiting.node)).int4(waiting.attempt).time(waiting.started_at);
    settled.due ? values.time(*settled.due) : values.null();
    upsert.run(values.jsonb(core::write_json(waiting.wait)));
    worker::announce_scheduler(); // it sets its clock, and sees what came in between
}

void abandon(const Execution &execution, const core::Node &node, int index, const core::json &wait) {
    if (auto give_up = kind_of(wait).abandon)
        give_up(execution, node, index, wait);
}

bool wake(const pg::Uuid &execution, int node_index) {
    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement update{"UPDATE chronicle_data.node_task SET state = 'ready', due_at = NULL, "
                                "queue_number = chronicle_data.queue_number_again() "
                                "WHERE execution_id = $1 AND node_index = $2 AND state = 'waiting' RETURNING owner",
                                types};
    pg::Values values;
    pg::Rows rows = update.run(values.uuid(execution).int4(node_index));
    if (rows.empty())
        return false;
    announce_ready_of(rows[0].text(1));
    return true;
}

} // namespace chronicle::flow
