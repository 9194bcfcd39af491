// Finding places by time: recorded_at rises with positions and versions, nearly, and has no index of its own.
#pragma once

#include "pg/guard.hpp"

extern "C" {
#include "datatype/timestamp.h"
#include "utils/snapshot.h"
}

namespace chronicle::store {

/// The smallest position recorded at or after `at` as the asking statement sees the log, minus 1; none: its mark.
int64 position_at(TimestampTz at);

/// In a stream, the greatest version v from `low` to `high` such that v was recorded before `cutoff`, by halving; `low`
/// when there is none above it. A version that is not there counts as the next one that is.
int64 last_version_before(int64 stream_id, int64 low, int64 high, TimestampTz cutoff, Snapshot snapshot);

} // namespace chronicle::store
