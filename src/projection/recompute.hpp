// Computing anew what a projection keeps: its events from the beginning, in batches, into other places than the live
// ones. For rebuilds (rebuild.cpp) and for verify_projection (verify.cpp).
#pragma once

#include "projection/batch.hpp"

#include <set>

namespace chronicle::projection {

/// 55000 unless what it keeps can be computed anew elsewhere: states, or the target of a statement. `done`: "rebuilt".
void require_computable(const Projection &projection, const char *done);

/// One of `parts` shares of the partitions; events that are parked are left out.
struct Share {
    int part = 0, parts = 1;
    std::set<int64> parked;
};

/// Events that are parked, by the active snapshot or (without one) a new one.
std::set<int64> parked_positions(int64 id);

/// Collects up to `limit` events of the share after `position` and not above `until`; `position` moves to what they
/// cover. True at the end. By the active snapshot, or a new one.
bool collect_share(const Projection &projection, const Share &share, int64 &position, int64 until, int limit,
                   Batch &batch);

} // namespace chronicle::projection
