// Running claimed nodes. The algorithm is told in run.cpp.
#pragma once

#include "flow/queue.hpp"

namespace chronicle::flow {

/// Runs a claimed node, and short successors of it, and commits what they did. Never leaves a transaction open.
/// Throws only when the engine itself is at fault: the executor then ends, and its lease with it.
void run_claim(const Claim &claim, const Claimant &claimant);

} // namespace chronicle::flow
