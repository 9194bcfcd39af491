// Ids that chronicle makes: UUIDv7 (RFC 9562) that carry their event's position, so that they need no index.
//
//   48 bits  Unix milliseconds            of recorded_at
//   12 bits  microseconds / 1000 · 4096   (rand_a, method 3 of section 6.2)
//   62 bits  18 random, 44 the position   (rand_b)
//
// An id that a caller names is looked up among the given ones by their index, and, as it may be one of ours that was
// read before, by the position in it: the row there must have this very id.
#pragma once

#include "pg/datum.hpp"

namespace chronicle::store {

/// The id of the event at `position`, recorded at `at`.
pg::Uuid make_event_id(TimestampTz at, int64 position);

/// The position that an id of ours would carry; nothing when it is no UUIDv7.
std::optional<int64> position_in(const pg::Uuid &id);

} // namespace chronicle::store
