// Order on a standby, which has no registry of open transactions: what the log itself says of its order.
#pragma once

#include "pg/guard.hpp"

extern "C" {
#include "utils/snapshot.h"
}

namespace chronicle::store {

/// The mark of a snapshot on a standby: the greatest floor that it sees.
int64 standby_mark(Snapshot snapshot);

/// A chore of the scheduler (worker::add_chore): notes the present mark as a floor, so that a standby reaches the end
/// of a log that has fallen idle. Writes nothing when there is nothing new.
TimestampTz note_floor();

} // namespace chronicle::store
