// Removing what is hidden. The algorithm and its locks are told in scavenge.cpp.
#pragma once

#include "store/stream.hpp"

namespace chronicle::store {

/// Something of the stream was hidden: the scavenger looks at it, once this transaction has committed. Never waits.
void queue_for_scavenger(int64 stream_id);

/// Rows that are about to be removed: those of a stream up to a version.
struct Removal {
    const std::string &stream;
    const Stream &row; // up to row.hidden they were deleted, beyond it a retention hides them
    int64 up_to;
    bool by_worker; // then no user code may run
};
/// Somebody who needs rows before they go (an aggregate: a snapshot at the cut). Returns up to which version they may
/// go now; what it keeps back is asked for again in a later step. Runs before the stream's row is locked and must not
/// wait for a lock. Its snapshots of the tables: the active one.
using BeforeRemoval = int64 (*)(const Removal &removal);
/// For _PG_init.
void add_before_removal(BeforeRemoval hook);

/// In the scheduler, outside of a transaction: a small step when one is due. Returns when the next is. A chore.
TimestampTz scavenge_in_background();

} // namespace chronicle::store
