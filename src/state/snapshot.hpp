// Snapshots: the state of a stream kept at a version, so that a fold begins there.
#pragma once

#include "state/aggregate.hpp"

extern "C" {
#include "utils/snapshot.h"
}

namespace chronicle::state {

struct StoredSnapshot {
    int64 version;
    NullableDatum state; // in the memory context that was current
};

/// The newest usable one of a stream with above < version <= up_to, as the snapshot sees the table. Usable: it has this
/// fingerprint, or it stands for what a retention cut removed.
std::optional<StoredSnapshot> find_snapshot(int64 stream_id, std::optional<int64> fingerprint, int64 above, int64 up_to,
                                            Snapshot snapshot);

/// Folds a stream to its newest committed state and keeps that. The caller holds the stream's lock. Errors of the apply
/// function pass. Returns the version (0: there is nothing to keep).
int64 take_snapshot(const Aggregate &aggregate, const std::string &stream);

/// For _PG_init.
void init_snapshots();

} // namespace chronicle::state
