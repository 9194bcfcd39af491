// Following the log: a batch of one projection, or of several, in a transaction.
//
//   lock the projection (LockKind::projection, without waiting: another executor may be at it) → read its progress → as
//   the owner: read what comes after its position, up to the mark of this snapshot → apply → as the engine: states,
//   position → commit
//
// The position moves to the last event of the batch, or, when the batch came to the end, to the mark: past everything
// that does not match, and never past what an open transaction may still commit. Read model, states and position commit
// together, so each event counts exactly once. The commit does not wait for the disk: what a crash loses is done again.
// (It waits when the handler has appended events: others may have seen those.)
//
// How large a batch may be, and who goes together: pace.hpp.
//
// Crash at any point: nothing happened. An error: record_failure() in progress.cpp says what follows.
//
// Near the end of the log, batches are small, and a commit for each of them costs more than what is in it; beside
// appends it costs them, too (they all flush one WAL). So the owner's projections that have been quick of late go
// together: a batch of each in one transaction (follow_together). None of them waits long for another: a batch that
// takes 100 ms, waiting for a lock included, is interrupted, and after 10 ms no further one is begun. Whatever goes
// wrong, the whole transaction is rolled back, and each is done alone, in the order of their ids, as if nothing had
// been tried: the failure is found there again, and recorded, or it was one of being together and shows nowhere. Who
// was at it when it failed stays alone for a while. The locks of projections are only tried, and the limit of 100 ms
// ends any other wait, so being together makes no deadlock. Who appends is the last of its transaction.
//
// An inline projection that catches up is followed in the same way; at the end it goes live (inline.cpp).
#include "projection/follow.hpp"

#include "access/access.hpp"
#include "pg/xact.hpp"
#include "projection/batch.hpp"
#include "projection/inline.hpp"
#include "projection/pace.hpp"
#include "projection/progress.hpp"
#include "store/order.hpp"
#include "worker/constraints.hpp"
#include "worker/executor.hpp"
#include "worker/registry.hpp"
#include "worker/sandbox.hpp"

extern "C" {
#include "pgstat.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
}

namespace chronicle::projection {

namespace {

constexpr int64 scan_limit = 50000; // rows that one step looks at, whether they match or not
constexpr int careful_batches = 20; // after a crash of the server
constexpr int64 together_us = 10000; // no further batch is begun in a common transaction
constexpr int together_limit_ms = 100; // for one batch in it
constexpr int64 live_pause_ms = 50; // before appenders are kept out again

// The mark of a process that died was found.
struct Lost {};
// The batch shall be marked before it runs.
struct Careful {};

// What is known of a batch when it fails; it outlives the transaction.
struct Attempt {
    bool begun = false;
    int64 after = 0, events = 0, failing = 0, good = 0, put_aside = 0;
    int attempts = 0;
    std::string partition;
    bool set_up = true;
    bool saved = false; // states, position: the commit need not wait for the disk

