// cancel_execution, pause_execution, resume_execution.
//
// Each takes the run's lock, which executors hold only while they record what ran, and writes state and event in the
// caller's transaction; at its commit executors are interrupted or woken.
//
// Cancel: every node that is not over is cancelled and leaves the queue, the run ends (a saga is compensated first). An
// executor that still runs a node of it finds no lease when it wants to record, and rolls back; it is interrupted after
// the commit. Pause: ready nodes are held. What runs ends and is recorded; what that makes ready is held as well
// (enqueue), and so is what comes due meanwhile, when it is claimed (queue.cpp). Resume: held nodes are ready again.
//
// Cancel of a run that is being compensated ends that: what is at work is interrupted, and the run is failed, because
// not all of it is undone. But when it is compensated because it was cancelled, a cancel may be a repeated call, and
// changes nothing unless the run is paused; a cancel by a parent, or a schedule, never interrupts a compensation.
#include "flow/child.hpp"
#include "flow/control.hpp"

#include "flow/compensation.hpp"
#include "flow/progress.hpp"
#include "pg/lock.hpp"
#include "sqlstates.hpp"
#include "worker/executor.hpp"

namespace chronicle::flow {

namespace {

constexpr const char *over_hint =
    "retry_execution lets a failed or cancelled run go on; fork_execution starts a new one from it.";

void set_status(const Execution &execution, const char *status) {
    static constexpr Oid types[] = {UUIDOID, TEXTOID};
    static pg::Statement update{"UPDATE chronicle_data.execution SET status = $2 WHERE execution_id = $1", types};
    pg::Values values;
    update.run(values.uuid(execution.id).text(status));
}

void pause(const Execution &execution) {
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement hold{
        "UPDATE chronicle_data.node_task SET state = 'held' WHERE execution_id = $1 AND (state = 'ready') IS NOT FALSE",
        types};
    pg::Values values;
    hold.run(values.uuid(execution.id));
    set_status(execution, "paused");
    write_events(execution.id, execution.owner, {make_event(execution, "WorkflowPaused", GetCurrentTimestamp())});
}

// What a run that goes on is: pending before its first node, waiting while every open node waits.
const char *open_status(const Execution &execution) {
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement find{
        "SELECT coalesce(bool_and(begun), false) FROM chronicle_data.node_task WHERE execution_id = $1", types};
    if (!execution.started_at)
        return "pending";
    pg::Values values;
    return find.run(values.uuid(execution.id))[0].boolean(1) ? "waiting" : "running";
}

void resume(const Execution &execution) {
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement release{"UPDATE chronicle_data.node_task SET state = 'ready', due_at = NULL, queue_number = "
                                 "chronicle_data.queue_number_again() "
                                 "WHERE execution_id = $1 AND state = 'held'",
                                 types};
    pg::Values values;
    release.run(values.uuid(execution.id));
    set_status(execution, open_status(execution));
    write_events(execution.id, execution.owner, {make_event(execution, "WorkflowResumed", GetCurrentTimestamp())});
    announce_ready_of(execution.owner);
}

void refuse_own_run(const pg::Uuid &id, const char *doing) {
    if (worker::Job::is_running(id))
        pg::raise(ERRCODE_FEATURE_NOT_SUPPORTED,
                  {.message = std::string("a node cannot ") + doing + " the run that it belongs to",
                   .hint =
                       "It commits together with the run's next step: let it raise an error, or ask from outside."});
}

} // namespace

void raise_state(const Execution &execution, const char *doing, const char *hint) {
    std::string id = core::uuid_to_text(execution.id);
    pg::raise(invalid_execution_state,
              {.message = std::string("cannot ") + doing + " execution " + id + ": it is " + execution.status,
               .detail = core::json{{"execution", id}, {"state", execution.status}}.dump(),
               .hint = hint});
}

Execution lock_for_control(const pg::Uuid &id, const char *doing) {
    refuse_own_run(id, doing);
    return lock_for_caller(id);
}

bool cancel_run(const pg::Uuid &id, const std::string &reason) {
    refuse_own_run(id, "cancel");
    lock_execution(id);
    std::optional<Execution> execution = find_execution(id);
    if (!execution || is_over(execution->status))
        return false;
    if (execution->ending) // it is being undone, and ends as it is
        return true;
    Progress progress(*execution);
    progress.cancel_run(reason.empty() ? std::nullopt : std::optional(reason));
    progress.finish();
    cancel_children(*execution, reason); // also those that no node waits for
    return true;
}

CHRONICLE_FUNCTION(chronicle_cancel_execution) {
    pg::Arguments arguments(fcinfo);
    pg::Uuid id = arguments.required_uuid(0, "execution_id");
    std::string reason = arguments.text(1).value_or("");
    Execution execution = lock_for_control(id, "cancel");
    access::EngineScope engine;
    pg::NewestScope newest;
    if (execution.ending && (execution.ending->status == "failed" || execution.status == "paused")) {
        cancel_compensation(execution, reason);
        PG_RETURN_BOOL(true);
    }
    PG_RETURN_BOOL(cancel_run(id, reason));
}

CHRONICLE_FUNCTION(chronicle_pause_execution) {
    Execution execution = lock_for_control(pg::Arguments(fcinfo).required_uuid(0, "execution_id"), "pause");
    if (is_over(execution.status))
        raise_state(execution, "pause", over_hint);
    access::EngineScope engine;
    pg::NewestScope newest;
    if (execution.status != "paused")
        pause(execution);
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_resume_execution) {
    Execution execution = lock_for_control(pg::Arguments(fcinfo).required_uuid(0, "execution_id"), "resume");
    if (is_over(execution.status))
        raise_state(execution, "resume", over_hint);
    access::EngineScope engine;
    pg::NewestScope newest;
    if (execution.status == "paused")
        resume(execution);
    PG_RETURN_VOID();
}

} // namespace chronicle::flow
