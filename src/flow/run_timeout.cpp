// A run with a `timeout` has that long from its start (the claim of its first node, which writes timeout_at), waiting
// and pauses included. When it is over the scheduler fails the run with 57014: what runs is interrupted, what waits is
// cancelled, a saga is compensated (which takes as long as it takes). One that ends in the same moment is left alone.
//
// Crash at every point: timeout_at stands in the run's row; after a restart what is overdue is ended at once.
#include "flow/progress.hpp"

#include "flow/patience.hpp"
#include "flow/queue.hpp"
#include "flow/run_timeout.hpp"

namespace chronicle::flow {

namespace {

std::vector<pg::Uuid> find_overdue() {
    static constexpr Oid types[] = {TIMESTAMPTZOID};
    static pg::Statement find{"SELECT execution_id FROM chronicle_data.execution WHERE timeout_at <= $1 "
                              "ORDER BY timeout_at LIMIT 1000",
                              types};
    access::EngineScope engine;
    pg::Values now;
    pg::Rows rows = find.run(now.time(GetCurrentTimestamp()));
    std::vector<pg::Uuid> found;
    for (uint64 i = 0; i < rows.count; i++)
        found.push_back(rows[i].uuid(1));
    return found;
}

void time_out(const pg::Uuid &id) {
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement check{"SELECT 1 FROM chronicle_data.execution WHERE execution_id = $1 "
                               "AND timeout_at <= clock_timestamp()",
                               types};
    access::EngineScope engine;
    if (!try_lock_execution(id)) // an executor that records, or a caller's transaction that stays open
        return;
    pg::Values values;
    if (check.run(values.uuid(id)).empty())
        return;
    Execution execution = find_execution(id).value();
    Progress progress(execution);
    auto timeout = static_cast<int64>(progress.graph().timeout_ms.value_or(0));
    Failure failure;
    failure.error = "the run timed out after " + std::to_string(timeout) + " ms";
    failure.sqlstate = pg::sqlstate_to_text(ERRCODE_QUERY_CANCELED);
    progress.fail_run(failure, "the run timed out");
    progress.finish();
}

} // namespace

// One page; what is left, and what was locked, is looked at again soon (next_timeout).
void end_timed_out() {
    pg::start_transaction();
    std::vector<pg::Uuid> overdue = find_overdue();
    pg::commit_transaction();
    for (const pg::Uuid &id : overdue) {
        (void)try_in_transaction([&]() { time_out(id); });
        pg::check_interrupts();
    }
}

TimestampTz next_timeout() {
    static pg::Statement find{"SELECT min(timeout_at) FROM chronicle_data.execution WHERE timeout_at IS NOT NULL"};
    access::EngineScope engine;
    pg::Rows rows = find.run();
    return rows[0].null(1) ? 0 : std::max(rows[0].time(1), look_again_at());
}

} // namespace chronicle::flow
