// Global order without gaps and without a single writer.
//
// A reader wants a mark M for its snapshot S such that every event with a position <= M is visible to S, or never will
// be. Positions are given out in one order and commit in another, so the mark is known, not guessed:
//
//   active    one entry per transaction that holds positions: the lowest one. Entered, under the same lock, before the
//             position is taken. A savepoint that is undone restores what its parent had (the stack below).
//   finished  a ring. A committed transaction leaves `active` and enters the ring under one lock, after its commit has
//             become visible: lowest position, top xid, and a fence, the next xid at that moment. An aborted one just
//             leaves.
//
//   M = min(lowest of active, lowest of those finished whose xid is still running in S, next position) - 1.
//
// Proof by cases for a position p <= M of transaction T: T is in `active` - then M < p, a contradiction; T is finished
// and running in S - the same; T is finished and not running in S - p is visible to S; T aborted - p never will be; T
// takes p after we looked - then p >= next > M. The snapshot must be older than the look: it is an argument.
//
// The ring is walked from the newest entry and left at the first whose fence lies below S's xmax: some xid that did not
// exist when the entry was made had completed before S was taken, so S sees this entry, and every older one, as over.
// When the ring is full its older half becomes one group (lowest position, newest fence), and groups merge in pairs
// when they are many: an old snapshot gets a mark that is late, never wrong. At least max_connections entries stay
// precise, so an xid above a group's fence has always completed for new snapshots: nobody is held back by a group.
//
// Durability. Positions come in blocks of block_size from the sequence chronicle_data.position_seq, whose increment
// is the block: nextval() logs it (32 of them ahead, so that a crash skips up to as many), and the WAL is flushed up to
// the sequence page's LSN before the block is used. A crash, or a promotion, goes on above the last block; a position
// that anybody saw is never given again.
//
// Crash at every point: shared memory is gone with the server, and with it every open transaction; `next` starts at the
// first position above the reserved blocks. A process that ends by FATAL leaves through on_exit().
//
// Locks: `lock` of the database's entry (an LWLock), held for a few instructions; never while WAL is flushed or another
// lock is taken.
#include "store/order.hpp"

#include "catalog/objects.hpp"
#include "compat/compat.hpp"
#include "pg/relation.hpp"
#include "settings.hpp"
#include "store/floor.hpp"

extern "C" {
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/transam.h"
#include "access/twophase.h"
#include "access/xlog.h"
#include "commands/sequence.h"
#include "storage/bufmgr.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/syscache.h"
}

