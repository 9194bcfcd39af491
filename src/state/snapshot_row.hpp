// Rows of chronicle_data.snapshot, written and removed directly. For snapshot.cpp and base.cpp.
#pragma once

#include "pg/error.hpp"
#include "pg/relation.hpp"

extern "C" {
#include "storage/itemptr.h"
}

namespace chronicle::state {

struct SnapshotRow {
    ItemPointerData tid;
    int64 version, fingerprint;
    bool base;
};

/// Of a stream, the newest first, by the newest committed state and our own changes.
std::vector<SnapshotRow> snapshot_rows(int64 stream_id);
/// Without waiting: false when somebody else is at it.
bool remove_snapshot(const SnapshotRow &row);
void insert_snapshot(int64 stream_id, int64 version, int64 fingerprint, bool base, const NullableDatum &state);

/// The WARNING for a snapshot that could not be taken.
void warn_of_failure(const std::string &stream, int64 version, const pg::Error &error);

} // namespace chronicle::state
