// Handing out the slots of limits.cpp, in the scheduler.
#pragma once

#include "pg/datum.hpp"

namespace chronicle::flow {

/// Gives free slots to the runs that wait for them. In transactions of its own.
void hand_out_slots();
/// When to look again though nothing has rung (0: only then).
TimestampTz next_hand_out();

} // namespace chronicle::flow
