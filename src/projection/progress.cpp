// What follows a failed batch (record_failure):
//
//   something is missing (function, table, owner, a right)  faulted at once: no repetition cures it
//   a passing condition (classes 40, 53, 57, 58; 55P03)     again after a delay, without end
//   several events                                          a smaller batch: those before the failing one, or half
//   one event, behind some that are to be parked            those alone: they are passed before it
//   one event                                               again after a delay that doubles, max_retries times; then
//                                                           faulted, or parked and passed (on_error)
//
// A process that died in a batch (kill -9, pg_terminate_backend by the handler) has no error to record: where that is
// to be feared, mark_running() is committed before the batch. Whoever finds the mark tries fewer events (record_loss),
// at last a single one, and after three deaths with that one it has failed for good (57P02).
//
// A batch that succeeds doubles the limit again, until it is batch_size.
#include "projection/progress.hpp"

#include "access/access.hpp"
#include "pg/lock.hpp"
#include "pg/xact.hpp"
#include "worker/registry.hpp"

#include <cmath>

namespace chronicle::projection {

namespace {

constexpr double longest_delay_ms = 3600000;

bool is_missing(int sqlstate) {
    return sqlstate == ERRCODE_UNDEFINED_TABLE || sqlstate == ERRCODE_UNDEFINED_FUNCTION ||
           sqlstate == ERRCODE_UNDEFINED_SCHEMA || sqlstate == ERRCODE_INSUFFICIENT_PRIVILEGE;
}

void set_batch_limit(int64 id, int64 limit) {
    static constexpr Oid types[] = {INT8OID, INT8OID};
    static pg::Statement update{"UPDATE chronicle_data.projection_progress SET batch_limit = $2, lease_slot = NULL "
                                "WHERE projection_id = $1",
                                types};
    pg::Values values;
    update.run(values.int8(id).int8(std::max<int64>(limit, 1)));
}

void schedule_retry(int64 id, const BatchFailure &failure, int attempts, double delay_ms) {
    static constexpr Oid types[] = {INT8OID, INT4OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, INT8OID};
    static pg::Statement update{
        "UPDATE chronicle_data.projection_progress SET attempts = $2, due_at = $3, error = $4, sqlstate = $5, "
        "error_position = $6, error_at = clock_timestamp(), batch_limit = 1, lease_slot = NULL, "
        "updated_at = clock_timestamp() WHERE projection_id = $1",
        types};
    TimestampTz due = GetCurrentTimestamp() + static_cast<int64>(delay_ms * 1000);
    pg::Values values;
    values.int8(id).int4(attempts).time(due).text(failure.error.message()).text(failure.error.sqlstate_text());
    update.run(values.maybe_int8(failure.failing == 0 ? std::nullopt : std::optional(failure.failing)));
}

// The event is passed.
void skip_parked(int64 id, int64 position) {
    static constexpr Oid types[] = {INT8OID, INT8OID};
    static pg::Statement update{
        "UPDATE chronicle_data.projection_progress SET position = $2, attempts = 0, losses = 0, due_at = NULL, "
        "batch_limit = NULL, lease_slot = NULL, updated_at = clock_timestamp() WHERE projection_id = $1",
        types};
    pg::Values values;
    update.run(values.int8(id).int8(position));
}

double retry_delay(const Options &options, int attempt) {
    return std::min(longest_delay_ms, static_cast<double>(options.retry_delay_ms) * std::pow(2.0, attempt - 1));
}

} // namespace

bool is_passing(const pg::Error &error) { return error.must_pass() && error.sqlstate() != ERRCODE_QUERY_CANCELED; }

bool try_lock_projection(int64 id) { return pg::try_lock(pg::LockKind::projection, static_cast<uint64>(id)); }
void lock_projection(int64 id) { pg::lock(pg::LockKind::projection, static_cast<uint64>(id)); }

static std::optional<Progress> read_row(int64 id, bool by_active_snapshot) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement find{"SELECT status, position, fence, generation, batch_limit, attempts, due_at, rate, "
                              "updated_at, losses, lease_slot, lease_generation, origin, redone_until FROM "
                              "chronicle_data.projection_progress WHERE projection_id = $1",
                              types};
    access::EngineScope engine;
    pg::Values values;
    pg::Rows rows = find.run(values.int8(id), by_active_snapshot);
    if (rows.empty())
        return std::nullopt;
    pg::Row row = rows[0];
    bool is_null;
    return Progress{.status = row.text(1),
                    .position = row.int8(2),
                    .origin = row.int8(13),
                    .redone_until = row.int8(14),
                    .fence = row.null(3) ? std::nullopt : std::optional(row.int8(3)),
                    .generation = row.int4(4),
                    .batch_limit = row.null(5) ? std::nullopt : std::optional(row.int4(5)),
                    .attempts = row.int4(6),
                    .losses = row.int4(10),
                    .due_at = row.null(7) ? 0 : row.time(7),
                    .lease_slot = row.null(11) ? std::nullopt : std::optional(row.int4(11)),
                    .lease_generation = row.null(12) ? 0 : static_cast<uint64>(row.int8(12)),
                    .rate = row.null(8) ? 0 : DatumGetFloat8(row.datum(8, &is_null)),
                    .updated_at = row.time(9)};
}

