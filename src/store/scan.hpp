// Reads in a FROM clause, row by row.
#pragma once

namespace chronicle::store {

/// Hooks into the planner, once in each process that loads the module.
void init_scan();

} // namespace chronicle::store
