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
//
// delete_stream() takes the snapshots of what it hides along, bases too: nothing folds from them any more. It does not
// see a base that is not committed yet: the scavenger takes that along with the rows.
//
// drop_aggregate() puts the bases away, with the fingerprint of the aggregate that they stood for. create_aggregate()
// takes back those of its own fingerprint: to it they are what a fold would have made. Those of others stay where they
// are: to it the beginning of those streams is lost (fold.cpp).
#include "state/snapshot.hpp"

#include "access/access.hpp"
#include "catalog/names.hpp"
#include "pg/lock.hpp"
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
        if (fingerprint(aggregate, fold.progress().function) != fold.progress().fingerprint)
            return; // the function was replaced meanwhile: another time
        pg::MemorySwitch keep(caller);
        base = {removal.up_to, fold.progress().fingerprint, fold.state()};
    });
    if (failed && failed->must_pass())
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

// Deleted events live on in no state.
void forget_snapshots(int64 stream, int64 hidden) {
    pg::call([]() noexcept { CommandCounterIncrement(); }); // rows of this command's could not be deleted in it
    for (const SnapshotRow &row : snapshot_rows(stream))
        if (row.version <= hidden)
            (void)remove_snapshot(row);
}

int64 before_removal(const store::Removal &removal) {
    if (removal.row.hidden > removal.row.removed) // a base that was not committed yet when the stream was deleted
        forget_snapshots(removal.row.id, removal.row.hidden);
    int64 without_base = std::max(removal.row.removed, std::min(removal.row.hidden, removal.up_to));
    if (removal.up_to <= without_base)
        return removal.up_to;
    std::shared_ptr<const Aggregate> aggregate = find_aggregate(catalog::category_of(removal.stream));
    if (!aggregate)
        return removal.up_to;
    pg::MemoryScope memory("chronicle base snapshot");
    Snapshot snapshot = pg::call([]() noexcept { return GetActiveSnapshot(); });
    int64 there = base_version(removal.row.id, removal.row.hidden, snapshot);
    bool lost = removal.row.removed > removal.row.hidden && there < removal.row.removed; // no state is left to keep
    if (lost || there >= removal.up_to)
        return removal.up_to;
    std::optional<Base> base =
        removal.by_worker ? find_base(*aggregate, removal, snapshot) : fold_base(*aggregate, removal, snapshot);
    if (!base || base->version <= removal.row.removed)
        return without_base;
    MomentaryLock lock(removal.stream);
    return lock.held() && keep(removal.row.id, *base) ? base->version : without_base;
}

void forget_deleted(int64 stream, int64 hidden) {
    static constexpr Oid types[] = {INT8OID, INT8OID};
    static pg::Statement forget_bases{"DELETE FROM chronicle_data.dropped_base WHERE stream_id = $1 AND version <= $2",
                                      types};
    static pg::Statement forget_failure{
        "DELETE FROM chronicle_data.snapshot_failure WHERE stream_id = $1 AND version <= $2", types};
    forget_snapshots(stream, hidden);
    access::EngineScope engine;
    for (pg::Statement *statement : {&forget_bases, &forget_failure}) {
        pg::Values values;
        statement->run(values.int8(stream).int8(hidden));
    }
}

} // namespace

void put_bases_away(const std::string &category, std::optional<int64> fingerprint) {
    static constexpr Oid types[] = {TEXTOID, INT8OID};
    static pg::Statement put_away{
        "WITH gone AS (DELETE FROM chronicle_data.snapshot AS n USING chronicle_data.stream AS s "
        "WHERE s.category = $1 AND n.stream_id = s.stream_id AND n.base RETURNING n.*, s.hidden) "
        "INSERT INTO chronicle_data.dropped_base AS b (stream_id, version, fingerprint, taken_at, state) "
        "SELECT g.stream_id, g.version, coalesce($2, g.fingerprint), g.taken_at, g.state FROM gone AS g "
        "WHERE g.version > g.hidden "
        "ON CONFLICT (stream_id, version, fingerprint) DO UPDATE SET state = excluded.state, taken_at = "
        "excluded.taken_at",
        types};
    access::EngineScope engine;
    pg::Values values;
    values.text(category);
    fingerprint ? values.int8(*fingerprint) : values.null();
    put_away.run(values);
}

// What retention has passed meanwhile, or a deletion, is of no use to anybody any more.
void take_bases_back(const std::string &category, int64 fingerprint) {
    static constexpr Oid types[] = {TEXTOID, INT8OID};
    static pg::Statement take_back{
        "WITH found AS (DELETE FROM chronicle_data.dropped_base AS b USING chronicle_data.stream AS s "
        "WHERE s.category = $1 AND b.stream_id = s.stream_id "
        "AND (b.fingerprint = $2 OR b.version < s.removed OR b.version <= s.hidden) "
        "RETURNING b.*, b.version >= s.removed AND b.version > s.hidden AND b.fingerprint = $2 AS counts) "
        "INSERT INTO chronicle_data.snapshot (stream_id, version, taken_at, fingerprint, base, state) "
        "SELECT DISTINCT ON (f.stream_id) f.stream_id, f.version, f.taken_at, f.fingerprint, true, f.state "
        "FROM found AS f WHERE f.counts ORDER BY f.stream_id, f.version DESC ON CONFLICT DO NOTHING",
        types};
    access::EngineScope engine;
    pg::Values values;
    take_back.run(values.text(category).int8(fingerprint));
}

void init_bases() {
    store::add_before_removal(before_removal);
    store::add_after_hiding(forget_deleted);
}

} // namespace chronicle::state
