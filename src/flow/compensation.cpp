// Sagas (Garcia-Molina and Salem 1987). A run that ends early, because a node with `on_failure: compensate` failed for
// good, or because it is cancelled or timed out and has such a node, undoes what it has done: for every node that
// completed and has a `compensate`, that is run, one after the other, the last completed first.
//
//   end      Progress: all other nodes are cancelled; execution.ending says how the run will end; the first
//   compensation
//            enters the queue as a node_task with `compensating` (the node's own row is gone: it is over)
//   claim    as for any node, in a transaction of its own; the event is CompensationStarted
//   run      as for any node (batch.cpp), always alone; end_compensation() records it and queues the next one
//   last     the run ends: failed or cancelled, as `ending` says
//
// A compensation is retried by its policy, which counts anew after a retry_execution; the numbers of its attempts go
// on. When it fails for good, or is cancelled, nothing more is undone, because what remains may rely on what could not
// be undone; the run fails and names what was not compensated.
//
// Crash at every point: each step is one transaction with its events. An executor that dies leaves a lease that the
// scheduler takes back, as for any node.
#include "flow/compensation.hpp"

#include "worker/registry.hpp"

namespace chronicle::flow {

namespace {

bool is_saga(const core::Definition &graph) {
    return std::any_of(graph.nodes.begin(), graph.nodes.end(),
                       [](const core::Node &node) { return node.on_failure == core::OnFailure::compensate; });
}

// Nodes that are completed and not compensated, in the order in which they are to be undone. A node that a fork took
// over has no event of its own in this run: it was completed before all others.
std::vector<int> open_compensations(const Execution &execution, const core::Definition &graph) {
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement find{
        "SELECT r.node_index FROM chronicle_data.node_result r LEFT JOIN (SELECT node_id, max(version) AS version "
        "FROM chronicle_data.workflow_event WHERE execution_id = $1 AND type = 'NodeExecutionCompleted' "
        "GROUP BY node_id) e USING (node_id) WHERE r.execution_id = $1 AND r.status = 'completed' "
        "ORDER BY e.version DESC NULLS LAST, r.ended_at DESC, r.node_index DESC",
        types};
    pg::Values values;
    pg::Rows rows = find.run(values.uuid(execution.id));
    std::vector<int> open;
    for (uint64 i = 0; i < rows.count; i++)
        if (graph.nodes[static_cast<size_t>(rows[i].int4(1))].compensate)
            open.push_back(rows[i].int4(1));
    return open;
}

// Attempts at undoing a node so far; `all`: also those before the last retry_execution, on which numbers count on.
int count_attempts(const Execution &execution, const core::Node &node, bool all) {
    static constexpr Oid types[] = {UUIDOID, TEXTOID, BOOLOID};
    static pg::Statement count{
        "SELECT count(*)::int FROM chronicle_data.workflow_event WHERE execution_id = $1 AND node_id = $2 "
        "AND type = 'CompensationStarted' AND ($3 OR version > coalesce((SELECT max(r.version) "
        "FROM chronicle_data.workflow_event r WHERE r.execution_id = $1 AND r.type = 'WorkflowRetried'), 0))",
        types};
    pg::Values values;
    return count.run(values.uuid(execution.id).text(node.id).boolean(all))[0].int4(1);
}

void enqueue_compensation(const Execution &execution, const core::Definition &graph, int index) {
    static constexpr Oid types[] = {UUIDOID, INT4OID, TEXTOID, TEXTOID, INT4OID, TEXTOID, INT4OID};
    static pg::Statement insert{
        "INSERT INTO chronicle_data.node_task (execution_id, node_index, node_id, owner, priority, state, attempt, "
        "alone, compensating) VALUES ($1, $2, $3, $4, $5, $6, $7, true, true)",
        types};
    const core::Node &node = graph.nodes[static_cast<size_t>(index)];
    pg::Values values;
    values.uuid(execution.id).int4(index).text(node.id).text(execution.owner);
    values.int4(task_priority(execution, node));
    values.text(execution.status == "paused" ? "held" : "ready");
    insert.run(values.int4(count_attempts(execution, node, true)));
    announce_ready_of(execution.owner);
}

void remember_ending(const Execution &execution, const Ending &ending) {
    static constexpr Oid types[] = {UUIDOID, JSONBOID, TEXTOID, TEXTOID};
    static pg::Statement update{
        "UPDATE chronicle_data.execution SET status = 'running', ending = $2, failed_node = $3, "
        "error = $4, timeout_at = NULL WHERE execution_id = $1",
        types};
    pg::Values values;
    values.uuid(execution.id).jsonb(core::write_json(ending_json(ending)));
    values.maybe_text(ending.failed_node()).maybe_text(ending.error());
    update.run(values);
}

void mark_compensated(const Execution &execution, int index) {
    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement update{"UPDATE chronicle_data.node_result SET status = 'compensated' "
                                "WHERE execution_id = $1 AND node_index = $2",
                                types};
    static pg::Statement remove{"DELETE FROM chronicle_data.node_task WHERE execution_id = $1 AND node_index = $2",
                                types};
    pg::Values values;
    values.uuid(execution.id).int4(index);
    update.run(values);
    remove.run(values);
}

void remove_compensation(const Execution &execution, int index) {
    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement remove{"DELETE FROM chronicle_data.node_task WHERE execution_id = $1 AND node_index = $2",
                                types};
    pg::Values values;
    remove.run(values.uuid(execution.id).int4(index));
}

// The compensation that is queued or at work leaves the queue; at work, it is interrupted when this commits.
struct Taken {
    int index = -1;
    std::optional<int> attempt; // that has begun
    std::optional<TimestampTz> started_at;
};

Taken take_compensation(const Execution &execution) {
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement remove{
        "DELETE FROM chronicle_data.node_task WHERE execution_id = $1 AND compensating RETURNING node_index, attempt, "
        "state = 'running', lost, coalesce(lease_slot, -1), coalesce(lease_generation, 0), started_at",
        types};
    pg::Values values;
    pg::Rows rows = remove.run(values.uuid(execution.id));
    Taken taken;
    if (rows.empty())
        return taken;
    taken.index = rows[0].int4(1);
    bool runs = rows[0].boolean(3);
    if (runs || rows[0].boolean(4)) {
        taken.attempt = rows[0].int4(2);
        taken.started_at = rows[0].time(7);
    }
    if (runs)
        worker::announce_cancel(rows[0].int4(5), static_cast<uint64>(rows[0].int8(6)));
    return taken;
}

void schedule_again(const Execution &execution, int index, TimestampTz due) {
    static constexpr Oid types[] = {UUIDOID, INT4OID, TIMESTAMPTZOID};
    static pg::Statement update{
        "UPDATE chronicle_data.node_task SET state = 'retrying', due_at = $3, losses = 0, lost = false, "
        "lease_slot = NULL, lease_generation = NULL "
        "WHERE execution_id = $1 AND node_index = $2",
        types};
    pg::Values values;
    update.run(values.uuid(execution.id).int4(index).time(due));
    worker::announce_scheduler();
}

// "compensation of node "b" failed: …; not compensated: b, a", after the error that ended the run.
Ending with_uncompensated(Ending ending, const core::Node &node, const Failure &failure,
                          const std::vector<std::string> &uncompensated) {
    std::string text = "compensation of node \"" + node.id + "\" failed: " + failure.error + "; not compensated:";
    for (const std::string &id : uncompensated)
        text += (&id == uncompensated.data() ? " " : ", ") + id;
    if (ending.status == "failed") {
        ending.failure.error += "; " + text;
    } else {
        ending.status = "failed";
        ending.failure = failure;
        ending.failure.error = text;
    }
    ending.uncompensated = uncompensated;
    return ending;
}

int count_completed(const Execution &execution) {
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement count{
        "SELECT count(*)::int FROM chronicle_data.node_result WHERE execution_id = $1 AND status = 'completed'", types};
    pg::Values values;
    return count.run(values.uuid(execution.id))[0].int4(1);
}

// True when a later attempt follows.
bool retry(const Execution &execution, const core::Node &undo, const NodeResult &result, const Failure &failure,
           Event &event) {
    int counted = count_attempts(execution, undo, false);
    if (counted >= attempt_limit(undo.retry) || !core::is_retryable(undo.retry, failure.sqlstate))
        return false;
    TimestampTz due = next_attempt_at(undo.retry, counted, result.ended_at);
    schedule_again(execution, result.index, due);
    event.data["delay"] = milliseconds(result.ended_at, due);
    event.data["dueAt"] = time_text(due);
    return true;
}

// The run is over although not all of it is undone.
void end_uncompensated(const Execution &execution, const core::Definition &graph, const core::Node &undo,
                       const Failure &failure, std::vector<Event> &events) {
    std::vector<std::string> uncompensated;
    for (int index : open_compensations(execution, graph))
        uncompensated.push_back(graph.nodes[static_cast<size_t>(index)].id);
    end_early(execution, with_uncompensated(*execution.ending, undo, failure, uncompensated),
              count_completed(execution), events);
}

} // namespace

bool begin_compensation(const Execution &execution, const core::Definition &graph, const Ending &ending) {
    bool wanted = ending.status == "failed" && !ending.failure.node_id.empty()
                      ? graph.nodes[static_cast<size_t>(graph.find(ending.failure.node_id))].on_failure ==
                            core::OnFailure::compensate
                      : is_saga(graph);
    if (!wanted)
        return false;
    std::vector<int> open = open_compensations(execution, graph);
    if (open.empty())
        return false;
    remember_ending(execution, ending);
    Execution goes_on = execution;
    goes_on.status = "running"; // also a paused one: who ends it wants it undone
    enqueue_compensation(goes_on, graph, open.front());
    return true;
}

void end_compensation(const Execution &execution, const NodeResult &result, const std::optional<Failure> &failure,
                      bool may_retry) {
    std::shared_ptr<const StoredDefinition> definition = stored_definition(execution.definition_id);
    const core::Definition &graph = definition->graph;
    const core::Node &undo = *graph.nodes[static_cast<size_t>(result.index)].compensate;
    std::vector<Event> events{make_node_event(execution, undo, failure ? "CompensationFailed" : "CompensationCompleted",
                                              result.attempts, result.ended_at)};
    if (!failure) {
        events[0].data["duration"] = milliseconds(result.started_at.value_or(result.ended_at), result.ended_at);
        events[0].data["recordsProcessed"] = result.records.value_or(0);
        mark_compensated(execution, result.index);
    } else {
        describe_failure(events[0], result, *failure);
        if (may_retry && retry(execution, undo, result, *failure, events[0])) {
            write_events(execution.id, execution.owner, events);
            return;
        }
        remove_compensation(execution, result.index);
    }
    if (failure) {
        end_uncompensated(execution, graph, undo, *failure, events);
    } else if (std::vector<int> open = open_compensations(execution, graph); open.empty()) {
        end_early(execution, *execution.ending, count_completed(execution), events);
    } else {
        enqueue_compensation(execution, graph, open.front());
    }
    write_events(execution.id, execution.owner, events);
}

void cancel_compensation(const Execution &execution, const std::string &reason) {
    std::shared_ptr<const StoredDefinition> definition = stored_definition(execution.definition_id);
    const core::Definition &graph = definition->graph;
    Taken taken = take_compensation(execution);
    if (taken.index < 0)
        pg::raise(ERRCODE_UNDEFINED_OBJECT, {.message = "a compensating run's queued node is missing"});
    const core::Node &undo = *graph.nodes[static_cast<size_t>(taken.index)].compensate;
    Failure failure =
        Failure::from(undo.id, pg::Error(ERRCODE_QUERY_CANCELED,
                                         {.message = "cancelled" + (reason.empty() ? "" : ": " + reason)}));
    std::vector<Event> events;
    if (taken.attempt) {
        NodeResult result{.index = taken.index, .status = "failed", .attempts = *taken.attempt};
        result.started_at = taken.started_at;
        result.ended_at = GetCurrentTimestamp();
        events.push_back(make_node_event(execution, undo, "CompensationFailed", result.attempts, result.ended_at));
        describe_failure(events.back(), result, failure);
    }
    end_uncompensated(execution, graph, undo, failure, events);
    write_events(execution.id, execution.owner, events);
}

} // namespace chronicle::flow
