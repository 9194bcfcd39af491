#include "flow/json.hpp"
#include "flow/batch.hpp"

#include "flow/batch_context.hpp"
#include "flow/compensation.hpp"
#include "flow/patience.hpp"
#include "flow/waiting.hpp"
#include "settings.hpp"
#include "worker/constraints.hpp"
#include "worker/executor.hpp"
#include "worker/registry.hpp"
#include "worker/sandbox.hpp"

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

const std::string &check_size(const std::string &value) {
    if (value.size() > static_cast<size_t>(settings::max_output_bytes))
        pg::raise(ERRCODE_PROGRAM_LIMIT_EXCEEDED, {.message = "the output exceeds chronicle.max_output_bytes",
                                                   .detail = core::json{{"limit", settings::max_output_bytes}}.dump()});
    return value;
}

// What a node that was looked at again waits for.
core::json load_wait(const Claim &claim) {
    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement find{"SELECT wait FROM chronicle_data.node_task WHERE execution_id = $1 AND node_index = $2",
                              types};
    pg::Values values;
    return to_json(find.run(values.uuid(claim.execution).int4(claim.node_index))[0].jsonb(1));
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
    known_ = take_remembered(claim.execution);
    if (known_)
        catch_up(*known_, claim.execution, graph());
    else
        known_ = load_state(claim.execution, graph());
    state_ = known_->state;
    check_still_claimed();
    const char *owner = execution_.owner.c_str();
    owner_role_ = pg::call([&]() noexcept { return get_role_oid(owner, false); });
    alone_ = alone_ || execution_.status == "paused"; // what runs already ends; nothing else begins
    begun_ = GetCurrentTimestamp();
}

// Who cancelled the node between our claim and the start of our job found nobody to interrupt.
void Batch::check_still_claimed() const {
    static constexpr Oid types[] = {UUIDOID, INT4OID, INT4OID};
    static pg::Statement find{"SELECT FROM chronicle_data.node_task WHERE execution_id = $1 AND node_index = $2 "
                              "AND state = 'running' AND attempt = $3",
                              types};
    bool is_there = !core::is_final(state_.nodes[static_cast<size_t>(claim_.node_index)]);
    if (claim_.compensating) { // the node's own state is final
        pg::Values values;
        is_there = !find.run(values.uuid(claim_.execution).int4(claim_.node_index).int4(claim_.attempt)).empty();
    }
    if (!is_there)
        throw LeaseLost{};
}

// --- what nodes ask for ---

std::vector<int> Batch::live_sources(int node) const {
    std::vector<int> sources;
    for (int edge : graph().nodes[static_cast<size_t>(node)].in)
        if (state_.edges[static_cast<size_t>(edge)] == core::EdgeState::live)
            sources.push_back(graph().edges[static_cast<size_t>(edge)].source);
    return sources;
}

bool Batch::is_finished_ancestor(int candidate, int node) {
    core::NodeState state = state_.nodes[static_cast<size_t>(candidate)];
    if (state != core::NodeState::completed && state != core::NodeState::failed) // failed: the run goes on all the same
        return false;
    if (ancestors_of_ != node)
        find_ancestors(node);
    return ancestors_[static_cast<size_t>(candidate)];
}

// Once for each node that runs: with many names to look up, a walk for each would cost the square of the graph.
void Batch::find_ancestors(int node) {
    ancestors_.assign(graph().nodes.size(), false);
    ancestors_of_ = node;
    ancestors_[static_cast<size_t>(node)] = claim_.compensating; // it sees what it undoes
    std::vector<int> open{node};
    while (!open.empty()) {
        int current = open.back();
        open.pop_back();
        for (int edge : graph().nodes[static_cast<size_t>(current)].in) {
            int source = graph().edges[static_cast<size_t>(edge)].source;
            if (!ancestors_[static_cast<size_t>(source)]) {
                ancestors_[static_cast<size_t>(source)] = true;
                open.push_back(source);
            }
        }
    }
}

