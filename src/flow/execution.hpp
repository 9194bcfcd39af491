// One run: its row, its graph's state as stored, and how it ends.
#pragma once

#include "core/graph.hpp"
#include "core/uuid.hpp"

#include "flow/definition.hpp"
#include "flow/journal.hpp"
#include "flow/run_state.hpp"
#include "pg/relation.hpp"

namespace chronicle::flow {

/// Why a node, or a run, failed. No node: the run's own timeout.
struct Failure {
    std::string node_id, error, sqlstate, detail, hint, context;
    static Failure from(const std::string &node_id, const pg::Error &error);
};

/// How a run ends that does not complete. While its compensations run it is kept in execution.ending.
struct Ending {
    std::string status; // failed or cancelled
    Failure failure; // of failed
    std::optional<std::string> reason; // of cancelled
    std::vector<std::string> uncompensated = {}; // nodes, when a compensation failed

    std::optional<std::string> failed_node() const;
    std::optional<std::string> error() const;
};

core::json ending_json(const Ending &ending);

/// The call of another run's node that started a run.
struct ParentCall {
    pg::Uuid execution;
    std::string node;
    int64 call; // a number of its own for each call
    std::optional<int> item; // nothing: the node does not wait for it
    int depth; // runs above this one
};

struct Execution {
    pg::Uuid id;
    std::string workflow_id, workflow_name, owner, status;
    int version = 0;
    int64 definition_id = 0;
    int priority = 0, total_nodes = 0;
    std::string input; // JSON text, as jsonb has it: not all of that can be read here (to_json)
    std::optional<TimestampTz> started_at;
    std::optional<Ending> ending = {}; // compensations run
    core::json attempts_before = {}; // by node id, before retry_execution: they do not count
    std::optional<ParentCall> parent = {};
    int depth = 0; // runs above this one
    bool begins = false; // its row still says pending (begin_execution)
    bool waits_for_slot = false; // what it queues is held (set by who queues it)
};

/// The run, by the newest committed state; nothing when there is none. In an EngineScope.
std::optional<Execution> find_execution(const pg::Uuid &id);

/// The same for who calls a function about a run, locked until the end of the transaction. CH031 unless the current
/// user may act for its owner.
Execution lock_for_caller(const pg::Uuid &id);

/// An event of this run with the keys that all have.
Event make_event(const Execution &execution, const char *type, TimestampTz at);
/// The same for a node.
Event make_node_event(const Execution &execution, const core::Node &node, const char *type, int attempt,
                      TimestampTz at);

/// A time as events carry it.
std::string time_text(TimestampTz at);

/// completed, failed or cancelled.
bool is_over(const std::string &status);
/// CH031: unknown, or not for the current user to see.
[[noreturn]] void raise_unknown_execution(const pg::Uuid &id);

/// The run's first node begins: the event, which the caller writes. Its row is left to the run's end, if that comes in
/// the same step, or else to store_begin(). The caller holds its lock, in an EngineScope.
Event begin_execution(Execution &execution, TimestampTz now);
void store_begin(const Execution &execution);
/// Ends the run; the caller holds its lock, in an EngineScope. Appends the event to `events`.
void complete_execution(const Execution &execution, int completed_nodes, std::vector<Event> &events);
void end_early(const Execution &execution, const Ending &ending, int completed_nodes, std::vector<Event> &events);

/// Records how a node ended.
struct NodeResult {
    int index = 0;
    std::string status;
    int attempts = 0;
    std::optional<TimestampTz> started_at = {};
    TimestampTz ended_at = 0;
    std::optional<int64> records = {};
    std::vector<int> live_edges = {};
    std::optional<std::string> output = {}; // JSON text
    bool truncated = false;
    std::optional<std::string> columns = {};
    std::vector<std::string> chunks = {};
};
void insert_result(const Execution &execution, const core::Node &node, const NodeResult &result);

/// Makes nodes ready: they enter the queue, and executors of the owner are woken at commit. Those of a paused run are
/// held; with `not_before` they wait for that time.
void enqueue(const Execution &execution, const core::Definition &graph, const std::vector<int> &nodes,
             const std::vector<int> &alone, std::optional<TimestampTz> not_before = {});
/// Only their rows, of which several runs may share a writer. In an EngineScope.
void add_tasks(pg::TableWriter &writer, const Execution &execution, const core::Definition &graph,
               const std::vector<int> &nodes, const std::vector<int> &alone, std::optional<TimestampTz> not_before);
/// Attempts at a node that its retry policy does not count.
int attempts_before(const Execution &execution, const core::Node &node);
/// The place of a node in the queue: the run's priority and its own.
int task_priority(const Execution &execution, const core::Node &node);
/// Wakes the executors of a role (by name) and the scheduler at commit.
void announce_ready_of(const std::string &owner);

/// The status of a run that goes on: waiting when nodes wait and nothing else is under way. The caller holds its lock.
void set_open_status(const Execution &execution, const core::RunState &state);

double milliseconds(TimestampTz from, TimestampTz to);
/// When a run that begins, or goes on, at `now` is out of time.
TimestampTz timeout_from(TimestampTz now, double timeout_ms);

} // namespace chronicle::flow
