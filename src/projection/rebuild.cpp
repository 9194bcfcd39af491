// rebuild_projection: what a projection keeps is computed anew from its first event on, beside the live rows, while
// appends and reads go on; the last transaction makes the live rows equal.
//
//   state kind        into the next generation of states; the last transaction makes that the one that counts
//   statement kind    into a staging table (staging.cpp); the last transaction writes what differs into the live one
//
// Parts. With partition_by the partitions are shared out by hash: each part goes through the log and takes the events
// of its partitions, so several executors work on one rebuild. Without it there is one part, in order. Parked events
// are left out, as they are from the live rows.
//
//   step     claim: lease of a part (slot, generation) → commit, flushed
//            work: batches after the part's position, up to where the live one is, for step_ms → states or rows,
//            position, no lease → commit (not flushed: what a crash loses is done again)
//   finish   when the last step of every part came to where the live one was: lock the projection (an inline one: keep
//            appenders out), compute what has come meanwhile, make live, done → commit
//   restart  when the handler or an upcaster is another one than at the beginning (CREATE OR REPLACE): what was made is
//            taken away, and it begins anew. Else a part of it would be of the one function, a part of the other
//   clean    the former generation, or, after an error, what was made, is taken away. The row of a failed one stays,
//            with the error, for the views
//
// Locks, in this order: projection_rebuild (steps in share mode, finish, restart and clean exclusively, as who cancels,
// resets, replaces or drops it) → the staging table → projection → projection_appenders. Executors only try the first
// one: who waits holds nothing that others need. finish() takes the staging table before the others because somebody
// may be reading it for long (pg_dump); then it is tried again later.
//
// Crash: the last committed step stands. A part whose lease is dead is taken by another executor, with fewer events in
// a step; one event that kills three times ends the rebuild (57P02). Because the lease is flushed before the work, no
// event can bring the server down for ever.
//
// Errors of the user's code end the rebuild, and the live rows stay; conditions that pass (is_passing) put the step
// off. A handler that appends events does so once, live: during a rebuild that is an error.
//
// A faulted projection is rebuilt up to where it stopped, a disabled one not before it is enabled.
#include "projection/rebuild.hpp"

#include "access/access.hpp"
#include "pg/lock.hpp"
#include "pg/xact.hpp"
#include "projection/inline.hpp"
#include "projection/manage.hpp"
#include "projection/rebuild_progress.hpp"
#include "projection/recompute.hpp"
#include "projection/staging.hpp"
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

constexpr int step_ms = 200;
constexpr int most_in_batch = 5000; // of the state kind, whose batches may grow: nothing but memory depends on them
constexpr int64 near = 5000; // positions: so far behind a part that has caught up may be before it is worked on again
constexpr int most_parts = 4;
constexpr int64 worth_parts = 20000; // positions
constexpr int patience_ms = 100; // for who stands in the way of the last transaction
constexpr int64 pause_ms = 250, longest_pause_ms = 5000; // until something is tried again

// Somebody stands in the way of the last transaction.
struct NotNow {};

template <typename Body> auto in_transaction(Body &&body) {
    pg::start_transaction();
    try {
        auto result = [&]() {
            pg::MemoryScope memory("chronicle rebuild");
            return body();
        }();
        pg::commit_transaction();
        return result;
    } catch (...) {
        pg::abort_transaction();
        throw;
    }
}

bool try_lock_rebuild(int64 id, LOCKMODE mode) {
    return pg::try_lock(pg::LockKind::projection_rebuild, static_cast<uint64>(id), mode);
}

bool is_applied_by_appenders(const Projection &p, const Progress &progress) {
    return p.is_inline && progress.status == "running";
}

// Where the live one is.
int64 end_of_live(const Projection &p, const Progress &progress) {
    if (!is_applied_by_appenders(p, progress))
        return progress.position;
    pg::LatestSnapshotScope snapshot;
    return store::order::mark(GetActiveSnapshot());
}

bool wants_work(const RebuildPart &part, int64 end) { return !part.caught_up || part.position < end - near; }