std::optional<Progress> read_progress(int64 id) { return read_row(id, false); }
std::optional<Progress> read_progress_as_of_snapshot(int64 id) { return read_row(id, true); }

void save_progress(const Projection &projection, const Progress &before, int64 position, int64 events,
                   const std::string &status, std::optional<int> batch_limit) {
    static constexpr Oid types[] = {INT8OID, INT8OID, INT8OID, TEXTOID, INT4OID, FLOAT8OID, TIMESTAMPTZOID};
    static pg::Statement update{
        "UPDATE chronicle_data.projection_progress SET position = $2, events_processed = events_processed + $3, "
        "batches = batches + 1, status = $4, batch_limit = $5, rate = $6, updated_at = $7, attempts = 0, losses = 0, "
        "due_at = NULL, lease_slot = NULL, error = NULL, sqlstate = NULL, error_position = NULL, error_at = NULL "
        "WHERE projection_id = $1",
        types};
    // Of late: each batch weighs as much as the time it took, up to ten seconds.
    TimestampTz now = GetCurrentTimestamp();
    double seconds = std::max(1e-6, static_cast<double>(now - before.updated_at) / 1e6);
    double share = std::min(1.0, seconds / 10.0);
    double rate = before.rate * (1 - share) + static_cast<double>(events) / std::max(seconds, 10.0);
    if (before.rate == 0)
        rate = static_cast<double>(events) / std::max(seconds, 1.0);
    access::EngineScope engine;
    pg::Values values;
    values.int8(projection.id).int8(position).int8(events).text(status);
    batch_limit ? values.int4(*batch_limit) : values.null();
    update.run(values.add(Float8GetDatum(rate)).time(now));
    worker::announce_projected();
}

void mark_running(int64 id, int slot, uint64 generation) {
    static constexpr Oid types[] = {INT8OID, INT4OID, INT8OID};
    static pg::Statement update{"UPDATE chronicle_data.projection_progress SET lease_slot = $2, lease_generation = $3 "
                                "WHERE projection_id = $1",
                                types};
    pg::start_transaction();
    {
        access::EngineScope engine;
        lock_projection(id);
        pg::Values values;
        update.run(values.int8(id).int4(slot).int8(static_cast<int64>(generation)));
    }
    pg::commit_transaction();
}

void clear_mark(int64 id) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement update{"UPDATE chronicle_data.projection_progress SET lease_slot = NULL "
                                "WHERE projection_id = $1 AND lease_slot IS NOT NULL",
                                types};
    access::EngineScope engine;
    pg::Values values;
    update.run(values.int8(id));
}

void record_loss(const Projection &projection) {
    static constexpr Oid types[] = {INT8OID, INT4OID, INT4OID};
    static pg::Statement update{
        "UPDATE chronicle_data.projection_progress SET batch_limit = $2, losses = losses + $3, lease_slot = NULL "
        "WHERE projection_id = $1",
        types};
    access::EngineScope engine;
    lock_projection(projection.id);
    std::optional<Progress> now = read_progress(projection.id);
    if (!now || !now->lease_slot)
        return;
    int limit = std::min(now->batch_limit.value_or(projection.options.batch_size), projection.options.batch_size);
    pg::Values values;
    update.run(values.int8(projection.id).int4(std::max(1, limit / 16)).int4(limit == 1 ? 1 : 0));
}

