// The events of a run: stream workflow-<workflow>/<execution>, in chronicle_data.workflow_event.
#pragma once

#include "core/json.hpp"

#include "pg/datum.hpp"

namespace chronicle::flow {

/// One event to be written. `at` is when it happened; position and version are given when it is written.
struct Event {
    std::string type;
    std::optional<std::string> node_id;
    core::json data;
    TimestampTz at;
};

/// Takes the run's lock until the end of the transaction. First in the lock order; see README.md.
void lock_execution(const pg::Uuid &execution);
bool try_lock_execution(const pg::Uuid &execution);
bool is_locked(const pg::Uuid &execution);

/// The number of the run's newest event, by the newest committed state and what this transaction has written.
int64 last_version(const pg::Uuid &execution);

/// Appends events to the run's stream and returns the number of the last one (nothing written: 0). The caller holds the
/// run's lock. `actor` is the workflow's owner, or who called. `last`: last_version(), if the caller knows it.
int64 write_events(const pg::Uuid &execution, const std::string &actor, const std::vector<Event> &events,
                   std::optional<int64> last = {});
/// The same for the first events of new runs, one each.
void write_first_events(const std::string &actor, const std::vector<std::pair<pg::Uuid, Event>> &events);

} // namespace chronicle::flow
