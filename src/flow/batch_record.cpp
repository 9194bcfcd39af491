// The end of a batch: what ran is recorded, under the run's lock, if the run is still as it must be. Told in run.cpp.
#include "flow/json.hpp"
#include "flow/batch.hpp"

#include "flow/compensation.hpp"
#include "flow/waiting.hpp"

namespace chronicle::flow {

namespace {

// What a node that was looked at again waits for.
core::json load_wait(const Claim &claim) {
    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement find{"SELECT wait FROM chronicle_data.node_task WHERE execution_id = $1 AND node_index = $2",
                              types};
    pg::Values values;
    return to_json(find.run(values.uuid(claim.execution).int4(claim.node_index))[0].jsonb(1));
}

} // namespace

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

// The node that was run without a claim is still nobody's, and its run may begin, or goes on. This transaction has
// locks of other runs: it waits for no other.
void Batch::verify_unclaimed() {
    static constexpr Oid types[] = {UUIDOID, INT4OID, INT4OID};
    static pg::Statement find{"SELECT e.status, t.state = 'ready' AND NOT (t.alone OR t.begun OR t.lost OR "
                              "t.compensating) AND t.attempt = $3 "
                              "FROM chronicle_data.node_task t JOIN chronicle_data.execution e USING (execution_id) "
                              "WHERE t.execution_id = $1 AND t.node_index = $2 FOR UPDATE OF t",
                              types};
    if (!try_lock_execution(claim_.execution))
        throw RepeatAlone{};
    pg::Values values;
    pg::Rows rows = find.run(values.uuid(claim_.execution).int4(claim_.node_index).int4(claim_.attempt - 1));
    if (rows.empty() || !rows[0].boolean(2))
        throw RepeatAlone{};
    execution_.status = rows[0].text(1);
    if (execution_.status != "pending" && execution_.status != "running")
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
        if (settled.again)
            (void)wake(execution_.id, index);
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
    if (index != claim_.node_index || claim_.reserved)
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
    constexpr int64 at_least_ms = 1000, in_company_ms = 50;
    if (claim_.reserved)
        return in_company_ms;
    return std::max(at_least_ms, std::min<int64>((GetCurrentTimestamp() - begun_) / 1000, PG_INT32_MAX));
}

void Batch::finish() {
    try {
        pg::LockTimeoutScope patience(this->patience());
        record();
    } catch (const pg::Error &error) {
        if (error.sqlstate() != ERRCODE_LOCK_NOT_AVAILABLE)
            throw;
        if (claim_.reserved)
            throw RepeatAlone{};
        throw RunHeld{};
    }
}

void Batch::record() {
    access::EngineScope engine;
    if (claim_.reserved) {
        verify_unclaimed();
    } else {
        lock_execution(claim_.execution);
        verify_lease();
    }
    verify_siblings();
    if (claim_.compensating) {
        const Member &only = members_.front();
        end_compensation(execution_, only.result, only.failure, true);
        known_.reset();
        return;
    }
    std::optional<Event> begun;
    if (execution_.status == "pending")
        begun = begin_execution(execution_, claim_.started_at);
    int64 known_version = known_->version;
    Progress progress(execution_, std::move(known_));
    if (begun && progress.version() != known_version)
        throw RepeatAlone{}; // cancelled and retried meanwhile: what ran belongs to the time before
    if (begun)
        progress.note(*std::move(begun));
    for (Member &member : members_)
        replay(member, progress);
    progress.finish(alone_later_);
    known_ = progress.take_state();
}

} // namespace chronicle::flow
