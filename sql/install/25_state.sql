-- State: aggregates and their snapshots. C++: src/state.

CREATE TABLE chronicle_data.aggregate (
    category text COLLATE "C" NOT NULL CONSTRAINT aggregate_pkey PRIMARY KEY,
    apply text NOT NULL,                -- schema.function
    decide text,
    initial_state jsonb NOT NULL,
    snapshot_every int,                 -- NULL: the setting
    keep_snapshots int,
    snapshot_after_idle interval,
    owner text NOT NULL,                -- as whom the functions run
    search_path text NOT NULL,          -- and with what
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.aggregate', '');

-- The state of a stream at a version. fingerprint: of the aggregate and its function that made it; it is used by no
-- other. base: what a retention cut took away is in it, so nothing can replace it.
CREATE TABLE chronicle_data.snapshot (
    stream_id bigint NOT NULL,
    version bigint NOT NULL,
    taken_at timestamptz NOT NULL,
    fingerprint bigint NOT NULL,
    base boolean NOT NULL,
    state jsonb,
    CONSTRAINT snapshot_pkey PRIMARY KEY (stream_id, version)
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.snapshot', '');

-- Bases of aggregates that were dropped: an aggregate that is created with the same fingerprint takes them back.
CREATE TABLE chronicle_data.dropped_base (
    stream_id bigint NOT NULL,
    version bigint NOT NULL,
    fingerprint bigint NOT NULL,
    taken_at timestamptz NOT NULL,
    state jsonb,
    CONSTRAINT dropped_base_pkey PRIMARY KEY (stream_id, version, fingerprint)
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.dropped_base', '');

-- Why the last snapshot of a stream could not be taken; gone when one could.
CREATE TABLE chronicle_data.snapshot_failure (
    stream_id bigint NOT NULL CONSTRAINT snapshot_failure_pkey PRIMARY KEY,
    version bigint NOT NULL,
    failed_at timestamptz NOT NULL,
    sqlstate text NOT NULL,
    error text NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.snapshot_failure', '');

-- How far an aggregate's events were looked at for streams that fell idle (src/state/idle.cpp).
CREATE TABLE chronicle_data.aggregate_idle (
    category text COLLATE "C" NOT NULL CONSTRAINT aggregate_idle_pkey PRIMARY KEY,
    position bigint NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.aggregate_idle', '');
-- Idle streams that somebody held then, to be tried again.
CREATE TABLE chronicle_data.aggregate_idle_held (
    stream_id bigint NOT NULL CONSTRAINT aggregate_idle_held_pkey PRIMARY KEY,
    category text COLLATE "C" NOT NULL,
    again_at timestamptz NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.aggregate_idle_held', '');

CREATE FUNCTION chronicle.apply_merge_patch(state jsonb, event chronicle.event) RETURNS jsonb
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'chronicle_apply_merge_patch';
COMMENT ON FUNCTION chronicle.apply_merge_patch(jsonb, chronicle.event) IS
'The state after an event whose data is a JSON merge patch (RFC 7396): members replace or are added, null removes, objects are merged. A ready-made apply function.
state: NULL counts as {}. Errors: 54001 nested too deep.';

CREATE FUNCTION chronicle.apply_json_patch(state jsonb, event chronicle.event) RETURNS jsonb
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'chronicle_apply_json_patch';
COMMENT ON FUNCTION chronicle.apply_json_patch(jsonb, chronicle.event) IS
'The state after an event whose data is a JSON patch (RFC 6902): [{"op": "add|remove|replace|move|copy|test", "path", "from", "value"}, …], all or nothing. A ready-made apply function.
state: NULL counts as {}. Errors: 22023 no patch, a path that is not there, a test that failed, with the operation in DETAIL; 54000 its copies take more than 64 MB of memory, or go into a document of more than 1 GB; 54001 nested too deep.';

CREATE FUNCTION chronicle.create_aggregate(
    category text, apply text, initial_state jsonb DEFAULT '{}', decide text DEFAULT NULL,
    snapshot_every int DEFAULT NULL, keep_snapshots int DEFAULT NULL, snapshot_after_idle interval DEFAULT NULL,
    replace boolean DEFAULT false) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_create_aggregate';
COMMENT ON FUNCTION chronicle.create_aggregate(text, text, jsonb, text, int, int, interval, boolean) IS
'Says how the streams of a category fold into a state.
apply: name of a function (state jsonb, event chronicle.event) returns jsonb; it runs as the caller of create_aggregate, with the search_path of now. initial_state: the state of a stream without events. decide: name of a function (state jsonb, command text, payload jsonb) returns jsonb, for execute_command.
snapshot_every: events between two snapshots (10 to 10000; NULL: setting chronicle.snapshot_every). keep_snapshots: per stream (1 to 10; NULL: chronicle.keep_snapshots). snapshot_after_idle: also one when nothing was appended for so long. replace: change an existing one; snapshots that another function made are not used any more.
Errors: 22004 NULL category or apply; 22023 a name with "-", a number out of range; 42710 it exists; 42883 no function of that name and signature; 42809 a procedure or a set-returning function; 42939 reserved category; 42501 no operator, not the owner, or no right to execute the function.';

CREATE FUNCTION chronicle.drop_aggregate(category text, if_exists boolean DEFAULT false) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_drop_aggregate';
COMMENT ON FUNCTION chronicle.drop_aggregate(text, boolean) IS
'Forgets an aggregate and its snapshots; the events stay. States at a retention cut whose events were removed are kept aside: an aggregate that is created with the same apply function, initial state and search_path goes on from them; to any other those streams have no state (22023).
if_exists: no error when there is none. Errors: 22004 NULL category; 42704 no such aggregate; 42501 no operator, or not the owner.';

-- Unsafe in parallel: they call users' functions.
CREATE FUNCTION chronicle.aggregate_state(stream text, at_version bigint DEFAULT NULL, at_time timestamptz DEFAULT NULL)
    RETURNS jsonb
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_aggregate_state';
COMMENT ON FUNCTION chronicle.aggregate_state(text, bigint, timestamptz) IS
'The state of a stream: its events folded by the apply function of its category''s aggregate. A stream without events is in the initial state.
at_version: after that version (0: the initial state; above the last: now). at_time: after the events recorded up to then. Both: the earlier.
Errors: 22004 NULL stream; 22023 bad name, negative version, a version that retention cut off, a stream whose beginning was removed before the aggregate was there; 42704 the category has no aggregate; 42501 no reader; what the apply function raises.';

CREATE FUNCTION chronicle.load_aggregate(stream text)
    RETURNS TABLE (version bigint, state jsonb, snapshot_version bigint, events_applied bigint)
    LANGUAGE c STABLE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'chronicle_load_aggregate';
COMMENT ON FUNCTION chronicle.load_aggregate(text) IS
'The state of a stream with its version: what the next append gives as expected_version.
version: the last number given (0: absent). snapshot_version: where the fold began (NULL: at the initial state). events_applied: events folded after it.
Errors: as aggregate_state.';

CREATE FUNCTION chronicle.take_snapshot(stream text) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_take_snapshot';
COMMENT ON FUNCTION chronicle.take_snapshot(text) IS
'Keeps the present state of a stream and returns its version (0: the stream has no events). Appends to the stream wait meanwhile.
Errors: 22004 NULL stream; 22023 bad name; 25006 in a read-only transaction; 42704 the category has no aggregate; 42501 no operator, or not the owner; what the apply function raises.';

CREATE FUNCTION chronicle.drop_snapshots(stream text DEFAULT NULL, category text DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_drop_snapshots';
COMMENT ON FUNCTION chronicle.drop_snapshots(text, text) IS
'Removes snapshots and returns how many: of a stream, of a category, or (neither) of every aggregate that is the caller''s. The next fold begins at the first event. Snapshots that hold what retention removed stay.
Errors: 22023 stream and category; 42704 the category has no aggregate; 42501 no operator, or not the owner.';

CREATE FUNCTION chronicle_data.snapshot_after_append() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'chronicle_snapshot_after_append';
CREATE TRIGGER snapshot AFTER INSERT ON chronicle_data.event
    FOR EACH STATEMENT EXECUTE FUNCTION chronicle_data.snapshot_after_append();

CREATE VIEW chronicle.snapshots WITH (security_barrier) AS
SELECT s.name AS stream, n.version, n.state, n.taken_at, pg_catalog.pg_column_size(n.state)::bigint AS bytes
  FROM chronicle_data.snapshot AS n
  JOIN chronicle_data.stream AS s ON s.stream_id = n.stream_id
  JOIN chronicle_data.aggregate AS a ON a.category = s.category -- an append that ran beside its drop may leave some
 WHERE n.version > s.hidden
   AND ((SELECT chronicle_data.has_level('reader')) OR chronicle_data.may_read_stream(s.name));
COMMENT ON VIEW chronicle.snapshots IS
'States kept at a version. One that another apply function made is not used, and goes with the next snapshot of its stream.';
COMMENT ON COLUMN chronicle.snapshots.bytes IS 'size of the state as it is stored';
GRANT SELECT ON chronicle.snapshots TO PUBLIC;

-- What is wrong with an aggregate: a function or its owner that is gone, or no rights; NULL: nothing.
CREATE FUNCTION chronicle_data.aggregate_fault(apply text, decide text, owner text) RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'chronicle_aggregate_fault';

CREATE VIEW chronicle.aggregates WITH (security_barrier) AS
SELECT a.category, a.apply, a.decide, a.initial_state,
       COALESCE(a.snapshot_every, pg_catalog.current_setting('chronicle.snapshot_every')::int) AS snapshot_every,
       COALESCE(a.keep_snapshots, pg_catalog.current_setting('chronicle.keep_snapshots')::int) AS keep_snapshots,
       a.snapshot_after_idle, a.owner, chronicle_data.aggregate_fault(a.apply, a.decide, a.owner) AS fault,
       (SELECT count(*)
          FROM chronicle_data.snapshot_failure AS f
          JOIN chronicle_data.stream AS s ON s.stream_id = f.stream_id
         WHERE s.category = a.category) AS failing_streams,
       a.created_at, a.updated_at
  FROM chronicle_data.aggregate AS a
 WHERE (SELECT chronicle_data.has_level('reader')) OR chronicle_data.may_read_stream(a.category);
COMMENT ON VIEW chronicle.aggregates IS 'How the streams of a category fold into a state.';
COMMENT ON COLUMN chronicle.aggregates.snapshot_every IS 'events between two snapshots: its own number, or the setting''s';
COMMENT ON COLUMN chronicle.aggregates.keep_snapshots IS 'snapshots kept of a stream: its own number, or the setting''s';
COMMENT ON COLUMN chronicle.aggregates.fault IS 'why it cannot work: a function or the owner is gone; NULL: it can';
COMMENT ON COLUMN chronicle.aggregates.failing_streams IS 'streams whose last snapshot could not be taken, because the apply function failed';
GRANT SELECT ON chronicle.aggregates TO PUBLIC;
CREATE TRIGGER refuse_change INSTEAD OF INSERT OR UPDATE OR DELETE ON chronicle.aggregates
    FOR EACH ROW EXECUTE FUNCTION chronicle_data.refuse_change('create_aggregate and drop_aggregate change aggregates.');

CREATE FUNCTION chronicle.replay(
    stream text, from_version bigint DEFAULT NULL, to_version bigint DEFAULT NULL, apply text DEFAULT NULL)
    RETURNS TABLE (version bigint, type text, data jsonb, state_before jsonb, state_after jsonb, error text)
    LANGUAGE c STABLE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'chronicle_replay';
COMMENT ON FUNCTION chronicle.replay(text, bigint, bigint, text) IS
'Folds a stream step by step: each event with the state before and after it. It stops at the first error, whose row has error ("sqlstate: message") and no state_after; also when that event lies before from_version.
from_version, to_version: the rows wanted, both included (NULL: the first, the last). apply: another function, to try a fix; it runs as the caller, and from the first event.
Errors: 22004 NULL stream; 22023 bad name, a version below 1, a from_version that retention cut off; 42704 the category has no aggregate and apply is NULL; 42883 no such apply function; 42501 no reader.';

CREATE FUNCTION chronicle.find_first_version(stream text, predicate jsonpath) RETURNS bigint
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_find_first_version';
COMMENT ON FUNCTION chronicle.find_first_version(text, jsonpath) IS
'The first version after which the state matches: since when is this so? NULL: no state does.
predicate: over the state; a predicate path must be true, any other must find something, its errors are false. Every state is looked at, so it need not stay true. Where retention has cut, the answer at the cut means: then or before.
Errors: 22004 NULL argument; 22023 bad name, a path with a variable (it has no value); 42704 the category has no aggregate; 42501 no reader; what the apply function raises.';
