// Running claimed nodes. The algorithm is told in run.cpp.
#pragma once

#include "flow/queue.hpp"

namespace chronicle::flow {

/// Runs a claimed node, and short successors of it, and commits what they did; before `claims_until`, perhaps with the
/// claim of the next node, which is to be run next. Never leaves a transaction open. Throws only when the engine itself
/// is at fault: the executor then ends, and its leases with it.
std::optional<Claim> run_claim(const Claim &claim, const Claimant &claimant, TimestampTz claims_until);

} // namespace chronicle::flow