bool all_caught_up(const Rebuild &rebuild) {
    return std::all_of(rebuild.parts.begin(), rebuild.parts.end(), [](const RebuildPart &p) { return p.caught_up; });
}

// A statement may write one row for events of several partitions: it goes in order.
int parts_of(const Projection &p, const Progress &progress) {
    bool long_enough = store::order::last_given() - progress.origin > worth_parts;
    return p.kind == Kind::state && p.partition_by && long_enough ? std::min(most_parts, worker::shared().executors)
                                                                  : 1;
}

// A function that is gone is left to the next step, which says so.
bool is_of_other_code(const Projection &p, const Rebuild &rebuild) {
    return code_fingerprint(p).value_or(rebuild.fingerprint) != rebuild.fingerprint;
}

// What it is computed into.
struct Place {
    Projection projection; // on the staging table, or as it is
    std::optional<Target> target;
    int generation;

    Place(const Projection &p, const Progress &progress) : projection(p), generation(progress.generation + 1) {
        if (p.kind != Kind::statement)
            return;
        target = find_target(p);
        projection = staged(p, *target, rebuild_schema(p.id));
    }
};

// --- one step's decision ---

enum class Task { nothing, part, finish, restart, clean };

struct Claim {
    Task task = Task::nothing;
    RebuildPart part;
    int parts = 1;
    TimestampTz started_at = 0;
    int attempts = 0;
    int64 failing = 0; // the event at which the work failed
};

// The part's executor has died in a step.
void count_loss(const Projection &p, RebuildPart &part) {
    if (!worker::loss_counts(*part.lease_slot, part.lease_generation))
        return;
    int limit = std::min(part.batch_limit.value_or(p.options.batch_size), p.options.batch_size);
    part.losses += limit == 1 ? 1 : 0;
    part.batch_limit = std::max(1, limit / 16);
}

// Of several the one that is farthest behind.
RebuildPart *find_part(Rebuild &rebuild, int64 end, const worker::Claimant &claimant) {
    RebuildPart *best = nullptr;
    TimestampTz now = GetCurrentTimestamp();
    for (RebuildPart &part : rebuild.parts) {
        bool mine = part.lease_slot == claimant.slot && part.lease_generation == claimant.generation;
        if (wants_work(part, end) && part.due_at <= now && (!best || part.position < best->position) &&
            (!part.lease_slot || mine || !worker::lease_alive(*part.lease_slot, part.lease_generation)))
            best = &part;
    }
    return best;
}

void claim_task(const Projection &p, const worker::Claimant &claimant, Claim &claim) {
    if (!try_lock_rebuild(p.id, ShareLock))
        return;
    std::optional<Progress> progress = read_progress(p.id);
    std::optional<Rebuild> rebuild = read_rebuild(p.id, true);
    if (!progress || !rebuild || rebuild->parts.empty() || progress->status == "disabled")
        return;
    claim.started_at = rebuild->started_at;
    claim.attempts = rebuild->attempts;
    claim.parts = static_cast<int>(rebuild->parts.size());
    bool due = rebuild->due_at <= GetCurrentTimestamp();
    if (rebuild->is_over()) {
        claim.task = due ? Task::clean : Task::nothing;
        return;
    }
    if (is_of_other_code(p, *rebuild)) {
        claim.task = due ? Task::restart : Task::nothing;
        return;
    }
    RebuildPart *part = find_part(*rebuild, end_of_live(p, *progress), claimant);
    if (!part) {
        claim.task = due && all_caught_up(*rebuild) ? Task::finish : Task::nothing;
        return;
    }
    if (part->lease_slot)
        count_loss(p, *part);
    if (part->losses >= loss_limit)
        pg::raise(ERRCODE_CRASH_SHUTDOWN,
                  {.message = "the worker died " + std::to_string(loss_limit) + " times at the event after position " +
                              std::to_string(part->position),
                   .hint = "The server log tells how."});
    claim_part(p.id, *part, claimant);
    claim.part = *part;
    claim.task = Task::part;
}

