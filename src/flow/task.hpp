// task.external: work for programs outside. Told in task.cpp.
#pragma once

#include "flow/waiting.hpp"

namespace chronicle::flow {

/// In the scheduler, inside a transaction: leases that are over end their attempts. Returns when the next one is (0:
/// none).
TimestampTz expire_tasks();

} // namespace chronicle::flow
