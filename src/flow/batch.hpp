// One transaction of an executor: a claimed node, and the short successors that run with it. Told in run.cpp.
#pragma once

#include "flow/execution.hpp"
#include "flow/node.hpp"
#include "flow/progress.hpp"
#include "flow/queue.hpp"

#include <deque>

namespace chronicle::flow {

/// The claim is not ours any more: the run is over, or the node was taken back. Nothing may be committed.
struct LeaseLost {};
/// Somebody has the run in hand, and does not let go of it.
struct RunHeld {};
/// What this batch did must be undone, and its first node run by itself.
struct RepeatAlone {};

/// A node that ran in the batch.
struct Member {
    NodeResult result;
    NodeOutput output; // with `wait`: the node waits, and finish() settles it
    std::optional<Failure> failure;
    bool resumed = false; // it waited, and is looked at again
    bool queued = false; // it was ready in the queue, and not claimed
    bool waits() const { return resumed || !output.wait.is_null(); }
};

class Batch {
public:
    Batch(const Claim &claim, const Claimant &claimant, bool alone);
    /// Of another run's node, that nobody has claimed: in the transaction of `company`, in which so many have run.
    Batch(const Claim &reserved, const Batch &company, size_t members);
    /// Runs the claimed node, then what became ready, within the limits.
    void run();
    /// Records that the claimed node failed, without running it.
    void fail(const pg::Error &error);
    /// Everything that is to be stored, and the graph's next step. The caller commits.
    void finish();
    size_t size() const { return members_.size(); }
    /// After run(): code of other runs may follow in this transaction.
    bool may_have_company() const;
    /// After run() of company: others may follow.
    bool may_go_on() const { return !is_full(); }
    /// After finish(): another node may be claimed in this transaction.
    bool may_claim() const { return !alone_ && !constraints_set_; }
    /// After finish(): what is to be remembered when the commit is done; nothing: the run is over.
    std::optional<KnownState> take_state() { return std::move(known_); }

    // What nodes ask for.
    const Execution &execution() const { return execution_; }
    const Claim &claim() const { return claim_; }
    const Claimant &claimant() const { return claimant_; }
    const core::Definition &graph() const { return definition_->graph; }
    /// The node as it runs here: itself, or its compensation.
    const core::Node &described(int node) const;
    /// This batch undoes its only node.
    bool compensating() const { return claim_.compensating; }
    /// The rows that a finished node has handed on; nullptr: none.
    const Rows *rows_of(int node);
    /// Live upstream nodes, in the order of the edges.
    std::vector<int> live_sources(int node) const;
    bool is_finished_ancestor(int candidate, int node);
    /// The context that references read: input, execution_id, nodes.
    std::string context_json(int node);

private:
    void run_member(int node, int attempt, int deadline_ms);
    void run_siblings();
    void verify_siblings();
    NodeOutput execute(int node);
    std::string output_json(int node);
    void store_output(int node, Member &member);
    std::vector<int> decide_edges(int node, Member &member);
    void settle(Member &member, TimestampTz started, int attempt, const std::optional<pg::Error> &error);
    bool may_run_here(int node) const;
    int budget_left() const;
    int deadline() const;
    bool is_full() const;
    void record();
    int64 patience() const;
    void load();
    void check_still_claimed() const;
    void verify_lease();
    void verify_unclaimed();
    bool in_company() const { return members_before_ + members_.size() > 0; }
    void replay(Member &member, Progress &progress);
    void settle_wait(Member &member, Progress &progress);
    void run_alone_later(int node);
    void follow(int node);
    void find_ancestors(int node);

    Claim claim_;
    Claimant claimant_;
    bool alone_;
    Execution execution_;
    std::shared_ptr<const StoredDefinition> definition_;
    std::optional<KnownState> known_; // as stored when the batch began
    core::RunState state_; // and with what ran since
    size_t members_before_ = 0; // of other runs, in this transaction
    std::vector<Member> members_;
    std::deque<int> ready_; // became ready in this batch, and wait for their turn in it
    std::vector<int> alone_later_; // tried, and undone: too slow for a batch, or failed by its company
    std::unordered_map<int, std::optional<Rows>> loaded_;
    int ancestors_of_ = -1; // the node that ancestors_ is about
    std::vector<bool> ancestors_;
    bool constraints_set_ = false; // by the node that ran last: no other may follow in this transaction
    Oid owner_role_;
    TimestampTz begun_;
};

} // namespace chronicle::flow
