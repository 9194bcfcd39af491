// The fold: find the stream → the newest usable snapshot at or below the wanted version → walk the events after it by
// the index on (stream, version), one pass, apply each.
//
// Everything is read with one snapshot, so the state is that of one moment: a snapshot row is visible exactly when its
// events are (it is written in their transaction, or later), and what a deletion hid is hidden in both. Reads lock
// nothing. Versions at or below `hidden` do not count: after delete_stream the state begins anew.
#include "state/fold.hpp"

#include "state/snapshot.hpp"
#include "store/catalog.hpp"

extern "C" {
#include "access/stratnum.h"
#include "utils/fmgroids.h"
}

namespace chronicle::state {

namespace {

constexpr int version_column = 3, recorded_at_column = 4;

struct EventAt {
    int64 version;
    TimestampTz time;
};

// The first event with a version of at least `least`, or the last of all.
std::optional<EventAt> find_event(int64 stream_id, int64 least, bool last, Snapshot snapshot) {
    const store::Catalog &c = store::catalog();
    pg::IndexReader reader(c.event, c.event_stream_version_key, snapshot);
    reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream_id));
    reader.key(2, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(least));
    if (!reader.next(last))
        return std::nullopt;
    bool is_null;
    return EventAt{DatumGetInt64(reader.column(version_column, &is_null)),
                   DatumGetTimestampTz(reader.column(recorded_at_column, &is_null))};
}

// By halves: in a stream times rise with versions, unless the server's clock was set back. Versions may be missing
// (removed by retention), so each probe takes the next one that is there.
int64 version_at(int64 stream_id, int64 above, TimestampTz time, Snapshot snapshot) {
    std::optional<EventAt> last = find_event(stream_id, above + 1, true, snapshot);
    if (!last || last->time <= time)
        return last ? last->version : above;
    int64 low = above, high = last->version; // low is early enough (or nothing), high is too late
    while (high - low > 1) {
        int64 middle = low + (high - low) / 2;
        std::optional<EventAt> probe = find_event(stream_id, middle, false, snapshot);
        if (!probe || probe->time > time)
            high = middle;
        else
            low = probe->version;
    }
    return low;
}

} // namespace

Fold::Fold(const Recipe &recipe, const std::string &stream, Snapshot snapshot)
    : recipe_(recipe), stream_(stream), snapshot_(snapshot), found_(store::find_visible_stream(stream, snapshot)),
      memory_("chronicle fold"), as_owner_(recipe.role, recipe.search_path),
      applier_(make_applier(recipe.apply, recipe.role)) {}

int64 Fold::end(const Limit &limit) const {
    int64 version = limit.version.value_or(PG_INT64_MAX);
    if (!found_ || !limit.time)
        return version;
    return std::min(version, version_at(found_->id, found_->hidden, *limit.time, snapshot_));
}

void Fold::start(int64 up_to) {
    int64 begin = found_ ? found_->hidden : 0;
    progress_ = {};
    progress_.function = applier_->function();
    std::optional<StoredSnapshot> stored;
    if (recipe_.snapshots_of) {
        progress_.fingerprint = fingerprint(*recipe_.snapshots_of, progress_.function);
        if (found_ && up_to > begin)
            stored = find_snapshot(found_->id, progress_.fingerprint, begin, up_to, snapshot_);
    }
    progress_.version = stored ? stored->version : begin;
    if (stored)
        progress_.snapshot_version = stored->version;
    applier_->start(stored ? stored->state : NullableDatum{recipe_.initial, false});
}

void Fold::run(int64 up_to, const Visit &visit) {
    if (!found_ || up_to <= progress_.version)
        return;
    const store::Catalog &c = store::catalog();
    pg::IndexReader reader(c.event, c.event_stream_version_key, snapshot_);
    reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(found_->id));
    reader.key(2, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(progress_.version));
    if (up_to < PG_INT64_MAX)
        reader.key(2, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(up_to));
    pg::MemoryScope per_event("chronicle event");
    while (reader.next()) {
        store::EventRow event = store::read_user_event(reader, stream_);
        if (visit && !visit(event, *applier_, true))
            return;
        applier_->apply(event);
        progress_.version = event.version;
        progress_.events_applied++;
        if (visit && !visit(event, *applier_, false))
            return;
        per_event.reset();
        pg::check_interrupts();
    }
}

Recipe recipe_of(const Aggregate &aggregate) {
    return {aggregate.apply, aggregate.owner_oid(), aggregate.search_path, aggregate.initial_state(), &aggregate};
}

std::string stream_argument(const pg::Arguments &arguments) {
    std::string stream = arguments.required_text(0, "stream");
    store::check_name(stream, "stream name");
    access::require_read_stream(stream);
    return stream;
}

State fold_stream(const Aggregate &aggregate, const std::string &stream, Snapshot snapshot, const Limit &limit) {
    MemoryContext caller = CurrentMemoryContext;
    Recipe recipe = recipe_of(aggregate);
    Fold fold(recipe, stream, snapshot);
    int64 end = fold.end(limit);
    fold.start(end);
    fold.run(end);
    State result = fold.progress();
    pg::MemorySwitch keep(caller);
    result.state = fold.state();
    return result;
}

} // namespace chronicle::state