namespace chronicle::store::order {

namespace {

constexpr int64 block_size = 16384; // the increment of position_seq
constexpr int group_capacity = 128;

struct Active {
    int64 lowest;
    int process;
};

struct Finished {
    int64 lowest;
    uint64 fence; // the next full xid when this entry was made
    TransactionId xid;
};

struct Group {
    int64 lowest;
    uint64 fence;
};

// The order of one database. Variable-length arrays follow it in the same allocation.
struct DatabaseOrder {
    LWLock lock;
    Oid database; // InvalidOid: free
    Oid sequence; // of the extension that it belongs to: another one starts anew
    int64 next; // the next position to give
    int64 reserved; // positions below it are durably reserved
    int active_count;
    int ring_count, ring_start;
    int group_count;
    Group groups[group_capacity];
};

struct Shared {
    LWLock lock; // guards the assignment of databases to entries
    int databases;
    int processes;
    int ring_size;
    int tranche;
};

Shared *shared = nullptr;

// --- layout: each entry is DatabaseOrder, active[processes], place_of[processes], ring[ring_size] ---

int process_limit() { return MaxBackends + NUM_AUXILIARY_PROCS + max_prepared_xacts; }
int ring_limit() { return std::max(2048, 4 * process_limit()); }

size_t entry_size(int processes, int ring_size) {
    return MAXALIGN(sizeof(DatabaseOrder)) + MAXALIGN(sizeof(Active) * static_cast<size_t>(processes)) +
           MAXALIGN(sizeof(int) * static_cast<size_t>(processes)) +
           MAXALIGN(sizeof(Finished) * static_cast<size_t>(ring_size));
}

DatabaseOrder *entry(int index) {
    char *base = reinterpret_cast<char *>(shared) + MAXALIGN(sizeof(Shared));
    return reinterpret_cast<DatabaseOrder *>(base + entry_size(shared->processes, shared->ring_size) *
                                                        static_cast<size_t>(index));
}
Active *actives(DatabaseOrder *d) {
    return reinterpret_cast<Active *>(reinterpret_cast<char *>(d) + MAXALIGN(sizeof(DatabaseOrder)));
}
int *places(DatabaseOrder *d) {
    return reinterpret_cast<int *>(reinterpret_cast<char *>(actives(d)) +
                                   MAXALIGN(sizeof(Active) * static_cast<size_t>(shared->processes)));
}
Finished *ring(DatabaseOrder *d) {
    return reinterpret_cast<Finished *>(reinterpret_cast<char *>(places(d)) +
                                        MAXALIGN(sizeof(int) * static_cast<size_t>(shared->processes)));
}

// --- this process ---

// What is held by each subtransaction level, lowest first. The bottom entry is what others see.
struct Held {
    int level;
    int64 lowest;
};
constexpr int held_capacity = 64;
Held held[held_capacity];
int held_count = 0;
DatabaseOrder *mine = nullptr; // this database's entry
Oid mine_sequence = InvalidOid;
bool callbacks_registered = false;
int64 last_appended = 0;

int64 lowest_active(DatabaseOrder *d) {
    int64 lowest = d->next;
    const Active *a = actives(d);
    for (int i = 0; i < d->active_count; i++)
        lowest = std::min(lowest, a[i].lowest);
    return lowest;
}

// Under the exclusive lock.
void enter_active(DatabaseOrder *d, int64 lowest) {
    int me = compat::my_proc_number();
    actives(d)[d->active_count] = {lowest, me};
    places(d)[me] = d->active_count++;
}

void leave_active(DatabaseOrder *d) {
    int me = compat::my_proc_number();
    int place = places(d)[me];
    Active *a = actives(d);
    a[place] = a[--d->active_count];
    places(d)[a[place].process] = place;
    places(d)[me] = -1;
}

void merge_groups(DatabaseOrder *d) {
    for (int i = 0; i < group_capacity / 2; i++) {
        const Group &a = d->groups[2 * i], &b = d->groups[2 * i + 1];
        d->groups[i] = {std::min(a.lowest, b.lowest), std::max(a.fence, b.fence)};
    }
    d->group_count = group_capacity / 2;
}

void enter_ring(DatabaseOrder *d, int64 lowest, TransactionId xid) {
    Finished *r = ring(d);
    int size = shared->ring_size;
    if (d->ring_count == size) {
        Group group{PG_INT64_MAX, 0};
        for (int i = 0; i < size / 2; i++) {
            const Finished &f = r[(d->ring_start + i) % size];
            group = {std::min(group.lowest, f.lowest), std::max(group.fence, f.fence)};
        }
        if (d->group_count == group_capacity)
            merge_groups(d);
        d->groups[d->group_count++] = group;
        d->ring_start = (d->ring_start + size / 2) % size;
        d->ring_count -= size / 2;
    }
    uint64 fence = U64FromFullTransactionId(ReadNextFullTransactionId());
    r[(d->ring_start + d->ring_count++) % size] = {lowest, fence, xid};
}

// The transaction is over, or this process is: nothing of it holds readers back any more.
void finish(bool committed) {
    if (held_count == 0)
        return;
    LWLockAcquire(&mine->lock, LW_EXCLUSIVE);
    leave_active(mine);
    if (committed)
        enter_ring(mine, held[0].lowest, GetTopTransactionIdIfAny());
    LWLockRelease(&mine->lock);
    held_count = 0;
}

void undo_level(int level) {
    int kept = held_count;
    while (kept > 0 && held[kept - 1].level >= level)
        kept--;
    if (kept == held_count)
        return;
    if (kept == 0)
        finish(false);
    held_count = kept;
}

void keep_level(int level) {
    if (held_count == 0 || held[held_count - 1].level < level)
        return;
    held[held_count - 1].level = level - 1;
    if (held_count > 1 && held[held_count - 2].level == level - 1)
        held_count--; // the parent's own entry is lower
}

// --- callbacks of PostgreSQL: they own nothing and throw nothing ---

void on_transaction(XactEvent event, void *) {
    switch (event) {
    case XACT_EVENT_COMMIT:
        finish(true);
        break;
    case XACT_EVENT_ABORT:
        finish(false);
        break;
    case XACT_EVENT_PRE_PREPARE:
        if (held_count > 0)
            ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                            errmsg("cannot PREPARE a transaction that has appended events"),
                            errhint("It may stay open for ever, and would hold every reader back. Use COMMIT.")));
        break;
    default:
        break;
    }
}

