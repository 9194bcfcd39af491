// The `timeout` of a definition: of whole runs.
#pragma once

#include "pg/datum.hpp"

namespace chronicle::flow {

/// Fails the runs whose time is up, each in a transaction of its own.
void end_timed_out();
/// Inside a transaction: when the next one's time is up (0: none).
TimestampTz next_timeout();

} // namespace chronicle::flow
