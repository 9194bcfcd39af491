-- Commands: decide on a state, append what was decided, remember the answer. C++: src/command.

-- One row per command that was answered. What was rejected by an error that nobody caught left nothing.
CREATE SEQUENCE chronicle_data.command_no_seq AS bigint;
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.command_no_seq', '');
CREATE TABLE chronicle_data.command (
    command_no bigint NOT NULL DEFAULT nextval('chronicle_data.command_no_seq') CONSTRAINT command_pkey PRIMARY KEY,
    command_id uuid CONSTRAINT command_id_key UNIQUE,  -- NULL: the caller gave none
    stream text COLLATE "C" NOT NULL,
    command text NOT NULL,
    payload jsonb NOT NULL,
    actor text NOT NULL,
    accepted boolean NOT NULL,
    reason text,
    first_version bigint,
    last_version bigint NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX command_stream ON chronicle_data.command (stream, command_no);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.command', '');

CREATE FUNCTION chronicle.execute_command(
    stream text, command text, payload jsonb DEFAULT '{}', command_id uuid DEFAULT NULL, metadata jsonb DEFAULT '{}')
    RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_execute_command';
COMMENT ON FUNCTION chronicle.execute_command(text, text, jsonb, uuid, jsonb) IS
'Loads the state of a stream, lets the aggregate''s decide function turn the command into events, appends them, and returns the stream''s version: all in the caller''s transaction, the stream locked until its end, so no concurrent append is lost.
stream: of a category that has an aggregate with a decide function. command, payload: passed to decide(state, command, payload), which returns events as append_events takes them ([] or NULL: nothing to append), or raises P0001 or CH005 to reject.
command_id: a repeated call with the same stream, command and payload is answered as the first one was, and does nothing. metadata: an object that every event gets below its own.
Errors: CH005 rejected (DETAIL: stream, command, reason); CH033 the id was used for other input; CH002 tombstoned; 40001 under REPEATABLE READ and SERIALIZABLE when somebody else appended since the snapshot; 27000 decide appended to the stream itself, or deleted it; 42704 no aggregate; 55000 no decide function; 22004, 22023, 42939 bad arguments or bad events from decide; 42501 no writer; decide''s other errors unchanged.';

CREATE FUNCTION chronicle.try_command(
    stream text, command text, payload jsonb DEFAULT '{}', command_id uuid DEFAULT NULL, metadata jsonb DEFAULT '{}')
    RETURNS TABLE (accepted boolean, version bigint, reason text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'chronicle_try_command';
COMMENT ON FUNCTION chronicle.try_command(text, text, jsonb, uuid, jsonb) IS
'execute_command that answers a rejection instead of raising it: one row with accepted, the stream''s version, and the reason (NULL when accepted). The rejection is recorded in command_log; what decide did before it is undone.
Arguments and errors: as execute_command, without CH005.';

CREATE VIEW chronicle.command_log WITH (security_barrier) AS
SELECT c.command_id, c.stream, c.command, c.payload, c.actor, c.accepted, c.reason, c.first_version, c.last_version, c.at
  FROM chronicle_data.command AS c
 WHERE (SELECT chronicle_data.has_level('reader')) OR chronicle_data.may_read_stream(c.stream);
COMMENT ON VIEW chronicle.command_log IS
'The commands that were answered, for readers of their streams: accepted ones with the versions that they appended, and rejections that came by try_command or whose error was caught.';
COMMENT ON COLUMN chronicle.command_log.command_id IS 'as the caller gave it; NULL: none';
COMMENT ON COLUMN chronicle.command_log.actor IS 'the session user';
COMMENT ON COLUMN chronicle.command_log.reason IS 'why it was rejected; NULL: accepted';
COMMENT ON COLUMN chronicle.command_log.first_version IS 'of the first event appended; NULL: none was';
COMMENT ON COLUMN chronicle.command_log.last_version IS 'of the stream after it';
COMMENT ON COLUMN chronicle.command_log.at IS 'wall clock when it was answered';
GRANT SELECT ON chronicle.command_log TO PUBLIC;
CREATE TRIGGER refuse_change INSTEAD OF INSERT OR UPDATE OR DELETE ON chronicle.command_log
    FOR EACH ROW EXECUTE FUNCTION chronicle_data.refuse_change('execute_command and try_command write it; chronicle.command_retention says how long it is kept.');
