// The scavenger removes the rows of hidden events.
//
//   find streams with something hidden      remove_hidden(stream): lock its row → what is hidden now → DELETE → note it
//   ├─ queue: deleted, tombstoned, retention set; what was found and not finished
//   ├─ categories with retention: their events, in position order, once when they are new (max_count: a stream has
//   │  grown) and once when they are too old (max_age): two cursors, kept in scavenge_progress
//   └─ streams with a retention of their own, by a partial index
//
// So a step costs what has changed since the last one, and the streams that have a retention of their own; never a scan
// of the log. What is found in a category goes through the queue, so a cursor may move on with what is not removed yet.
//
// What is removed is the beginning of a stream; stream.removed is its end. The last number survives there when no row
// is left (last_version() looks at the rows first, then at it). Ids that callers gave move to removed_id.
//
// Locks. One scavenger at a time (LockKind::scavenger: a call waits for another, the worker does not). Rows: of the
// categories FOR SHARE, of the stream FOR NO KEY UPDATE, both SKIP LOCKED: who changes what is to be kept holds them,
// so we never remove what is visible again when we commit; what is held by others is left to a later step. Appends and
// reads take no row lock. Nothing else is waited for.
//
// Snapshots: each statement its own, taken after the locks; in REPEATABLE READ the transaction's, and 40001 when a row
// that we lock is newer. Readers with an older snapshot still see the rows: they go when VACUUM may take them.
//
// Crash: each step is a transaction; a cursor commits with what was done up to it.
#include "store/scavenge.hpp"

#include "access/access.hpp"
#include "catalog/names.hpp"
#include "catalog/objects.hpp"
#include "pg/lock.hpp"
#include "pg/relation.hpp"
#include "settings.hpp"
#include "store/order.hpp"
#include "store/protect.hpp"
#include "store/retention.hpp"

extern "C" {
#include "funcapi.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
}

#include <ctime>
#include <set>

namespace chronicle::store {

namespace {

constexpr int max_hooks = 4;
BeforeRemoval hooks[max_hooks];
int hook_count = 0;

constexpr int batch = 1000; // rows that one look takes

// A snapshot later than the locks that were taken before.
class FreshSnapshot {
public:
    FreshSnapshot() : exceptions_(std::uncaught_exceptions()) {
        pg::call([]() noexcept {
            CommandCounterIncrement();
            PushActiveSnapshot(GetTransactionSnapshot());
        });
    }
    ~FreshSnapshot() {
        if (!pg::unwinding(exceptions_))
            PopActiveSnapshot();
    }
    FreshSnapshot(const FreshSnapshot &) = delete;
    FreshSnapshot &operator=(const FreshSnapshot &) = delete;

private:
    int exceptions_;
};

struct Removed {
    int64 streams = 0, events = 0, bytes = 0;
};

// Where a sweep over the streams with a retention of their own goes on.
struct Sweep {
    int64 after = 0;
    bool at_end = false;
};

struct Rule {
    std::string category;
    bool counts;
    std::optional<Interval> max_age;
    int64 counted_to, aged_to;
};

class Scavenger {
public:
    /// At most so many events removed, and so many rows looked at.
    Scavenger(int64 events, int64 looks, bool by_worker) : events_(events), looks_(looks), by_worker_(by_worker) {}

    void run(Sweep &sweep) {
        lock_categories();
        drain_queue();
        look_at_categories();
        look_at_streams(sweep);
    }
    bool spent() const { return events_ <= 0 || looks_ <= 0; }
    const Removed &removed() const { return removed_; }

private:
    enum class Outcome { done, more, held };
    struct Cut {
        Stream stream;
        std::string name;
        int64 hidden;
    };