void try_again(int64 id) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement update{
        "UPDATE chronicle_data.projection_progress SET attempts = 0, losses = 0, due_at = NULL, batch_limit = NULL "
        "WHERE projection_id = $1 AND status IN ('running', 'rebuilding')",
        types};
    access::EngineScope engine;
    pg::Values values;
    update.run(values.int8(id));
}

void postpone(int64 id, int64 ms) {
    static constexpr Oid types[] = {INT8OID, TIMESTAMPTZOID};
    static pg::Statement update{"UPDATE chronicle_data.projection_progress SET due_at = $2 WHERE projection_id = $1",
                                types};
    access::EngineScope engine;
    pg::Values values;
    update.run(values.int8(id).time(GetCurrentTimestamp() + ms * 1000));
}

void set_faulted(int64 id, const pg::Error &error, int64 position) {
    static constexpr Oid types[] = {INT8OID, TEXTOID, TEXTOID, INT8OID};
    static pg::Statement update{
        "UPDATE chronicle_data.projection_progress SET status = 'faulted', attempts = attempts + 1, due_at = NULL, "
        "lease_slot = NULL, error = $2, sqlstate = $3, error_position = $4, error_at = clock_timestamp(), "
        "updated_at = clock_timestamp() WHERE projection_id = $1",
        types};
    access::EngineScope engine;
    pg::Values values;
    values.int8(id).text(error.message()).text(error.sqlstate_text());
    update.run(values.maybe_int8(position == 0 ? std::nullopt : std::optional(position)));
    worker::announce_projected();
}

void record_failure(const Projection &projection, const BatchFailure &failure) {
    access::EngineScope engine;
    lock_projection(projection.id);
    std::optional<Progress> now = read_progress(projection.id);
    if (!now || !now->is_active() || now->position != failure.after || now->attempts != failure.attempts)
        return; // it has moved on without us, or another that tried between our rollback and this has counted
    const Options &options = projection.options;
    bool is_final = failure.error.sqlstate() == ERRCODE_CRASH_SHUTDOWN;
    if (failure.set_up || is_missing(failure.error.sqlstate())) {
        set_faulted(projection.id, failure.error, failure.failing);
    } else if (!is_final && is_passing(failure.error)) {
        int attempts = std::min(now->attempts + 1, 10);
        schedule_retry(projection.id, failure, attempts, retry_delay(options, attempts));
    } else if (failure.events > 1 && !(failure.failing != 0 && failure.good == 0)) {
        set_batch_limit(projection.id, failure.failing != 0 ? failure.good : failure.events / 2);
    } else if (failure.put_aside > 0) {
        set_batch_limit(projection.id, 1); // they are passed first, else they would be with this one
    } else if (!is_final && now->attempts < options.max_retries) {
        schedule_retry(projection.id, failure, now->attempts + 1, retry_delay(options, now->attempts + 1));
    } else if (options.park && failure.failing != 0) {
        park(projection.id, failure.failing, failure.partition, now->attempts + 1, failure.error.message(),
             failure.error.sqlstate_text());
        skip_parked(projection.id, failure.failing);
        worker::announce_projected();
    } else {
        set_faulted(projection.id, failure.error, failure.failing);
    }
}

// --- parked events ---

std::set<std::string> parked_partitions(int64 id) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement find{
        "SELECT DISTINCT partition FROM chronicle_data.projection_parked WHERE projection_id = $1", types};
    access::EngineScope engine;
    pg::Values values;
    pg::Rows rows = find.run(values.int8(id));
    std::set<std::string> partitions;
    for (uint64 i = 0; i < rows.count; i++)
        partitions.insert(rows[i].text(1));
    return partitions;
}

void park(int64 id, int64 position, const std::string &partition, int attempts, const std::string &error,
          const std::string &sqlstate) {
    static constexpr Oid types[] = {INT8OID, INT8OID, TEXTOID, INT4OID, TEXTOID, TEXTOID};
    static pg::Statement insert{
        "INSERT INTO chronicle_data.projection_parked AS p (projection_id, global_position, partition, attempts, "
        "error, sqlstate) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (projection_id, global_position) DO UPDATE "
        "SET attempts = p.attempts + excluded.attempts, error = excluded.error, sqlstate = excluded.sqlstate",
        types};
    access::EngineScope engine;
    pg::Values values;
    insert.run(values.int8(id).int8(position).text(partition).int4(attempts).text(error).text(sqlstate));
}

} // namespace chronicle::projection
