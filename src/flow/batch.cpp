// Running the nodes of a batch, each in its savepoint. Told in run.cpp.
#include "flow/json.hpp"
#include "flow/batch.hpp"

#include "flow/batch_context.hpp"
#include "settings.hpp"
#include "worker/constraints.hpp"
#include "worker/executor.hpp"
#include "worker/registry.hpp"
#include "worker/sandbox.hpp"

extern "C" {
#include "pgstat.h"
#include "utils/acl.h"
}

#include <unordered_set>

namespace chronicle::flow {

namespace {

constexpr int batch_budget_ms = 50;

// Nodes that did not do in a batch once: they are not tried in one again by this process.
std::unordered_set<uint64> *unfit_nodes = nullptr;

uint64 unfit_key(int64 definition, int node) {
    return static_cast<uint64>(definition) * 16384u + static_cast<uint64>(node);
}

// What other nodes did in the same transaction may be the reason: that it has written (25001: wait_for_execution, SET
// TRANSACTION), added a value to an enum (55P04), uses a table (55006), appends to as many streams as one may (54000),
// holds as many locks as there are (53200).
bool may_come_of_company(const pg::Error &error) {
    int state = error.sqlstate();
    return ERRCODE_TO_CATEGORY(state) == ERRCODE_INVALID_TRANSACTION_STATE ||
           state == ERRCODE_UNSAFE_NEW_ENUM_VALUE_USAGE || state == ERRCODE_OBJECT_IN_USE ||
           state == ERRCODE_PROGRAM_LIMIT_EXCEEDED || state == ERRCODE_OUT_OF_MEMORY;
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

Execution require_execution(const Claim &claim) {
    std::optional<Execution> found = find_execution(claim.execution);
    if (!found || is_over(found->status) || (found->status == "pending" && !claim.reserved))
        throw LeaseLost{};
    return *std::move(found);
}

} // namespace

Batch::Batch(const Claim &claim, const Claimant &claimant, bool alone)
    : claim_(claim), claimant_(claimant), alone_(alone) {
    access::EngineScope engine;
    load();
    check_still_claimed();
    const char *owner = execution_.owner.c_str();
    owner_role_ = pg::call([&]() noexcept { return get_role_oid(owner, true); });
    if (!worker::serves(owner_role_)) { // another role has the name by now, or none: the scheduler sees to it
        worker::give_up();
        throw LeaseLost{};
    }
    alone_ = alone_ || execution_.status == "paused"; // what runs already ends; nothing else begins
    begun_ = GetCurrentTimestamp();
}

Batch::Batch(const Claim &reserved, const Batch &company, size_t members)
    : claim_(reserved), claimant_(company.claimant_), alone_(false), members_before_(members),
      owner_role_(company.owner_role_), begun_(company.begun_) {
    access::EngineScope engine;
    load();
}

void Batch::load() {
    execution_ = require_execution(claim_);
    definition_ = stored_definition(execution_.definition_id);
    known_ = take_remembered(claim_.execution);
    if (known_)
        catch_up(*known_, claim_.execution, graph());
    else
        known_ = load_state(claim_.execution, graph());
    state_ = known_->state;
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
        if ((budgeted && timed_out) || (in_company() && may_come_of_company(*error))) { // no failure
            run_alone_later(node);
            return;
        }
        if (error->is_transient() && !alone_) {
            if (in_company())
                run_alone_later(node); // it would cost the others their work again and again
            throw RepeatAlone{};
        }
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

void Batch::run_alone_later(int node) {
    if (!unfit_nodes)
        unfit_nodes = new std::unordered_set<uint64>();
    unfit_nodes->insert(unfit_key(definition_->id, node));
    alone_later_.push_back(node);
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

// Also of one that begins as the budget ends: no deadline would be none.
int Batch::deadline() const { return std::max(1, budget_left()); }

bool Batch::is_full() const {
    return budget_left() <= 0 || constraints_set_ ||
           static_cast<int>(members_before_ + members_.size()) >= settings::worker_batch;
}

bool Batch::may_have_company() const {
    return !alone_ && !claim_.begun && !claim_.compensating && graph().concurrency.is_null() &&
           !graph().nodes[static_cast<size_t>(claim_.node_index)].own_transaction && !members_.back().failure &&
           !is_full();
}

bool Batch::may_run_here(int node) const {
    return !described(node).own_transaction && state_.nodes[static_cast<size_t>(node)] == core::NodeState::ready &&
           !(unfit_nodes && unfit_nodes->contains(unfit_key(definition_->id, node))) &&
           std::find(alone_later_.begin(), alone_later_.end(), node) == alone_later_.end();
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
    if (claim_.reserved) {
        if (!may_run_here(claim_.node_index))
            return;
        core::mark_running(state_, claim_.node_index);
    }
    run_member(claim_.node_index, claim_.attempt, claim_.reserved ? deadline() : 0);
    if (members_.empty() || alone_ || graph().nodes[static_cast<size_t>(claim_.node_index)].own_transaction)
        return;
    bool left_over = false;
    while (!ready_.empty() && !members_.back().failure) {
        int node = ready_.front();
        ready_.pop_front();
        if (!may_run_here(node) || is_full()) {
            left_over = true;
            continue;
        }
        core::mark_running(state_, node);
        run_member(node, attempts_before(execution_, graph().nodes[static_cast<size_t>(node)]) + 1, deadline());
    }
    if (!left_over && alone_later_.empty())
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
            if (rows.empty()) { // somebody was faster
                worker::release_last_node();
                continue;
            }
            attempt = rows[0].int4(1) + 1;
        }
        size_t before = members_.size();
        core::mark_running(state_, node);
        run_member(node, attempt, deadline());
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

} // namespace chronicle::flow