const core::Node &Batch::described(int node) const {
    const core::Node &found = graph().nodes[static_cast<size_t>(node)];
    return claim_.compensating ? *found.compensate : found;
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
    std::string nodes;
    for (int i = 0; i < static_cast<int>(graph().nodes.size()); i++) {
        if (!is_finished_ancestor(i, node))
            continue;
        nodes += (nodes.empty() ? "" : ", ") + core::json(graph().nodes[static_cast<size_t>(i)].id).dump() + ": " +
                 output_json(i);
    }
    return "{\"input\": " + execution_.input + ", \"execution_id\": \"" + core::uuid_to_text(execution_.id) +
           "\", \"nodes\": {" + nodes + "}}";
}

// --- running ---

NodeOutput Batch::execute(int node) {
    const core::NodeType &type = *described(node).type;
    NodeFunction function = node_function(type.name);
    if (!function)
        pg::raise(ERRCODE_FEATURE_NOT_SUPPORTED,
                  {.message = "node type \"" + std::string(type.name) + "\" does not run in this version"});
    BatchNode context(*this, node);
    return function(context);
}

// Inside the node's savepoint and sandbox: types' output functions are the owner's business.
void Batch::store_output(int node, Member &member) {
    if (member.output.value)
        member.result.output = check_size(*member.output.value);
    if (!member.output.rows)
        return;
    const Rows &rows = *member.output.rows;
    std::optional<std::string> shown = rows_to_json(rows, settings::output_rows);
    member.result.truncated = !shown || rows.count > settings::output_rows;
    member.result.output = shown ? *shown : "[]";
    member.result.columns = describe_columns(rows.columns);
    const core::Node &stored = graph().nodes[static_cast<size_t>(node)];
    if (!stored.out.empty() || stored.compensate)
        member.result.chunks = encode_rows(rows);
}

std::vector<int> Batch::decide_edges(int node, Member &member) {
    std::vector<int> live;
    std::optional<Datum> document;
    for (int edge : graph().nodes[static_cast<size_t>(node)].out) {
        const std::optional<std::string> &condition = graph().edges[static_cast<size_t>(edge)].condition;
        if (condition && !document)
            document = pg::make_jsonb(member.output.rows ? whole_json(*member.output.rows)
                                                         : member.output.value.value_or("null"));
        if (!condition || predicate_holds(*document, *condition))
            live.push_back(edge);
    }
    return live;
}

// What the node left, or why it failed, as its result.
void Batch::settle(Member &member, TimestampTz started, int attempt, const std::optional<pg::Error> &error) {
    member.result.started_at = started;
    member.result.ended_at = GetCurrentTimestamp();
    member.result.attempts = attempt;
    member.result.status = error ? "failed" : "completed";
    if (!error) {
        member.result.records = member.output.records;
        return;
    }
    member.failure = Failure::from(described(member.result.index).id, *error);
    member.result.live_edges.clear();
    member.result.output.reset();
    member.result.truncated = false;
    member.result.columns.reset();
    member.result.chunks.clear();
    member.output = {};
}

// One node in its savepoint. Throws for what concerns the whole batch; a failure of the node itself is a result.
void Batch::run_member(int node, int attempt, int deadline_ms) {
    int timeout = timeout_of(described(node));
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
            worker::Sandbox sandbox(owner_role_, definition_->search_path);
            worker::ConstraintWatch constraints;
            member.output = execute(node);
            constraints_set_ = constraints.check();
            if (!claim_.compensating && !member.waits()) {
                store_output(node, member);
                member.result.live_edges = decide_edges(node, member);
            }
            worker::clean_session();
            if (worker::Deadline::passed()) // and the node's SQL swallowed it: not the result that it would have had
                pg::raise(ERRCODE_QUERY_CANCELED, {.message = "the node was asked to stop"});
        });
        timed_out = worker::Deadline::passed();
    }
    if (worker::Job::cancel_requested())
        throw LeaseLost{};
    if (error) {
        worker::clean_session();
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
                          pg::ErrorText{.message = "node \"" + described(node).id + "\" timed out after " +
                                                   std::to_string(timeout) + " ms",
                                        .hint = "Raise the node's \"timeout\"."});
    }
    settle(member, started, attempt, error);
    members_.push_back(std::move(member));
    if (!error && !members_.back().waits()) // else retried, or the end of the run, or not: finish() decides
        follow(node);
}