void on_subtransaction(SubXactEvent event, SubTransactionId, SubTransactionId, void *) {
    if (held_count == 0)
        return;
    if (event == SUBXACT_EVENT_ABORT_SUB)
        undo_level(GetCurrentTransactionNestLevel());
    else if (event == SUBXACT_EVENT_COMMIT_SUB)
        keep_level(GetCurrentTransactionNestLevel());
}

// FATAL runs no destructor; ShutdownPostgres aborts the transaction later, and finds nothing left to do.
void on_exit(int, Datum) { finish(false); }

// --- reservation ---

// Everything that was ever given lies below the result, everything to come at or above it.
int64 read_reserved(Oid sequence, XLogRecPtr *lsn) noexcept {
    Relation relation = relation_open(sequence, AccessShareLock);
    Buffer buffer = ReadBuffer(relation, 0);
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    Page page = BufferGetPage(buffer);
    ItemId item = PageGetItemId(page, FirstOffsetNumber);
    HeapTupleHeader tuple = reinterpret_cast<HeapTupleHeader>(PageGetItem(page, item));
    auto *data = reinterpret_cast<Form_pg_sequence_data>(reinterpret_cast<char *>(tuple) + tuple->t_hoff);
    int64 reserved = data->is_called ? data->last_value + block_size : data->last_value;
    *lsn = PageGetLSN(page);
    UnlockReleaseBuffer(buffer);
    relation_close(relation, AccessShareLock);
    return reserved;
}

// One more block, durable before the first position of it is used.
int64 reserve_block(Oid sequence) {
    return pg::call([&]() noexcept {
        int64 start = nextval_internal(sequence, false);
        XLogRecPtr lsn;
        (void)read_reserved(sequence, &lsn);
        if (!XLogRecPtrIsInvalid(lsn))
            XLogFlush(lsn);
        return start;
    });
}

void reset(DatabaseOrder *d, Oid database, Oid sequence, int64 reserved) {
    // Of the same database all entries stay. Open transactions: they belong to processes that will take them out
    // themselves. Finished ones: the extension may be back that they wrote to, when dropping it was undone, and those
    // of another one make marks late for a moment, never wrong.
    if (d->database != database) {
        d->active_count = 0;
        d->ring_count = d->ring_start = d->group_count = 0;
        for (int i = 0; i < shared->processes; i++)
            places(d)[i] = -1;
    }
    d->database = database;
    d->sequence = sequence;
    d->next = d->reserved = reserved;
}

// Entries of databases that were dropped meanwhile are free again.
void release_dropped() noexcept {
    for (int i = 0; i < shared->databases; i++) {
        Oid database = entry(i)->database;
        if (!OidIsValid(database) || SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database)))
            continue;
        LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
        if (entry(i)->database == database && entry(i)->active_count == 0)
            entry(i)->database = InvalidOid;
        LWLockRelease(&shared->lock);
    }
}