// --- work ---

void apply(const Place &place, Batch &batch, int64 &failing) {
    const Options &options = place.projection.options;
    int64 timeout = int64(options.timeout_ms) * std::max<int64>(1, batch.size() / options.batch_size);
    worker::Deadline deadline(static_cast<int>(std::min<int64>(timeout, INT_MAX)));
    try {
        batch.apply(place.generation, false);
        worker::check_deferred_constraints();
    } catch (...) {
        failing = batch.failing_position();
        if (worker::Deadline::passed())
            pg::raise(ERRCODE_QUERY_CANCELED, {.message = "a batch timed out after " + std::to_string(timeout) + " ms",
                                               .hint = "Raise the option \"timeout\", or lower \"batch_size\"."});
        throw;
    }
    worker::clean_session();
    if (store::order::transaction_has_appended())
        pg::raise(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                  {.message = "a handler must not append events during a rebuild",
                   .hint = "What it appended the first time is in the log."});
}

// One batch; true at the end.
bool run_batch(const Place &place, const Share &share, int64 &position, int64 until, int limit, int64 &failing) {
    pg::MemoryScope memory("chronicle rebuild batch");
    Batch batch(place.projection);
    bool at_end = collect_share(place.projection, share, position, until, limit, batch);
    apply(place, batch, failing);
    return at_end;
}

// As many as go into one step.
void run_batches(const Place &place, const Share &share, RebuildPart &part, int64 until, int64 &failing) {
    const TimestampTz begun = GetCurrentTimestamp();
    int limit = place.projection.options.batch_size;
    while (!part.caught_up) {
        const TimestampTz before = GetCurrentTimestamp();
        part.caught_up = run_batch(place, share, part.position, until, limit, failing);
        const TimestampTz now = GetCurrentTimestamp();
        if (now - begun >= step_ms * INT64CONST(1000))
            break;
        if (place.projection.kind == Kind::state && now - before < step_ms * INT64CONST(1000) / 4)
            limit = std::max(limit, std::min(limit * 2, most_in_batch));
    }
}

bool work(const Projection &p, const worker::Claimant &claimant, Claim &claim) {
    if (!try_lock_rebuild(p.id, ShareLock))
        return false; // somebody ends it; if not, the lease is still ours
    std::optional<Progress> progress = read_progress(p.id);
    std::optional<Rebuild> rebuild = read_rebuild(p.id);
    if (!progress || !rebuild || rebuild->is_over() || rebuild->started_at != claim.started_at)
        return false;
    worker::Job job(0, p.name);
    pg::call([&]() noexcept { pgstat_report_activity(STATE_RUNNING, p.name.c_str()); });
    Place place(p, *progress);
    Share share{.part = claim.part.part, .parts = claim.parts, .parked = parked_positions(p.id)};
    RebuildPart part = claim.part;
    int64 until = end_of_live(p, *progress);
    int limit = std::min(part.batch_limit.value_or(p.options.batch_size), p.options.batch_size);
    part.caught_up = part.position >= until;
    if (part.batch_limit) {
        part.caught_up = run_batch(place, share, part.position, until, limit, claim.failing);
        part.batch_limit = limit * 2 < p.options.batch_size ? std::optional(limit * 2) : std::nullopt;
    } else {
        run_batches(place, share, part, until, claim.failing);
    }
    (void)save_part(p.id, part, claimant);
    worker::announce_projected();
    pg::make_commit_asynchronous(); // what is lost in a crash is done again
    return true;
}

// --- the last transaction ---

void make_generation_live(const Projection &p) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement change{"UPDATE chronicle_data.projection_progress SET generation = generation + 1 "
                                "WHERE projection_id = $1",
                                types};
    access::EngineScope engine;
    pg::Values values;
    change.run(values.int8(p.id));
    projections_changed();
}

// 55P03 is somebody who stands in the way.
template <typename Body> void take(Body &&body) {
    try {
        body();
    } catch (const pg::Error &error) {
        if (error.sqlstate() == ERRCODE_LOCK_NOT_AVAILABLE)
            throw NotNow{};
        throw;
    }
}

