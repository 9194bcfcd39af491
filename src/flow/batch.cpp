#include "flow/batch.hpp"

#include "flow/batch_context.hpp"
#include "flow/sandbox.hpp"
#include "settings.hpp"
#include "worker/executor.hpp"
#include "worker/registry.hpp"

extern "C" {
#include "pgstat.h"
#include "utils/acl.h"
}

#include <deque>
#include <unordered_set>

namespace chronicle::flow {

namespace {

constexpr int batch_budget_ms = 50;

// Nodes that were too slow for a batch once: they are not tried in one again by this process.
std::unordered_set<uint64> *slow_nodes = nullptr;

uint64 slow_key(int64 definition, int node) {
    return static_cast<uint64>(definition) * 16384u + static_cast<uint64>(node);
}

int timeout_of(const core::Node &node) {
    return node.timeout_ms && *node.timeout_ms > 0 ? static_cast<int>(std::min(*node.timeout_ms, 2147483000.0)) : 0;
}

Execution require_execution(const pg::Uuid &id) {
    std::optional<Execution> found = find_execution(id);
    if (!found || found->status == "pending" || is_over(found->status))
        throw LeaseLost{};
    return *std::move(found);
}

} // namespace

Batch::Batch(const Claim &claim, const Claimant &claimant, bool alone)
    : claim_(claim), claimant_(claimant), alone_(alone) {
    access::EngineScope engine;
    execution_ = require_execution(claim.execution);
    definition_ = stored_definition(execution_.definition_id);
    state_ = load_state(claim.execution, graph());
    const char *owner = execution_.owner.c_str();
    owner_role_ = pg::call([&]() noexcept { return get_role_oid(owner, false); });
    alone_ = alone_ || execution_.status == "paused"; // what runs already ends; nothing else begins
    begun_ = GetCurrentTimestamp();
}

// --- what nodes ask for ---

std::vector<int> Batch::live_sources(int node) const {
    std::vector<int> sources;
    for (int edge : graph().nodes[static_cast<size_t>(node)].in)
        if (state_.edges[static_cast<size_t>(edge)] == core::EdgeState::live)
            sources.push_back(graph().edges[static_cast<size_t>(edge)].source);
    return sources;
}

bool Batch::is_finished_ancestor(int candidate, int node) const {
    core::NodeState state = state_.nodes[static_cast<size_t>(candidate)];
    if (state != core::NodeState::completed && state != core::NodeState::failed) // failed: the run goes on all the same
        return false;
    std::vector<bool> seen(graph().nodes.size());
    std::vector<int> open{node};
    while (!open.empty()) {
        int current = open.back();
        open.pop_back();
        for (int edge : graph().nodes[static_cast<size_t>(current)].in) {
            int source = graph().edges[static_cast<size_t>(edge)].source;
            if (source == candidate)
                return true;
            if (!seen[static_cast<size_t>(source)]) {
                seen[static_cast<size_t>(source)] = true;
                open.push_back(source);
            }
        }
    }
    return false;
}

const Rows *Batch::rows_of(int node) {
    for (const Member &member : members_)
        if (member.result.index == node)
            return member.output.rows ? &*member.output.rows : nullptr;
    auto found = loaded_.find(node);
    if (found != loaded_.end())
        return found->second ? &*found->second : nullptr;

    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement find_columns{
        "SELECT columns FROM chronicle_data.node_result WHERE execution_id = $1 AND node_index = $2", types};
    static pg::Statement find_chunks{
        "SELECT rows FROM chronicle_data.node_rows WHERE execution_id = $1 AND node_index = $2 ORDER BY chunk", types};
    std::optional<std::string> columns;
    std::vector<std::string> chunks;
    {
        access::EngineScope engine;
        pg::Values values;
        values.uuid(execution_.id).int4(node);
        pg::Rows row = find_columns.run(values);
        if (!row.empty() && !row[0].null(1))
            columns = row[0].jsonb(1);
        pg::Rows stored = find_chunks.run(values);
        for (uint64 i = 0; i < stored.count; i++)
            chunks.push_back(stored[i].text(1));
    }
    std::optional<Rows> rows;
    if (columns) {
        RowsDecoder decoder(*columns);
        for (const std::string &chunk : chunks)
            decoder.add(chunk);
        rows = decoder.take();
    }
    found = loaded_.emplace(node, rows).first;
    return found->second ? &*found->second : nullptr;
}

// The output as references read it: all rows; of a failed node, why it failed.
std::string Batch::output_json(int node) {
    if (const Rows *rows = rows_of(node))
        return whole_json(*rows);
    for (const Member &member : members_)
        if (member.result.index == node)
            return member.result.output.value_or("null");
    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement find{
        "SELECT output FROM chronicle_data.node_result WHERE execution_id = $1 AND node_index = $2", types};
    access::EngineScope engine;
    pg::Values values;
    pg::Rows found = find.run(values.uuid(execution_.id).int4(node));
    return found.empty() || found[0].null(1) ? "null" : found[0].jsonb(1);
}

std::string Batch::context_json(int node) {
    core::json context{{"input", execution_.input}, {"execution_id", core::uuid_to_text(execution_.id)}};
    std::string nodes;
    for (int i = 0; i < static_cast<int>(graph().nodes.size()); i++) {
        if (!is_finished_ancestor(i, node))
            continue;
        nodes += (nodes.empty() ? "" : ", ") + core::json(graph().nodes[static_cast<size_t>(i)].id).dump() + ": " +
                 output_json(i);
    }
    std::string text = core::write_json(context);
    text.pop_back();
    return text + ", \"nodes\": {" + nodes + "}}";
}

// --- running ---

NodeOutput Batch::execute(int node) {
    const core::Node &described = graph().nodes[static_cast<size_t>(node)];
    NodeFunction function = node_function(described.type->name);
    if (!function)
        pg::raise(ERRCODE_FEATURE_NOT_SUPPORTED,
                  {.message = "node type \"" + std::string(described.type->name) + "\" does not run in this version"});
    BatchNode context(*this, node);
    return function(context);
}

// Inside the node's savepoint and sandbox: types' output functions are the owner's business.
void Batch::store_output(int node, Member &member) {
    if (!member.output.rows)
        return;
    const Rows &rows = *member.output.rows;
    std::optional<std::string> shown = rows_to_json(rows, settings::output_rows);
    member.result.truncated = !shown || rows.count > settings::output_rows;
    member.result.output = shown ? *shown : "[]";
    member.result.columns = describe_columns(rows.columns);
    if (!graph().nodes[static_cast<size_t>(node)].out.empty())
        member.result.chunks = encode_rows(rows);
}

std::vector<int> Batch::decide_edges(int node, Member &member) {
    std::vector<int> live;
    std::optional<Datum> document;
    for (int edge : graph().nodes[static_cast<size_t>(node)].out) {
        const std::optional<std::string> &condition = graph().edges[static_cast<size_t>(edge)].condition;
        if (condition && !document)
            document = pg::make_jsonb(member.output.rows ? whole_json(*member.output.rows) : "null");
        if (!condition || predicate_holds(*document, *condition))
            live.push_back(edge);
    }
    return live;
}

// What the node left, or why it failed, as its result.
void Batch::settle(Member &member, TimestampTz started, int attempt, const std::optional<pg::Error> &error) {
    const core::Node &node = graph().nodes[static_cast<size_t>(member.result.index)];
    member.result.started_at = started;
    member.result.ended_at = GetCurrentTimestamp();
    member.result.attempts = attempt;
    member.result.status = error ? "failed" : "completed";
    if (!error) {
        member.result.records = member.output.records;
        return;
    }
    member.failure = Failure::from(node.id, *error);
    member.result.live_edges.clear();
    if (node.on_failure == core::OnFailure::proceed)
        member.result.live_edges = node.out;
    member.result.output =
        core::write_json(core::json{{"error", member.failure->error}, {"sqlstate", member.failure->sqlstate}});
    member.result.columns.reset();
    member.result.chunks.clear();
    member.output = {};
}

// One node in its savepoint. Throws for what concerns the whole batch; a failure of the node itself is a result.
void Batch::run_member(int node, int attempt, int deadline_ms) {
    const core::Node &described = graph().nodes[static_cast<size_t>(node)];
    int timeout = timeout_of(described);
    bool budgeted = deadline_ms > 0 && (timeout == 0 || deadline_ms < timeout);
    TimestampTz started = node == claim_.node_index ? claim_.started_at : GetCurrentTimestamp();
    Member member;
    member.result.index = node;
    bool timed_out = false;
    std::optional<pg::Error> error;
    {
        worker::Deadline deadline(budgeted ? deadline_ms : timeout);
        error = pg::attempt([&]() {
            pg::MemoryScope memory("chronicle node");
            Sandbox sandbox(owner_role_, definition_->search_path);
            member.output = execute(node);
            check_deferred_constraints();
            store_output(node, member);
            member.result.live_edges = decide_edges(node, member);
            clean_session();
            if (worker::Deadline::passed()) // and the node's SQL swallowed it: not the result that it would have had
                pg::raise(ERRCODE_QUERY_CANCELED, {.message = "the node was asked to stop"});
        });
        timed_out = worker::Deadline::passed();
    }
    if (worker::Job::cancel_requested())
        throw LeaseLost{};
    if (error) {
        clean_session();
        if (budgeted && timed_out) { // not a failure: it runs alone, later
            if (!slow_nodes)
                slow_nodes = new std::unordered_set<uint64>();
            slow_nodes->insert(slow_key(definition_->id, node));
            over_budget_.push_back(node);
            ready_.push_back(node);
            return;
        }
        if (error->is_transient() && !alone_)
            throw RepeatAlone{};
        if (timed_out)
            error.emplace(ERRCODE_QUERY_CANCELED,
                          pg::ErrorText{.message = "node \"" + described.id + "\" timed out after " +
                                                   std::to_string(timeout) + " ms",
                                        .hint = "Raise the node's \"timeout\"."});
    }
    settle(member, started, attempt, error);
    bool proceeds = !error || described.on_failure == core::OnFailure::proceed;
    members_.push_back(std::move(member));
    if (!proceeds)
        return; // retried, or the end of the run: finish() decides
    core::NodeState outcome = error ? core::NodeState::failed : core::NodeState::completed;
    core::Decision decision = core::decide(graph(), state_, node, outcome, members_.back().result.live_edges);
    ready_.insert(ready_.end(), decision.ready.begin(), decision.ready.end());
}

int Batch::budget_left() const { return batch_budget_ms - static_cast<int>((GetCurrentTimestamp() - begun_) / 1000); }

bool Batch::may_run_here(int node) const {
    const core::Node &described = graph().nodes[static_cast<size_t>(node)];
    return !described.own_transaction && !(slow_nodes && slow_nodes->contains(slow_key(definition_->id, node))) &&
           std::find(over_budget_.begin(), over_budget_.end(), node) == over_budget_.end();
}

void Batch::run() {
    pg::call([&]() noexcept { pgstat_report_activity(STATE_RUNNING, claim_.node_id.c_str()); });
    run_member(claim_.node_index, claim_.attempt, 0);
    if (alone_ || graph().nodes[static_cast<size_t>(claim_.node_index)].own_transaction)
        return;
    std::deque<int> open(ready_.begin(), ready_.end());
    ready_.clear();
    while (!open.empty() && !members_.back().failure) {
        int node = open.front();
        open.pop_front();
        if (!may_run_here(node) || budget_left() <= 0 || static_cast<int>(members_.size()) >= settings::worker_batch) {
            ready_.push_back(node);
            continue;
        }
        std::vector<int> before = std::exchange(ready_, {});
        core::mark_running(state_, node);
        run_member(node, 1, budget_left());
        // What it made ready is tried here as well; what was left over stays left over.
        for (int made_ready : ready_)
            if (made_ready == node)
                before.push_back(node);
            else
                open.push_back(made_ready);
        ready_ = std::move(before);
    }
    ready_.insert(ready_.end(), open.begin(), open.end());
}

void Batch::fail(const pg::Error &error) {
    Member member;
    member.result.index = claim_.node_index;
    settle(member, claim_.started_at, claim_.attempt, error);
    members_.push_back(std::move(member));
}

// --- recording ---

// The run may have been paused in between: then no successor has run, and what is ready next is held.
void Batch::verify_lease() {
    static constexpr Oid types[] = {UUIDOID, INT4OID, INT4OID, INT8OID, INT4OID};
    static pg::Statement find{
        "SELECT e.status FROM chronicle_data.node_task t JOIN chronicle_data.execution e USING (execution_id) "
        "WHERE t.execution_id = $1 AND t.node_index = $2 AND t.state = 'running' AND t.lease_slot = $3 "
        "AND t.lease_generation = $4 AND t.attempt = $5 FOR UPDATE OF t",
        types};
    pg::Values values;
    values.uuid(claim_.execution).int4(claim_.node_index).int4(claimant_.slot);
    pg::Rows rows = find.run(values.int8(static_cast<int64>(claimant_.generation)).int4(claim_.attempt));
    if (rows.empty())
        throw LeaseLost{};
    execution_.status = rows[0].text(1);
    if (execution_.status == "paused" && members_.size() > 1)
        throw RepeatAlone{};
}

// A failed attempt that may be repeated goes back to the queue, due later.
bool Batch::schedule_retry(const Member &member, std::vector<Event> &events) {
    const core::Node &node = graph().nodes[static_cast<size_t>(member.result.index)];
    core::RetryPolicy policy = node.retry;
    int limit = policy.max_attempts_set ? policy.max_attempts : settings::default_retry_attempts;
    if (member.result.attempts >= limit || !core::is_retryable(policy, member.failure->sqlstate))
        return false;
    static constexpr Oid types[] = {UUIDOID, INT4OID, TEXTOID, TEXTOID, INT4OID, INT4OID, TIMESTAMPTZOID, BOOLOID};
    static pg::Statement upsert{"INSERT INTO chronicle_data.node_task AS t (execution_id, node_index, node_id, state, "
                                "owner, priority, attempt, due_at, alone) "
                                "VALUES ($1, $2, $3, 'retrying', $4, $5, $6, $7, $8) "
                                "ON CONFLICT (execution_id, node_index) DO UPDATE SET state = 'retrying', due_at = "
                                "excluded.due_at, losses = 0, "
                                "lease_slot = NULL, lease_generation = NULL",
                                types};
    double wait_ms = core::delay(policy, member.result.attempts, static_cast<double>(random() % 10000) / 10000.0);
    TimestampTz due = member.result.ended_at + static_cast<int64>(wait_ms * 1000.0);
    pg::Values values;
    values.uuid(claim_.execution).int4(member.result.index).text(node.id).text(execution_.owner);
    values.int4(task_priority(execution_, node)).int4(member.result.attempts).time(due).boolean(alone_);
    upsert.run(values);
    Event event = make_node_event(execution_, node, "NodeExecutionRetryScheduled", member.result.attempts,
                                  member.result.ended_at);
    event.data["delay"] = wait_ms;
    event.data["dueAt"] = time_text(due);
    events.push_back(std::move(event));
    worker::announce_ready(owner_role_); // the scheduler, too: it sets its clock
    return true;
}

void Batch::record_skipped(const std::vector<int> &nodes, TimestampTz at, std::vector<Event> &events) {
    for (int index : nodes) {
        const core::Node &node = graph().nodes[static_cast<size_t>(index)];
        insert_result(execution_, node, {.index = index, .status = "skipped", .ended_at = at});
        Event event = make_node_event(execution_, node, "NodeExecutionSkipped", 0, at);
        event.data["reason"] = "no incoming edge is live";
        events.push_back(std::move(event));
    }
}

// Applies one member to the newest state of the run.
void Batch::replay(Member &member, core::RunState &state, std::vector<Event> &events) {
    const core::Node &node = graph().nodes[static_cast<size_t>(member.result.index)];
    int attempt = member.result.attempts;
    if (member.result.index != claim_.node_index)
        events.push_back(make_node_event(execution_, node, "NodeExecutionStarted", attempt, *member.result.started_at));
    double duration = milliseconds(*member.result.started_at, member.result.ended_at);
    if (member.failure) {
        Event event = make_node_event(execution_, node, "NodeExecutionFailed", attempt, member.result.ended_at);
        const Failure &f = *member.failure;
        event.data.update({{"duration", duration}, {"error", f.error}, {"sqlstate", f.sqlstate}});
        event.data.update({{"detail", f.detail}, {"hint", f.hint}, {"context", f.context}});
        events.push_back(std::move(event));
        if (schedule_retry(member, events))
            return;
        insert_result(execution_, node, member.result);
        if (node.on_failure != core::OnFailure::proceed) {
            state.nodes[static_cast<size_t>(member.result.index)] = core::NodeState::failed;
            fail_execution(execution_, graph(), state, f, events);
            return;
        }
    } else {
        insert_result(execution_, node, member.result);
    }
    core::NodeState outcome = member.failure ? core::NodeState::failed : core::NodeState::completed;
    core::Decision decision = core::decide(graph(), state, member.result.index, outcome, member.result.live_edges);
    if (!member.failure) {
        Event event = make_node_event(execution_, node, "NodeExecutionCompleted", attempt, member.result.ended_at);
        auto completed = std::count(state.nodes.begin(), state.nodes.end(), core::NodeState::completed);
        event.data.update({{"duration", duration}, {"recordsProcessed", member.output.records}});
        event.data.update({{"completedNodes", completed}, {"totalNodes", execution_.total_nodes}});
        events.push_back(std::move(event));
    }
    record_skipped(decision.skipped, member.result.ended_at, events);
    ready_.insert(ready_.end(), decision.ready.begin(), decision.ready.end());
}

void Batch::finish() {
    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement remove{
        "DELETE FROM chronicle_data.node_task WHERE execution_id = $1 AND node_index = $2 AND state = 'running'",
        types};
    access::EngineScope engine;
    lock_execution(claim_.execution);
    verify_lease();
    core::RunState state = load_state(claim_.execution, graph());
    std::vector<Event> events;
    ready_.clear(); // decided anew, on the newest state
    for (Member &member : members_) {
        core::NodeState before = state.nodes[static_cast<size_t>(member.result.index)];
        if (before != core::NodeState::ready && before != core::NodeState::running)
            throw RepeatAlone{}; // another executor was faster with a node that ran here
        if (before == core::NodeState::ready)
            core::mark_running(state, member.result.index);
        replay(member, state, events);
    }
    pg::Values values;
    remove.run(values.uuid(claim_.execution).int4(claim_.node_index));
    // What ran here is over; the rest goes to the queue. Nothing does when the run has failed.
    std::vector<int> left;
    for (int node : ready_)
        if (state.nodes[static_cast<size_t>(node)] == core::NodeState::ready)
            left.push_back(node);
    enqueue(execution_, graph(), left, over_budget_);
    if (events.empty() || events.back().type != "WorkflowFailed")
        if (core::all_done(state))
            complete_execution(execution_,
                               static_cast<int>(
                                   std::count(state.nodes.begin(), state.nodes.end(), core::NodeState::completed)),
                               events);
    write_events(claim_.execution, execution_.owner, events);
}

} // namespace chronicle::flow
