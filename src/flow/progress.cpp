// A step of a run. Nothing else changes a run's graph: executors (batch.cpp), the scheduler (queue.cpp,
// run_timeout.cpp) and whatever a waiting node waits for all end nodes through Progress, so that every status has its
// event.
//
// The state is loaded when the run's lock is held, so it is the newest; results and retries are written on the way, the
// queue, the end of the run and the events by finish(). A crash before the commit leaves nothing of the step.
#include "flow/json.hpp"
#include "flow/progress.hpp"

#include "flow/compensation.hpp"
#include "flow/waiting.hpp"
#include "settings.hpp"
#include "worker/registry.hpp"

extern "C" {
#include "utils/acl.h"
}

namespace chronicle::flow {

namespace {

// The node leaves the queue, so whoever runs it finds at its end that it holds nothing any more; and it is interrupted
// when this commits.
NodeResult remove_from_queue(const Execution &execution, const core::Node &node, int index, TimestampTz at) {
    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement remove{
        "DELETE FROM chronicle_data.node_task WHERE execution_id = $1 AND node_index = $2 "
        "RETURNING state, attempt, started_at, coalesce(lease_slot, -1), coalesce(lease_generation, 0), wait",
        types};
    pg::Values values;
    pg::Rows rows = remove.run(values.uuid(execution.id).int4(index));
    NodeResult result{.index = index, .status = "cancelled", .ended_at = at};
    if (rows.empty())
        return result;
    result.attempts = rows[0].int4(2);
    if (!rows[0].null(3))
        result.started_at = rows[0].time(3);
    if (rows[0].text(1) == "running")
        worker::announce_cancel(rows[0].int4(4), static_cast<uint64>(rows[0].int8(5)));
    if (!rows[0].null(6))
        abandon(execution, node, index, to_json(rows[0].jsonb(6)));
    return result;
}

void schedule(const Execution &execution, const core::Node &node, const NodeResult &result, TimestampTz due,
              bool alone) {
    static constexpr Oid types[] = {UUIDOID, INT4OID, TEXTOID, TEXTOID, INT4OID, INT4OID, TIMESTAMPTZOID, BOOLOID};
    static pg::Statement upsert{
        "INSERT INTO chronicle_data.node_task AS t (execution_id, node_index, node_id, state, "
        "owner, priority, attempt, due_at, alone) "
        "VALUES ($1, $2, $3, 'retrying', $4, $5, $6, $7, $8) "
        "ON CONFLICT (execution_id, node_index) DO UPDATE SET state = 'retrying', attempt = "
        "excluded.attempt, due_at = excluded.due_at, losses = 0, lost = false, begun = false, wait = NULL, "
        "lease_slot = NULL, lease_generation = NULL",
        types};
    pg::Values values;
    values.uuid(execution.id).int4(result.index).text(node.id).text(execution.owner);
    values.int4(task_priority(execution, node)).int4(result.attempts).time(due).boolean(alone);
    upsert.run(values);
    worker::announce_scheduler(); // it sets its clock
}

void remove_task(const Execution &execution, int index) {
    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement remove{"DELETE FROM chronicle_data.node_task WHERE execution_id = $1 AND node_index = $2",
                                types};
    pg::Values values;
    remove.run(values.uuid(execution.id).int4(index));
}

bool has_waiting(const core::RunState &state) {
    return std::find(state.nodes.begin(), state.nodes.end(), core::NodeState::waiting) != state.nodes.end();
}

int count_completed(const core::RunState &state) {
    return static_cast<int>(std::count(state.nodes.begin(), state.nodes.end(), core::NodeState::completed));
}

} // namespace

int attempt_limit(const core::RetryPolicy &policy) {
    return policy.max_attempts_set ? policy.max_attempts : settings::default_retry_attempts;
}

TimestampTz next_attempt_at(const core::RetryPolicy &policy, int attempt, TimestampTz failed_at) {
    double wait_ms = core::delay(policy, attempt, static_cast<double>(random() % 10000) / 10000.0);
    return failed_at + static_cast<int64>(wait_ms * 1000.0);
}

void describe_failure(Event &event, const NodeResult &result, const Failure &f) {
    double duration = result.started_at ? milliseconds(*result.started_at, result.ended_at) : 0.0;
    event.data.update({{"duration", duration}, {"error", f.error}, {"sqlstate", f.sqlstate}});
    event.data.update({{"detail", f.detail}, {"hint", f.hint}, {"context", f.context}});
}

Progress::Progress(const Execution &execution, std::optional<KnownState> known)
    : execution_(execution), definition_(stored_definition(execution.definition_id)),
      over_(is_over(execution.status) || execution.ending.has_value()) {
    if (known) {
        known_ = *std::move(known);
        catch_up(known_, execution.id, graph());
        Assert(same_graph(known_, load_state(execution.id, graph())));
    } else {
        known_ = load_state(execution.id, graph());
    }
    waited_ = has_waiting(state_);
}

bool Progress::can_end(int node) const {
    core::NodeState now = state_.nodes[static_cast<size_t>(node)];
    return !over_ &&
           (now == core::NodeState::ready || now == core::NodeState::running || now == core::NodeState::waiting);
}

void Progress::started(int index, int attempt, TimestampTz at) {
    if (state_.nodes[static_cast<size_t>(index)] == core::NodeState::ready)
        core::mark_running(state_, index);
    note(make_node_event(execution_, node(index), "NodeExecutionStarted", attempt, at));
}

void Progress::completed(const NodeResult &result, const core::json &more) {
    if (std::find(ready_.begin(), ready_.end(), result.index) == ready_.end()) // else it has never been in the queue
        remove_task(execution_, result.index);
    insert_result(execution_, node(result.index), result);
    core::Decision decision =
        core::decide(graph(), state_, result.index, core::NodeState::completed, result.live_edges);
    Event event =
        make_node_event(execution_, node(result.index), "NodeExecutionCompleted", result.attempts, result.ended_at);
    event.data["duration"] = milliseconds(result.started_at.value_or(result.ended_at), result.ended_at);
    event.data["recordsProcessed"] = result.records.value_or(0);
    event.data.update({{"completedNodes", count_completed(state_)}, {"totalNodes", execution_.total_nodes}});
    event.data.update(more);
    note(std::move(event));
    apply(decision, result.ended_at);
}

// A failed attempt that may be repeated goes back to the queue, due later.
bool Progress::schedule_retry(const NodeResult &result, const Failure &failure, bool alone) {
    const core::Node &failed = node(result.index);
    int counted = result.attempts - attempts_before(execution_, failed);
    if (counted >= attempt_limit(failed.retry) || !core::is_retryable(failed.retry, failure.sqlstate))
        return false;
    TimestampTz due = next_attempt_at(failed.retry, counted, result.ended_at);
    schedule(execution_, failed, result, due, alone);
    Event event = make_node_event(execution_, failed, "NodeExecutionRetryScheduled", result.attempts, result.ended_at);
    event.data["delay"] = milliseconds(result.ended_at, due);
    event.data["dueAt"] = time_text(due);
    note(std::move(event));
    return true;
}

void Progress::failed(const NodeResult &result, const Failure &failure, bool may_retry, bool alone) {
    const core::Node &failed = node(result.index);
    Event event = make_node_event(execution_, failed, "NodeExecutionFailed", result.attempts, result.ended_at);
    describe_failure(event, result, failure);
    note(std::move(event));
    if (may_retry && schedule_retry(result, failure, alone))
        return;
    NodeResult final = result;
    final.status = "failed";
    final.records.reset();
    final.output = core::write_json(core::json{{"error", failure.error}, {"sqlstate", failure.sqlstate}});
    bool proceeds = failed.on_failure == core::OnFailure::proceed;
    final.live_edges = proceeds ? failed.out : std::vector<int>{};
    remove_task(execution_, result.index);
    insert_result(execution_, failed, final);
    core::Decision decision = core::decide(graph(), state_, result.index, core::NodeState::failed, final.live_edges);
    if (proceeds)
        apply(decision, result.ended_at);
    else
        fail_run(failure);
}

// What follows from the end of a node: what is skipped, what nobody needs any more, what becomes ready.
void Progress::apply(const core::Decision &decision, TimestampTz at) {
    for (int skipped : decision.skipped) {
        insert_result(execution_, node(skipped), {.index = skipped, .status = "skipped", .ended_at = at});
        Event event = make_node_event(execution_, node(skipped), "NodeExecutionSkipped", 0, at);
        event.data["reason"] = "no incoming edge is live";
        note(std::move(event));
    }
    ready_.insert(ready_.end(), decision.ready.begin(), decision.ready.end());
    for (int unneeded : decision.unneeded) {
        if (core::is_final(state_.nodes[static_cast<size_t>(unneeded)]))
            continue;
        core::Decision more = core::decide(graph(), state_, unneeded, core::NodeState::cancelled, {});
        cancel_node(unneeded, "no node needs it any more", at);
        apply(more, at);
    }
}

void Progress::cancel_node(int index, const char *reason, TimestampTz at) {
    NodeResult result = remove_from_queue(execution_, node(index), index, at);
    Event event = make_node_event(execution_, node(index), "NodeExecutionCancelled", result.attempts, at);
    event.data["reason"] = reason;
    note(std::move(event));
    insert_result(execution_, node(index), result);
}

// The run ends early: nodes that are not over are cancelled; then finished ones are compensated, or it is over at once.
void Progress::end_all(const Ending &ending, const char *why_cancelled) {
    TimestampTz now = GetCurrentTimestamp();
    for (int index : core::cancel_unfinished(graph(), state_))
        cancel_node(index, why_cancelled, now);
    ready_.clear();
    over_ = true;
    if (execution_.begins)
        store_begin(execution_);
    if (!begin_compensation(execution_, graph(), ending))
        end_early(execution_, ending, count_completed(state_), events_);
}

void Progress::fail_run(const Failure &failure, const char *why_cancelled) {
    end_all({.status = "failed", .failure = failure, .reason = {}}, why_cancelled);
}

void Progress::cancel_run(const std::optional<std::string> &reason) {
    end_all({.status = "cancelled", .failure = {}, .reason = reason}, "the run was cancelled");
}

void Progress::stay_open() {
    if (execution_.begins)
        store_begin(execution_);
    if (waited_ || has_waiting(state_))
        set_open_status(execution_, state_);
}

void Progress::finish(const std::vector<int> &alone) {
    // Some of what became ready has run since, or is not needed any more.
    std::vector<int> left;
    for (int index : ready_)
        if (state_.nodes[static_cast<size_t>(index)] == core::NodeState::ready)
            left.push_back(index);
    enqueue(execution_, graph(), left, alone);
    if (!over_ && core::all_done(state_))
        complete_execution(execution_, count_completed(state_), events_);
    else if (!over_)
        stay_open();
    known_.version = write_events(execution_.id, execution_.owner, events_);
}

std::optional<KnownState> Progress::take_state() {
    if (over_ || known_.version == 0 || core::all_done(state_))
        return std::nullopt;
    return std::move(known_);
}

} // namespace chronicle::flow