bool finish(const Projection &p, Claim &claim) {
    if (!try_lock_rebuild(p.id, ExclusiveLock))
        return false;
    std::optional<Rebuild> rebuild = read_rebuild(p.id);
    if (!rebuild || rebuild->is_over() || rebuild->started_at != claim.started_at || !all_caught_up(*rebuild))
        return false;
    worker::Job job(0, p.name);
    pg::call([&]() noexcept { pgstat_report_activity(STATE_RUNNING, p.name.c_str()); });
    take([&]() { lock_staging(rebuild_schema(p.id), patience_ms); });
    lock_projection(p.id);
    std::optional<Progress> progress = read_progress(p.id);
    if (!progress || progress->status == "disabled")
        return false;
    Place place(p, *progress);
    Share share{.part = 0, .parts = claim.parts, .parked = parked_positions(p.id)};
    bool applied_by_appenders = is_applied_by_appenders(p, *progress);
    if (applied_by_appenders)
        take([&]() { keep_appenders_out(p.id, patience_ms); });
    // From here the live one stands still.
    int64 end = applied_by_appenders ? store::order::last_given() : progress->position;
    for (RebuildPart &part : rebuild->parts) {
        share.part = part.part;
        for (bool at_end = part.position >= end; !at_end;)
            at_end = run_batch(place, share, part.position, end, p.options.batch_size, claim.failing);
    }
    claim.failing = 0;
    pg::call([]() noexcept { AcceptInvalidationMessages(); });
    if (is_of_other_code(p, *rebuild))
        throw NotNow{}; // it begins anew
    if (place.target) {
        make_equal(p, *place.target, rebuild_schema(p.id));
        worker::check_deferred_constraints();
        drop_staging(rebuild_schema(p.id));
        delete_rebuild(p.id);
    } else {
        make_generation_live(p);
        mark_done(p.id); // deleting the former states may take long, and appenders wait
    }
    worker::announce_projected();
    return true;
}

void forget_other_generations(int64 id) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement remove{
        "DELETE FROM chronicle_data.projection_state AS s USING chronicle_data.projection_progress AS g "
        "WHERE s.projection_id = $1 AND g.projection_id = $1 AND s.generation <> g.generation",
        types};
    access::EngineScope engine;
    pg::Values values;
    remove.run(values.int8(id));
}

void take_away(const Projection &p) {
    if (p.kind == Kind::statement)
        drop_staging(rebuild_schema(p.id));
    forget_other_generations(p.id);
    delete_parts(p.id);
}

bool restart(const Projection &p, const Claim &claim) {
    if (!try_lock_rebuild(p.id, ExclusiveLock))
        throw NotNow{};
    std::optional<Progress> progress = read_progress(p.id);
    std::optional<Rebuild> rebuild = read_rebuild(p.id);
    if (!progress || !rebuild || rebuild->is_over() || rebuild->started_at != claim.started_at)
        return false;
    take([&]() { lock_staging(rebuild_schema(p.id), patience_ms); });
    end_rebuild(p);
    begin_rebuild(p, *progress);
    return true;
}

bool clean(const Projection &p, const Claim &claim) {
    if (!try_lock_rebuild(p.id, ExclusiveLock))
        return false;
    std::optional<Rebuild> rebuild = read_rebuild(p.id);
    if (!rebuild || rebuild->started_at != claim.started_at)
        return false;
    take([&]() { lock_staging(rebuild_schema(p.id), patience_ms); });
    take_away(p);
    if (rebuild->done)
        delete_rebuild(p.id);
    return true;
}

// --- what follows a failure ---

int64 pause_after(int attempts) { return std::min(longest_pause_ms, pause_ms << std::min(attempts, 10)); }

void put_off(const Projection &p, const worker::Claimant &claimant, const Claim &claim) {
    if (!try_lock_rebuild(p.id, ShareLock))
        return;
    if (claim.task == Task::part)
        postpone_part(p.id, claim.part, claimant, pause_after(claim.part.attempts));
    else
        postpone_rebuild(p.id, claim.attempts + 1, pause_after(claim.attempts));
}

