// Starting runs: execute_workflow, schedules, triggers, forks.
#pragma once

#include "flow/execution.hpp"

namespace chronicle::flow {

/// The version of a workflow that a run would start with.
struct Startable {
    std::string workflow_id;
    int64 definition_id = 0;
    int version = 0;
    std::string owner;
    bool enabled = true;
};

/// `version`: nothing for the newest. Nothing found: no such workflow or version.
std::optional<Startable> find_startable(const std::string &workflow, std::optional<int32> version);
/// The same for the current user: 42704 when there is none, 42501 when it is another's.
Startable require_startable(const std::string &workflow, std::optional<int32> version);

/// 55000 when it is disabled.
void check_enabled(const Startable &what);

struct StartRequest {
    std::string input = "{}", metadata = "{}"; // JSON text
    int priority = 0;
    std::optional<TimestampTz> run_at = {}; // not before
    std::optional<std::string> idempotency_key = {};
    std::optional<std::string> started_by = {}; // a role; nothing: the session's user
    std::optional<ParentCall> parent = {}; // a node of another run starts it
    core::json origin = core::json::object(); // what WorkflowQueued says beside: a schedule, a trigger …
};

/// Queues a run as part of the current transaction. With an idempotency key that has a run: that one's id (CH033 when
/// its input is another). 55000 when the workflow is disabled.
pg::Uuid start_execution(const Startable &what, const StartRequest &request);

/// The same for several of one workflow at once, in their order: without run_at and idempotency keys.
std::vector<pg::Uuid> start_executions(const Startable &what, const std::vector<StartRequest> &requests);

/// Only its row: false when its idempotency key has a run already. In an EngineScope.
bool insert_execution(const Execution &execution, const StartRequest &request, TimestampTz now);

} // namespace chronicle::flow
