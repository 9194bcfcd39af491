// How the ends of nodes move their run on: results, events, the queue, retries, and the end of the run.
#pragma once

#include "flow/execution.hpp"

namespace chronicle::flow {

/// One step of a run, in one transaction. The caller holds the run's lock, in an EngineScope; what it records is stored
/// by finish(), and nothing of the run may be changed beside it meanwhile.
class Progress {
public:
    /// Loads the newest state of the run, or brings `known` up to it.
    explicit Progress(const Execution &execution, std::optional<KnownState> known = {});

    const Execution &execution() const { return execution_; }
    const core::Definition &graph() const { return definition_->graph; }
    const core::RunState &state() const { return known_.state; }
    int64 version() const { return known_.version; } // of the run's newest event before this step
    /// The node waits for an executor, or for something else, or is at work: it can end.
    bool can_end(int node) const;
    /// The run is over, or its nodes are and compensation goes on.
    bool over() const { return over_; }
    /// Adds an event of the run, or of a node.
    void note(Event event) { events_.push_back(std::move(event)); }

    /// An attempt begins (nodes of a batch, and whoever claims by other means than claim_next).
    void started(int node, int attempt, TimestampTz at);
    /// The node is over, with this result (its index, times, attempts, live edges, output). `more` goes into the event.
    void completed(const NodeResult &result, const core::json &more = core::json::object());
    /// The attempt failed: the node is tried again when its policy and `may_retry` allow it, else it is over, and
    /// `on_failure` says what follows. `alone`: a retry runs in a transaction of its own.
    void failed(const NodeResult &result, const Failure &failure, bool may_retry, bool alone);
    /// The node waits, parked in the queue (waiting.cpp).
    void waits(int node) { known_.state.nodes[static_cast<size_t>(node)] = core::NodeState::waiting; }
    /// Ends the run as failed: whatever is not over is cancelled.
    void fail_run(const Failure &failure, const char *why_cancelled = "the run failed");
    /// Ends it as cancelled.
    void cancel_run(const std::optional<std::string> &reason);

    /// Stores the queue's next nodes, perhaps the end of the run, and the events. `alone`: of the nodes that became
    /// ready, those that run in a transaction of their own.
    void finish(const std::vector<int> &alone = {});
    /// After finish(), once: the state that it leaves; nothing when the run is over or being undone.
    std::optional<KnownState> take_state();

private:
    void apply(const core::Decision &decision, TimestampTz at);
    void cancel_node(int node, const char *reason, TimestampTz at);
    bool schedule_retry(const NodeResult &result, const Failure &failure, bool alone);
    void stay_open();
    void end_all(const struct Ending &ending, const char *why_cancelled);
    core::Node const &node(int index) const { return graph().nodes[static_cast<size_t>(index)]; }

    const Execution &execution_;
    std::shared_ptr<const StoredDefinition> definition_;
    KnownState known_;
    core::RunState &state_ = known_.state;
    std::vector<Event> events_;
    std::vector<int> ready_;
    bool over_ = false;
    bool waited_ = false; // nodes waited when the step began
};

/// The run's attempts at a node: its policy, else the setting.
int attempt_limit(const core::RetryPolicy &policy);
/// When the next attempt after a failed one is due.
TimestampTz next_attempt_at(const core::RetryPolicy &policy, int attempt, TimestampTz failed_at);

/// The fields of a failed attempt's event.
void describe_failure(Event &event, const NodeResult &result, const Failure &failure);

} // namespace chronicle::flow
