// Triggers: appended events that start workflows. Told in trigger.cpp.
#pragma once

#include <string>

namespace chronicle::flow {

/// Watches appends; in _PG_init.
void init_triggers();
/// In an EngineScope.
void drop_triggers_of(const std::string &workflow_id);

} // namespace chronicle::flow
