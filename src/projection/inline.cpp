// Inline projections: a statement trigger on the event table applies what one call of an append function stored.
//
// Live or not. While an inline projection catches up (rebuilding) or is disabled, appenders leave their events to the
// worker; when it runs, they apply them. The change must not fall into an appender's transaction, so every appender of
// events that such a projection follows holds a lock in share mode until its end (LockKind::projection_appenders), live
// or not, and who changes the status takes it exclusively (keep_appenders_out). The worker does that for 100 ms at a
// time: a transaction that stays open long delays the change, not the others.
//
// An appender is given its positions before it takes that lock, and may wait for it while the status changes. So who
// makes a live one stand still notes the last position that was given: events up to it are their appenders' business,
// also when they find it disabled; those after it are the worker's. (Going live needs no such line: the worker reads
// what is committed, and whoever gets the lock later finds it live.) A worker locks partitions, too, because such an
// appender may still be at one.
//
// An appender learns of projections from its cache, which follows invalidation messages, so one that appended before
// the projection was committed may not know of it, and not hold the lock. Such events lie at or below the fence: the
// last position that was given when the worker first saw the projection. It goes live only when the mark has passed
// that. Once it holds the lock, every event that it follows is over, whatever the mark says, and it reads to the very
// end. Under a steady load there is always something left: so, once a batch has come to the end of the log, the worker
// takes the lock before the next one.
//
// What handlers append in their turn is applied after all of what they were called for: nested appends leave their
// events to the outermost one, which works through them in the order of the log. (Applied at once, a projection would
// see them before the rest of its own batch, and states that are being folded would be stored over theirs.)
//
// Lock order of an append: streams → projections' appenders (by id) → partitions (by key) → what handlers lock.
#include "core/json.hpp"

#include "projection/inline.hpp"

#include "access/access.hpp"
#include "catalog/objects.hpp"
#include "pg/lock.hpp"
#include "pg/relation.hpp"
#include "pg/xact.hpp"
#include "projection/batch.hpp"
#include "sqlstates.hpp"
#include "store/order.hpp"
#include "store/watch.hpp"
#include "types/upcast.hpp"
#include "worker/registry.hpp"

extern "C" {
#include "access/stratnum.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
}

#include <deque>

namespace chronicle::projection {

namespace {

constexpr int patience_of_worker_ms = 100;
constexpr int most_nested = 1000; // appends by handlers, in one append

// What the projection has not seen yet, to the end of the log; the caller keeps appenders out. Returns its end.
int64 apply_rest(const Projection &projection, const Progress &progress, int64 position, int64 &applied) {
    for (;;) {
        Batch batch(projection);
        {
            access::OwnerScope owner(owner_of(projection));
            store::LogQuery query = projection.filter.query();
            query.after = position;
            query.count = projection.options.batch_size;
            std::optional<int64> mark = PG_INT64_MAX;
            std::unique_ptr<store::EventSource> events = store::open_log(query, GetActiveSnapshot(), mark);
            while (const store::EventRow *event = batch.is_full() ? nullptr : events->next()) {
                batch.add(*event);
                position = event->position;
            }
        }
        if (batch.size() == 0)
            return std::max(position, store::order::last_given());
        batch.apply(progress.generation, false);
        applied += batch.size();
    }
}

// --- in the appender's transaction ---

void collect(const Projection &projection, const std::vector<store::StoredBatch> &batches, Batch &batch) {
    const catalog::Objects &c = catalog::objects();
    pg::LatestSnapshotScope snapshot;
    store::EventMaker maker;
    for (const store::StoredBatch &stored : batches) {
        if (!projection.filter.wants_category(stored.category))
            continue;
        {
            pg::UserScope as_owner(owner_of(projection), SECURITY_LOCAL_USERID_CHANGE);
            access::require_read_stream(stored.stream);
        }
        pg::IndexReader reader(c.event, c.event_stream_version_key, GetActiveSnapshot());
        reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stored.stream_id));
        reader.key(2, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(stored.first_version));
        reader.key(2, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(stored.last_version));
        pg::MemoryScope per_event("chronicle inline"); // after the reader, which keeps what it allocates
        while (reader.next()) {
            store::EventRow event = maker.make(reader, stored.stream);
            // A savepoint may have been undone since, and its versions given again.
            bool is_of_append = event.position >= stored.first_position && event.position <= stored.last_position;
            bool is_ours =
                event.position > projection.origin && (projection.is_live || event.position <= projection.position);
            if (is_of_append && is_ours && projection.filter.wants(event))
                batch.add(event);
            per_event.reset();
        }
    }
}

[[noreturn]] void raise_failed(const Projection &projection, int64 position, const pg::Error &error) {
    core::json detail{{"projection", projection.name},
                      {"position", position == 0 ? core::json(nullptr) : core::json(position)},
                      {"sqlstate", error.sqlstate_text()},
                      {"message", error.message()},
                      {"context", error.context()}};
    if (!error.detail().empty())
        detail["detail"] = error.detail();
    std::string message = "projection \"" + projection.name + "\" failed: " + error.message(),
                said = core::write_json(detail), hint = error.hint(), context = error.context();
    if (error.is_about("cannot fire deferred trigger within security-restricted operation"))
        hint = "A handler's constraints cannot wait for the end of the transaction: let it begin with SET CONSTRAINTS "
               "… IMMEDIATE, or declare them INITIALLY IMMEDIATE.";
    ErrorData data{}; // as one of the server's, because it keeps the original's CONTEXT
    data.elevel = ERROR;
    data.output_to_server = data.output_to_client = true;
    data.sqlerrcode = projection_failed;
    data.message = message.data();
    data.detail = said.data();
    data.hint = hint.empty() ? nullptr : hint.data();
    data.context = context.empty() ? nullptr : context.data();
    throw pg::Error(data);
}