// What the end of a node makes ready is tried in this batch as well.
void Batch::follow(int node) {
    if (claim_.compensating)
        return;
    core::Decision decision =
        core::decide(graph(), state_, node, core::NodeState::completed, members_.back().result.live_edges);
    ready_.insert(ready_.end(), decision.ready.begin(), decision.ready.end());
    for (int unneeded : decision.unneeded)
        if (!core::is_final(state_.nodes[static_cast<size_t>(unneeded)]))
            core::decide(graph(), state_, unneeded, core::NodeState::cancelled, {});
}

int Batch::budget_left() const { return batch_budget_ms - static_cast<int>((GetCurrentTimestamp() - begun_) / 1000); }

bool Batch::is_full() const {
    return budget_left() <= 0 || static_cast<int>(members_.size()) >= settings::worker_batch || constraints_set_;
}

bool Batch::may_run_here(int node) const {
    return !described(node).own_transaction && state_.nodes[static_cast<size_t>(node)] == core::NodeState::ready &&
           !(slow_nodes && slow_nodes->contains(slow_key(definition_->id, node))) &&
           std::find(over_budget_.begin(), over_budget_.end(), node) == over_budget_.end();
}

void Batch::run() {
    pg::call([&]() noexcept { pgstat_report_activity(STATE_RUNNING, claim_.node_id.c_str()); });
    if (claim_.begun) { // it waited: finish() looks at what for
        Member member;
        member.result.index = claim_.node_index;
        member.resumed = true;
        settle(member, claim_.started_at, claim_.attempt, std::nullopt);
        members_.push_back(std::move(member));
        return;
    }
    run_member(claim_.node_index, claim_.attempt, 0);
    if (alone_ || graph().nodes[static_cast<size_t>(claim_.node_index)].own_transaction)
        return;
    std::deque<int> open(ready_.begin(), ready_.end());
    ready_.clear();
    while (!open.empty() && !members_.back().failure) {
        int node = open.front();
        open.pop_front();
        if (!may_run_here(node) || is_full()) {
            ready_.push_back(node);
            continue;
        }
        std::vector<int> before = std::exchange(ready_, {});
        core::mark_running(state_, node);
        run_member(node, attempts_before(execution_, graph().nodes[static_cast<size_t>(node)]) + 1, budget_left());
        // What it made ready is tried here as well; what was left over stays left over.
        for (int made_ready : ready_)
            if (made_ready == node)
                before.push_back(node);
            else
                open.push_back(made_ready);
        ready_ = std::move(before);
    }
    ready_.insert(ready_.end(), open.begin(), open.end());
    if (ready_.empty())
        run_siblings();
}

// Ready nodes of the run that nobody has claimed, next in the queue: reserved one by one, when their turn comes, so
// that others find work, too. What they make ready is left to the queue.
void Batch::run_siblings() {
    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement find{"SELECT attempt FROM chronicle_data.node_task WHERE execution_id = $1 AND node_index = "
                              "$2 AND (state = 'ready') IS NOT FALSE "
                              "AND NOT (alone OR begun OR lost OR compensating)",
                              types};
    for (int node : claim_.siblings) {
        if (members_.back().failure || is_full())
            return;
        if (!may_run_here(node) || !worker::reserve_node(execution_.id, node))
            continue;
        int attempt;
        {
            access::EngineScope engine;
            pg::Values values;
            pg::Rows rows = find.run(values.uuid(execution_.id).int4(node));
            if (rows.empty()) // somebody was faster
                continue;
            attempt = rows[0].int4(1) + 1;
        }
        size_t before = members_.size();
        core::mark_running(state_, node);
        run_member(node, attempt, budget_left());
        if (members_.size() > before)
            members_.back().queued = true;
    }
}

void Batch::fail(const pg::Error &error) {
    Member member;
    member.result.index = claim_.node_index;
    member.resumed = claim_.begun;
    settle(member, claim_.started_at, claim_.attempt, error);
    members_.push_back(std::move(member));
}

// --- recording ---

// The run may have been paused in between: then no successor has run, and what is ready next is held.
void Batch::verify_lease() {
    // By the primary key alone: an index on the lease would be walked over all that this executor has run.
    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement find{"SELECT e.status, t.state = 'running', t.lease_slot, t.lease_generation, t.attempt "
                              "FROM chronicle_data.node_task t JOIN chronicle_data.execution e USING (execution_id) "
                              "WHERE t.execution_id = $1 AND t.node_index = $2 FOR UPDATE OF t",
                              types};
    pg::Values values;
    pg::Rows rows = find.run(values.uuid(claim_.execution).int4(claim_.node_index));
    if (rows.empty() || !rows[0].boolean(2) || rows[0].int4(3) != claimant_.slot ||
        rows[0].int8(4) != static_cast<int64>(claimant_.generation) || rows[0].int4(5) != claim_.attempt)
        throw LeaseLost{};
    execution_.status = rows[0].text(1);
    if (execution_.status == "paused" && members_.size() > 1)
        throw RepeatAlone{};
}

