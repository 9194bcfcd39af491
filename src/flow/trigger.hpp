// Triggers: appended events that start workflows. Told in trigger.cpp.
#pragma once

namespace chronicle::flow {

/// Watches appends; in _PG_init.
void init_triggers();

} // namespace chronicle::flow
