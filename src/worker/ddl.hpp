// Makes way for statements that need a database without other sessions.
#pragma once

#include <cstdint>

namespace chronicle::worker {

/// Installs the ProcessUtility hook; in _PG_init.
void init_ddl_hook();

/// How often this session has run SET CONSTRAINTS, functions included.
std::uint64_t set_constraints_count();

} // namespace chronicle::worker
