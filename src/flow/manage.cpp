// enable_workflow, disable_workflow, drop_workflow.
//
// A dropped workflow leaves its versions behind: its finished runs are still shown, and a run that a transaction has
// started and not committed finds its definition. The id can be used again; versions are counted on.
#include "flow/definition.hpp"

#include "access/owner.hpp"
#include "flow/trigger.hpp"
#include "pg/lock.hpp"
#include "worker/registry.hpp"

namespace chronicle::flow {

namespace {

std::optional<std::string> find_owner(const std::string &workflow) {
    static constexpr Oid types[] = {TEXTOID};
    static pg::Statement find{"SELECT owner FROM chronicle_data.workflow WHERE workflow_id = $1", types};
    access::EngineScope engine;
    pg::Values values;
    pg::Rows rows = find.run(values.text(workflow));
    return rows.empty() ? std::nullopt : std::optional(rows[0].text(1));
}

// The workflow is there, and the current user's to manage. Two who manage one follow each other. False: it is not
// there.
bool lock_own(const std::string &workflow, const char *doing) {
    pg::lock(pg::LockKind::workflow, pg::lock_key(workflow));
    std::optional<std::string> owner = find_owner(workflow);
    if (owner && !access::may_act_for(*owner))
        pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE,
                  {.message = std::string("permission denied to ") + doing + " workflow \"" + workflow + "\"",
                   .hint = "Its owner, a member of the owner's role, or an admin can."});
    return owner.has_value();
}

[[noreturn]] void raise_missing(const std::string &workflow) {
    pg::raise(ERRCODE_UNDEFINED_OBJECT, {.message = "workflow \"" + workflow + "\" does not exist",
                                         .hint = "SELECT workflow_id FROM chronicle.workflows lists them."});
}

void set_enabled(const pg::Arguments &arguments, bool enabled) {
    static constexpr Oid types[] = {TEXTOID, BOOLOID};
    static pg::Statement update{"UPDATE chronicle_data.workflow SET enabled = $2 "
                                "WHERE workflow_id = $1 AND enabled <> $2",
                                types};
    std::string workflow = arguments.required_text(0, "workflow_id");
    if (!lock_own(workflow, enabled ? "enable" : "disable"))
        raise_missing(workflow);
    access::EngineScope engine;
    pg::Values values;
    update.run(values.text(workflow).boolean(enabled));
    worker::announce_scheduler(); // schedules
}

// Runs that are not over: each has a node in the queue.
int64 count_active(const std::string &workflow) {
    static constexpr Oid types[] = {TEXTOID};
    static pg::Statement count{"SELECT count(DISTINCT t.execution_id) FROM chronicle_data.node_task t "
                               "JOIN chronicle_data.execution e USING (execution_id) WHERE e.workflow_id = $1",
                               types};
    access::EngineScope engine;
    pg::Values values;
    return count.run(values.text(workflow))[0].int8(1);
}

void remove(const std::string &workflow) {
    static constexpr Oid types[] = {TEXTOID};
    static pg::Statement remove_schedules{"DELETE FROM chronicle_data.schedule WHERE workflow_id = $1", types};
    // The keys of its runs are not those of another workflow that gets the id.
    static pg::Statement forget_keys{"UPDATE chronicle_data.execution SET idempotency_key = NULL "
                                     "WHERE workflow_id = $1 AND idempotency_key IS NOT NULL",
                                     types};
    static pg::Statement remove_workflow{"DELETE FROM chronicle_data.workflow WHERE workflow_id = $1", types};
    access::EngineScope engine;
    pg::Values values;
    values.text(workflow);
    remove_schedules.run(values);
    drop_triggers_of(workflow);
    forget_keys.run(values);
    remove_workflow.run(values);
}

// Runs keep the owner that they began with.
bool give(const std::string &workflow, const std::string &former, const std::string &role) {
    static constexpr Oid types[] = {TEXTOID, TEXTOID, TEXTOID};
    static pg::Statement update{"UPDATE chronicle_data.workflow SET owner = $3 WHERE workflow_id = $1 AND owner = $2",
                                types};
    pg::lock(pg::LockKind::workflow, pg::lock_key(workflow));
    access::EngineScope engine;
    pg::Values values;
    if (update.run(values.text(workflow).text(former).text(role)).count == 0)
        return false;
    worker::announce_scheduler(); // schedules
    return true;
}

} // namespace

void init_owned() { access::add_owned_kind({"workflow", find_owner, give}); }

CHRONICLE_FUNCTION(chronicle_enable_workflow) {
    set_enabled(pg::Arguments(fcinfo), true);
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_disable_workflow) {
    set_enabled(pg::Arguments(fcinfo), false);
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_drop_workflow) {
    pg::Arguments arguments(fcinfo);
    std::string workflow = arguments.required_text(0, "workflow_id");
    if (!lock_own(workflow, "drop")) {
        if (!arguments.boolean(1).value_or(false))
            raise_missing(workflow);
        PG_RETURN_VOID();
    }
    if (int64 active = count_active(workflow); active > 0)
        pg::raise(ERRCODE_OBJECT_IN_USE,
                  {.message = "workflow \"" + workflow + "\" has runs that are not over",
                   .detail = core::json{{"workflow", workflow}, {"executions", active}}.dump(),
                   .hint = "Disable it, and cancel them with cancel_execution or wait for their ends."});
    remove(workflow);
    PG_RETURN_VOID();
}

} // namespace chronicle::flow
