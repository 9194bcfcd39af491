// Folding a stream into its state: the newest usable snapshot, and the events after it.
#pragma once

#include "access/access.hpp"
#include "pg/memory.hpp"
#include "state/aggregate.hpp"
#include "state/applier.hpp"
#include "store/stream.hpp"

namespace chronicle::state {

struct State {
    int64 version = 0; // of the last event that is in it; of a stream without visible events, the last number given
    NullableDatum state{Datum(0), true}; // jsonb
    std::optional<int64> snapshot_version; // where the fold began
    int64 events_applied = 0;
    Oid function = InvalidOid; // that was applied
    int64 fingerprint = 0; // of the aggregate with it, when the fold began
};

/// How far. Without: to the end. Both: the earlier.
struct Limit {
    std::optional<int64> version = {};
    std::optional<TimestampTz> time = {}; // events recorded at or before it
};

/// The state of a stream as `snapshot` sees events and snapshots (GetActiveSnapshot(): the asking statement;
/// SnapshotSelf under the stream's lock: the newest committed state and our own changes), in the current memory
/// context. The apply function runs as the aggregate's owner; its errors pass with a line of context. An absent stream
/// is in the initial state.
State fold_stream(const Aggregate &aggregate, const std::string &stream, Snapshot snapshot, const Limit &limit = {});

/// What is folded with what.
struct Recipe {
    std::string apply; // stored form
    Oid role; // that runs it
    std::optional<std::string> search_path;
    Datum initial; // jsonb
    const Aggregate *snapshots_of; // nullptr: none fits
};
Recipe recipe_of(const Aggregate &aggregate);

/// The stream that a function was asked about (its first argument): a good name that the caller may read.
std::string stream_argument(const pg::Arguments &arguments);

/// One fold in steps, for those who look at what happens between the events (replay, find_first_version). While it
/// lives, the session is the role, in a security-restricted operation.
class Fold {
public:
    /// Called before an event is applied (`before`) and after; false ends the fold.
    using Visit = std::function<bool(const store::EventRow &event, Applier &applier, bool before)>;

    Fold(const Recipe &recipe, const std::string &stream, Snapshot snapshot);
    /// Retention cut off what is below this version: its state is the first that is known. 0: nothing is cut off.
    int64 cut() const { return cut_; }
    /// The last version that `limit` allows. 22023 for one that was cut off.
    int64 end(const Limit &limit) const;
    /// The state at the newest usable snapshot up to that version, or the initial state. 22023 when neither is the
    /// beginning of what is left of the stream.
    void start(int64 up_to);
    /// Applies the events after the present version up to that one. (With SnapshotSelf: without a visit.)
    void run(int64 up_to, const Visit &visit = nullptr);
    const State &progress() const { return progress_; }
    /// A copy of the state in the current memory context.
    NullableDatum state() { return applier_->state(); }
    Applier &applier() { return *applier_; }

private:
    void check_beginning() const;
    bool was_scavenged();
    bool walk(int64 up_to, const Visit &visit);

    const Recipe &recipe_;
    const std::string &stream_;
    Snapshot snapshot_;
    std::optional<store::Stream> found_;
    int64 cut_ = 0;
    bool beginning_lost_ = false;
    pg::MemoryScope memory_;
    access::OwnerScope as_owner_;
    std::unique_ptr<Applier> applier_;
    State progress_;
};

} // namespace chronicle::state
