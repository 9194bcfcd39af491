#include "worker/registry.hpp"

#include "compat/compat.hpp"
#include "settings.hpp"

extern "C" {
#include "storage/latch.h"
#include "storage/shmem.h"
#include <signal.h>
}

namespace chronicle::worker {

namespace {

Shared *registry = nullptr;

// In the postmaster: how often shared memory was made. More than once: the one before died in a crash.
int lives = 0;

// What the current transaction announces at its commit. An undone savepoint may leave too much: a needless wake-up. But
// it leaves no cancel: a node that was interrupted for nothing would not be recorded.
struct Announcements {
    static constexpr int capacity = 8;
    Oid roles[capacity];
    int role_count;
    bool any_role; // more roles than we list: wake all
    bool scheduler, finished, tasks, projected, database;
    uint8 appended; // LogParts
    Oid restart;
    struct {
        int slot;
        int level; // of the savepoint
        uint64 generation;
    } cancels[64]; // beyond them: those executors learn it when they want to commit
    int cancel_count;
} announced;

DatabaseSlot *slots() {
    return reinterpret_cast<DatabaseSlot *>(reinterpret_cast<char *>(registry) + MAXALIGN(sizeof(Shared)));
}
ExecutorSlot *executors() {
    return reinterpret_cast<ExecutorSlot *>(reinterpret_cast<char *>(slots()) +
                                            MAXALIGN(sizeof(DatabaseSlot) * static_cast<size_t>(registry->databases)));
}

bool announces(Oid role) {
    if (announced.any_role)
        return true;
    return std::find(announced.roles, announced.roles + announced.role_count, role) !=
           announced.roles + announced.role_count;
}

// Under the lock; where there is none, the launcher starts one.
void wake_scheduler() {
    DatabaseSlot *d = find_database(MyDatabaseId, true);
    if (d && d->pid != 0) {
        wake(d->process);
    } else if (d) {
        d->wanted = true;
        wake(registry->launcher_process);
    }
}

// All idle executors of the announced roles, and the scheduler: it starts more when there are too few.
void wake_for_ready() {
    RegistryLock lock;
    for (int i = 0; i < registry->executors; i++) {
        ExecutorSlot &e = executor_slot(i);
        if (e.state == ExecutorState::idle && e.database == MyDatabaseId && announces(e.role))
            wake(e.process);
    }
    wake_scheduler();
}

// The slot of this database, once it has one: it stays as long as the database.
DatabaseSlot *my_database() {
    static DatabaseSlot *known = nullptr;
    if (!known || known->database != MyDatabaseId) {
        RegistryLock lock;
        known = find_database(MyDatabaseId, false);
    }
    return known;
}

// One idle executor of each role that follows these parts of the log; the scheduler when a role has none.
void wake_followers(uint8 parts) {
    DatabaseSlot *d = my_database();
    if (!d || !(d->followed & parts))
        return;
    constexpr int capacity = 32; // more roles: all of their executors are woken, needlessly
    Oid woken[capacity];
    int count = 0;
    TimestampTz now = GetCurrentTimestamp();
    LWLockAcquire(&registry->lock, LW_SHARED);
    for (int i = 0; i < registry->executors && count < capacity; i++)
        if (const ExecutorSlot &e = executor_slot(i);
            e.state != ExecutorState::free && e.database == MyDatabaseId && e.attends_until > now)
            woken[count++] = e.role;
    for (int i = 0; i < registry->executors; i++) {
        const ExecutorSlot &e = executor_slot(i);
        if (e.state != ExecutorState::idle || e.database != MyDatabaseId || !(e.follows & parts) ||
            std::find(woken, woken + count, e.role) != woken + count)
            continue;
        wake(e.process);
        if (count < capacity)
            woken[count++] = e.role;
    }
    if (d->unattended & parts)
        wake(d->process);
    LWLockRelease(&registry->lock);
}

void request_cancel(int slot, uint64 generation) {
    if (slot < 0 || slot >= registry->executors)
        return;
    RegistryLock lock;
    ExecutorSlot &e = executor_slot(slot);
    if (e.state != ExecutorState::busy || e.generation != generation)
        return;
    e.cancel_job = e.job;
    kill(e.pid, SIGINT);
}

void publish() {
    for (int i = 0; i < announced.cancel_count; i++)
        request_cancel(announced.cancels[i].slot, announced.cancels[i].generation);
    if (announced.role_count > 0 || announced.any_role || announced.scheduler)
        wake_for_ready();
    if (announced.appended)
        wake_followers(announced.appended);
    if (announced.scheduler) {
        RegistryLock lock;
        wake_scheduler();
    }
    if (announced.tasks)
        if (ConditionVariable *condition = tasks_condition())
            ConditionVariableBroadcast(condition);
    if (announced.finished) {
        if (ConditionVariable *condition = finished_condition())
            ConditionVariableBroadcast(condition);
        if (DatabaseSlot *d = my_database(); d && d->watch_ends) {
            RegistryLock lock;
            wake(d->process);
        }
    }
    if (announced.projected)
        if (ConditionVariable *condition = projected_condition())
            ConditionVariableBroadcast(condition);
    if (announced.database) {
        RegistryLock lock;
        if (DatabaseSlot *d = find_database(MyDatabaseId, true))
            d->wanted = true;
        registry->new_database = true;
        wake(registry->launcher_process);
    }
    if (OidIsValid(announced.restart)) {
        RegistryLock lock;
        if (DatabaseSlot *d = find_database(announced.restart, true)) {
            d->restart = true;
            d->wanted = true;
            wake(d->process);
        }
        wake(registry->launcher_process);
    }
}

void on_transaction(XactEvent event, void *) {
    if (event == XACT_EVENT_COMMIT)
        publish();
    if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
        announced = {};
}

void on_subtransaction(SubXactEvent event, SubTransactionId, SubTransactionId, void *) {
    if (announced.cancel_count == 0)
        return;
    int level = GetCurrentTransactionNestLevel();
    if (event == SUBXACT_EVENT_ABORT_SUB) // they are in the order of their levels
        while (announced.cancel_count > 0 && announced.cancels[announced.cancel_count - 1].level >= level)
            announced.cancel_count--;
    else if (event == SUBXACT_EVENT_COMMIT_SUB)
        for (int i = 0; i < announced.cancel_count; i++)
            announced.cancels[i].level = std::min(announced.cancels[i].level, level - 1);
}

} // namespace

size_t shared_size() {
    return MAXALIGN(sizeof(Shared)) + MAXALIGN(sizeof(DatabaseSlot) * static_cast<size_t>(settings::max_databases)) +
           MAXALIGN(sizeof(ExecutorSlot) * static_cast<size_t>(settings::worker_processes));
}

void init_shared() {
    bool found;
    registry = static_cast<Shared *>(ShmemInitStruct("chronicle workers", shared_size(), &found));
    if (!found) {
        memset(static_cast<void *>(registry), 0, shared_size());
        registry->tranche = LWLockNewTrancheId();
        LWLockInitialize(&registry->lock, registry->tranche);
        ConditionVariableInit(&registry->changed);
        registry->launcher_process = -1;
        registry->databases = settings::max_databases;
        registry->executors = settings::worker_processes;
        registry->after_crash = ++lives > 1;
        // Leases of another life, or of another server whose tables were restored here, must not look alive.
        uint64 seed;
        if (!pg_strong_random(&seed, sizeof(seed)))
            seed = static_cast<uint64>(GetCurrentTimestamp()) << 16;
        registry->first_generation = registry->next_generation = (seed & PG_INT64_MAX) >> 1;
        for (int i = 0; i < registry->databases; i++) {
            slots()[i].process = -1;
            ConditionVariableInit(&slots()[i].finished);
            ConditionVariableInit(&slots()[i].tasks);
            ConditionVariableInit(&slots()[i].projected);
        }
        for (int i = 0; i < registry->executors; i++)
            executors()[i].process = -1;
    }
    LWLockRegisterTranche(registry->tranche, "ChronicleWorkers");
}

Shared &shared() { return *registry; }
DatabaseSlot &database_slot(int index) { return slots()[index]; }
ExecutorSlot &executor_slot(int index) { return executors()[index]; }

DatabaseSlot *find_database(Oid database, bool make) {
    DatabaseSlot *unused = nullptr;
    for (int i = 0; i < registry->databases; i++) {
        DatabaseSlot &d = slots()[i];
        if (d.database == database)
            return &d;
        if (!OidIsValid(d.database) && !unused)
            unused = &d;
    }
    if (!make || !unused)
        return nullptr;
    unused->database = database;
    unused->wanted = unused->restart = unused->check_leases = unused->watch_ends = false;
    unused->followed = unused->unattended = 0;
    unused->holds = 0;
    unused->pid = 0;
    unused->process = -1;
    unused->outcome = Outcome::none;
    unused->not_before = 0;
    return unused;
}

void wake(int process) {
    if (process >= 0)
        SetLatch(&compat::proc_by_number(process)->procLatch);
}

bool may_take(int source) {
    if (registry->executors < 2)
        return true;
    int busy[max_sources] = {};
    RegistryLock lock;
    for (int i = 0; i < registry->executors; i++)
        if (executor_slot(i).state == ExecutorState::busy)
            busy[executor_slot(i).source]++;
    if (busy[source] < registry->executors - 1)
        return true;
    for (int i = 0; i < source_count(); i++)
        if (i != source && registry->waiting[i] > 0 && busy[i] == 0)
            return false;
    return true;
}

std::vector<int64> take_lost_subjects(int source) {
    std::vector<int64> lost;
    lost.reserve(static_cast<size_t>(registry->executors));
    RegistryLock lock;
    for (int i = 0; i < registry->executors; i++) {
        ExecutorSlot &e = executor_slot(i);
        if (e.lost_subject != 0 && e.database == MyDatabaseId && e.source == source)
            lost.push_back(std::exchange(e.lost_subject, 0));
    }
    return lost;
}

bool started_after_crash() { return registry->after_crash; }

bool lease_alive(int slot, uint64 generation) {
    if (slot < 0 || slot >= registry->executors)
        return false;
    RegistryLock lock;
    const ExecutorSlot &e = executor_slot(slot);
    // A copy of a database (TEMPLATE, a dump) has copies of leases: their executors are not its own.
    return e.state != ExecutorState::free && e.generation == generation && e.database == MyDatabaseId;
}

bool loss_counts(int slot, uint64 generation) {
    RegistryLock lock;
    if (generation < registry->first_generation || generation >= registry->next_generation)
        return registry->after_crash;
    if (slot < 0 || slot >= registry->executors)
        return true;
    const ExecutorSlot &e = executor_slot(slot);
    return !(e.last_generation == generation && e.last_excused);
}

void announce_cancel(int slot, uint64 generation) {
    if (announced.cancel_count < static_cast<int>(std::size(announced.cancels)))
        announced.cancels[announced.cancel_count++] = {slot, GetCurrentTransactionNestLevel(), generation};
}

void announce_ready(Oid role) {
    if (announces(role))
        return;
    if (announced.role_count == Announcements::capacity)
        announced.any_role = true;
    else
        announced.roles[announced.role_count++] = role;
}

void announce_appended(uint8 parts) { announced.appended |= parts; }
void announce_scheduler() { announced.scheduler = true; }
void watch_ends(bool watch) {
    RegistryLock lock;
    if (DatabaseSlot *d = find_database(MyDatabaseId, false))
        d->watch_ends = watch;
}

void announce_finished() { announced.finished = true; }
void announce_tasks() { announced.tasks = true; }
void announce_projected() { announced.projected = true; }
void announce_database() { announced.database = true; }
void announce_restart(Oid database) { announced.restart = database; }

void init_announcements() {
    RegisterXactCallback(on_transaction, nullptr);
    RegisterSubXactCallback(on_subtransaction, nullptr);
}

ConditionVariable *tasks_condition() {
    RegistryLock lock;
    DatabaseSlot *d = find_database(MyDatabaseId, true);
    return d ? &d->tasks : nullptr;
}

ConditionVariable *projected_condition() {
    RegistryLock lock;
    DatabaseSlot *d = find_database(MyDatabaseId, true);
    return d ? &d->projected : nullptr;
}

ConditionVariable *finished_condition() {
    RegistryLock lock;
    DatabaseSlot *d = find_database(MyDatabaseId, true);
    return d ? &d->finished : nullptr;
}

} // namespace chronicle::worker
