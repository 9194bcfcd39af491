// Subtransactions, identities and settings as scopes.
#pragma once

#include "pg/memory.hpp"

extern "C" {
#include "utils/resowner.h"
}

namespace chronicle::pg {

/// An internal subtransaction (a savepoint without a name). commit() or rollback() ends it and puts back the memory
/// context and the resource owner. Left by an exception it rolls back, unlike other scopes: the abort around it would
/// take it for a savepoint of the user, and leave the session in it.
class Subtransaction {
public:
    Subtransaction();
    ~Subtransaction();
    void commit();
    void rollback();
    Subtransaction(const Subtransaction &) = delete;
    Subtransaction &operator=(const Subtransaction &) = delete;

private:
    void ended();
    MemoryContext memory_;
    ResourceOwner owner_;
    bool open_ = false;
};

/// Runs `body` in a subtransaction. Its error, if it had one, is returned after the rollback; so is a std::exception.
/// What is thrown of other types passes, after the rollback. Cancel and termination are errors like others here: the
/// caller decides what may be kept.
template <typename Body> std::optional<Error> attempt(Body &&body) {
    Subtransaction subtransaction;
    std::optional<Error> failed;
    try {
        body();
        subtransaction.commit();
        return std::nullopt;
    } catch (const std::exception &) {
        failed.emplace(current_error());
    }
    subtransaction.rollback();
    return failed;
}

/// Current user and security context until the end of the scope; an abort restores them by itself.
class UserScope {
public:
    UserScope(Oid user, int security_flags);
    ~UserScope();
    UserScope(const UserScope &) = delete;
    UserScope &operator=(const UserScope &) = delete;

private:
    Oid saved_user_;
    int saved_flags_;
    int exceptions_;
};

/// A GUC nest level: what is set inside, by us or by the code that runs in it, is undone at the end of the scope.
class GucScope {
public:
    GucScope();
    ~GucScope();
    void set(const char *name, const char *value);
    GucScope(const GucScope &) = delete;
    GucScope &operator=(const GucScope &) = delete;

private:
    int level_;
    int exceptions_;
};

/// Within the scope a lock that is not to be had in this time is 55P03; 0: as long as it takes.
class LockTimeoutScope {
public:
    explicit LockTimeoutScope(int64 ms) { settings_.set("lock_timeout", std::to_string(ms).c_str()); }

private:
    GucScope settings_;
};

/// An active snapshot for the scope, when there is none: SPI wants one below its own.
class SnapshotScope {
public:
    SnapshotScope();
    ~SnapshotScope();
    SnapshotScope(const SnapshotScope &) = delete;
    SnapshotScope &operator=(const SnapshotScope &) = delete;

private:
    bool pushed_;
    int exceptions_;
};

/// The newest committed state as the active snapshot, in every isolation level; own changes included. For what
/// processes cache: a REPEATABLE READ transaction must not fill a cache with what was true when it began.
class LatestSnapshotScope {
public:
    LatestSnapshotScope();
    ~LatestSnapshotScope();
    LatestSnapshotScope(const LatestSnapshotScope &) = delete;
    LatestSnapshotScope &operator=(const LatestSnapshotScope &) = delete;

private:
    int exceptions_;
};

/// Transaction control for worker processes. A transaction of ours is READ COMMITTED and may write.
void start_transaction();
void commit_transaction();
/// The commit of this transaction does not wait for the disk. For what is done again after a crash.
void make_commit_asynchronous();
/// Rolls the current transaction back; never throws.
void abort_transaction() noexcept;

} // namespace chronicle::pg
