// disable, enable, reset; what is kept: projection_state; waiting.
#include "core/json.hpp"

#include "projection/manage.hpp"

#include "access/access.hpp"
#include "compat/compat.hpp"
#include "pg/latch.hpp"
#include "pg/lock.hpp"
#include "pg/xact.hpp"
#include "projection/batch.hpp"
#include "projection/inline.hpp"
#include "projection/rebuild.hpp"
#include "store/order.hpp"
#include "store/time.hpp"
#include "worker/registry.hpp"

extern "C" {
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
}

namespace chronicle::projection {

namespace {

constexpr int64 pause_for_others_ms = 20;
constexpr int64 longest_wait_us = 60 * USECS_PER_SEC;

// Locks the projection against its worker and, if it is inline, against appenders.
ProjectionPointer lock_by_name(const pg::Arguments &arguments) {
    ProjectionPointer p = require_projection(arguments.required_text(0, "name"));
    require_owner(*p);
    lock_projection(p->id);
    if (p->is_inline)
        keep_appenders_out(p->id, 0);
    return p;
}

void set_status(int64 id, const char *status) {
    static constexpr Oid types[] = {INT8OID, TEXTOID};
    static pg::Statement update{
        "UPDATE chronicle_data.projection_progress SET status = $2, started_from = position, fence = NULL, "
        "batch_limit = NULL, attempts = 0, losses = 0, lease_slot = NULL, due_at = NULL, error = NULL, "
        "sqlstate = NULL, error_position = NULL, error_at = NULL, updated_at = clock_timestamp() "
        "WHERE projection_id = $1",
        types};
    access::EngineScope engine;
    pg::Values values;
    update.run(values.int8(id).text(status));
}

void set_position(int64 id, int64 position) {
    static constexpr Oid types[] = {INT8OID, INT8OID};
    static pg::Statement update{"UPDATE chronicle_data.projection_progress SET position = $2 WHERE projection_id = $1",
                                types};
    access::EngineScope engine;
    pg::Values values;
    update.run(values.int8(id).int8(position));
}

void start_again(int64 id, int64 position, int64 projected) {
    static constexpr Oid types[] = {INT8OID, INT8OID, INT8OID};
    static pg::Statement update{
        "UPDATE chronicle_data.projection_progress SET position = $2, redone_until = greatest(redone_until, $3) "
        "WHERE projection_id = $1",
        types};
    access::EngineScope engine;
    pg::Values values;
    update.run(values.int8(id).int8(position).int8(projected));
}

void changed(const Projection &p) {
    projections_changed();
    announce(p.owner);
    worker::announce_projected();
}

void forget_all(int64 id) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement states{"DELETE FROM chronicle_data.projection_state WHERE projection_id = $1", types};
    static pg::Statement parked{"DELETE FROM chronicle_data.projection_parked WHERE projection_id = $1", types};
    static pg::Statement count{"UPDATE chronicle_data.projection_progress SET events_processed = 0 "
                               "WHERE projection_id = $1",
                               types};
    access::EngineScope engine;
    for (pg::Statement *statement : {&states, &parked, &count}) {
        pg::Values values;
        statement->run(values.int8(id));
    }
}

// Empties what the projection has built: its states, its target, or what its option "reset" empties.
void empty_target(const Projection &p) {
    if (p.kind == Kind::state)
        return;
    std::optional<std::string> statement = p.options.reset;
    if (p.options.target)
        statement = "DELETE FROM " + *p.options.target;
    if (!statement)
        pg::raise(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                  {.message = "projection \"" + p.name + "\" cannot be reset: what it writes is not known",
                   .hint = p.kind == Kind::handler
                               ? "Give it the option \"reset\": a statement that empties its tables."
                               : "Give it the option \"target\": the table that it writes."});
    access::OwnerScope owner(owner_of(p), p.search_path);
    pg::Spi spi;
    (void)pg::run_sql(*statement);
}

// --- waiting ---

int64 check_timeout(const pg::Arguments &arguments) {
    if (arguments.null(2))
        return 10 * USECS_PER_SEC;
    const Interval &interval = *DatumGetIntervalP(arguments.datum(2));
    int64 us = interval.time + (interval.day + int64(interval.month) * DAYS_PER_MONTH) * USECS_PER_DAY;
    if (us < 0 || us > longest_wait_us)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = "timeout must be between 0 and 60 seconds",
                                                    .hint = "Call it again for as long as you want to wait."});
    return us;
}

