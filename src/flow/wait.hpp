// What functions that wait have in common (contract: "Waiting").
#pragma once

#include "pg/datum.hpp"

namespace chronicle::flow {

inline constexpr int64 longest_wait_us = 60 * USECS_PER_SEC;

/// Days have 24 hours, months 30 days.
int64 interval_us(Datum interval);
/// 22023 unless it is 0 to 60 seconds; `name` is the argument's.
void check_wait(int64 us, const char *name);
/// 25001 in a transaction that could never see what it waits for. `what`: "an execution".
void check_may_wait(const char *what);

} // namespace chronicle::flow