    // Their retention stays as it is until we commit. A category that somebody changes just now is left alone.
    void lock_categories() {
        static pg::Statement lock{"SELECT category FROM chronicle_data.category WHERE max_count IS NOT NULL OR max_age "
                                  "IS NOT NULL FOR SHARE SKIP LOCKED"};
        static pg::Statement all{
            "SELECT category FROM chronicle_data.category WHERE max_count IS NOT NULL OR max_age IS NOT NULL"};
        access::EngineScope engine;
        std::set<std::string> locked;
        pg::Rows rows = lock.run();
        for (uint64 i = 0; i < rows.count; i++)
            locked.insert(rows[i].text(1));
        rows = all.run();
        for (uint64 i = 0; i < rows.count; i++)
            if (std::string category = rows[i].text(1); !locked.contains(category))
                held_categories_.insert(std::move(category));
    }

    // --- one stream ---

    std::optional<Cut> find_cut(int64 stream_id) {
        FreshSnapshot snapshot;
        Snapshot active = GetActiveSnapshot();
        Cut cut;
        std::optional<Stream> found = find_stream_by_id(stream_id, active, &cut.name);
        if (!found)
            return std::nullopt;
        cut.stream = *found;
        cut.hidden = hidden_versions(*found, catalog::category_of(cut.name), active);
        if (found->retention.truncate_before) // may hide versions that are not there yet
            cut.hidden = std::min(cut.hidden, std::max(found->removed, last_visible_version(found->id, active)));
        return cut;
    }

    static bool has_aggregate(std::string_view category) {
        static constexpr Oid types[] = {TEXTOID};
        static pg::Statement find{"SELECT FROM chronicle_data.aggregate WHERE category = $1", types};
        access::EngineScope engine;
        pg::Values values;
        return find.run(values.text(category)).count > 0;
    }

    int64 allowed_by_hooks(const Cut &cut) {
        // A state needs what a retention hides, and nobody is there to keep it: only what was deleted may go.
        if (hook_count == 0 && has_aggregate(catalog::category_of(cut.name)))
            return cut.stream.hidden;
        FreshSnapshot snapshot;
        int64 up_to = cut.hidden;
        for (int i = 0; i < hook_count; i++)
            up_to = std::min(up_to, hooks[i]({cut.name, cut.stream, up_to, by_worker_}));
        return up_to;
    }

    static bool lock_row(int64 stream_id) {
        static constexpr Oid types[] = {INT8OID};
        static pg::Statement lock{
            "SELECT FROM chronicle_data.stream WHERE stream_id = $1 FOR NO KEY UPDATE SKIP LOCKED", types};
        access::EngineScope engine;
        pg::Values values;
        return lock.run(values.int8(stream_id)).count == 1;
    }

    // Rows above stream.removed up to that version. A tombstoned stream knows no retries.
    int64 remove(const Stream &stream, int64 up_to) {
        static constexpr Oid types[] = {INT8OID, INT8OID, INT8OID, BOOLOID};
        // A row's fixed columns and header take about 112 bytes.
        static pg::Statement remove{
            "WITH gone AS (DELETE FROM chronicle_data.event AS e "
            "WHERE e.stream_id = $1 AND e.version > $2 AND e.version <= $3 "
            "RETURNING e.event_id, e.version, e.global_position, e.kind_id, e.id_given AND NOT $4 AS keep_id, "
            "e.recorded_at, CASE WHEN e.id_given AND NOT $4 "
            "THEN jsonb_hash_extended(e.data, uuid_hash_extended(e.event_id, 0)) END AS data_hash, "
            "112 + pg_column_size(e.data) + pg_column_size(e.metadata) + pg_column_size(e.actor) AS size), "
            "ids AS (INSERT INTO chronicle_data.removed_id (event_id, stream_id, version, global_position, data_hash, "
            "kind_id) SELECT event_id, $1, version, global_position, data_hash, kind_id FROM gone WHERE keep_id), "
            "total AS (SELECT count(*) AS events, sum(size) AS bytes, max(version) AS last, max(recorded_at) AS at "
            "FROM gone) "
            "UPDATE chronicle_data.stream AS s SET removed = t.last, changed_at = greatest(s.changed_at, t.at) "
            "FROM total AS t WHERE s.stream_id = $1 AND t.events > 0 RETURNING t.events, t.bytes::bigint",
            types};
        access::EngineScope engine;
        RemovalScope removal;
        pg::Values values;
        values.int8(stream.id).int8(stream.removed).int8(up_to).boolean(stream.tombstoned);
        pg::Rows rows = remove.run(values);
        if (rows.empty())
            return 0;
        removed_.streams++;
        removed_.events += rows[0].int8(1);
        removed_.bytes += rows[0].int8(2);
        return rows[0].int8(1);
    }

