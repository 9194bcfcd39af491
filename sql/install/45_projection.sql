-- Projections: read models kept up by events. C++: src/projection. States, locks and crashes: src/projection/README.md.

CREATE SEQUENCE chronicle_data.projection_id_seq AS bigint;
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.projection_id_seq', '');

-- What was declared. Processes cache it (store::CachedTable).
CREATE TABLE chronicle_data.projection (
    projection_id bigint NOT NULL CONSTRAINT projection_pkey PRIMARY KEY,
    name text COLLATE "C" NOT NULL CONSTRAINT projection_name_key UNIQUE,
    owner text NOT NULL,                       -- a role name: the code runs as this role
    mode text NOT NULL CHECK (mode IN ('inline', 'async')),
    kind text NOT NULL CHECK (kind IN ('handler', 'state', 'statement')),
    handler text,                              -- schema.function
    statement text,
    search_path text NOT NULL,                 -- of the session that created it
    categories text[],
    streams text[],
    types text[],
    stream_regex text,
    initial_state jsonb,
    partition_by text,
    options jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.projection', '');

-- How far it is: one small row, updated with each batch. position: every event up to it is done (or parked).
CREATE TABLE chronicle_data.projection_progress (
    projection_id bigint NOT NULL CONSTRAINT projection_progress_pkey PRIMARY KEY,
    owner text COLLATE "C" NOT NULL,
    status text NOT NULL CHECK (status IN ('running', 'disabled', 'rebuilding', 'faulted')),
    position bigint NOT NULL,
    origin bigint NOT NULL,                    -- events after it count (option start_from, as it was at creation)
    redone_until bigint NOT NULL DEFAULT 0,    -- projected before a reset: what handlers appended for it is in the log
    started_from bigint NOT NULL,              -- where the catch-up began: progress is counted from there
    fence bigint,                              -- an inline one goes live only from here on (src/projection/inline.cpp)
    generation int NOT NULL DEFAULT 1,         -- of the states that count
    events_processed bigint NOT NULL DEFAULT 0,
    batches bigint NOT NULL DEFAULT 0,
    batch_limit int,                           -- after a failure: smaller batches, until they succeed again
    attempts int NOT NULL DEFAULT 0,           -- failures in a row of the event after position
    losses int NOT NULL DEFAULT 0,             -- of those: the process died
    due_at timestamptz,                        -- of the next attempt
    lease_slot int,                            -- set before a batch where the process's death is feared: the executor
    lease_generation bigint,
    error text,
    sqlstate text,
    error_position bigint,
    error_at timestamptz,
    rate double precision,                     -- events per second, of late
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0.0,
        autovacuum_vacuum_cost_delay = 0);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.projection_progress', '');

-- The states of the state kind, one row per partition. A rebuild fills the next generation.
CREATE TABLE chronicle_data.projection_state (
    projection_id bigint NOT NULL,
    generation int NOT NULL,
    partition text COLLATE "C" NOT NULL,
    state jsonb NOT NULL,
    position bigint NOT NULL,                  -- of the last event in it
    events bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT projection_state_pkey PRIMARY KEY (projection_id, generation, partition)
) WITH (fillfactor = 70);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.projection_state', '');

-- Parked events. error is NULL for those that are parked because an earlier one of their partition is.
CREATE TABLE chronicle_data.projection_parked (
    projection_id bigint NOT NULL,
    global_position bigint NOT NULL,
    partition text COLLATE "C" NOT NULL,
    attempts int NOT NULL,
    error text NOT NULL,
    sqlstate text NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT projection_parked_pkey PRIMARY KEY (projection_id, global_position)
);
CREATE INDEX projection_parked_partition ON chronicle_data.projection_parked (projection_id, partition);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.projection_parked', '');

-- A rebuild beside the live one: under way, done but for cleaning up, or failed (error). src/projection/rebuild.cpp
CREATE TABLE chronicle_data.projection_rebuild (
    projection_id bigint NOT NULL CONSTRAINT projection_rebuild_pkey PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    fingerprint bigint NOT NULL,               -- of the code; with another one it begins anew
    done boolean NOT NULL DEFAULT false,
    attempts int NOT NULL DEFAULT 0,           -- at the last step, and when it is tried again
    due_at timestamptz,
    error text,
    sqlstate text,
    error_position bigint
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.projection_rebuild', '');

-- Its parts, which several executors work on: each has a share of the partitions.
CREATE TABLE chronicle_data.projection_rebuild_part (
    projection_id bigint NOT NULL,
    part int NOT NULL,
    position bigint NOT NULL,                  -- what belongs to the part is in, up to here
    caught_up boolean NOT NULL DEFAULT false,  -- the last step came to where the live one was
    batch_limit int,                           -- after a death in a step: smaller ones, until they succeed again
    attempts int NOT NULL DEFAULT 0,
    losses int NOT NULL DEFAULT 0,             -- deaths in a row with one event
    due_at timestamptz,
    lease_slot int,                            -- the executor that works on it
    lease_generation bigint,
    CONSTRAINT projection_rebuild_part_pkey PRIMARY KEY (projection_id, part)
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0.0);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.projection_rebuild_part', '');

-- Inline projections act on what the append functions store (src/store/watch.hpp).
CREATE FUNCTION chronicle_data.run_inline_projections() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'chronicle_run_inline_projections';
CREATE TRIGGER inline_projections AFTER INSERT ON chronicle_data.event
    FOR EACH STATEMENT EXECUTE FUNCTION chronicle_data.run_inline_projections();
-- Also where session_replication_role is replica: what an append function stores there counts, too.
ALTER TABLE chronicle_data.event ENABLE ALWAYS TRIGGER inline_projections;

CREATE FUNCTION chronicle.create_projection(
    name text, handler text DEFAULT NULL, statement text DEFAULT NULL, mode text DEFAULT 'async',
    categories text[] DEFAULT NULL, streams text[] DEFAULT NULL, types text[] DEFAULT NULL,
    stream_regex text DEFAULT NULL, initial_state jsonb DEFAULT NULL, partition_by text DEFAULT NULL,
    options jsonb DEFAULT '{}', replace boolean DEFAULT false) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_create_projection';
CREATE FUNCTION chronicle.drop_projection(name text, if_exists boolean DEFAULT false) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_drop_projection';
CREATE FUNCTION chronicle.disable_projection(name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_disable_projection';
CREATE FUNCTION chronicle.enable_projection(name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_enable_projection';
CREATE FUNCTION chronicle.reset_projection(name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_reset_projection';
CREATE FUNCTION chronicle.projection_state(name text, partition text DEFAULT '') RETURNS jsonb
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'chronicle_projection_state';
CREATE FUNCTION chronicle.wait_for_projection(
    name text, global_position bigint DEFAULT NULL, timeout interval DEFAULT '10s') RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_wait_for_projection';
CREATE FUNCTION chronicle.rebuild_projection(name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_rebuild_projection';
CREATE FUNCTION chronicle.cancel_rebuild(name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_cancel_rebuild';
CREATE FUNCTION chronicle.verify_projection(name text)
    RETURNS TABLE (partition text, kept jsonb, recomputed jsonb)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'chronicle_verify_projection';
CREATE FUNCTION chronicle.replay_parked_events(projection text) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_replay_parked_events';

CREATE FUNCTION chronicle_data.projection_lag(projection_id bigint, after_position bigint,
    OUT lag_events bigint, OUT lag_ms double precision, OUT log_end bigint)
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'chronicle_projection_lag';

-- r: a rebuild that is under way; its parts go up to where the live one is.
CREATE VIEW chronicle.projections WITH (security_barrier) AS
SELECT p.name, p.mode, p.kind,
       CASE WHEN g.status = 'running' AND r.progress IS NOT NULL THEN 'rebuilding' ELSE g.status END AS status,
       CASE WHEN p.mode = 'inline' AND g.status = 'running' THEN l.log_end ELSE g.position END AS global_position,
       l.lag_events, l.lag_ms,
       CASE WHEN r.progress IS NOT NULL THEN r.progress
            WHEN g.status = 'running' OR l.log_end <= g.started_from THEN 1.0
            ELSE least(1.0, (g.position - g.started_from)::double precision / (l.log_end - g.started_from)) END
           AS progress,
       CASE WHEN r.progress > 0
            THEN clock_timestamp() + (clock_timestamp() - r.started_at) * ((1 - r.progress) / r.progress)
            WHEN r.progress IS NULL AND g.status = 'rebuilding' AND g.rate > 0 AND l.lag_events > 0
            THEN clock_timestamp() + l.lag_events / g.rate * interval '1 second' END AS eta,
       g.events_processed, coalesce(g.rate, 0) AS events_per_second,
       coalesce(g.error, f.error) AS last_error,
       CASE WHEN g.error IS NULL THEN f.error_position ELSE g.error_position END AS last_error_position,
       p.owner, p.created_at
  FROM chronicle_data.projection AS p
  JOIN chronicle_data.projection_progress AS g USING (projection_id)
  LEFT JOIN chronicle_data.projection_rebuild AS f USING (projection_id)
 CROSS JOIN LATERAL chronicle_data.projection_lag(p.projection_id, g.position) AS l
  LEFT JOIN LATERAL (
       SELECT f.started_at,
              avg(CASE WHEN e.position <= g.origin THEN 1
                       ELSE greatest(0.0, least(1.0, (t.position - g.origin)::double precision / (e.position - g.origin))) END)
                  AS progress
         FROM chronicle_data.projection_rebuild_part AS t,
              (SELECT CASE WHEN p.mode = 'inline' AND g.status = 'running' THEN l.log_end ELSE g.position END) AS e (position)
        WHERE t.projection_id = p.projection_id AND f.error IS NULL AND NOT f.done) AS r ON true
 WHERE chronicle_data.sees_execution(p.owner, NULL);
GRANT SELECT ON chronicle.projections TO PUBLIC;

CREATE VIEW chronicle.projection_states WITH (security_barrier) AS
SELECT p.name AS projection, s.partition, s.state, s.position AS global_position, s.events, s.updated_at
  FROM chronicle_data.projection AS p
  JOIN chronicle_data.projection_progress AS g USING (projection_id)
  JOIN chronicle_data.projection_state AS s USING (projection_id, generation)
 WHERE chronicle_data.sees_execution(p.owner, NULL);
GRANT SELECT ON chronicle.projection_states TO PUBLIC;

-- The event that stops a projection or a rebuild, or is tried again, has no parked_at.
CREATE VIEW chronicle.projection_failures WITH (security_barrier) AS
SELECT p.name AS projection, f.global_position, f.attempts, f.error, f.sqlstate, f.parked_at
  FROM chronicle_data.projection AS p
  JOIN (SELECT k.projection_id, k.global_position, k.attempts, k.error, k.sqlstate, k.parked_at
          FROM chronicle_data.projection_parked AS k
        UNION ALL
        SELECT g.projection_id, g.error_position, g.attempts, g.error, g.sqlstate, NULL
          FROM chronicle_data.projection_progress AS g
         WHERE g.error IS NOT NULL
        UNION ALL
        SELECT r.projection_id, r.error_position, 1, r.error, r.sqlstate, NULL
          FROM chronicle_data.projection_rebuild AS r
         WHERE r.error IS NOT NULL) AS f USING (projection_id)
 WHERE chronicle_data.sees_execution(p.owner, NULL);
GRANT SELECT ON chronicle.projection_failures TO PUBLIC;

COMMENT ON FUNCTION chronicle.create_projection(text, text, text, text, text[], text[], text[], text, jsonb, text, jsonb, boolean) IS
'Declares a projection: a read model that is kept up with the log, as its owner (the caller).
handler: function (event chronicle.event) returns void, or (state jsonb, event chronicle.event) returns jsonb; or statement: one SQL statement over the relation new_events. mode: inline (in the appender''s transaction) or async (by a worker).
categories, streams, types, stream_regex: what it follows. initial_state, partition_by (stream, category or a jsonpath): of the states.
options: batch_size, max_retries, retry_delay, timeout, on_error (stop, park), start_from (beginning, end, a position, a time), target, reset. replace: change an existing one.
Errors: 22004 NULL name; 22023 an argument, or not exactly one of handler and statement; 42P01 no table target; 42710 it exists; 42883 no such function; 42725 both signatures exist; 42601, 0A000 the statement; 42939 a name that begins with $; 42501 no operator, no right to a category, not the owner.';
COMMENT ON FUNCTION chronicle.drop_projection(text, boolean) IS
'Forgets a projection, its states and parked events; tables stay. if_exists: no error when there is none.
Errors: 22004 NULL; 42704 no such projection; 42501 not its owner.';
COMMENT ON FUNCTION chronicle.disable_projection(text) IS
'Stops a projection after its batch. Errors: 22004 NULL; 42704 no such projection; 42501 not its owner.';
COMMENT ON FUNCTION chronicle.enable_projection(text) IS
'Sets a disabled or faulted projection going from where it stopped. Errors: 22004 NULL; 42704 no such projection; 42501 not its owner.';
COMMENT ON FUNCTION chronicle.reset_projection(text) IS
'Empties what was projected and projects everything anew, in place.
Errors: 55000 a handler without option reset, or a statement without target; 22004 NULL; 42704 no such projection; 42501 not its owner.';
COMMENT ON FUNCTION chronicle.projection_state(text, text) IS
'The state of a partition as of the asking statement; NULL: none. Errors: 42809 it keeps no states; 22004 NULL; 42704 no such projection; 42501 not its owner.';
COMMENT ON FUNCTION chronicle.wait_for_projection(text, bigint, interval) IS
'Waits until everything up to a position is projected; false when the time is up.
global_position: NULL this session''s last append, else all that is committed. timeout: 0 to 60 s.
Errors: 55000 disabled or faulted before it; 25001 in a transaction that has appended, or is REPEATABLE READ or SERIALIZABLE; 22023 timeout out of range; 22004 NULL name; 42704 no such projection; 42501 not its owner.';
COMMENT ON FUNCTION chronicle.rebuild_projection(text) IS
'Starts to compute anew what a projection keeps, beside the live rows, while appends and reads go on; the last transaction makes the live rows equal. View projections shows how far it is.
Errors: 55000 a handler that writes tables, a statement without option target or with one that cannot be rebuilt, a disabled projection, one that is being rebuilt; what is wrong with the target; 42P01 no such target; 22004 NULL; 42704 no such projection; 42501 not its owner, or its owner may not read the target.';
COMMENT ON FUNCTION chronicle.cancel_rebuild(text) IS
'Ends a rebuild, or forgets a failed one; what is live stays. Errors: 55000 nothing is being rebuilt; 22004 NULL; 42704 no such projection; 42501 not its owner.';
COMMENT ON FUNCTION chronicle.verify_projection(text) IS
'Computes anew from the events what a projection keeps, and returns the partitions whose kept state is another one; for a statement with option target, the rows of the table by key.
Errors: 55000 a handler that writes tables, or a statement without target; what is wrong with the target; what the code raises; 22004 NULL; 42704 no such projection; 42501 not its owner.';
COMMENT ON FUNCTION chronicle.replay_parked_events(text) IS
'Applies parked events in order, in this transaction; returns how many. What fails again stays parked, with the later ones of its partition.
Errors: 55000 it is being rebuilt; 22004 NULL; 42704 no such projection; 42501 not its owner.';
COMMENT ON VIEW chronicle.projections IS
'One row per projection of yours: its status, how far it is and how far behind.';
COMMENT ON VIEW chronicle.projection_states IS
'The states that your projections keep, one row per partition.';
COMMENT ON VIEW chronicle.projection_failures IS
'Events that your projections could not apply: parked, tried again, or the one at which a projection stopped.';