void check_transaction() {
    if (IsolationUsesXactSnapshot())
        pg::raise(ERRCODE_ACTIVE_SQL_TRANSACTION,
                  {.message = "cannot wait for a projection in a REPEATABLE READ or SERIALIZABLE transaction",
                   .hint = "The transaction's snapshot would never see it move. Wait in READ COMMITTED."});
    if (store::order::transaction_has_appended())
        pg::raise(ERRCODE_ACTIVE_SQL_TRANSACTION,
                  {.message = "cannot wait for a projection in a transaction that has appended events",
                   .hint = "They are projected after the commit. Commit first, then wait."});
}

// True when every event up to the position is visible, or never will be.
bool is_over(int64 position) {
    pg::LatestSnapshotScope snapshot;
    return store::order::mark(GetActiveSnapshot()) >= position;
}

// The last committed event that the projection follows.
int64 last_committed(const Projection &p) {
    access::OwnerScope owner(owner_of(p));
    pg::LatestSnapshotScope snapshot;
    store::LogQuery query = p.filter.query();
    query.count = 1;
    query.backwards = true;
    std::optional<int64> mark = PG_INT64_MAX;
    std::unique_ptr<store::EventSource> events = store::open_log(query, GetActiveSnapshot(), mark);
    const store::EventRow *last = events->next();
    return last ? last->position : 0;
}

// True when it is there; 55000 when it will not move without help. `over`: whether is_over(target). `committed`: the
// target is a committed event; an inline projection has applied that one then.
bool has_reached(const Projection &p, int64 target, bool over, bool committed) {
    std::optional<Progress> progress = read_progress(p.id);
    if (!progress)
        (void)require_projection(p.name);
    if (!progress)
        return false;
    if (p.is_inline && progress->status == "running")
        return over || committed;
    if (progress->position >= target)
        return true;
    if (progress->is_active() && over && !has_events(p, progress->position, target))
        return true;
    if (!progress->is_active())
        pg::raise(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                  {.message = "projection \"" + p.name + "\" is " + progress->status + " and will not get there",
                   .hint = "SELECT last_error FROM chronicle.projections tells why; enable_projection sets it going."});
    return false;
}

} // namespace

// --- shared ---

ProjectionPointer find_projection(const std::string &name) {
    pg::call([]() noexcept { AcceptInvalidationMessages(); });
    for (const ProjectionPointer &p : all_projections())
        if (p->name == name)
            return p;
    return nullptr;
}

ProjectionPointer require_projection(const std::string &name) {
    ProjectionPointer p = find_projection(name);
    if (!p)
        pg::raise(ERRCODE_UNDEFINED_OBJECT,
                  {.message = "projection \"" + name + "\" does not exist",
                   .hint = "SELECT name FROM chronicle.projections lists those that you may see."});
    return p;
}

void require_owner(const Projection &p) {
    if (!access::may_act_for(p.owner))
        pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE,
                  {.message = "permission denied for projection \"" + p.name + "\"",
                   .hint = "It belongs to role \"" + p.owner + "\"; its members and admins may do that."});
}

void lock_name(const std::string &name) { pg::lock(pg::LockKind::projection_name, pg::lock_key(name)); }

void announce(const std::string &owner) {
    Oid role = access::find_role(owner);
    worker::announce_ready(role);
}

int64 start_position(const std::string &start_from) {
    if (start_from == "beginning")
        return 0;
    if (start_from == "end") {
        pg::LatestSnapshotScope snapshot;
        return store::order::mark(GetActiveSnapshot());
    }
    if (!start_from.empty() && start_from.size() <= 18 &&
        start_from.find_first_not_of("0123456789") == std::string::npos)
        return std::stoll(start_from);
    TimestampTz since;
    try {
        const char *text = start_from.c_str();
        since = pg::call([&]() noexcept {
            return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
                                                           ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
        });
    } catch (const pg::Error &) {
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message =
                       "option start_from must be beginning, end, a position or a time, not \"" + start_from + "\""});
    }
    if (since > GetCurrentTimestamp())
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "option start_from lies in the future: \"" + start_from + "\"",
                   .hint = "\"end\" begins with what is appended from now on."});
    return store::position_at(since);
}

bool has_events(const Projection &p, int64 position, std::optional<int64> until) {
    access::OwnerScope owner(owner_of(p));
    pg::LatestSnapshotScope snapshot;
    store::LogQuery query = p.filter.query();
    query.after = position;
    query.count = 1;
    std::unique_ptr<store::EventSource> events = store::open_log(query, GetActiveSnapshot(), until);
    return events->next() != nullptr;
}

