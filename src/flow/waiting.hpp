// Nodes that wait: parked in the queue without a process, a transaction or a lock, until what they wait for is there.
// The algorithm is told in waiting.cpp.
#pragma once

#include "flow/progress.hpp"

namespace chronicle::flow {

/// A node that waits, or is about to, as its kind sees it: under the run's lock, in an EngineScope.
struct WaitingNode {
    Progress &progress; // the step: its events
    const Execution &execution;
    const core::Node &node;
    int index;
    int attempt;
    TimestampTz started_at; // of the attempt
    TimestampTz now;
    core::json &wait; // what it waits for, as node_task keeps it: {"kind": …, …}
};

/// What a look at a wait has found.
struct Settled {
    enum class State { waiting, completed, failed } state = State::waiting;
    std::optional<TimestampTz> due = {}; // waiting: when to look again at the latest
    bool again = false; // waiting: look again at once, before what is ready for the first time
    std::string output = "null"; // completed: JSON text
    int64 records = 0;
    core::json more = core::json::object(); // completed: into the event
    std::optional<pg::Error> error = {}; // failed
    bool may_retry = true;
};

/// Begins a wait (`begin`), or looks at one that was woken. A node whose timeout has passed has failed.
Settled settle(WaitingNode &waiting, bool begin);

/// NodeExecutionWaiting.
Event waiting_event(const WaitingNode &waiting, const Settled &settled);

/// Parks the node: it leaves its executor and waits in the queue.
void park(const WaitingNode &waiting, const Settled &settled);

/// The node will wait no more (it failed, or was cancelled): what it has started is given up.
void abandon(const Execution &execution, const core::Node &node, int index, const core::json &wait);

/// A parked node is ready to be looked at again; its executors are woken at commit. False when it does not wait.
bool wake(const pg::Uuid &execution, int node_index);

// The kinds, one file each. Beginning may fail, then nothing was begun.
std::optional<pg::Error> begin_timer(WaitingNode &);
Settled look_timer(WaitingNode &);
std::optional<pg::Error> begin_signal(WaitingNode &);
Settled look_signal(WaitingNode &);
std::optional<pg::Error> begin_children(WaitingNode &);
Settled look_children(WaitingNode &);
void abandon_children(const Execution &, const core::Node &, int index, const core::json &wait);
std::optional<pg::Error> begin_task(WaitingNode &);
Settled look_task(WaitingNode &);
void abandon_task(const Execution &, const core::Node &, int index, const core::json &wait);

} // namespace chronicle::flow
