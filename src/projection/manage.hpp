// What the SQL functions of projections share.
#pragma once

#include "projection/progress.hpp"

namespace chronicle::projection {

/// By name, in the newest committed state (own changes included); nullptr: none.
ProjectionPointer find_projection(const std::string &name);
/// 42704 when there is none.
ProjectionPointer require_projection(const std::string &name);
/// 42501 unless the current user may act for the owner.
void require_owner(const Projection &projection);
/// Projections can be given away; in _PG_init.
void init_owned();
/// Creating, replacing and dropping one name follow each other.
void lock_name(const std::string &name);
/// After the commit the owner's executors and the scheduler look again.
void announce(const std::string &owner);

/// The position that the option start_from means; 22023 when it means none.
int64 start_position(const std::string &start_from);
/// Whether there is any event that the projection follows after `position`, up to `until` (nothing: the mark of a new
/// snapshot).
bool has_events(const Projection &projection, int64 position, std::optional<int64> until);

} // namespace chronicle::projection