// --- functions ---

CHRONICLE_FUNCTION(chronicle_disable_projection) {
    pg::Arguments arguments(fcinfo);
    ProjectionPointer p = lock_by_name(arguments);
    std::optional<Progress> progress = read_progress(p->id);
    if (p->is_inline && progress && progress->status == "running") // all that it follows is applied
        set_position(p->id, std::max(p->origin, store::order::last_given()));
    set_status(p->id, "disabled");
    changed(*p);
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_enable_projection) {
    pg::Arguments arguments(fcinfo);
    ProjectionPointer p = lock_by_name(arguments);
    std::optional<Progress> progress = read_progress(p->id);
    if (progress && !progress->is_active())
        set_status(p->id, "rebuilding");
    changed(*p);
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_reset_projection) {
    pg::Arguments arguments(fcinfo);
    ProjectionPointer p = require_projection(arguments.required_text(0, "name"));
    require_owner(*p);
    lock_rebuild(p->id);
    end_rebuild(*p);
    p = lock_by_name(arguments);
    std::optional<Progress> progress = read_progress(p->id);
    if (!progress)
        (void)require_projection(p->name);
    empty_target(*p);
    forget_all(p->id);
    bool is_live = p->is_inline && progress->status == "running";
    start_again(p->id, progress->origin, is_live ? store::order::last_given() : progress->position);
    set_status(p->id, "rebuilding");
    changed(*p);
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_projection_state) {
    pg::Arguments arguments(fcinfo);
    ProjectionPointer p = require_projection(arguments.required_text(0, "name"));
    require_owner(*p);
    if (p->kind != Kind::state)
        pg::raise(ERRCODE_WRONG_OBJECT_TYPE, {.message = "projection \"" + p->name + "\" keeps no states",
                                              .hint = "It writes tables: read those."});
    std::string partition = arguments.text(1).value_or("");
    static constexpr Oid types[] = {INT8OID, TEXTOID};
    static pg::Statement find{"SELECT s.state FROM chronicle_data.projection_state s "
                              "JOIN chronicle_data.projection_progress g USING (projection_id, generation) "
                              "WHERE s.projection_id = $1 AND s.partition = $2",
                              types};
    MemoryContext outer = CurrentMemoryContext;
    access::EngineScope engine;
    pg::Values values;
    pg::Rows rows = find.run(values.int8(p->id).text(partition), true);
    if (rows.empty())
        PG_RETURN_NULL();
    bool is_null;
    pg::MemorySwitch to_caller(outer);
    return pg::copy_datum(rows[0].datum(1, &is_null), -1);
}

CHRONICLE_FUNCTION(chronicle_wait_for_projection) {
    pg::Arguments arguments(fcinfo);
    ProjectionPointer p = require_projection(arguments.required_text(0, "name"));
    require_owner(*p);
    TimestampTz until = GetCurrentTimestamp() + check_timeout(arguments);
    check_transaction();
    std::optional<int64> target = arguments.int8(1);
    if (!target)
        target = store::order::last_position() > 0 ? store::order::last_position() : last_committed(*p);
    ConditionVariable *projected = worker::projected_condition();
    uint32 event = compat::wait_event("ChronicleWait");
    bool reached = false;
    if (projected) // before the first look: what commits in between sets the latch
        pg::call([&]() noexcept { ConditionVariablePrepareToSleep(projected); });
    for (;;) {
        bool over = is_over(*target); // before the look at the projection
        reached = has_reached(*p, *target, over, arguments.null(1));
        int64 left_ms = (until - GetCurrentTimestamp()) / 1000;
        if (reached || left_ms <= 0)
            break;
        if (!over) // nobody tells when it is
            left_ms = std::min(left_ms, pause_for_others_ms);
        if (projected)
            pg::call(
                [&]() noexcept { (void)ConditionVariableTimedSleep(projected, static_cast<long>(left_ms), event); });
        else // no slot for this database is free: nobody can wake us
            pg::wait_latch(std::min<long>(static_cast<long>(left_ms), 100), event);
        pg::check_interrupts();
    }
    if (projected)
        pg::call([]() noexcept { ConditionVariableCancelSleep(); });
    PG_RETURN_BOOL(reached);
}

} // namespace chronicle::projection
