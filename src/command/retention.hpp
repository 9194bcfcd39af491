// Removing old commands from the log. Told in retention.cpp.
#pragma once

#include <cstdint>

namespace chronicle::command {

/// A step of it, at most so often; returns when the next one is due (a TimestampTz). A chore of the scheduler.
std::int64_t remove_old_commands();

} // namespace chronicle::command
