// wait_for_execution: sleeps on the latch until the commit that ends the run.
#include "flow/execution.hpp"
#include "flow/wait.hpp"

#include "compat/compat.hpp"
#include "pg/latch.hpp"
#include "sqlstates.hpp"
#include "store/order.hpp"
#include "worker/registry.hpp"

extern "C" {
#include "utils/timestamp.h"
}

namespace chronicle::flow {

namespace {

// Each look has a snapshot of its own: in READ COMMITTED a statement of ours is a new one.
std::string status_of(const pg::Uuid &id) {
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement find{"SELECT status, owner, started_by FROM chronicle_data.execution WHERE execution_id = $1",
                              types};
    std::string status, owner, started_by;
    {
        access::EngineScope engine;
        pg::Values values;
        pg::Rows rows = find.run(values.uuid(id));
        if (rows.empty())
            raise_unknown_execution(id);
        status = rows[0].text(1);
        owner = rows[0].text(2);
        started_by = rows[0].text(3);
    }
    if (!access::may_act_for(owner) && !access::may_act_for(started_by))
        raise_unknown_execution(id);
    return status;
}

} // namespace

int64 interval_us(Datum interval) {
    const Interval &i = *DatumGetIntervalP(interval);
    return i.time + (i.day + int64(i.month) * DAYS_PER_MONTH) * USECS_PER_DAY;
}

void check_wait(int64 us, const char *name) {
    if (us < 0 || us > longest_wait_us)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = std::string(name) + " must be between 0 and 60 seconds",
                                                    .hint = "Call it again for as long as you want to wait."});
}

void check_may_wait(const char *what) {
    std::string doing = std::string("cannot wait for ") + what;
    if (IsolationUsesXactSnapshot())
        pg::raise(ERRCODE_ACTIVE_SQL_TRANSACTION,
                  {.message = doing + " in a REPEATABLE READ or SERIALIZABLE transaction",
                   .hint = "The transaction's snapshot would never see the end. Wait in READ COMMITTED."});
    if (store::order::transaction_has_appended())
        pg::raise(ERRCODE_ACTIVE_SQL_TRANSACTION,
                  {.message = doing + " in a transaction that has appended events or started a run",
                   .hint =
                       "A run starts with the commit of the transaction that started it. Commit first, then wait."});
}

CHRONICLE_FUNCTION(chronicle_wait_for_execution) {
    pg::Arguments arguments(fcinfo);
    pg::Uuid id = arguments.required_uuid(0, "execution_id");
    int64 timeout = arguments.null(1) ? 30 * USECS_PER_SEC : interval_us(arguments.datum(1));
    check_wait(timeout, "timeout");
    check_may_wait("an execution");
    TimestampTz until = GetCurrentTimestamp() + timeout;
    ConditionVariable *finished = worker::finished_condition();
    uint32 event = compat::wait_event("ChronicleWait");
    std::string status;
    // Prepared before the first look: an end that comes in between sets the latch.
    if (finished)
        pg::call([&]() noexcept { ConditionVariablePrepareToSleep(finished); });
    for (;;) {
        status = status_of(id);
        int64 left_ms = (until - GetCurrentTimestamp()) / 1000;
        if (is_over(status) || left_ms <= 0)
            break;
        if (finished)
            pg::call(
                [&]() noexcept { (void)ConditionVariableTimedSleep(finished, static_cast<long>(left_ms), event); });
        else // no slot for this database is free: nobody can wake us
            pg::wait_latch(std::min<long>(static_cast<long>(left_ms), 100), event);
        pg::check_interrupts();
    }
    if (finished)
        pg::call([]() noexcept { ConditionVariableCancelSleep(); });
    return pg::make_text(status);
}

// For the SQL functions that cannot raise by themselves.
CHRONICLE_FUNCTION(chronicle_unknown_execution) {
    raise_unknown_execution(pg::Arguments(fcinfo).required_uuid(0, "execution_id"));
}

CHRONICLE_FUNCTION(chronicle_unknown_workflow) {
    pg::Arguments arguments(fcinfo);
    std::string workflow = arguments.required_text(0, "workflow_id");
    std::optional<int32> version = arguments.int4(1);
    pg::raise(ERRCODE_UNDEFINED_OBJECT,
              {.message = "workflow \"" + workflow + "\"" +
                          (version ? " has no version " + std::to_string(*version) : std::string(" does not exist")),
               .hint = "SELECT workflow_id FROM chronicle.workflows lists those that you may see."});
}

} // namespace chronicle::flow
