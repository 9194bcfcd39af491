// Running claimed nodes.
//
//   claim (queue.cpp)   its own transaction: lease, attempt and Started are committed before anything runs
//   batch (batch.cpp)   one transaction: the claimed node in a savepoint; then nodes that became ready, and then ready
//                       siblings that stand next in the queue, each in a savepoint, while the batch is younger than
//                       50 ms and has less than chronicle.worker_batch members. finish() (batch_record.cpp): lock the
//                       run, verify the lease, bring the state of the graph up to the newest (run_state.cpp), apply
//                       what ran, write results, events and the queue; commit
//
// Siblings are in the queue, where others would claim them: who runs one reserves it first, in shared memory
// (worker::reserve_node), and so does who claims one. A reservation ends with the batch, or with the process. It only
// saves work: finish() looks, under the run's lock, whether each is still ready, and repeats the batch if not.
//
// Nothing of the run is locked, and no position held, while user code runs: finish() comes last.
//
// A batch ends with a member that failed, and with one that has left deferred constraints to check or has set
// constraints (worker/constraints.cpp).
//
// A member that exceeds the budget is rolled back to its savepoint and queued to run alone. A member that fails with a
// serialization failure, a deadlock or an unavailable lock, a commit that fails, or a run that moved on in between: the
// whole batch is rolled back, and its first node is repeated alone (its successors were never claimed).
//
// A caller's transaction that has cancelled, paused or signalled the run and stays open holds its lock. finish() waits
// for it as long as the work took (a second at least); then the batch is rolled back, the executor gives its lease up
// by leaving, and the scheduler makes the node ready again when the lock is free.
//
// Crash at every point: before the claim's commit nothing happened. Between the two commits the node is running under
// a lease that dies with the process: the scheduler makes it ready again. After the second commit it is over.
#include "flow/batch.hpp"

#include "flow/run.hpp"
#include "pg/xact.hpp"
#include "worker/executor.hpp"

extern "C" {
#include "pgstat.h"
}

namespace chronicle::flow {

namespace {

constexpr int repeat_limit = 5;

enum class End { done, lost, held, repeat_alone };

// One transaction, begun and committed here. Throws the error that ended it, after the rollback.
End run_transaction(const Claim &claim, const Claimant &claimant, bool alone, const pg::Error *failed) {
    try {
        std::optional<KnownState> known;
        pg::start_transaction();
        {
            pg::MemoryScope memory("chronicle batch");
            Batch batch(claim, claimant, alone);
            if (failed)
                batch.fail(*failed);
            else
                batch.run();
            batch.finish();
            known = batch.take_state();
        }
        pg::commit_transaction();
        if (known)
            remember(claim.execution, *std::move(known));
        return End::done;
    } catch (const LeaseLost &) {
        pg::abort_transaction();
        return End::lost;
    } catch (const RunHeld &) {
        pg::abort_transaction();
        return End::held;
    } catch (const RepeatAlone &) {
        pg::abort_transaction();
        return End::repeat_alone;
    } catch (...) {
        pg::abort_transaction();
        throw;
    }
}

void report_statistics() {
    pg::call([]() noexcept { pgstat_report_stat(false); });
}

} // namespace

void run_claim(const Claim &claim, const Claimant &claimant) {
    worker::Job job(claim.execution, claim.node_id);
    std::optional<pg::Error> last;
    for (int round = 0; round < repeat_limit; round++) {
        bool alone = claim.alone || round > 0;
        try {
            End end = run_transaction(claim, claimant, alone, nullptr);
            if (end == End::held)
                worker::give_up();
            if (end != End::repeat_alone) {
                report_statistics();
                return;
            }
        } catch (const pg::Error &error) {
            if (worker::Job::cancel_requested())
                return;
            last = error;
            if (alone && !error.is_transient())
                break; // its commit failed: that is the node's failure
        }
    }
    if (!last)
        last.emplace(ERRCODE_T_R_SERIALIZATION_FAILURE,
                     pg::ErrorText{.message = "the node could not be committed beside others"});
    if (run_transaction(claim, claimant, true, &*last) == End::held)
        worker::give_up();
    report_statistics();
}

} // namespace chronicle::flow