    Outcome remove_hidden(int64 stream_id) {
        looks_--;
        pg::check_interrupts();
        std::optional<Cut> cut = find_cut(stream_id);
        if (!cut || cut->hidden <= cut->stream.removed)
            return Outcome::done;
        if (held_categories_.contains(std::string(catalog::category_of(cut->name))))
            return Outcome::held;
        int64 allowed = allowed_by_hooks(*cut);
        if (allowed <= cut->stream.removed || !lock_row(stream_id))
            return Outcome::held;
        cut = find_cut(stream_id); // as nobody changes it any more
        if (!cut)
            return Outcome::done;
        allowed = std::min(allowed, cut->hidden);
        // Versions are contiguous above what was removed.
        int64 up_to = events_ < allowed - cut->stream.removed ? cut->stream.removed + events_ : allowed;
        int64 count = remove(cut->stream, up_to);
        events_ -= count;
        return count == 0              ? Outcome::done
               : up_to < allowed       ? Outcome::more
               : allowed < cut->hidden ? Outcome::held
                                       : Outcome::done;
    }

    // --- the queue ---

    std::vector<int64> next_queued(int64 after) {
        static constexpr Oid types[] = {INT8OID, INT4OID};
        static pg::Statement next{"SELECT DISTINCT stream_id FROM chronicle_data.scavenge_queue WHERE stream_id > $1 "
                                  "ORDER BY stream_id LIMIT $2",
                                  types};
        access::EngineScope engine;
        pg::Values values;
        return ids_of(next.run(values.int8(after).int4(batch)));
    }

    // Whoever adds a row holds the stream's row until it commits, so with the row locked we have seen what it speaks
    // of.
    static void leave_queue(int64 stream_id) {
        static constexpr Oid types[] = {INT8OID};
        static pg::Statement leave{"DELETE FROM chronicle_data.scavenge_queue WHERE stream_id = $1", types};
        access::EngineScope engine;
        pg::Values values;
        leave.run(values.int8(stream_id));
    }

    void drain_queue() {
        for (int64 after = 0; !spent();) {
            std::vector<int64> ids = next_queued(after);
            for (int64 id : ids) {
                if (spent())
                    return;
                after = id;
                if (remove_hidden(id) == Outcome::done)
                    leave_queue(id);
            }
            if (ids.size() < static_cast<size_t>(batch))
                return;
        }
    }

    // --- categories ---

    std::vector<Rule> read_rules() {
        static pg::Statement read{
            "SELECT c.category, c.max_count IS NOT NULL, c.max_age, "
            "CASE WHEN p.max_count IS NOT DISTINCT FROM c.max_count AND p.max_age IS NOT DISTINCT FROM c.max_age THEN "
            "coalesce(p.counted_to, 0) ELSE 0 END, "
            "CASE WHEN p.max_count IS NOT DISTINCT FROM c.max_count AND p.max_age IS NOT DISTINCT FROM c.max_age THEN "
            "coalesce(p.aged_to, 0) ELSE 0 END "
            "FROM chronicle_data.category AS c LEFT JOIN chronicle_data.scavenge_progress AS p USING (category) "
            "WHERE c.max_count IS NOT NULL OR c.max_age IS NOT NULL ORDER BY c.category"};
        access::EngineScope engine;
        pg::Rows rows = read.run();
        std::vector<Rule> rules;
        for (uint64 i = 0; i < rows.count; i++) {
            Rule rule{rows[i].text(1), rows[i].boolean(2), std::nullopt, rows[i].int8(4), rows[i].int8(5)};
            bool is_null;
            if (Datum age = rows[i].datum(3, &is_null); !is_null)
                rule.max_age = *DatumGetIntervalP(age);
            rules.push_back(std::move(rule));
        }
        return rules;
    }

