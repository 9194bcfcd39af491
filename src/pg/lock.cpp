#include "pg/lock.hpp"

extern "C" {
#include "common/hashfn.h"
#include "storage/lmgr.h"
}

namespace chronicle::pg {

LOCKTAG lock_tag(LockKind kind, uint64 key) {
    LOCKTAG tag;
    tag.locktag_field1 = MyDatabaseId;
    tag.locktag_field2 = static_cast<uint32>(key >> 32);
    tag.locktag_field3 = static_cast<uint32>(key);
    tag.locktag_field4 = static_cast<uint16>(kind);
    tag.locktag_type = LOCKTAG_USERLOCK;
    tag.locktag_lockmethodid = DEFAULT_LOCKMETHOD;
    return tag;
}

bool lock(LockKind kind, uint64 key, LOCKMODE mode) {
    LOCKTAG tag = lock_tag(kind, key);
    return call([&]() noexcept { return LockAcquire(&tag, mode, false, false); }) == LOCKACQUIRE_OK;
}

std::optional<bool> lock_if_free(LockKind kind, uint64 key, LOCKMODE mode) {
    LOCKTAG tag = lock_tag(kind, key);
    LockAcquireResult result = call([&]() noexcept { return LockAcquire(&tag, mode, false, true); });
    return result == LOCKACQUIRE_NOT_AVAIL ? std::nullopt : std::optional(result == LOCKACQUIRE_OK);
}

bool try_lock(LockKind kind, uint64 key, LOCKMODE mode) {
    LOCKTAG tag = lock_tag(kind, key);
    return call([&]() noexcept { return LockAcquire(&tag, mode, false, true); }) != LOCKACQUIRE_NOT_AVAIL;
}

bool is_locked(LockKind kind, uint64 key) {
    LOCKTAG tag = lock_tag(kind, key);
    return call([&]() noexcept {
        LockAcquireResult result = LockAcquire(&tag, ExclusiveLock, false, true);
        if (result != LOCKACQUIRE_NOT_AVAIL)
            (void)LockRelease(&tag, ExclusiveLock, false);
        return result == LOCKACQUIRE_NOT_AVAIL;
    });
}

bool try_lock_for_session(LockKind kind, uint64 key) {
    LOCKTAG tag = lock_tag(kind, key);
    // Session locks of the default method outlive an idle process's exit (ShutdownPostgres frees only this one's), and
    // do not outlive an aborted transaction. Processes that run users' code take none.
    tag.locktag_lockmethodid = USER_LOCKMETHOD;
    return call([&]() noexcept { return LockAcquire(&tag, ExclusiveLock, true, true); }) != LOCKACQUIRE_NOT_AVAIL;
}

uint64 lock_key(std::string_view name) {
    return hash_bytes_extended(reinterpret_cast<const unsigned char *>(name.data()), static_cast<int>(name.size()), 0);
}

} // namespace chronicle::pg