bool run(const Projection &p, const worker::Claimant &claimant, Claim &claim) {
    in_transaction([&]() { return claim_task(p, claimant, claim), true; });
    if (claim.task == Task::nothing)
        return false;
    bool worked = in_transaction([&]() {
        return claim.task == Task::part      ? work(p, claimant, claim)
               : claim.task == Task::finish  ? finish(p, claim)
               : claim.task == Task::restart ? restart(p, claim)
                                             : clean(p, claim);
    });
    pg::call([]() noexcept { pgstat_report_stat(false); });
    return worked;
}

} // namespace

Outcome rebuild_step(const ProjectionPointer &projection, const worker::Claimant &claimant) {
    const Projection &p = *projection;
    Claim claim;
    try {
        return run(p, claimant, claim) ? Outcome::worked : Outcome::nothing;
    } catch (const NotNow &) {
        in_transaction([&]() { return put_off(p, claimant, claim), true; });
    } catch (const pg::Error &error) {
        bool passes = (is_passing(error) && error.sqlstate() != ERRCODE_CRASH_SHUTDOWN) || claim.task == Task::clean;
        in_transaction([&]() {
            if (passes)
                put_off(p, claimant, claim);
            else if (try_lock_rebuild(p.id, ShareLock))
                mark_failed(p.id, claim.started_at, error, claim.failing);
            return true;
        });
    }
    return Outcome::worked;
}

int64 count_rebuild_steps(const Projection &p, TimestampTz now, TimestampTz &due) {
    std::optional<Progress> progress = read_progress(p.id);
    std::optional<Rebuild> rebuild = read_rebuild(p.id);
    if (!progress || !rebuild || progress->status == "disabled")
        return 0;
    int64 end = end_of_live(p, *progress), steps = 0;
    auto count = [&](TimestampTz at) {
        if (at <= now)
            steps++;
        else if (due == 0 || at < due)
            due = at;
    };
    bool by_parts = !rebuild->is_over() && !is_of_other_code(p, *rebuild);
    if (!rebuild->parts.empty() && (!by_parts || all_caught_up(*rebuild)))
        count(rebuild->due_at);
    for (const RebuildPart &part : rebuild->parts)
        if (by_parts && wants_work(part, end))
            count(part.due_at);
    return steps;
}

void fail_rebuild(const Projection &p, const pg::Error &error) {
    if (!try_lock_rebuild(p.id, ExclusiveLock))
        return; // its executor is still there
    std::optional<Rebuild> rebuild = read_rebuild(p.id);
    if (!rebuild)
        return;
    if (!rebuild->done)
        mark_failed(p.id, rebuild->started_at, error, 0);
    std::optional<pg::Error> failed = pg::attempt([&]() { lock_staging(rebuild_schema(p.id), patience_ms); });
    if (failed)
        return; // at the next look
    take_away(p);
    if (rebuild->done)
        delete_rebuild(p.id);
}

void lock_rebuild(int64 id, LOCKMODE mode) {
    pg::lock(pg::LockKind::projection_rebuild, static_cast<uint64>(id), mode);
}

bool is_being_rebuilt(int64 id) {
    std::optional<Rebuild> rebuild = read_rebuild(id);
    return rebuild && !rebuild->is_over();
}

void begin_rebuild(const Projection &p, const Progress &progress) {
    if (p.kind == Kind::statement) {
        Target target = find_target(p);
        create_staging(p, target, rebuild_schema(p.id));
        check_staged_statement(staged(p, target, rebuild_schema(p.id)));
    }
    insert_rebuild(p.id, parts_of(p, progress), progress.origin, code_fingerprint(p).value_or(0));
}

void end_rebuild(const Projection &p) {
    if (!read_rebuild(p.id))
        return;
    take_away(p);
    delete_rebuild(p.id);
}

} // namespace chronicle::projection