    static void keep_progress(const Rule &rule) {
        static constexpr Oid types[] = {TEXTOID, INT8OID, INT8OID};
        static pg::Statement keep{
            "INSERT INTO chronicle_data.scavenge_progress AS p (category, max_count, max_age, counted_to, aged_to) "
            "SELECT c.category, c.max_count, c.max_age, $2, $3 FROM chronicle_data.category AS c WHERE c.category = $1 "
            "ON CONFLICT (category) DO UPDATE SET max_count = excluded.max_count, max_age = excluded.max_age, "
            "counted_to = excluded.counted_to, aged_to = excluded.aged_to",
            types};
        access::EngineScope engine;
        pg::Values values;
        keep.run(values.text(rule.category).int8(rule.counted_to).int8(rule.aged_to));
    }

    // Streams of the category's next events after `from`, up to the mark; with a cutoff only those recorded before it,
    // up to the first that was not. Returns how far it came.
    int64 look_at_events(const Rule &rule, int64 from, std::optional<TimestampTz> cutoff) {
        static constexpr Oid types[] = {TEXTOID, INT8OID, INT8OID, INT4OID};
        static pg::Statement read{
            "SELECT e.global_position, e.stream_id, e.recorded_at FROM chronicle_data.event_kind AS k CROSS JOIN "
            "LATERAL (SELECT v.global_position, v.stream_id, v.recorded_at FROM chronicle_data.event AS v "
            "WHERE v.kind_id = k.kind_id AND v.global_position > $2 AND v.global_position <= $3 "
            "ORDER BY v.global_position LIMIT $4) AS e WHERE k.category = $1 ORDER BY e.global_position LIMIT $4",
            types};
        access::EngineScope engine;
        FreshSnapshot snapshot;
        int64 mark = order::mark(GetActiveSnapshot());
        pg::Values values;
        pg::Rows rows = read.run(values.text(rule.category).int8(from).int8(mark).int4(batch), true);
        std::set<int64> streams;
        int64 come_to = from;
        uint64 taken = 0;
        for (; taken < rows.count && !(cutoff && rows[taken].time(3) >= *cutoff); taken++) {
            come_to = rows[taken].int8(1);
            streams.insert(rows[taken].int8(2));
        }
        if (taken == rows.count && rows.count < batch && !cutoff)
            come_to = std::max(come_to, mark);
        looks_ -= static_cast<int64>(taken) + 1;
        for (int64 id : streams)
            queue_for_scavenger(id);
        at_end_ = taken < static_cast<uint64>(batch);
        return come_to;
    }

    void follow(Rule &rule, int64 &cursor, std::optional<TimestampTz> cutoff) {
        for (at_end_ = false; !at_end_ && !spent();) {
            int64 before = cursor;
            cursor = look_at_events(rule, cursor, cutoff);
            if (cursor != before)
                keep_progress(rule);
            drain_queue();
        }
    }

    void look_at_categories() {
        for (Rule &rule : read_rules()) {
            if (rule.max_age)
                follow(rule, rule.aged_to, age_cutoff(*rule.max_age));
            if (rule.counts)
                follow(rule, rule.counted_to, std::nullopt);
        }
    }

    // --- streams with a retention of their own ---

    std::vector<int64> next_retained(int64 after) {
        static constexpr Oid types[] = {INT8OID, INT4OID};
        static pg::Statement next{
            "SELECT stream_id FROM chronicle_data.stream WHERE stream_id > $1 AND (max_count IS NOT NULL OR "
            "max_age IS NOT NULL OR truncate_before IS NOT NULL) AND (max_count IS NOT NULL OR max_age IS NOT NULL OR "
            "removed < truncate_before - 1) ORDER BY stream_id LIMIT $2",
            types};
        access::EngineScope engine;
        pg::Values values;
        return ids_of(next.run(values.int8(after).int4(batch)));
    }

    void look_at_streams(Sweep &sweep) {
        while (!spent()) {
            std::vector<int64> ids = next_retained(sweep.after);
            for (int64 id : ids) {
                if (spent())
                    return;
                if (remove_hidden(id) == Outcome::more)
                    return; // the same one first, next time
                sweep.after = id;
            }
            if (ids.size() < static_cast<size_t>(batch)) {
                sweep.at_end = true;
                return;
            }
        }
    }