// Finds, or makes, the entry of this database; nullptr when all are taken.
DatabaseOrder *claim_entry(Oid sequence, int64 reserved) {
    LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
    DatabaseOrder *found = nullptr, *idle = nullptr;
    for (int i = 0; i < shared->databases && !found; i++) {
        DatabaseOrder *d = entry(i);
        if (d->database == MyDatabaseId)
            found = d;
        else if (!OidIsValid(d->database) && !idle)
            idle = d;
    }
    DatabaseOrder *chosen = found ? found : idle;
    if (chosen) {
        LWLockAcquire(&chosen->lock, LW_EXCLUSIVE);
        if (chosen->database != MyDatabaseId || chosen->sequence != sequence)
            reset(chosen, MyDatabaseId, sequence, reserved);
        LWLockRelease(&chosen->lock);
    }
    LWLockRelease(&shared->lock);
    return chosen;
}

// What was restored, replayed, or reserved by another server start may lie above what we remember. Never below: what is
// left of a block that we pass over here is lost, not given twice, and neither is a block that is just being reserved
// (allocate()); so this is only for when that is rare, or nothing is left.
void catch_up(bool pass_over) noexcept {
    XLogRecPtr lsn;
    int64 reserved = read_reserved(mine_sequence, &lsn);
    if (reserved <= mine->reserved)
        return;
    if (!XLogRecPtrIsInvalid(lsn))
        XLogFlush(lsn); // a reader may go as far as that from now on
    LWLockAcquire(&mine->lock, LW_EXCLUSIVE);
    if ((pass_over || mine->next == mine->reserved) && reserved > mine->reserved)
        mine->next = mine->reserved = reserved;
    LWLockRelease(&mine->lock);
}

void attach() {
    Oid sequence = catalog::objects().position_seq;
    // The entry may serve another sequence meanwhile: of an extension that was made anew in a transaction that is
    // undone.
    if (mine && mine_sequence == sequence && mine->database == MyDatabaseId && mine->sequence == sequence)
        return;
    if (!callbacks_registered) {
        pg::call([]() noexcept {
            RegisterXactCallback(on_transaction, nullptr);
            RegisterSubXactCallback(on_subtransaction, nullptr);
            before_shmem_exit(on_exit, Datum(0));
        });
        callbacks_registered = true;
    }
    XLogRecPtr lsn;
    int64 reserved = pg::call([&]() noexcept { return read_reserved(sequence, &lsn); });
    DatabaseOrder *d = pg::call([&]() noexcept {
        DatabaseOrder *claimed = claim_entry(sequence, reserved);
        if (!claimed) {
            release_dropped();
            claimed = claim_entry(sequence, reserved);
        }
        return claimed;
    });
    if (!d)
        pg::raise(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                  {.message =
                       "more than " + std::to_string(shared->databases) + " databases of this server use chronicle",
                   .hint = "Raise chronicle.max_databases and restart the server."});
    mine = d;
    mine_sequence = sequence;
    if (reserved > d->reserved && !RecoveryInProgress())
        pg::call([]() noexcept { catch_up(true); });
}

void hold(int64 first) {
    int level = GetCurrentTransactionNestLevel();
    if (held_count == 0) {
        enter_active(mine, first);
    } else if (held[held_count - 1].level == level || held_count == held_capacity) {
        return; // deeper levels than we track count as held by the level above: late, never wrong
    }
    held[held_count++] = {level, first};
}

// Positions from the reserved block, or false when it has not enough left.
bool take(int count, Allocation *result) noexcept {
    LWLockAcquire(&mine->lock, LW_EXCLUSIVE);
    bool enough = mine->next + count <= mine->reserved;
    if (enough) {
        result->floor = lowest_active(mine) - 1;
        result->first = mine->next;
        hold(result->first);
        mine->next += count;
    }
    LWLockRelease(&mine->lock);
    return enough;
}

} // namespace

size_t shared_size() {
    return MAXALIGN(sizeof(Shared)) +
           entry_size(process_limit(), ring_limit()) * static_cast<size_t>(settings::max_databases);
}

