// Running claimed nodes.
//
//   claim (queue.cpp)   its own transaction: lease, attempt and Started are committed before anything runs
//   batch (batch.cpp)   one transaction: the claimed node in a savepoint; then nodes that became ready, and then ready
//                       siblings that stand next in the queue, each in a savepoint, while the batch is younger than
//                       50 ms and has less than chronicle.worker_batch members. finish() (batch_record.cpp): lock the
//                       run, verify the lease, bring the state of the graph up to the newest (run_state.cpp), apply
//                       what ran, write results, events and the queue; commit
//   items (items.cpp)   if the run is an item of a map: batches of other items in the same transaction
//
// Siblings are in the queue, where others would claim them: who runs one reserves it first, in shared memory
// (worker::reserve_node), and so does who claims one. A reservation ends with the batch, or with the process. It only
// saves work: finish() looks, under the run's lock, whether each is still ready, and repeats the batch if not.
//
// The commit claims the next node, too, of any run, while the executor has been at it for less than 20 ms: so a busy
// executor waits for the disk once per batch. It takes what nobody has in hand, and waits for no lock: this transaction
// has that of the run. What it ran stays reserved until the commit, so that others pass it over. Not with a batch that
// is repeated, or whose node was lost before, or that leaves constraints to check. An error in it repeats the batch
// without it.
//
// Nothing of the run is locked, and no position held, while user code runs: finish() comes last.
//
// A batch ends with a member that failed, and with one that has left deferred constraints to check or has set
// constraints (worker/constraints.cpp).
//
// A member that exceeds the budget, or fails by what it shares with the others (batch.cpp), is rolled back to its
// savepoint and queued to run alone. A member that fails with a serialization failure, a deadlock or an unavailable
// lock, a commit that fails, or a run that moved on in between: the whole batch is rolled back, and its first node is
// repeated alone (its successors were never claimed).
//
// A caller's transaction that has cancelled, paused or signalled the run and stays open holds its lock. finish() waits
// for it as long as the work took (a second at least); then the batch is rolled back, the executor gives its lease up
// by leaving, and the scheduler makes the node ready again when the lock is free.
//
// Crash at every point: before the claim's commit nothing happened. Between the two commits the node is running under
// a lease that dies with the process: the scheduler makes it ready again. After the second commit it is over.
#include "flow/batch.hpp"

#include "flow/items.hpp"
#include "flow/run.hpp"
#include "pg/xact.hpp"
#include "worker/executor.hpp"

extern "C" {
#include "pgstat.h"
}

namespace chronicle::flow {

namespace {

constexpr int repeat_limit = 5;

enum class End { done, lost, held, repeat_alone, repeat_without_next };

/// The next node could not be claimed with the end of the batch.
struct NotClaimed {};

std::optional<Claim> claim_with_batch(const Claimant &claimant) {
    try {
        return claim_next_within(claimant);
    } catch (const pg::Error &) {
        throw NotClaimed{};
    }
}

std::optional<Claim> finish(const Batches &batches, const Claimant &claimant, TimestampTz claims_until) {
    bool may_claim = true;
    for (const std::unique_ptr<Batch> &batch : batches) {
        batch->finish();
        may_claim = may_claim && batch->may_claim();
    }
    if (!may_claim || GetCurrentTimestamp() >= claims_until)
        return std::nullopt;
    return claim_with_batch(claimant);
}

// One transaction, begun and committed here; before `claims_until` it may claim the next node. Throws the error that
// ended it, after the rollback.
End run_transaction(const Claim &claim, const Claimant &claimant, bool alone, const pg::Error *failed,
                    TimestampTz claims_until, std::optional<Claim> &next) {
    End end = End::done;
    std::vector<std::pair<pg::Uuid, KnownState>> known;
    std::optional<Claim> claimed;
    bool in_company = false;
    try {
        pg::start_transaction();
        {
            pg::MemoryScope memory("chronicle batch");
            RowsHome home;
            Batches batches;
            batches.push_back(std::make_unique<Batch>(claim, claimant, alone));
            if (failed) {
                batches[0]->fail(*failed);
            } else {
                batches[0]->run();
                run_other_items(batches);
            }
            in_company = batches.size() > 1;
            claimed = finish(batches, claimant, claims_until);
            for (const std::unique_ptr<Batch> &batch : batches)
                if (std::optional<KnownState> state = batch->take_state())
                    known.emplace_back(batch->execution().id, *std::move(state));
        }
        pg::commit_transaction();
    } catch (const LeaseLost &) {
        end = in_company ? End::repeat_alone : End::lost; // another run's node may have cancelled this one
    } catch (const RunHeld &) {
        end = End::held;
    } catch (const RepeatAlone &) {
        end = End::repeat_alone;
    } catch (const NotClaimed &) {
        end = End::repeat_without_next;
    } catch (...) {
        pg::abort_transaction();
        claim_ended(false);
        throw;
    }
    if (end != End::done) {
        pg::abort_transaction();
        claim_ended(false);
        return end;
    }
    claim_ended(true);
    for (auto &[execution, state] : known)
        remember(execution, std::move(state));
    next = std::move(claimed);
    return end;
}

void report_statistics() {
    pg::call([]() noexcept { pgstat_report_stat(false); });
}

} // namespace

std::optional<Claim> run_claim(const Claim &claim, const Claimant &claimant, TimestampTz claims_until) {
    worker::Job job(claim.execution, claim.node_id);
    std::optional<Claim> next;
    std::optional<pg::Error> last;
    bool alone = claim.alone;
    for (int round = 0; round < repeat_limit; round++) {
        if (round > 0)
            worker::Job::turn_to(claim.execution, claim.node_id); // an error in other items' company may have ended it
        try {
            End end = run_transaction(claim, claimant, alone, nullptr, claims_until, next);
            if (end == End::held)
                worker::give_up();
            if (end != End::repeat_alone && end != End::repeat_without_next) {
                report_statistics();
                return next;
            }
            alone = alone || end == End::repeat_alone;
        } catch (const pg::Error &error) {
            if (worker::Job::cancel_requested())
                return std::nullopt;
            last = error;
            if (alone && !error.is_transient())
                break; // its commit failed: that is the node's failure
            alone = true;
        }
        claims_until = 0;
    }
    if (!last)
        last.emplace(ERRCODE_T_R_SERIALIZATION_FAILURE,
                     pg::ErrorText{.message = "the node could not be committed beside others"});
    if (run_transaction(claim, claimant, true, &*last, 0, next) == End::held)
        worker::give_up();
    report_statistics();
    return next;
}

} // namespace chronicle::flow
