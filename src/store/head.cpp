// The heads of streams: the last number, and what is deleted of it, of streams that were appended to lately. An append
// that finds its stream here reads neither the stream's row nor the index of events.
//
//   find      under the stream's lock: what the last committed append left. Nothing is never wrong.
//   change    under the stream's lock: the entry is voided before the first row is written; until the end of the
//             transaction, its own list of changed heads answers
//   commit    the callback writes the entry, after the rows have become visible and before the lock is given back
//   abort     nothing is written: the entry stays void, and the next append asks the tables
//
// So an entry is only ever written by who holds the stream's lock, and says what every later holder would find. What a
// savepoint that is undone had appended is taken off the list of what the commit will write.
//
// One table for the server, each stream in the one place that its id gives; streams that meet there push each other
// out. An entry names database and extension (by its sequence), so a dropped one leaves nothing that counts. Removing
// hidden rows (scavenge) changes no head. Crash: shared memory is gone; a standby that is promoted has never written
// here.
//
// Locks: the entry's spinlock, for a few instructions.
#include "store/head.hpp"

#include "catalog/objects.hpp"

extern "C" {
#include "access/xact.h"
#include "storage/shmem.h"
#include "storage/spin.h"
}

namespace chronicle::store {

namespace {

constexpr uint32 place_count = 32768; // a power of two

struct Place {
    slock_t lock;
    Oid database, sequence; // InvalidOid: void
    Head head;
};
Place *shared = nullptr;

// What this transaction's commit will write.
struct Pending {
    Head head;
    int level; // of the subtransaction
};
constexpr int pending_capacity = 64; // a transaction with more streams leaves the others void
Pending pending[pending_capacity];
int pending_count = 0;
Oid sequence = InvalidOid; // of the extension that they belong to

class Locked {
public:
    explicit Locked(Place &place) : place_(place) { SpinLockAcquire(&place_.lock); }
    ~Locked() { SpinLockRelease(&place_.lock); }
    Locked(const Locked &) = delete;
    Locked &operator=(const Locked &) = delete;

private:
    Place &place_;
};

Place &place_of(int64 stream_id) {
    uint64 shift = MyDatabaseId * UINT64CONST(2654435761); // ids count up: of one database they fill the table evenly
    return shared[(static_cast<uint64>(stream_id) + shift) & (place_count - 1)];
}

bool holds(const Place &place, Oid of, int64 stream_id) {
    return place.database == MyDatabaseId && place.sequence == of && place.head.stream_id == stream_id;
}

// --- callbacks of PostgreSQL: they own nothing and throw nothing ---

void on_transaction(XactEvent event, void *) {
    if (event == XACT_EVENT_COMMIT)
        for (int i = 0; i < pending_count; i++) {
            Place &place = place_of(pending[i].head.stream_id);
            Locked locked(place);
            place.database = MyDatabaseId;
            place.sequence = sequence;
            place.head = pending[i].head;
        }
    if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
        pending_count = 0;
}

void on_subtransaction(SubXactEvent event, SubTransactionId, SubTransactionId, void *) {
    if (pending_count == 0 || (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB))
        return;
    int level = GetCurrentTransactionNestLevel(), kept = 0;
    for (int i = 0; i < pending_count; i++) {
        if (pending[i].level >= level) {
            if (event == SUBXACT_EVENT_ABORT_SUB)
                continue;
            pending[i].level = level - 1;
        }
        pending[kept++] = pending[i];
    }
    pending_count = kept;
}

void register_callbacks() {
    static bool registered = false;
    if (registered)
        return;
    pg::call([]() noexcept {
        RegisterXactCallback(on_transaction, nullptr);
        RegisterSubXactCallback(on_subtransaction, nullptr);
    });
    registered = true;
}

} // namespace

size_t heads_shared_size() { return sizeof(Place) * place_count; }

void init_heads_shared() {
    bool found;
    shared = static_cast<Place *>(ShmemInitStruct("chronicle heads", heads_shared_size(), &found));
    if (found)
        return;
    memset(static_cast<void *>(shared), 0, heads_shared_size());
    for (uint32 i = 0; i < place_count; i++)
        SpinLockInit(&shared[i].lock);
}

std::optional<Head> find_head(int64 stream_id) {
    Oid of = catalog::objects().position_seq;
    for (int i = pending_count - 1; i >= 0 && of == sequence; i--)
        if (pending[i].head.stream_id == stream_id)
            return pending[i].head;
    Place &place = place_of(stream_id);
    Locked locked(place);
    return holds(place, of, stream_id) ? std::optional(place.head) : std::nullopt;
}

void forget_head(int64 stream_id) {
    Oid of = catalog::objects().position_seq;
    {
        Place &place = place_of(stream_id);
        Locked locked(place);
        if (holds(place, of, stream_id))
            place.database = place.sequence = InvalidOid;
    }
    for (int i = pending_count - 1; i >= 0; i--)
        if (pending[i].head.stream_id == stream_id)
            pending[i] = pending[--pending_count];
}

void remember_head(const Head &head) {
    register_callbacks();
    Oid of = catalog::objects().position_seq;
    if (of != sequence) // of an extension that was made in this transaction
        pending_count = 0;
    sequence = of;
    if (pending_count < pending_capacity)
        pending[pending_count++] = {head, GetCurrentTransactionNestLevel()};
}

} // namespace chronicle::store
