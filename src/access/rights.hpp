// What granting and checking share.
#pragma once

#include "access/access.hpp"

namespace chronicle::access {

const char *level_name(Level level);
/// 22023 for what is none.
Level parse_level(const std::string &name);

/// After a change of the table: every process works its rights out again once this transaction commits, this one at
/// once.
void levels_changed();
void categories_changed();

} // namespace chronicle::access
