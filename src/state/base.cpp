// Before retention's rows go: the state at the cut is kept in a base snapshot, which a fold begins with from then on,
// whatever function made it, because nothing can make it again.
//
// The scavenger asks (store::BeforeRemoval) up to which version rows may go. For a stream with an aggregate: to the
// version of its base snapshot. A call of scavenge() folds to the cut and keeps that. The background one runs no user
// code: it takes the newest snapshot that fits and lies at or below the cut, if there is one; the rows after it stay
// until a later step. What delete_stream hid needs no base.
//
// The stream's lock is taken without waiting and given back at once: whoever takes a snapshot holds it to the end of
// the transaction, so nobody's uncommitted row stands where ours goes, and appends do not wait for the scavenger.
// Crash: the base commits with the removal, or neither does.
#include "state/snapshot.hpp"

#include "access/access.hpp"
#include "pg/lock.hpp"
#include "state/failure.hpp"
#include "state/fold.hpp"
#include "state/snapshot_row.hpp"
#include "store/scavenge.hpp"

namespace chronicle::state {

namespace {

// The stream's lock for a moment.
class MomentaryLock {
public:
    explicit MomentaryLock(const std::string &stream)
        : tag_(pg::lock_tag(pg::LockKind::stream, pg::lock_key(stream))),
          held_(pg::call([&]() noexcept { return LockAcquire(&tag_, ExclusiveLock, false, true); }) !=
                LOCKACQUIRE_NOT_AVAIL),
          exceptions_(std::uncaught_exceptions()) {}
    ~MomentaryLock() {
        if (held_ && !pg::unwinding(exceptions_))
            LockRelease(&tag_, ExclusiveLock, false);
    }
    MomentaryLock(const MomentaryLock &) = delete;
    MomentaryLock &operator=(const MomentaryLock &) = delete;
    bool held() const { return held_; }

private:
    LOCKTAG tag_;
    bool held_;
    int exceptions_;
};

struct Base {
    int64 version = 0, fingerprint = 0;
    NullableDatum state{Datum(0), true};
};

// By the apply function, up to the cut.
std::optional<Base> fold_base(const Aggregate &aggregate, const store::Removal &removal, Snapshot snapshot) {
    MemoryContext caller = CurrentMemoryContext;
    Base base;
    std::optional<pg::Error> failed = pg::attempt([&] {
        Recipe recipe = recipe_of(aggregate);
        Fold fold(recipe, removal.stream, snapshot);
        fold.start(removal.up_to);
        fold.run(removal.up_to);
        pg::MemorySwitch keep(caller);
        base = {removal.up_to, fold.progress().fingerprint, fold.state()};
    });
    if (failed && must_pass(*failed))
        throw *failed;
    if (failed)
        warn_of_failure(removal.stream, removal.up_to, *failed);
    return failed ? std::nullopt : std::optional(base);
}

// The newest that is there already.
std::optional<Base> find_base(const Aggregate &aggregate, const store::Removal &removal, Snapshot snapshot) {
    std::optional<int64> fits;
    {
        access::EngineScope engine;
        if (Oid function = pg::find_function(aggregate.apply, apply_signature()); OidIsValid(function))
            fits = fingerprint(aggregate, function);
    }
    std::optional<StoredSnapshot> found =
        find_snapshot(removal.row.id, fits, removal.row.hidden, removal.up_to, snapshot);
    return found ? std::optional(Base{found->version, found->fingerprint, found->state}) : std::nullopt;
}

// Makes its row the base, and the only one up to there. False when somebody else is at the rows.
bool keep(int64 stream, const Base &base) {
    bool there = false;
    for (const SnapshotRow &row : snapshot_rows(stream)) {
        if (row.version > base.version)
            continue;
        if (row.version == base.version && row.base)
            there = true;
        else if (!remove_snapshot(row) && row.version == base.version)
            return false;
    }
    if (!there)
        insert_snapshot(stream, base.version, base.fingerprint, true, base.state);
    return true;
}

int64 before_removal(const store::Removal &removal) {
    int64 without_base = std::max(removal.row.removed, std::min(removal.row.hidden, removal.up_to));
    if (removal.up_to <= without_base)
        return removal.up_to;
    std::shared_ptr<const Aggregate> aggregate = find_aggregate(store::category_of(removal.stream));
    if (!aggregate)
        return removal.up_to;
    pg::MemoryScope memory("chronicle base snapshot");
    Snapshot snapshot = pg::call([]() noexcept { return GetActiveSnapshot(); });
    std::optional<Base> base =
        removal.by_worker ? find_base(*aggregate, removal, snapshot) : fold_base(*aggregate, removal, snapshot);
    if (!base || base->version <= removal.row.removed)
        return without_base;
    MomentaryLock lock(removal.stream);
    return lock.held() && keep(removal.row.id, *base) ? base->version : without_base;
}

} // namespace

void init_bases() { store::add_before_removal(before_removal); }

} // namespace chronicle::state