void init_shared() {
    bool found;
    shared = static_cast<Shared *>(ShmemInitStruct("chronicle order", shared_size(), &found));
    if (!found) {
        memset(static_cast<void *>(shared), 0, shared_size());
        shared->databases = settings::max_databases;
        shared->processes = process_limit();
        shared->ring_size = ring_limit();
        shared->tranche = LWLockNewTrancheId();
        LWLockInitialize(&shared->lock, shared->tranche);
        for (int i = 0; i < shared->databases; i++)
            LWLockInitialize(&entry(i)->lock, shared->tranche);
    }
    LWLockRegisterTranche(shared->tranche, "ChronicleOrder");
}

Allocation allocate(int count) {
    attach();
    Allocation result{};
    while (!pg::call([&]() noexcept { return take(count, &result); })) {
        int64 start = reserve_block(mine_sequence);
        pg::call([&]() noexcept {
            LWLockAcquire(&mine->lock, LW_EXCLUSIVE);
            // Another one may have been faster with a later block: then this one is lost, which costs nothing.
            if (start >= mine->reserved) {
                mine->next = start;
                mine->reserved = start + block_size;
            }
            LWLockRelease(&mine->lock);
        });
    }
    return result;
}

bool transaction_has_appended() { return held_count > 0; }
std::optional<int64> first_held() { return held_count > 0 ? std::optional(held[0].lowest) : std::nullopt; }

// A build with CHRONICLE_BREAK_HORIZON gives wrong marks on purpose, so that the torture program is seen to find them
// (test/t/023_broken_horizon.pl): 1 ignores who is still writing, 2 who is still running for an older snapshot.
#ifdef CHRONICLE_BREAK_HORIZON
constexpr int broken = CHRONICLE_BREAK_HORIZON;
#else
constexpr int broken = 0;
#endif

int64 mark(Snapshot snapshot) {
    // A snapshot of the standby that lives on after the promotion sees less than what was replayed since: no registry
    // ever knew of that.
    if (RecoveryInProgress() || snapshot->takenDuringRecovery)
        return standby_mark(snapshot);
    attach();
    return pg::call([&]() noexcept {
        if (mine->next == mine->reserved)
            catch_up(false);
        uint64 next_xid = U64FromFullTransactionId(ReadNextFullTransactionId());
        // xmax is at most the next xid: widen it by the distance.
        uint64 xmax = next_xid - static_cast<uint32>(static_cast<uint32>(next_xid) - snapshot->xmax);
        LWLockAcquire(&mine->lock, LW_SHARED);
        int64 lowest = broken == 1 ? mine->next : lowest_active(mine);
        const Finished *r = ring(mine);
        bool all_older_over = broken != 0;
        for (int i = mine->ring_count - 1; i >= 0 && !all_older_over; i--) {
            const Finished &f = r[(mine->ring_start + i) % shared->ring_size];
            if (xmax > f.fence) {
                all_older_over = true;
                break;
            }
            if (f.lowest < lowest && XidInMVCCSnapshot(f.xid, snapshot))
                lowest = f.lowest;
        }
        for (int i = mine->group_count - 1; i >= 0 && !all_older_over; i--) {
            if (xmax > mine->groups[i].fence)
                break;
            lowest = std::min(lowest, mine->groups[i].lowest);
        }
        LWLockRelease(&mine->lock);
        return lowest - 1;
    });
}

void follow_sequence() {
    if (RecoveryInProgress())
        return;
    attach();
    pg::call([]() noexcept { catch_up(true); });
}

int64 last_given() {
    attach();
    return pg::call([&]() noexcept {
        LWLockAcquire(&mine->lock, LW_SHARED);
        int64 last = mine->next - 1;
        LWLockRelease(&mine->lock);
        return last;
    });
}

void set_last_position(int64 position) { last_appended = position; }
int64 last_position() { return last_appended; }

} // namespace chronicle::store::order
