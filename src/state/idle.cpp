// Snapshots of streams that fell idle (snapshot_after_idle), as work for executors.
//
// A cursor per aggregate walks its category's events in position order, up to those that are old enough. An event that
// is its stream's last one, and old enough, means that the stream is idle: a snapshot is taken, unless there is one of
// that version. An event that is not the last is passed over: the later one comes along. So an append pays nothing, and
// a step costs what was appended since the last one.
//
// A step runs in an executor that is connected as the aggregate's owner, in one transaction: cursor row → for each
// stream its lock, without waiting. Who holds it need not append, so the stream is noted (aggregate_idle_held) and
// tried again every few seconds, in steps of its own, until it is free or has gone on. Crash: cursor, notes and
// snapshots commit together. A failing apply function is noted (view aggregates, failing_streams), and the cursor moves
// on.
#include "state/idle.hpp"

#include "access/access.hpp"
#include "pg/lock.hpp"
#include "pg/xact.hpp"
#include "state/snapshot.hpp"
#include "store/order.hpp"
#include "store/stream.hpp"
#include "worker/source.hpp"

namespace chronicle::state {

namespace {

constexpr int batch = 200; // events that one step looks at
constexpr int64 least_look_ms = 1000, most_look_ms = 60000;
#define TRY_AGAIN_AT "pg_catalog.clock_timestamp() + '3 seconds'"

// Categories whose next event is old enough, or will be: owner, when.
// (recorded_at is compared with the clock of the server that wrote it.)
#define NEXT_EVENTS                                                                                                    \
    "FROM chronicle_data.aggregate AS a LEFT JOIN chronicle_data.aggregate_idle AS i USING (category) "                \
    "CROSS JOIN LATERAL (SELECT v.recorded_at FROM chronicle_data.event_kind AS k CROSS JOIN LATERAL "                 \
    "(SELECT e.recorded_at, e.global_position FROM chronicle_data.event AS e WHERE e.kind_id = k.kind_id "             \
    "AND e.global_position > coalesce(i.position, 0) AND e.global_position <= $1 "                                     \
    "ORDER BY e.global_position LIMIT 1) AS v WHERE k.category = a.category ORDER BY v.global_position LIMIT 1) AS n " \
    "WHERE a.snapshot_after_idle IS NOT NULL "

int64 mark() {
    return store::order::mark(pg::call([]() noexcept { return GetActiveSnapshot(); }));
}

// --- in the scheduler ---

TimestampTz look(std::vector<worker::Demand> &demands) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement shortest{
        "SELECT (extract(epoch FROM least(min(snapshot_after_idle), '1 hour')) * 1000)::bigint "
        "FROM chronicle_data.aggregate"};
    static pg::Statement next{"SELECT a.owner, n.recorded_at + a.snapshot_after_idle " NEXT_EVENTS
                              "UNION ALL SELECT a.owner, min(h.again_at) FROM chronicle_data.aggregate_idle_held AS h "
                              "JOIN chronicle_data.aggregate AS a USING (category) "
                              "WHERE a.snapshot_after_idle IS NOT NULL GROUP BY a.owner",
                              types};
    access::EngineScope engine;
    pg::Rows wait = shortest.run();
    if (wait[0].null(1))
        return 0;
    // What is appended from now on is not due before that.
    int64 look_again = std::clamp(wait[0].int8(1), least_look_ms, most_look_ms);
    pg::Values values;
    pg::Rows rows = next.run(values.int8(mark()));
    TimestampTz now = GetCurrentTimestamp(), due = TimestampTzPlusMilliseconds(now, look_again);
    for (uint64 i = 0; i < rows.count; i++) {
        TimestampTz at = rows[i].time(2);
        if (at <= now)
            demands.push_back({.owner = rows[i].text(1), .ready = 1});
        else
            due = std::min(due, at);
    }
    return due;
}

// --- in an executor ---

struct Due {
    std::string category;
    int64 position;
};

// One of the owner's with something to do, its cursor locked: others take another one.
std::optional<Due> lock_due(const std::string &owner) {
    static constexpr Oid types[] = {INT8OID, TEXTOID};
    static constexpr Oid category[] = {TEXTOID};
    static pg::Statement find{
        "SELECT a.category " NEXT_EVENTS
        "AND a.owner = $2 AND n.recorded_at <= pg_catalog.clock_timestamp() - a.snapshot_after_idle",
        types};
    static pg::Statement make{"INSERT INTO chronicle_data.aggregate_idle (category, position) VALUES ($1, 0) "
                              "ON CONFLICT (category) DO NOTHING",
                              category};
    static pg::Statement lock{"SELECT category, position FROM chronicle_data.aggregate_idle WHERE category = $1 "
                              "FOR UPDATE SKIP LOCKED",
                              category};
    access::EngineScope engine;
    pg::Values values;
    pg::Rows found = find.run(values.int8(mark()).text(owner));
    std::vector<std::string> categories;
    for (uint64 i = 0; i < found.count; i++)
        categories.push_back(found[i].text(1));
    for (const std::string &name : categories) {
        pg::Values one, same;
        make.run(one.text(name));
        pg::Rows rows = lock.run(same.text(name));
        if (!rows.empty())
            return Due{rows[0].text(1), rows[0].int8(2)};
    }
    return std::nullopt;
}

struct Old {
    std::string stream;
    bool idle; // it is the stream's last event
    int64 stream_id;
};

// The category's next events that are old enough; the cursor moves behind them.
std::vector<Old> take_events(const Due &due) {
    static constexpr Oid types[] = {TEXTOID, INT8OID, INT8OID, INT4OID};
    static pg::Statement read{
        "SELECT e.global_position, s.name, NOT EXISTS (SELECT FROM chronicle_data.event AS later "
        "WHERE later.stream_id = e.stream_id AND later.version > e.version), e.stream_id "
        "FROM chronicle_data.aggregate AS a JOIN chronicle_data.event_kind AS k USING (category) CROSS JOIN LATERAL "
        "(SELECT v.global_position, v.stream_id, v.version, v.recorded_at FROM chronicle_data.event AS v "
        "WHERE v.kind_id = k.kind_id AND v.global_position > $2 AND v.global_position <= $3 "
        "ORDER BY v.global_position LIMIT $4) AS e JOIN chronicle_data.stream AS s ON s.stream_id = e.stream_id "
        "WHERE a.category = $1 AND e.recorded_at <= pg_catalog.clock_timestamp() - a.snapshot_after_idle "
        "ORDER BY e.global_position LIMIT $4",
        types};
    static constexpr Oid moved[] = {TEXTOID, INT8OID};
    static pg::Statement move{"UPDATE chronicle_data.aggregate_idle SET position = $2 WHERE category = $1", moved};
    access::EngineScope engine;
    pg::Values values;
    pg::Rows rows = read.run(values.text(due.category).int8(due.position).int8(mark()).int4(batch));
    std::vector<Old> taken;
    int64 position = due.position;
    for (uint64 i = 0; i < rows.count; i++) {
        position = rows[i].int8(1);
        taken.push_back({rows[i].text(2), rows[i].boolean(3), rows[i].int8(4)});
    }
    pg::Values to;
    move.run(to.text(due.category).int8(position));
    return taken;
}

bool try_stream(const std::string &stream) { return pg::try_lock(pg::LockKind::stream, pg::lock_key(stream)); }

void note_held(const std::string &category, int64 stream_id) {
    static constexpr Oid types[] = {INT8OID, TEXTOID};
    static pg::Statement note{"INSERT INTO chronicle_data.aggregate_idle_held (stream_id, category, again_at) "
                              "VALUES ($1, $2, " TRY_AGAIN_AT ") ON CONFLICT (stream_id) DO NOTHING",
                              types};
    access::EngineScope engine;
    pg::Values values;
    note.run(values.int8(stream_id).text(category));
}

// Streams that were held and may be tried again.
struct Held {
    std::string stream, category;
    int64 stream_id;
    bool idle; // still: otherwise the cursor comes to the event that followed
};

std::vector<Held> lock_held(const std::string &owner) {
    static constexpr Oid types[] = {TEXTOID, INT4OID};
    static pg::Statement find{
        "SELECT s.name, h.category, h.stream_id, coalesce((SELECT e.recorded_at FROM chronicle_data.event AS e "
        "WHERE e.stream_id = h.stream_id ORDER BY e.version DESC LIMIT 1) <= "
        "pg_catalog.clock_timestamp() - a.snapshot_after_idle, false) "
        "FROM chronicle_data.aggregate_idle_held AS h JOIN chronicle_data.aggregate AS a USING (category) "
        "JOIN chronicle_data.stream AS s ON s.stream_id = h.stream_id "
        "WHERE a.owner = $1 AND a.snapshot_after_idle IS NOT NULL AND h.again_at <= pg_catalog.clock_timestamp() "
        "ORDER BY h.again_at LIMIT $2 FOR UPDATE OF h SKIP LOCKED",
        types};
    access::EngineScope engine;
    pg::Values values;
    pg::Rows rows = find.run(values.text(owner).int4(batch));
    std::vector<Held> held;
    for (uint64 i = 0; i < rows.count; i++)
        held.push_back({rows[i].text(1), rows[i].text(2), rows[i].int8(3), rows[i].boolean(4)});
    return held;
}

bool work_on_held(const std::string &owner) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement forget{"DELETE FROM chronicle_data.aggregate_idle_held WHERE stream_id = $1", types};
    static pg::Statement later{"UPDATE chronicle_data.aggregate_idle_held SET again_at = " TRY_AGAIN_AT
                               " WHERE stream_id = $1",
                               types};
    std::vector<Held> streams = lock_held(owner);
    for (const Held &held : streams) {
        bool over = !held.idle || try_stream(held.stream);
        {
            access::EngineScope engine;
            pg::Values values;
            (over ? forget : later).run(values.int8(held.stream_id));
        }
        std::shared_ptr<const Aggregate> aggregate = find_aggregate(held.category);
        if (over && held.idle && aggregate)
            snapshot_or_note(*aggregate, held.stream);
    }
    return !streams.empty();
}

bool work(const std::string &owner) {
    pg::SnapshotScope snapshot;
    std::optional<Due> due = lock_due(owner);
    if (!due)
        return work_on_held(owner);
    std::shared_ptr<const Aggregate> aggregate = find_aggregate(due->category);
    for (const Old &event : take_events(*due)) {
        if (!aggregate || !event.idle)
            continue;
        if (try_stream(event.stream))
            snapshot_or_note(*aggregate, event.stream);
        else
            note_held(due->category, event.stream_id);
    }
    return true;
}

bool step(const worker::Claimant &claimant) {
    pg::start_transaction();
    bool worked;
    {
        pg::MemoryScope memory("chronicle idle snapshots");
        worked = work(claimant.owner);
    }
    pg::commit_transaction();
    return worked;
}

// Nobody waits for these snapshots: a fold does without.
void fail_owner(const std::string &, int, const std::string &) {}

} // namespace

void init_idle_snapshots() { worker::add_source({"idle snapshots", look, nullptr, fail_owner, step}); }

} // namespace chronicle::state