void apply_inline(const Projection &projection, const std::vector<store::StoredBatch> &batches) {
    int64 failing = 0;
    try {
        pg::MemoryScope memory("chronicle inline projection");
        Batch batch(projection);
        collect(projection, batches, batch);
        try {
            batch.apply(projection.generation, true);
        } catch (...) {
            failing = batch.failing_position();
            throw;
        }
    } catch (const pg::Error &error) {
        if (error.must_pass())
            throw;
        raise_failed(projection, failing, error);
    }
}

bool is_followed(const Projection &projection, const std::vector<store::StoredBatch> &batches) {
    return projection.is_inline && std::any_of(batches.begin(), batches.end(), [&](const store::StoredBatch &b) {
               return projection.filter.wants_category(b.category);
           });
}

bool any_up_to(int64 position, const std::vector<store::StoredBatch> &batches) {
    return std::any_of(batches.begin(), batches.end(),
                       [&](const store::StoredBatch &b) { return b.first_position <= position; });
}

void apply_all(const std::vector<store::StoredBatch> &batches) {
    std::vector<int64> followed;
    for (const ProjectionPointer &p : all_projections())
        if (is_followed(*p, batches))
            followed.push_back(p->id);
    for (int64 id : followed)
        pg::lock(pg::LockKind::projection_appenders, static_cast<uint64>(id), ShareLock);
    // Who changed a status meanwhile did so under the lock, and sent word with its commit.
    pg::call([]() noexcept { AcceptInvalidationMessages(); });
    for (int64 id : followed) {
        ProjectionPointer projection = find_projection(id);
        if (projection && (projection->is_live || any_up_to(projection->position, batches)))
            apply_inline(*projection, batches);
    }
}

// What nested appends have stored, with texts of its own.
struct Nested {
    std::deque<std::string> texts;
    std::vector<store::StoredBatch> batches;
};
std::deque<Nested> *nested = nullptr; // in the outermost append

void leave_to_outermost(const std::vector<store::StoredBatch> &batches) {
    Nested &copy = nested->emplace_back();
    for (store::StoredBatch batch : batches) {
        batch.stream = copy.texts.emplace_back(batch.stream);
        batch.category = copy.texts.emplace_back(batch.category);
        copy.batches.push_back(batch);
    }
}

class Outermost {
public:
    Outermost() { nested = &appends; }
    ~Outermost() { nested = nullptr; }
    Outermost(const Outermost &) = delete;
    Outermost &operator=(const Outermost &) = delete;
    std::deque<Nested> appends;
};

void apply_with_nested(const std::vector<store::StoredBatch> &batches) {
    Outermost outermost;
    apply_all(batches);
    for (int count = 1; !outermost.appends.empty(); count++) {
        if (count > most_nested)
            pg::raise(ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                      {.message = "inline projections appended more than " + std::to_string(most_nested) +
                                  " times while one append was projected",
                       .hint = "A handler that appends what it follows itself goes on for ever."});
        apply_all(outermost.appends.front().batches);
        outermost.appends.pop_front();
        pg::check_interrupts();
    }
}

} // namespace

void keep_appenders_out(int64 id, int patience_ms) {
    pg::LockTimeoutScope patience(patience_ms);
    pg::lock(pg::LockKind::projection_appenders, static_cast<uint64>(id), ExclusiveLock);
}

bool try_keep_appenders_out(int64 id) {
    std::optional<pg::Error> failed = pg::attempt([&]() { keep_appenders_out(id, patience_of_worker_ms); });
    if (failed && failed->sqlstate() != ERRCODE_LOCK_NOT_AVAILABLE)
        throw *failed;
    return !failed;
}

void set_fence(int64 id) {
    static constexpr Oid types[] = {INT8OID, INT8OID};
    static pg::Statement update{"UPDATE chronicle_data.projection_progress SET fence = $2 WHERE projection_id = $1",
                                types};
    access::EngineScope engine;
    pg::Values values;
    update.run(values.int8(id).int8(store::order::last_given()));
}

void go_live(const Projection &projection, const Progress &progress, int64 position, int64 applied) {
    int64 end = apply_rest(projection, progress, position, applied);
    save_progress(projection, progress, end, applied, "running", std::nullopt);
    projections_changed();
}

bool follows_inline(const store::StoredBatch &stored) {
    pg::call([]() noexcept { AcceptInvalidationMessages(); }); // also in the middle of a long transaction
    for (const ProjectionPointer &p : all_projections())
        if (p->is_inline && p->filter.wants_category(stored.category))
            return true;
    return false;
}

CHRONICLE_FUNCTION(chronicle_run_inline_projections) {
    if (const std::vector<store::StoredBatch> *batches = store::current_append())
        nested ? leave_to_outermost(*batches) : apply_with_nested(*batches);
    PG_RETURN_POINTER(nullptr);
}

} // namespace chronicle::projection
