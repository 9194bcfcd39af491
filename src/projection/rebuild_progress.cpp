#include "projection/rebuild_progress.hpp"

#include "access/access.hpp"
#include "worker/registry.hpp"

namespace chronicle::projection {

std::optional<Rebuild> read_rebuild(int64 id, bool lock) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement find{"SELECT started_at, error IS NOT NULL, done, attempts, due_at, fingerprint FROM "
                              "chronicle_data.projection_rebuild "
                              "WHERE projection_id = $1",
                              types};
    static pg::Statement parts{
        "SELECT part, position, caught_up, batch_limit, attempts, losses, due_at, lease_slot, lease_generation "
        "FROM chronicle_data.projection_rebuild_part WHERE projection_id = $1 ORDER BY part",
        types};
    static pg::Statement locked_parts{
        "SELECT part, position, caught_up, batch_limit, attempts, losses, due_at, lease_slot, lease_generation "
        "FROM chronicle_data.projection_rebuild_part WHERE projection_id = $1 ORDER BY part FOR UPDATE",
        types};
    access::EngineScope engine;
    pg::Values values, same;
    pg::Rows rows = find.run(values.int8(id));
    if (rows.empty())
        return std::nullopt;
    Rebuild rebuild{.started_at = rows[0].time(1),
                    .fingerprint = rows[0].int8(6),
                    .failed = rows[0].boolean(2),
                    .done = rows[0].boolean(3),
                    .attempts = rows[0].int4(4),
                    .due_at = rows[0].null(5) ? 0 : rows[0].time(5),
                    .parts = {}};
    rows = (lock ? locked_parts : parts).run(same.int8(id));
    for (uint64 i = 0; i < rows.count; i++) {
        pg::Row row = rows[i];
        rebuild.parts.push_back({.part = row.int4(1),
                                 .position = row.int8(2),
                                 .caught_up = row.boolean(3),
                                 .batch_limit = row.null(4) ? std::nullopt : std::optional(row.int4(4)),
                                 .attempts = row.int4(5),
                                 .losses = row.int4(6),
                                 .due_at = row.null(7) ? 0 : row.time(7),
                                 .lease_slot = row.null(8) ? std::nullopt : std::optional(row.int4(8)),
                                 .lease_generation = row.null(9) ? 0 : static_cast<uint64>(row.int8(9))});
    }
    return rebuild;
}

void insert_rebuild(int64 id, int parts, int64 position, int64 fingerprint) {
    static constexpr Oid types[] = {INT8OID, INT8OID, INT4OID, INT8OID};
    static pg::Statement insert{
        "WITH head AS (INSERT INTO chronicle_data.projection_rebuild (projection_id, fingerprint) VALUES ($1, $2)) "
        "INSERT INTO chronicle_data.projection_rebuild_part (projection_id, part, position) "
        "SELECT $1, n, $4 FROM generate_series(0, $3 - 1) AS n",
        types};
    access::EngineScope engine;
    pg::Values values;
    insert.run(values.int8(id).int8(fingerprint).int4(parts).int8(position));
}

void delete_parts(int64 id) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement remove{"DELETE FROM chronicle_data.projection_rebuild_part WHERE projection_id = $1", types};
    access::EngineScope engine;
    pg::Values values;
    remove.run(values.int8(id));
}

void delete_rebuild(int64 id) {
    delete_parts(id);
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement remove{"DELETE FROM chronicle_data.projection_rebuild WHERE projection_id = $1", types};
    access::EngineScope engine;
    pg::Values values;
    remove.run(values.int8(id));
}

void claim_part(int64 id, const RebuildPart &part, const worker::Claimant &claimant) {
    static constexpr Oid types[] = {INT8OID, INT4OID, INT4OID, INT8OID, INT4OID, INT4OID};
    static pg::Statement update{
        "UPDATE chronicle_data.projection_rebuild_part SET lease_slot = $3, lease_generation = $4, batch_limit = $5, "
        "losses = $6 WHERE projection_id = $1 AND part = $2",
        types};
    access::EngineScope engine;
    pg::Values values;
    values.int8(id).int4(part.part).int4(claimant.slot).int8(static_cast<int64>(claimant.generation));
    part.batch_limit ? values.int4(*part.batch_limit) : values.null();
    update.run(values.int4(part.losses));
}

bool save_part(int64 id, const RebuildPart &part, const worker::Claimant &claimant) {
    static constexpr Oid types[] = {INT8OID, INT4OID, INT4OID, INT8OID, INT8OID, BOOLOID, INT4OID};
    static pg::Statement update{
        "UPDATE chronicle_data.projection_rebuild_part SET position = $5, caught_up = $6, batch_limit = $7, "
        "attempts = 0, losses = 0, due_at = NULL, lease_slot = NULL "
        "WHERE projection_id = $1 AND part = $2 AND lease_slot = $3 AND lease_generation = $4",
        types};
    access::EngineScope engine;
    pg::Values values;
    values.int8(id).int4(part.part).int4(claimant.slot).int8(static_cast<int64>(claimant.generation));
    values.int8(part.position).boolean(part.caught_up);
    part.batch_limit ? values.int4(*part.batch_limit) : values.null();
    return update.run(values).count == 1;
}

void postpone_part(int64 id, const RebuildPart &part, const worker::Claimant &claimant, int64 ms) {
    static constexpr Oid types[] = {INT8OID, INT4OID, INT4OID, INT8OID, TIMESTAMPTZOID};
    static pg::Statement update{
        "UPDATE chronicle_data.projection_rebuild_part SET attempts = attempts + 1, due_at = $5, lease_slot = NULL "
        "WHERE projection_id = $1 AND part = $2 AND lease_slot = $3 AND lease_generation = $4",
        types};
    access::EngineScope engine;
    pg::Values values;
    values.int8(id).int4(part.part).int4(claimant.slot).int8(static_cast<int64>(claimant.generation));
    update.run(values.time(GetCurrentTimestamp() + ms * 1000));
}

void postpone_rebuild(int64 id, int attempts, int64 ms) {
    static constexpr Oid types[] = {INT8OID, INT4OID, TIMESTAMPTZOID};
    static pg::Statement update{
        "UPDATE chronicle_data.projection_rebuild SET attempts = $2, due_at = $3 WHERE projection_id = $1", types};
    access::EngineScope engine;
    pg::Values values;
    update.run(values.int8(id).int4(attempts).time(GetCurrentTimestamp() + ms * 1000));
}

void mark_done(int64 id) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement update{"UPDATE chronicle_data.projection_rebuild SET done = true, attempts = 0, due_at = NULL "
                                "WHERE projection_id = $1",
                                types};
    access::EngineScope engine;
    pg::Values values;
    update.run(values.int8(id));
    worker::announce_projected();
}

void mark_failed(int64 id, TimestampTz started_at, const pg::Error &error, int64 position) {
    static constexpr Oid types[] = {INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, INT8OID};
    static pg::Statement update{
        "UPDATE chronicle_data.projection_rebuild SET error = 'the rebuild failed: ' || $3, sqlstate = $4, "
        "error_position = $5, due_at = NULL WHERE projection_id = $1 AND started_at = $2 AND error IS NULL",
        types};
    access::EngineScope engine;
    pg::Values values;
    values.int8(id).time(started_at).text(error.message()).text(error.sqlstate_text());
    update.run(values.maybe_int8(position == 0 ? std::nullopt : std::optional(position)));
    worker::announce_projected();
}

} // namespace chronicle::projection