// Those that were run without a claim are still nobody's.
void Batch::verify_siblings() {
    static constexpr Oid types[] = {UUIDOID, INT4ARRAYOID};
    // The state is no condition: the planner would walk the index of all that is ready.
    static pg::Statement count{
        "SELECT count(CASE WHEN state = 'ready' AND NOT (alone OR begun OR lost OR compensating) THEN 1 END) "
        "FROM chronicle_data.node_task WHERE execution_id = $1 AND node_index = ANY ($2)",
        types};
    std::vector<int> nodes;
    for (const Member &member : members_)
        if (member.queued)
            nodes.push_back(member.result.index);
    if (nodes.empty())
        return;
    pg::Values values;
    values.uuid(execution_.id).add(pg::make_int_array(nodes));
    if (count.run(values)[0].int8(1) != static_cast<int64>(nodes.size()))
        throw RepeatAlone{};
}

// A node begins to wait, or is looked at again.
void Batch::settle_wait(Member &member, Progress &progress) {
    int index = member.result.index;
    core::json wait = member.resumed ? load_wait(claim_) : std::move(member.output.wait);
    if (member.failure) { // the look's commit failed
        abandon(execution_, described(index), index, wait);
        progress.failed(member.result, *member.failure, true, false);
        return;
    }
    WaitingNode waiting{.progress = progress,
                        .execution = execution_,
                        .node = described(index),
                        .index = index,
                        .attempt = member.result.attempts,
                        .started_at = *member.result.started_at,
                        .now = GetCurrentTimestamp(),
                        .wait = wait};
    Settled settled = flow::settle(waiting, !member.resumed);
    if (settled.state == Settled::State::waiting) {
        if (!member.resumed)
            progress.note(waiting_event(waiting, settled));
        park(waiting, settled);
        progress.waits(index);
        return;
    }
    member.output = {.records = settled.records, .value = settled.output};
    settle(member, waiting.started_at, waiting.attempt, settled.error);
    if (settled.error) {
        progress.failed(member.result, *member.failure, settled.may_retry, false);
        return;
    }
    member.result.output = settled.output;
    member.result.live_edges = decide_edges(index, member);
    progress.completed(member.result, settled.more);
}

// Applies one member to the newest state of the run.
void Batch::replay(Member &member, Progress &progress) {
    int index = member.result.index;
    if (!progress.can_end(index))
        throw RepeatAlone{}; // another executor was faster with a node that ran here, or it is not needed any more
    if (index != claim_.node_index)
        progress.started(index, member.result.attempts, *member.result.started_at);
    if (member.waits())
        settle_wait(member, progress);
    else if (member.failure)
        progress.failed(member.result, *member.failure, true, alone_);
    else
        progress.completed(member.result);
}

// As long as the work took, which then costs twice its time at most: one of many executors is not to stand still for
// a caller's transaction that stays open.
int64 Batch::patience() const {
    constexpr int64 at_least_ms = 1000;
    return std::max(at_least_ms, std::min<int64>((GetCurrentTimestamp() - begun_) / 1000, PG_INT32_MAX));
}

void Batch::finish() {
    try {
        PatienceScope patience(this->patience());
        record();
    } catch (const pg::Error &error) {
        if (error.sqlstate() == ERRCODE_LOCK_NOT_AVAILABLE)
            throw RunHeld{};
        throw;
    }
}

void Batch::record() {
    access::EngineScope engine;
    lock_execution(claim_.execution);
    verify_lease();
    verify_siblings();
    if (claim_.compensating) {
        const Member &only = members_.front();
        end_compensation(execution_, only.result, only.failure, true);
        known_.reset();
        return;
    }
    Progress progress(execution_, std::move(known_));
    for (Member &member : members_)
        replay(member, progress);
    progress.finish(over_budget_);
    known_ = progress.take_state();
}

} // namespace chronicle::flow
