// The one way to wait: on this process's latch, with interrupts served.
#pragma once

#include "pg/guard.hpp"

namespace chronicle::pg {

/// Sleeps until the latch is set or `timeout_ms` passed (negative: no timeout), then serves interrupts.
/// True when the latch was set.
bool wait_latch(long timeout_ms, uint32 wait_event);

} // namespace chronicle::pg
