-- The event store: streams, events, and the functions that append and read. C++: src/store.

-- Positions are reserved in blocks of the increment: one nextval() logs a block, and its WAL is flushed before the
-- first position of it is given out, so a position that anybody saw is never given again (src/store/order.cpp).
CREATE SEQUENCE chronicle_data.position_seq AS bigint INCREMENT BY 16384 START WITH 1 MAXVALUE 9223372036854759424;
CREATE SEQUENCE chronicle_data.stream_id_seq AS bigint;
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.position_seq', '');
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.stream_id_seq', '');

CREATE TABLE chronicle_data.stream (
    stream_id bigint NOT NULL CONSTRAINT stream_pkey PRIMARY KEY,
    name text COLLATE "C" NOT NULL CONSTRAINT stream_name_key UNIQUE,
    category text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    hidden bigint NOT NULL DEFAULT 0,          -- versions up to it are deleted: no reader sees them
    tombstoned boolean NOT NULL DEFAULT false, -- for ever: nothing is appended again
    removed bigint NOT NULL DEFAULT 0,         -- versions up to it are scavenged: their rows are gone
    changed_at timestamptz,                    -- of a deletion, or of the last event that was removed
    -- What to keep; NULL: what the category says (src/store/retention.cpp).
    max_count bigint CHECK (max_count >= 1),
    max_age interval,
    truncate_before bigint CHECK (truncate_before >= 1)
) WITH (fillfactor = 90);
CREATE INDEX stream_category ON chronicle_data.stream (category, stream_id);
-- Streams that the scavenger looks at in each round.
CREATE INDEX stream_retention ON chronicle_data.stream (stream_id)
    WHERE max_count IS NOT NULL OR max_age IS NOT NULL OR truncate_before IS NOT NULL;
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.stream', '');

