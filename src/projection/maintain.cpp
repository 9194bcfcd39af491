// Looking after what was projected: replay_parked_events; and the numbers of view projections.
#include "projection/manage.hpp"

#include "access/access.hpp"
#include "pg/xact.hpp"
#include "projection/batch.hpp"
#include "projection/inline.hpp"
#include "projection/rebuild.hpp"
#include "store/order.hpp"
#include "worker/constraints.hpp"
#include "worker/registry.hpp"

extern "C" {
#include "funcapi.h"
#include "utils/snapmgr.h"
}

namespace chronicle::projection {

namespace {

constexpr int64 lag_limit = 10000; // events that are counted; beyond it the lag is an estimate from positions

std::unique_ptr<store::EventSource> open_events(const Projection &p, int64 after, int64 count, int64 until) {
    store::LogQuery query = p.filter.query();
    query.after = after;
    query.count = count;
    std::optional<int64> mark = until;
    return store::open_log(query, GetActiveSnapshot(), mark);
}

// --- parked events ---

struct Parked {
    int64 position;
    std::string partition;
};

std::vector<Parked> parked_events(int64 id) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement find{"SELECT global_position, partition FROM chronicle_data.projection_parked "
                              "WHERE projection_id = $1 ORDER BY global_position",
                              types};
    access::EngineScope engine;
    pg::Values values;
    pg::Rows rows = find.run(values.int8(id));
    std::vector<Parked> parked;
    for (uint64 i = 0; i < rows.count; i++)
        parked.push_back({rows[i].int8(1), rows[i].text(2)});
    return parked;
}

void unpark(int64 id, int64 position) {
    static constexpr Oid types[] = {INT8OID, INT8OID};
    static pg::Statement remove{
        "DELETE FROM chronicle_data.projection_parked WHERE projection_id = $1 AND global_position = $2", types};
    access::EngineScope engine;
    pg::Values values;
    remove.run(values.int8(id).int8(position));
}

// False when it is hidden, or not followed any more.
bool apply_one(const Projection &p, int generation, int64 position) {
    pg::MemoryScope memory("chronicle parked event");
    Batch batch(p);
    {
        access::OwnerScope owner(owner_of(p));
        std::unique_ptr<store::EventSource> events = open_events(p, position - 1, 1, position);
        if (const store::EventRow *event = events->next())
            batch.add(*event);
    }
    batch.apply(generation, false);
    worker::check_deferred_constraints();
    return batch.size() > 0;
}

// Each in a savepoint of its own, in order; once one of a partition fails again, the later ones stay.
int64 replay_parked(const Projection &p, int generation) {
    std::set<std::string> failed;
    int64 replayed = 0;
    for (const Parked &event : parked_events(p.id)) {
        if (failed.contains(event.partition))
            continue;
        bool applied = false;
        std::optional<pg::Error> error = pg::attempt([&]() { applied = apply_one(p, generation, event.position); });
        if (error && (error->sqlstate() == ERRCODE_QUERY_CANCELED || error->is_transient()))
            throw *error;
        if (error) {
            failed.insert(event.partition);
            park(p.id, event.position, event.partition, 1, error->message(), error->sqlstate_text());
            continue;
        }
        unpark(p.id, event.position);
        replayed += applied ? 1 : 0;
    }
    return replayed;
}

// --- lag ---

struct Lag {
    int64 events = 0;
    double ms = 0;
};

std::optional<Lag> measure_lag(const Projection &p, int64 position, int64 mark) {
    access::OwnerScope owner(owner_of(p));
    if (!p.filter.is_readable())
        return std::nullopt;
    store::LogScan scan{.limit = lag_limit};
    store::LogQuery query = p.filter.query();
    query.after = position;
    query.count = lag_limit;
    query.scan = &scan;
    query.as_stored = true; // an upcaster that fails stops the projection, not the view
    std::optional<int64> until = mark;
    std::unique_ptr<store::EventSource> events = store::open_log(query, GetActiveSnapshot(), until);
    Lag lag;
    while (const store::EventRow *event = events->next())
        if (lag.events++ == 0)
            lag.ms = static_cast<double>(GetCurrentTimestamp() - DatumGetTimestampTz(event->recorded_at)) / 1000.0;
    if (scan.rows >= lag_limit) // more than is counted here
        lag.events = std::max(lag.events, mark - position);
    lag.ms = std::max(lag.ms, 0.0);
    return lag;
}

} // namespace

CHRONICLE_FUNCTION(chronicle_replay_parked_events) {
    ProjectionPointer p = require_projection(pg::Arguments(fcinfo).required_text(0, "projection"));
    require_owner(*p);
    lock_rebuild(p->id, ShareLock);
    if (is_being_rebuilt(p->id)) // it has passed them
        pg::raise(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                  {.message = "projection \"" + p->name + "\" is being rebuilt",
                   .hint = "Wait until it is done, or end it with cancel_rebuild."});
    lock_projection(p->id);
    std::optional<Progress> progress = read_progress(p->id);
    PG_RETURN_INT64(progress ? replay_parked(*p, progress->generation) : 0);
}

// (lag_events, lag_ms, log_end) of one projection, for those who may act for its owner; NULLs for others, and when the
// owner is gone. No lag when the owner may not read what it follows (any more).
CHRONICLE_FUNCTION(chronicle_projection_lag) {
    int64 id = PG_GETARG_INT64(0), position = PG_GETARG_INT64(1);
    TupleDesc columns;
    pg::call([&]() noexcept { (void)get_call_result_type(fcinfo, nullptr, &columns); });
    Datum values[3] = {};
    bool nulls[] = {true, true, true};
    ProjectionPointer p = find_projection(id);
    if (p && access::may_act_for(p->owner) && OidIsValid(access::find_role(p->owner))) {
        int64 mark = store::order::mark(GetActiveSnapshot());
        bool live = p->is_inline && p->is_live;
        if (std::optional<Lag> lag = live || position >= mark ? Lag{} : measure_lag(*p, position, mark)) {
            values[0] = Int64GetDatum(lag->events);
            values[1] = Float8GetDatum(lag->ms);
            nulls[0] = nulls[1] = false;
        }
        values[2] = Int64GetDatum(mark);
        nulls[2] = false;
    }
    return pg::call(
        [&]() noexcept { return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(columns), values, nulls)); });
}

} // namespace chronicle::projection
