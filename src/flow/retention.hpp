// Removing runs that have been over for chronicle.execution_retention. Told in retention.cpp.
#pragma once

#include <cstdint>

namespace chronicle::flow {

/// A step of it, at most so often; returns when the next one is due (a TimestampTz). A chore of the scheduler.
std::int64_t remove_expired_runs();

} // namespace chronicle::flow