-- What is said of a category. Rows stay when all is NULL again: a table without a page says that no category ever had
-- anything set, whatever snapshot asks (src/store/retention.cpp).
CREATE TABLE chronicle_data.category (
    category text COLLATE "C" NOT NULL CONSTRAINT category_pkey PRIMARY KEY,
    description text,
    max_count bigint CHECK (max_count >= 1),
    max_age interval
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.category', '');

-- A kind is a category and a type: one number in each event instead of two texts, and one index that serves readers of
-- categories, of types, and of both. A kind may have several numbers (src/store/kind.hpp).
CREATE SEQUENCE chronicle_data.kind_id_seq AS int;
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.kind_id_seq', '');
CREATE TABLE chronicle_data.event_kind (
    kind_id int NOT NULL CONSTRAINT event_kind_pkey PRIMARY KEY,
    category text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL
);
CREATE INDEX event_kind_name ON chronicle_data.event_kind (category, type);
CREATE INDEX event_kind_type ON chronicle_data.event_kind (type);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.event_kind', '');

-- One row per user event. Fixed-width columns first: they cost no padding. floor: every position up to it was over
-- (committed or void) when the row was inserted; a standby reads the order from it. id_given: the caller named the id;
-- only those are indexed, the others carry their position (src/store/event_id.hpp).
CREATE TABLE chronicle_data.event (
    global_position bigint NOT NULL CONSTRAINT event_pkey PRIMARY KEY,
    stream_id bigint NOT NULL,
    version bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    floor bigint NOT NULL,
    kind_id int NOT NULL,
    type_version int NOT NULL,
    event_id uuid NOT NULL,
    id_given boolean NOT NULL,
    actor text NOT NULL,
    data jsonb NOT NULL,
    metadata jsonb NOT NULL,
    CONSTRAINT event_stream_version_key UNIQUE (stream_id, version)
);
CREATE UNIQUE INDEX event_given_id ON chronicle_data.event (event_id) WHERE id_given;
CREATE INDEX event_kind_position ON chronicle_data.event (kind_id, global_position);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.event', '');

-- One row per engine event (category workflow): many, short-lived, made by us, so a table of their own.
CREATE TABLE chronicle_data.workflow_event (
    global_position bigint NOT NULL CONSTRAINT workflow_event_pkey PRIMARY KEY,
    execution_id uuid NOT NULL,
    version bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    floor bigint NOT NULL,
    event_id uuid NOT NULL,
    type text COLLATE "C" NOT NULL,
    actor text NOT NULL,
    node_id text COLLATE "C",
    data jsonb NOT NULL,
    CONSTRAINT workflow_event_execution_version_key UNIQUE (execution_id, version)
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.workflow_event', '');

-- The mark as the scheduler last noted it, for standbys (src/store/floor.cpp). Not dumped: it speaks of this server.
CREATE TABLE chronicle_data.log_floor (floor bigint NOT NULL) WITH (fillfactor = 10);
ALTER TABLE chronicle_data.log_floor REPLICA IDENTITY FULL; -- a publication of all tables must not stop us

-- Scavenging (src/store/scavenge.cpp). Streams in which something is to be removed; one may stand here more than once,
-- so that nobody waits to add it.
CREATE TABLE chronicle_data.scavenge_queue (stream_id bigint NOT NULL);
ALTER TABLE chronicle_data.scavenge_queue REPLICA IDENTITY FULL;
CREATE INDEX scavenge_queue_stream ON chronicle_data.scavenge_queue (stream_id);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.scavenge_queue', '');
-- How far the events of a category were looked at, under which retention.
CREATE TABLE chronicle_data.scavenge_progress (
    category text COLLATE "C" NOT NULL CONSTRAINT scavenge_progress_pkey PRIMARY KEY,
    max_count bigint,
    max_age interval,
    counted_to bigint NOT NULL,
    aged_to bigint NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.scavenge_progress', '');
-- The ids that callers gave to events that are removed: a retry is known for ever. data_hash:
-- jsonb_hash_extended(data, uuid_hash_extended(event_id, 0)).
CREATE TABLE chronicle_data.removed_id (
    event_id uuid NOT NULL CONSTRAINT removed_id_pkey PRIMARY KEY,
    stream_id bigint NOT NULL,
    version bigint NOT NULL,
    global_position bigint NOT NULL,
    data_hash bigint NOT NULL,
    kind_id int NOT NULL,
    CONSTRAINT removed_id_stream_version_key UNIQUE (stream_id, version)
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.removed_id', '');

-- What was recorded stays (src/store/protect.cpp).
CREATE FUNCTION chronicle_data.refuse_change() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'chronicle_refuse_change';
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON chronicle_data.event
    FOR EACH STATEMENT EXECUTE FUNCTION chronicle_data.refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON chronicle_data.workflow_event
    FOR EACH STATEMENT EXECUTE FUNCTION chronicle_data.refuse_change();
-- Also where session_replication_role is replica.
ALTER TABLE chronicle_data.event ENABLE ALWAYS TRIGGER refuse_change;
ALTER TABLE chronicle_data.workflow_event ENABLE ALWAYS TRIGGER refuse_change;

CREATE TYPE chronicle.event AS (
    global_position bigint,
    stream text,
    version bigint,
    type text,
    data jsonb,
    metadata jsonb,
    event_id uuid,
    recorded_at timestamptz,
    category text,
    type_version int,
    correlation_id text,
    causation_id text,
    actor text
);
COMMENT ON TYPE chronicle.event IS 'One event, as every read returns it; the same columns as view events.';

-- For view events (src/store/event_view.cpp).
CREATE FUNCTION chronicle_data.own_unnamed_events() RETURNS SETOF chronicle.event
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1 AS 'MODULE_PATHNAME', 'chronicle_own_unnamed_events';

CREATE FUNCTION chronicle.append_event(
    stream text, type text, data jsonb DEFAULT '{}', metadata jsonb DEFAULT '{}',
    expected_version bigint DEFAULT NULL, event_id uuid DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_append_event';
COMMENT ON FUNCTION chronicle.append_event(text, text, jsonb, jsonb, bigint, uuid) IS
'Appends one event to a stream and returns its version there (1, 2, 3 …).
stream: 1 to 1024 bytes; the part before the first "-" is its category. type: 1 to 1024 bytes. data, metadata: JSON.
expected_version: NULL no check; 0 the stream has nothing; n > 0 its last number is n; -1 it exists. It is compared with the newest committed state.
event_id: makes a retry safe: the same id with the same stream, type and data answers as the first time; without it a UUIDv7 is made.
Errors: CH001 another version than expected; CH002 tombstoned; CH003 the id belongs to another event; CH004 refused by what is registered of its type; 22004 NULL stream or type; 22023 bad name or expected_version; 42939 reserved name; 42501 no writer; 54000 over chronicle.max_event_bytes.';

CREATE FUNCTION chronicle.append_events(stream text, events jsonb, expected_version bigint DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_append_events';
COMMENT ON FUNCTION chronicle.append_events(text, jsonb, bigint) IS
'Appends several events to one stream and returns the version of the last.
events: [{"type", "data", "metadata", "event_id"}, …], only type is required; an empty array with an expected_version is a check that holds until the commit, and the answer is the current version (0: absent).
expected_version and errors: as append_event; a retry must repeat all events; 22023 with the path for a malformed element.';

CREATE FUNCTION chronicle.append_event_arrays(
    stream text, types text[], data jsonb[], expected_version bigint DEFAULT NULL,
    metadata jsonb[] DEFAULT NULL, event_ids uuid[] DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_append_event_arrays';
COMMENT ON FUNCTION chronicle.append_event_arrays(text, text[], jsonb[], bigint, jsonb[], uuid[]) IS
'Appends several events, given as parallel arrays, to one stream and returns the version of the last: the fast path for drivers.
types: one per event. data, metadata, event_ids: NULL, or as many elements as types; a NULL element is {} or a new id.
expected_version and errors: as append_events; 22023 arrays of different lengths or more than one dimension; 22004 a NULL type.';

CREATE FUNCTION chronicle.append_streams(batches jsonb)
    RETURNS TABLE (stream text, first_version bigint, last_version bigint)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'chronicle_append_streams';
COMMENT ON FUNCTION chronicle.append_streams(jsonb) IS
'Appends to several streams at once, all or nothing, and returns one row per stream in the order of the request.
batches: [{"stream", "expected_version", "events": […]}, …], events as for append_events; a batch without events is a check (first_version NULL).
Streams are locked in one order, so that callers with the same streams cannot deadlock; positions follow the request.
A retry repeats the whole call, with an event id in each batch that has events; checks alone are then not looked at.
Errors: as append_events; CH001 with every stream that failed in DETAIL; CH003 also when only a part of the batches is stored; 22023 a stream that stands twice.';

CREATE FUNCTION chronicle.last_position() RETURNS bigint
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'chronicle_last_position';
COMMENT ON FUNCTION chronicle.last_position() IS
'The global position of the last event that this session appended; NULL when it has appended none.';

CREATE FUNCTION chronicle.safe_position() RETURNS bigint
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'chronicle_safe_position';
COMMENT ON FUNCTION chronicle.safe_position() IS
'The position up to which the log is complete for the asking statement: every event at or below it is visible to the statement''s snapshot, or never will be.';

CREATE FUNCTION chronicle.read_stream(
    stream text, from_version bigint DEFAULT NULL, max_count bigint DEFAULT NULL, backwards boolean DEFAULT false)
    RETURNS SETOF chronicle.event
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 100 AS 'MODULE_PATHNAME', 'chronicle_read_stream';
COMMENT ON FUNCTION chronicle.read_stream(text, bigint, bigint, boolean) IS
'The events of one stream in version order. An absent stream has no rows.
from_version: the first version wanted, itself included; NULL: the beginning, or the end when backwards. max_count: at most so many rows; NULL: all. backwards: newest first.
Errors: 22004 NULL stream; 22023 max_count below 1 or from_version below 1; 42501 no reader.';

CREATE FUNCTION chronicle.read_all(
    after_position bigint DEFAULT NULL, max_count bigint DEFAULT 1000, categories text[] DEFAULT NULL,
    types text[] DEFAULT NULL, stream_regex text DEFAULT NULL, type_regex text DEFAULT NULL,
    since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, filter jsonpath DEFAULT NULL,
    backwards boolean DEFAULT false, include_system boolean DEFAULT false) RETURNS SETOF chronicle.event
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1000 AS 'MODULE_PATHNAME', 'chronicle_read_all';
COMMENT ON FUNCTION chronicle.read_all(bigint, bigint, text[], text[], text, text, timestamptz, timestamptz, jsonpath, boolean, boolean) IS
'The log in position order, up to the safe position: who always asks for what comes after the last position seen gets every event exactly once.
after_position: NULL the beginning, or the end when backwards; backwards: below it. max_count: rows, from 1.
categories, types, stream_regex, type_regex, since, until (recorded_at, both included): what does not match is left out. filter: a jsonpath over {"global_position", "stream", "version", "type", "category", "type_version", "event_id", "actor", "data", "metadata"}; a predicate must be true, any other path must find something, its errors are false.
include_system: also the events of runs that the caller may see (category workflow), as does naming the category.
Errors: 22023 max_count below 1, a negative position, a bad regex, a category with "-", a filter with a variable (it has no value); 22004 a NULL in an array; 42501 no reader.';

CREATE FUNCTION chronicle.read_category(
    category text, after_position bigint DEFAULT NULL, max_count bigint DEFAULT 1000,
    consumer_group_size int DEFAULT NULL, consumer_group_member int DEFAULT NULL) RETURNS SETOF chronicle.event
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1000 AS 'MODULE_PATHNAME', 'chronicle_read_category';
COMMENT ON FUNCTION chronicle.read_category(text, bigint, bigint, int, int) IS
'The events of one category in position order, up to the safe position.
after_position: NULL the beginning. max_count: rows, from 1. consumer_group_size, consumer_group_member (0 to size - 1): only streams that fall to this member, by their name; both or neither.
Errors: 22004 NULL category; 22023 a name with "-", max_count below 1, a negative position, a member outside the group; 42501 no reader.';

CREATE FUNCTION chronicle.position_at(at timestamptz) RETURNS bigint
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'chronicle_position_at';
COMMENT ON FUNCTION chronicle.position_at(timestamptz) IS
'Where to begin to read all that was recorded from a time on: the smallest position recorded at or after it, minus 1; when there is none, the safe position. Finds it by halving; times may fall back by 10 seconds from one position to the next (positions are given before the clock is read), what a clock set back further hides is not looked for.
Errors: 22004 NULL; 42501 no reader.';

CREATE FUNCTION chronicle.stream_version(stream text) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_stream_version';
COMMENT ON FUNCTION chronicle.stream_version(text) IS
'The last number given in a stream, by the newest committed state; NULL: no such stream.
Errors: 22004 NULL; 22023 bad name; 42501 no reader.';

CREATE FUNCTION chronicle.delete_stream(stream text, expected_version bigint DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_delete_stream';
COMMENT ON FUNCTION chronicle.delete_stream(text, bigint) IS
'Hides what is in a stream from every reader and returns its last version (0: there was nothing); a later append goes on at the next. Read models see it as event $stream-deleted in stream $streams-<name>.
expected_version: as append_event. Errors: CH001, CH002; 22004 NULL stream; 22023 bad name; 42939 reserved name; 42501 no writer.';

CREATE FUNCTION chronicle.tombstone_stream(stream text, expected_version bigint DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_tombstone_stream';
COMMENT ON FUNCTION chronicle.tombstone_stream(text, bigint) IS
'Deletes a stream for ever: what is there is hidden, and every later append is CH002. Returns the last version (0: there was nothing). Read models see it as event $stream-tombstoned in stream $streams-<name>.
expected_version: as append_event. Errors: CH001; CH002 tombstoned already; 22004 NULL stream; 22023 bad name; 42939 reserved name; 42501 no admin.';

CREATE FUNCTION chronicle.set_stream_retention(
    stream text, max_count bigint DEFAULT NULL, max_age interval DEFAULT NULL, truncate_before bigint DEFAULT NULL)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_set_stream_retention';
COMMENT ON FUNCTION chronicle.set_stream_retention(text, bigint, interval, bigint) IS
'Says what readers see of a stream, from the commit on; replaces what was said before. The strictest field wins; NULL: what the category says, or no limit. The last number stays, and scavenge() removes what is hidden.
max_count: the newest so many events, from 1. max_age: events recorded within this time (counted in UTC; more than zero, up to 1000 years). truncate_before: events from this version on.
Errors: CH002 tombstoned; 22004 NULL stream; 22023 bad name or value; 42939 reserved name; 42501 no admin.';

CREATE FUNCTION chronicle.set_category_retention(
    category text, max_count bigint DEFAULT NULL, max_age interval DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_set_category_retention';
COMMENT ON FUNCTION chronicle.set_category_retention(text, bigint, interval) IS
'Says what readers see of each stream of a category, where the stream says nothing of its own in that field; replaces what was said before.
max_count, max_age: as set_stream_retention.
Errors: 22004 NULL category; 22023 bad name (or one with "-") or value; 42939 reserved name; 42501 no admin.';

CREATE FUNCTION chronicle.describe_category(category text, description text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_describe_category';
COMMENT ON FUNCTION chronicle.describe_category(text, text) IS
'Sets the description that view categories shows. description: NULL removes it.
Errors: 22004 NULL category; 22023 bad name, or one with "-"; 42939 reserved name; 42501 no operator.';

CREATE FUNCTION chronicle.scavenge(max_events bigint DEFAULT 10000)
    RETURNS TABLE (streams bigint, events bigint, bytes bigint)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'chronicle_scavenge';
COMMENT ON FUNCTION chronicle.scavenge(bigint) IS
'One step: removes at most so many hidden events, and says of how many streams, how many, and how many bytes (rows, without indexes; VACUUM makes them free for new ones). No events: nothing is left that can be removed now. Takes row locks only, and none that it must wait for, but for another scavenge(); workers call it, too. Last numbers stay, and so do event ids that callers gave.
max_events: from 1. Errors: 22023 max_events below 1; 25006 in a read-only transaction; 42501 no admin.';

-- Versions up to the result are hidden from readers; for views, whose rows are checked one by one.
CREATE FUNCTION chronicle_data.hidden_versions(stream_id bigint) RETURNS bigint
    LANGUAGE c STABLE PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'chronicle_hidden_versions';
