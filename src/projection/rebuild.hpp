// Rebuilding beside the live rows. Told in rebuild.cpp.
#pragma once

#include "projection/follow.hpp"
#include "projection/progress.hpp"

namespace chronicle::projection {

/// Keeps a rebuild's steps out until the end of the transaction. Before lock_projection(). Share: keeps its start and
/// its end out.
void lock_rebuild(int64 id, LOCKMODE mode = ExclusiveLock);
/// True when one is under way. Under the lock.
bool is_being_rebuilt(int64 id);
/// Begins one. The caller holds the lock exclusively.
void begin_rebuild(const Projection &projection, const Progress &progress);
/// Takes away all that a rebuild has made, if there is one. The caller holds the lock exclusively. Waits for those who
/// look at a staging table; so before locks that others wait for.
void end_rebuild(const Projection &projection);

/// In the scheduler: how many steps of a rebuild could be taken now; moves `due` to when the next one is, if that is
/// sooner (0: never).
int64 count_rebuild_steps(const Projection &projection, TimestampTz now, TimestampTz &due);
/// In an executor: one step, in transactions of its own.
Outcome rebuild_step(const ProjectionPointer &projection, const worker::Claimant &claimant);
/// No executor can run as the owner: its rebuild has failed. Inside a transaction.
void fail_rebuild(const Projection &projection, const pg::Error &error);

} // namespace chronicle::projection
