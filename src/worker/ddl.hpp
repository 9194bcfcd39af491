// Makes way for statements that need a database without other sessions.
#pragma once

namespace chronicle::worker {

/// Installs the ProcessUtility hook; in _PG_init.
void init_ddl_hook();

} // namespace chronicle::worker
