#include "pg/xact.hpp"

extern "C" {
#include "storage/ipc.h"
}

namespace chronicle::pg {

Subtransaction::Subtransaction() : memory_(CurrentMemoryContext), owner_(CurrentResourceOwner) {
    call([]() noexcept { BeginInternalSubTransaction(nullptr); });
    open_ = true;
    MemoryContextSwitchTo(memory_);
}

Subtransaction::~Subtransaction() {
    if (!open_)
        return;
    std::exception_ptr ignored;
    // As in abort_transaction: an error of the error path itself.
    if (!run_guarded([](void *) { RollbackAndReleaseCurrentSubTransaction(); }, nullptr, &ignored))
        proc_exit(1);
    ended();
}

void Subtransaction::commit() {
    call([]() noexcept { ReleaseCurrentSubTransaction(); });
    ended();
}

void Subtransaction::rollback() {
    call([]() noexcept { RollbackAndReleaseCurrentSubTransaction(); });
    ended();
}

void Subtransaction::ended() {
    open_ = false;
    MemoryContextSwitchTo(memory_);
    CurrentResourceOwner = owner_;
}

UserScope::UserScope(Oid user, int security_flags) : exceptions_(std::uncaught_exceptions()) {
    GetUserIdAndSecContext(&saved_user_, &saved_flags_);
    SetUserIdAndSecContext(user, security_flags);
}

UserScope::~UserScope() {
    if (!unwinding(exceptions_))
        SetUserIdAndSecContext(saved_user_, saved_flags_);
}

GucScope::GucScope() : level_(NewGUCNestLevel()), exceptions_(std::uncaught_exceptions()) {}

GucScope::~GucScope() {
    if (!unwinding(exceptions_))
        AtEOXact_GUC(false, level_);
}

void GucScope::set(const char *name, const char *value) {
    call([&]() noexcept {
        (void)set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
    });
}

SnapshotScope::SnapshotScope() : pushed_(!ActiveSnapshotSet()), exceptions_(std::uncaught_exceptions()) {
    if (pushed_)
        call([]() noexcept { PushActiveSnapshot(GetTransactionSnapshot()); });
}

SnapshotScope::~SnapshotScope() {
    if (pushed_ && !unwinding(exceptions_))
        PopActiveSnapshot();
}

// A parallel query has one snapshot for all its processes: no other may be taken until it is over.
LatestSnapshotScope::LatestSnapshotScope() : exceptions_(std::uncaught_exceptions()) {
    call([]() noexcept {
        PushActiveSnapshot(IsInParallelMode() && ActiveSnapshotSet() ? GetActiveSnapshot() : GetLatestSnapshot());
    });
}

LatestSnapshotScope::~LatestSnapshotScope() {
    if (!unwinding(exceptions_))
        PopActiveSnapshot();
}

void start_transaction() {
    call([]() noexcept {
        SetCurrentStatementStartTimestamp();
        StartTransactionCommand();
        // Whatever the role's defaults are: the engine's statements count on these.
        XactIsoLevel = XACT_READ_COMMITTED;
        XactReadOnly = false;
    });
}

void commit_transaction() {
    call([]() noexcept { CommitTransactionCommand(); });
}

void make_commit_asynchronous() {
    call([]() noexcept {
        (void)set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
                                false);
    });
}

void abort_transaction() noexcept {
    std::exception_ptr ignored;
    // AbortCurrentTransaction raises only when the server is broken beyond repair (it is the error path itself).
    if (!run_guarded([](void *) { AbortCurrentTransaction(); }, nullptr, &ignored))
        proc_exit(1);
}

} // namespace chronicle::pg
