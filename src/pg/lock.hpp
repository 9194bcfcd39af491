// Heavyweight locks of chronicle's own: tags of type LOCKTAG_USERLOCK ("userlock" in pg_locks) under the default lock
// method. They share no number space with the application's advisory locks, pg_advisory_unlock_all() does not release
// them, the deadlock detector sees them, and the end of the transaction (or an undone savepoint) frees them.
#pragma once

#include "pg/guard.hpp"

extern "C" {
#include "storage/lock.h"
}

namespace chronicle::pg {

/// What a lock protects; the number is visible as pg_locks.objsubid.
enum class LockKind : uint16 {
    stream = 1,
    execution = 2,
    workflow = 3,
    scheduler = 4,
    event_type = 5,
    scavenger = 6,
    projection = 10,
    projection_state = 11,
    projection_appenders = 12,
    projection_name = 13,
    projection_rebuild = 14
};

LOCKTAG lock_tag(LockKind kind, uint64 key);
/// Takes the lock until the end of the transaction; waits for others (their deadlock is 40P01). False when this
/// transaction had it already.
bool lock(LockKind kind, uint64 key, LOCKMODE mode = ExclusiveLock);
/// As lock() where it need not wait; nothing when somebody else holds it, or waits for it.
std::optional<bool> lock_if_free(LockKind kind, uint64 key, LOCKMODE mode = ExclusiveLock);
/// Whether it could be taken (or was held already) without waiting.
bool try_lock(LockKind kind, uint64 key, LOCKMODE mode = ExclusiveLock);
/// Somebody else holds it, or waits for it.
bool is_locked(LockKind kind, uint64 key);
/// For the process instead of the transaction: freed by its exit.
bool try_lock_for_session(LockKind kind, uint64 key);

/// A 64-bit key for a name.
uint64 lock_key(std::string_view name);

} // namespace chronicle::pg