    static std::vector<int64> ids_of(const pg::Rows &rows) {
        std::vector<int64> ids;
        for (uint64 i = 0; i < rows.count; i++)
            ids.push_back(rows[i].int8(1));
        return ids;
    }

    int64 events_, looks_;
    const bool by_worker_;
    bool at_end_ = false;
    std::set<std::string> held_categories_;
    Removed removed_;
};

} // namespace

void add_before_removal(BeforeRemoval hook) {
    Assert(hook_count < max_hooks);
    hooks[hook_count++] = hook;
}

void queue_for_scavenger(int64 stream_id) {
    Datum values[] = {Int64GetDatum(stream_id)};
    const bool nulls[] = {false};
    pg::TableWriter(catalog::objects().scavenge_queue).insert(values, nulls);
}

CHRONICLE_FUNCTION(chronicle_scavenge) {
    int64 max_events = pg::Arguments(fcinfo).int8(0).value_or(10000);
    if (max_events < 1)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "max_events must be at least 1, not " + std::to_string(max_events)});
    access::require(access::Level::admin, "scavenge");
    pg::call([]() noexcept { PreventCommandIfReadOnly("scavenge()"); });
    pg::lock(pg::LockKind::scavenger, 0);
    Scavenger scavenger(max_events, PG_INT64_MAX, false);
    Sweep sweep;
    scavenger.run(sweep);
    const Removed &removed = scavenger.removed();
    Datum values[] = {Int64GetDatum(removed.streams), Int64GetDatum(removed.events), Int64GetDatum(removed.bytes)};
    bool nulls[] = {false, false, false};
    pg::call([&]() noexcept {
        InitMaterializedSRF(fcinfo, 0);
        ReturnSetInfo *result = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);
        tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
    });
    PG_RETURN_NULL();
}

// --- in the scheduler ---

namespace {

constexpr int64 worker_events = 500, worker_looks = 5000; // a few milliseconds
constexpr TimestampTz longest_rest = 600 * USECS_PER_SEC;

struct Pace {
    Sweep sweep;
    TimestampTz next = 0;
    TimestampTz spent = 0; // processor time of the steps of this round
} pace;

void warn(const pg::Error &error) {
    const char *message = error.what();
    pg::call([&]() noexcept {
        ereport(WARNING, (errmsg("chronicle could not scavenge: %s", message), errhint("It is tried again later.")));
    });
}

TimestampTz processor_time() {
    timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec * USECS_PER_SEC + now.tv_nsec / 1000;
}

// True when the round is over. An error ends it: other work of the scheduler goes on.
bool run_step() {
    bool over = true;
    pg::start_transaction();
    if (pg::try_lock(pg::LockKind::scavenger, 0)) {
        std::optional<pg::Error> failed = pg::attempt([&]() {
            Scavenger scavenger(worker_events, worker_looks, true);
            scavenger.run(pace.sweep);
            over = !scavenger.spent() && pace.sweep.at_end;
        });
        if (failed) {
            warn(*failed);
            over = true;
        }
    }
    pg::commit_transaction();
    if (over)
        pace.sweep = {};
    return over;
}

} // namespace

// One part in five of the time while there is something to do; rounds take one in a hundred of a processor's.
TimestampTz scavenge_in_background() {
    if (settings::scavenge_interval < 0)
        return 0;
    TimestampTz started = GetCurrentTimestamp();
    if (started < pace.next)
        return pace.next;
    TimestampTz before = processor_time();
    bool over = run_step();
    pace.spent += std::max<TimestampTz>(processor_time() - before, 1000);
    TimestampTz ended = GetCurrentTimestamp();
    TimestampTz took = std::max<TimestampTz>(ended - started, 1000);
    TimestampTz rest = std::max(settings::scavenge_interval * USECS_PER_SEC, std::min(100 * pace.spent, longest_rest));
    pace.next = ended + (over ? rest : 4 * took);
    if (over)
        pace.spent = 0;
    return pace.next;
}

} // namespace chronicle::store
