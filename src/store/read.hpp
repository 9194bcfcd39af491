// The functions that read events, as sources of rows.
#pragma once

#include "pg/datum.hpp"
#include "store/event_row.hpp"

extern "C" {
#include "utils/snapshot.h"
}

namespace chronicle::store {

/// Checks the arguments and the caller's rights, and opens what they ask for. The arguments must live as long as the
/// source. `mark`: as in open_log.
using EventOpener = std::unique_ptr<EventSource> (*)(const pg::Arguments &arguments, Snapshot snapshot,
                                                     std::optional<int64> &mark);

/// Of read_stream, read_all and read_category, by their C function; nullptr for any other.
EventOpener event_opener(PGFunction function);

} // namespace chronicle::store
