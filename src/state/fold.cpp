// The fold: find the stream → the newest usable snapshot at or below the wanted version → walk the events after it by
// the index on (stream, version), one pass, apply each.
//
// Everything is read with one snapshot, so the state is that of one moment: a snapshot row is visible exactly when its
// events are (it is written in their transaction, or later), and what a deletion hid is hidden in both. Reads lock
// nothing.
//
// Versions at or below `hidden` do not count: after delete_stream the state begins anew. What retention cut off does
// count: as long as its rows are there they are folded, and before they are removed a base snapshot at the cut is kept
// (base.cpp). States of versions below the cut are refused, whether the rows are still there or not. Where rows were
// removed and nobody kept a base (there was no aggregate then, or another one), every state is refused.
//
// Who folds with SnapshotSelf (a snapshot, a command) holds the stream's lock, so nobody appends or deletes; but a
// scavenger may commit meanwhile, and rows are gone between one event and the next. Then the fold begins anew, from the
// base that came with the same commit.
#include "core/json.hpp"

#include "state/fold.hpp"

#include "catalog/names.hpp"
#include "catalog/objects.hpp"
#include "state/snapshot.hpp"
#include "store/retention.hpp"
#include "store/time.hpp"

extern "C" {
#include "access/stratnum.h"
#include "utils/fmgroids.h"
}

namespace chronicle::state {

namespace {

[[noreturn]] void raise_cut_off(const std::string &stream, int64 asked, int64 cut) {
    pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
              {.message = "version " + std::to_string(asked) + " of stream \"" + stream + "\" was cut off by retention",
               .detail = core::json{{"stream", stream}, {"version", asked}, {"first", cut}}.dump(),
               .hint = "States are known from version " + std::to_string(cut) + " on."});
}

[[noreturn]] void raise_beginning_lost(const std::string &stream, int64 removed) {
    pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
              {.message = "the beginning of stream \"" + stream + "\" was removed, and no state of it was kept",
               .detail = core::json{{"stream", stream}, {"removed", removed}}.dump(),
               .hint =
                   "scavenge() keeps states for the aggregate of its time. One that was dropped counts again when it "
                   "is created as it was; to change one, pass replace => true."});
}

} // namespace

Fold::Fold(const Recipe &recipe, const std::string &stream, Snapshot snapshot)
    : recipe_(recipe), stream_(stream), snapshot_(snapshot), found_(store::find_visible_stream(stream, snapshot)),
      memory_("chronicle fold"), as_owner_(recipe.role, recipe.search_path),
      applier_(make_applier(recipe.apply, recipe.role)) {
    if (!found_)
        return;
    int64 hidden = store::hidden_versions(*found_, catalog::category_of(stream), snapshot);
    if (hidden > found_->hidden) { // a retention may hide versions that are not there yet
        int64 last = store::last_visible_version(found_->id, snapshot);
        hidden = std::min(hidden, std::max({found_->hidden, found_->removed, last}));
    }
    // Rows are missing: before the base snapshot nothing can be folded, also when retention would show more again.
    if (found_->removed > found_->hidden) {
        int64 base = base_version(found_->id, found_->hidden, snapshot);
        beginning_lost_ = base < found_->removed;
        hidden = std::max(hidden, base);
    }
    cut_ = hidden > found_->hidden ? hidden : 0;
}

void Fold::check_beginning() const {
    if (beginning_lost_)
        raise_beginning_lost(stream_, found_->removed);
}

int64 Fold::end(const Limit &limit) const {
    check_beginning();
    int64 version = limit.version.value_or(PG_INT64_MAX);
    if (found_ && limit.time && *limit.time < DT_NOEND)
        version =
            std::min(version, store::last_version_before(found_->id, found_->hidden, store::last_version(found_->id),
                                                         *limit.time + 1, snapshot_));
    if (version < cut_)
        raise_cut_off(stream_, version, cut_);
    return version;
}

void Fold::start(int64 up_to) {
    check_beginning();
    int64 begin = found_ ? found_->hidden : 0;
    progress_ = {};
    progress_.function = applier_->function();
    std::optional<int64> wanted; // of another function than the aggregate's only a base serves
    if (recipe_.snapshots_of)
        wanted = progress_.fingerprint = fingerprint(*recipe_.snapshots_of, progress_.function);
    std::optional<StoredSnapshot> stored;
    if (found_ && up_to > begin)
        stored = find_snapshot(found_->id, wanted, begin, up_to, snapshot_);
    progress_.version = stored ? stored->version : begin;
    if (stored)
        progress_.snapshot_version = stored->version;
    applier_->start(stored ? stored->state : NullableDatum{recipe_.initial, false});
}

// Since the stream was found; it is then found again.
bool Fold::was_scavenged() {
    if (snapshot_ != SnapshotSelf)
        return false;
    int64 before = found_->removed;
    found_ = store::find_stream(stream_, SnapshotSelf);
    return found_->removed != before;
}

void Fold::run(int64 up_to, const Visit &visit) {
    if (!found_ || up_to <= progress_.version)
        return;
    bool whole = walk(up_to, visit);
    while (was_scavenged()) {
        start(up_to);
        whole = walk(up_to, visit);
    }
    if (!whole)
        raise_beginning_lost(stream_, found_->removed);
}

// False when the next event is not there.
bool Fold::walk(int64 up_to, const Visit &visit) {
    const catalog::Objects &c = catalog::objects();
    pg::IndexReader reader(c.event, c.event_stream_version_key, snapshot_);
    reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(found_->id));
    reader.key(2, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(progress_.version));
    if (up_to < PG_INT64_MAX)
        reader.key(2, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(up_to));
    store::EventMaker maker;
    pg::MemoryScope per_event("chronicle event");
    while (reader.next()) {
        store::EventRow event = maker.make(reader, stream_);
        if (event.version != progress_.version + 1)
            return false;
        if (visit && !visit(event, *applier_, true))
            return true;
        applier_->apply(event);
        progress_.version = event.version;
        progress_.events_applied++;
        if (visit && !visit(event, *applier_, false))
            return true;
        per_event.reset();
        pg::check_interrupts();
    }
    return true;
}

Recipe recipe_of(const Aggregate &aggregate) {
    return {aggregate.apply, aggregate.owner_oid(), aggregate.search_path, aggregate.initial_state(), &aggregate};
}

std::string stream_argument(const pg::Arguments &arguments) {
    std::string stream = arguments.required_text(0, "stream");
    catalog::check_name(stream, "stream name");
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
