#pragma once

namespace chronicle::state {

/// Registers idle snapshots as work for executors; in _PG_init.
void init_idle_snapshots();

} // namespace chronicle::state
