#pragma once

namespace chronicle::projection {

/// Registers async projections as work for executors, and inline ones with the append; in _PG_init.
void init();

} // namespace chronicle::projection