    void note(const Batch &batch) {
        events = batch.size();
        failing = batch.failing_position();
        good = batch.failing_index();
        set_up = batch.in_set_up() && events > 0;
        if (failing != 0 && batch.parks())
            partition = batch.failing_partition();
    }
};

int batch_limit(const Projection &projection, const Progress &progress) {
    if (progress.batch_limit)
        return std::min(*progress.batch_limit, projection.options.batch_size);
    return projection.options.batch_size * (projection.options.batch_may_grow ? pace_of(projection.id).growth() : 1);
}

bool must_be_careful(int64 id, const Progress &progress) {
    return progress.losses > 0 || (worker::started_after_crash() && pace_of(id).finished() < careful_batches);
}

struct Collected {
    int64 through; // the position after this batch
    bool at_end;
    int64 parked = 0;
};

// As the owner: what comes after the projection's position.
Collected collect(const Projection &projection, const Progress &progress, int limit, Batch &batch) {
    std::set<std::string> parked;
    if (projection.options.park)
        parked = parked_partitions(projection.id);
    access::OwnerScope owner(owner_of(projection));
    store::LogScan scan{.limit = std::max<int64>(scan_limit, limit)};
    store::LogQuery query = projection.filter.query();
    query.after = progress.position;
    query.count = limit;
    query.scan = &scan;
    std::optional<int64> mark;
    std::unique_ptr<store::EventSource> events = store::open_log(query, GetActiveSnapshot(), mark);
    int64 found = 0, skipped = 0;
    while (!batch.is_full()) {
        const store::EventRow *event = events->next();
        if (!event)
            break;
        found++;
        worker::yield_processor();
        if (std::string partition; !parked.empty() && parked.contains(partition = batch.parking_partition(*event))) {
            park(projection.id, event->position, partition, 0, "an earlier event of its partition is parked", "00000");
            skipped++;
        } else {
            batch.add(*event);
        }
    }
    bool at_end = found < limit && scan.rows < scan.limit && !batch.is_full();
    int64 through = at_end ? std::max(*mark, progress.position) : scan.position;
    return {through, at_end, skipped};
}

// --- an inline projection comes to the end of the log, and goes live ---

enum class Appenders { left_alone, kept_out, busy };

// After a batch that came to the end, they are kept out before the next one: under a steady load each finds something.
Appenders keep_out_at_the_end(const Projection &projection, const Progress &progress) {
    if (!projection.is_inline || !pace_of(projection.id).at_the_end || !progress.fence ||
        progress.position < *progress.fence)
        return Appenders::left_alone;
    return try_keep_appenders_out(projection.id) ? Appenders::kept_out : Appenders::busy;
}

void note_end(int64 id, const Progress &progress, bool at_end) {
    pace_of(id).at_the_end = at_end;
    if (at_end && !progress.fence)
        set_fence(id);
}

std::optional<int> next_limit(const Projection &projection, const Progress &progress) {
    if (!progress.batch_limit || *progress.batch_limit * 2 >= projection.options.batch_size)
        return std::nullopt;
    return *progress.batch_limit * 2;
}

void check_in_time(int limit_ms) {
    if (worker::Deadline::passed())
        pg::raise(ERRCODE_QUERY_CANCELED, {.message = "the batch timed out after " + std::to_string(limit_ms) + " ms",
                                           .hint = "Raise the option \"timeout\", or lower \"batch_size\"."});
}

// After a reset. A batch that only ends behind what was projected before is halved like any that fails.
void refuse_second_append(const Progress &progress, const Batch &batch) {
    if (batch.size() > 0 && batch.first_position() <= progress.redone_until && store::order::transaction_has_appended())
        pg::raise(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                  {.message = "a handler must not append events again after a reset",
                   .hint = "What it appended the first time is in the log."});
}

// What comes next, applied within the time limit. Throws what went wrong; `attempt` then tells where.
Collected apply_next(const Projection &projection, const Progress &progress, int limit_ms, Batch &batch,
                     Attempt &attempt) {
    int own_limit_ms = projection.options.timeout_ms;
    Collected collected{};
    // What swallows the limit of being together is interrupted again at its own.
    worker::Deadline deadline(limit_ms, std::max(1000, limit_ms < own_limit_ms ? own_limit_ms : 0));
    try {
        collected = collect(projection, progress, batch_limit(projection, progress), batch);
        if (progress.losses >= loss_limit && batch.size() == 1)
            batch.refuse(ERRCODE_CRASH_SHUTDOWN, {.message = "the worker died " + std::to_string(loss_limit) +
                                                             " times while it handled this event",
                                                  .hint = "The server log tells how."});
        worker::check_deferred_constraints(); // from now on at once: a security-restricted operation defers nothing
        batch.apply(progress.generation, projection.is_inline);
        refuse_second_append(progress, batch);
        worker::clean_session();
        check_in_time(limit_ms);
    } catch (...) {
        attempt.note(batch);
        attempt.put_aside = collected.parked;
        if (worker::Deadline::passed())
            check_in_time(limit_ms);
        throw;
    }
    attempt.note(batch); // for an error of the commit
    attempt.put_aside = collected.parked;
    return collected;
}

// The position stays, and so does the status.
Outcome stand_still(const Projection &projection, const Progress &progress, Appenders appenders) {
    if (progress.lease_slot)
        clear_mark(projection.id);
    if (!projection.is_inline)
        return Outcome::nothing;
    bool must_wait = appenders == Appenders::busy || (progress.fence && progress.position < *progress.fence);
    if (must_wait)
        postpone(projection.id, live_pause_ms);
    return must_wait ? Outcome::nothing : Outcome::worked; // the next look keeps appenders out
}

// Inside the transaction, with the lock.
Outcome run_batch(const Projection &projection, const Progress &progress, int limit_ms, Attempt &attempt) {
    Appenders appenders = keep_out_at_the_end(projection, progress);
    Batch batch(projection);
    Collected collected = apply_next(projection, progress, limit_ms, batch, attempt);
    worker::yield_processor();
    if (appenders == Appenders::kept_out && collected.at_end && collected.parked == 0) {
        go_live(projection, progress, collected.through, batch.size());
        return Outcome::worked;
    }
    if (projection.is_inline)
        note_end(projection.id, progress, collected.at_end);
    if (collected.through == progress.position && (progress.status == "running" || projection.is_inline))
        return stand_still(projection, progress, appenders);
    bool caught_up = collected.at_end && !projection.is_inline;
    save_progress(projection, progress, collected.through, batch.size(), caught_up ? "running" : progress.status,
                  next_limit(projection, progress));
    if (appenders == Appenders::busy)
        postpone(projection.id, live_pause_ms);
    attempt.saved = true;
    return collected.at_end ? Outcome::worked : Outcome::filled;
}

Outcome run_job(const Projection &projection, const Progress &progress, int limit_ms, Attempt &attempt) {
    worker::Job job(projection.id, projection.name);
    pg::call([&]() noexcept { pgstat_report_activity(STATE_RUNNING, projection.name.c_str()); });
    return run_batch(projection, progress, limit_ms, attempt);
}

Outcome look(const Projection &projection, const worker::Claimant &claimant, Attempt &attempt) {
    pg::MemoryScope memory("chronicle projection");
    if (!try_lock_projection(projection.id))
        return Outcome::busy;
    pg::call([]() noexcept { AcceptInvalidationMessages(); }); // of who had the lock
    if (find_projection(projection.id).get() != &projection)
        return Outcome::nothing; // replaced or dropped
    std::optional<Progress> progress = read_progress(projection.id);
    if (!progress || !progress->is_active() || (projection.is_inline && progress->status == "running") ||
        (progress->due_at != 0 && progress->due_at > GetCurrentTimestamp()))
        return Outcome::nothing;
    attempt.after = progress->position;
    attempt.attempts = progress->attempts;
    bool marked = progress->lease_slot == claimant.slot && progress->lease_generation == claimant.generation;
    if (progress->lease_slot && !marked) {
        if (worker::lease_alive(*progress->lease_slot, progress->lease_generation))
            return Outcome::busy; // between its mark and its batch
        throw Lost{};
    }
    if (!marked && must_be_careful(projection.id, *progress))
        throw Careful{};
    attempt.begun = true;
    return run_job(projection, *progress, projection.options.timeout_ms, attempt);
}

void commit(bool without_waiting) {
    if (without_waiting && !store::order::transaction_has_appended())
        pg::make_commit_asynchronous(); // what is lost in a crash is done again
    pg::commit_transaction();
}

// The same transaction, with what must be committed before it in special cases.
Outcome run_transaction(const Projection &projection, const worker::Claimant &claimant, Attempt &attempt) {
    try {
        pg::start_transaction();
        Outcome outcome = look(projection, claimant, attempt);
        commit(attempt.saved);
        return outcome;
    } catch (const Lost &) {
        pg::abort_transaction();
        pg::start_transaction();
        record_loss(projection);
        pg::commit_transaction();
        return Outcome::worked;
    } catch (const Careful &) {
        pg::abort_transaction();
    } catch (...) {
        pg::abort_transaction();
        throw;
    }
    mark_running(projection.id, claimant.slot, claimant.generation);
    return run_transaction(projection, claimant, attempt);
}

// --- several in one transaction ---

// Nothing that has a special case: no failure before, no mark, no death to be feared, no inline one that goes live.
bool is_plain(const Projection &projection, const Progress &progress) {
    return progress.status == "running" && !projection.is_inline && progress.attempts == 0 && progress.due_at == 0 &&
           !progress.batch_limit && !progress.lease_slot && !must_be_careful(projection.id, progress);
}

// In the common transaction. Nothing: it is left to follow().
std::optional<Outcome> join(const Projection &projection, bool &saved) {
    pg::MemoryScope memory("chronicle projection");
    if (!try_lock_projection(projection.id))
        return Outcome::busy;
    pg::call([]() noexcept { AcceptInvalidationMessages(); });
    if (find_projection(projection.id).get() != &projection)
        return Outcome::nothing;
    std::optional<Progress> progress = read_progress(projection.id);
    if (!progress || !is_plain(projection, *progress))
        return std::nullopt;
    Attempt attempt;
    Outcome outcome =
        run_job(projection, *progress, std::min(together_limit_ms, projection.options.timeout_ms), attempt);
    saved |= attempt.saved;
    return outcome;
}

} // namespace

Together follow_together(const std::vector<ProjectionPointer> &projections) {
    TimestampTz began = GetCurrentTimestamp(), now = began;
    Together result;
    std::vector<int64> took_us;
    bool saved = false;
    try {
        pg::start_transaction();
        for (const ProjectionPointer &p : projections) {
            std::optional<Outcome> outcome = join(*p, saved);
            result.outcomes.push_back(outcome);
            took_us.push_back(GetCurrentTimestamp() - now);
            now += took_us.back();
            worker::yield_processor();
            if (now - began >= together_us || store::order::transaction_has_appended())
                break;
        }
        commit(saved);
    } catch (...) {
        pg::abort_transaction();
        if (took_us.size() < projections.size())
            pace_of(projections[took_us.size()]->id).note_failure_together();
        else
            for (const ProjectionPointer &p : projections)
                pace_of(p->id).note_failure_together();
        result.outcomes.clear();
        return result;
    }
    for (size_t i = 0; i < result.outcomes.size(); i++)
        pace_of(projections[i]->id).note_together(result.outcomes[i], took_us[i]);
    pg::call([]() noexcept { pgstat_report_stat(false); });
    return result;
}

Outcome follow(const ProjectionPointer &projection, const worker::Claimant &claimant) {
    Attempt attempt;
    TimestampTz began = GetCurrentTimestamp();
    try {
        Outcome outcome = run_transaction(*projection, claimant, attempt);
        pace_of(projection->id).note(outcome, GetCurrentTimestamp() - began);
        pg::call([]() noexcept { pgstat_report_stat(false); });
        return outcome;
    } catch (const pg::Error &error) {
        pace_of(projection->id).note_failure();
        if (!attempt.begun)
            throw;
        pg::start_transaction();
        record_failure(*projection, {.after = attempt.after,
                                     .attempts = attempt.attempts,
                                     .events = attempt.events,
                                     .failing = attempt.failing,
                                     .good = attempt.good,
                                     .put_aside = attempt.put_aside,
                                     .partition = attempt.partition,
                                     .set_up = attempt.set_up,
                                     .error = error});
        pg::commit_transaction();
        return Outcome::worked;
    }
}

} // namespace chronicle::projection
