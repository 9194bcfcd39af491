// Snapshots: the state of a stream kept at a version, so that a fold begins there.
#pragma once

#include "state/aggregate.hpp"

extern "C" {
#include "utils/snapshot.h"
}

namespace chronicle::state {

struct StoredSnapshot {
    int64 version, fingerprint;
    NullableDatum state; // in the memory context that was current
};

/// The newest usable one of a stream with above < version <= up_to, as the snapshot sees the table. Usable: it has this
/// fingerprint, or it stands for what a retention cut removed.
std::optional<StoredSnapshot> find_snapshot(int64 stream_id, std::optional<int64> fingerprint, int64 above, int64 up_to,
                                            Snapshot snapshot);

/// The version of the stream's base snapshot above a version, as the snapshot sees it; 0: there is none.
int64 base_version(int64 stream_id, int64 above, Snapshot snapshot);

/// An aggregate is dropped: its snapshots go, and the bases are put away, as of this fingerprint (nothing: as of the
/// one that made each).
void put_bases_away(const std::string &category, std::optional<int64> fingerprint);
/// An aggregate with this fingerprint is created: what was put away of the same one is its base again.
void take_bases_back(const std::string &category, int64 fingerprint);

/// Folds a stream to its newest committed state and keeps that. The caller holds the stream's lock. Errors of the apply
/// function pass. Returns the version (0: there is nothing to keep).
int64 take_snapshot(const Aggregate &aggregate, const std::string &stream);

/// The same, but what the apply function raises is a WARNING, and noted (view aggregates), except for what must end the
/// statement.
void snapshot_or_note(const Aggregate &aggregate, const std::string &stream);

/// For _PG_init.
void init_snapshots();
void init_bases();

} // namespace chronicle::state
