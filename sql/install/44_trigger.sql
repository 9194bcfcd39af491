-- Triggers: appended events that start workflows. C++: src/flow/trigger.cpp.

CREATE SEQUENCE chronicle_data.trigger_id_seq AS bigint;
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.trigger_id_seq', '');
CREATE TABLE chronicle_data.workflow_trigger (
    trigger_id bigint NOT NULL DEFAULT nextval('chronicle_data.trigger_id_seq') CONSTRAINT workflow_trigger_pkey PRIMARY KEY,
    workflow_id text COLLATE "C" NOT NULL,
    categories text[],                         -- NULL: all
    types text[],                              -- NULL: all
    filter jsonpath,                           -- over the event object
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX workflow_trigger_workflow ON chronicle_data.workflow_trigger (workflow_id);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.workflow_trigger', '');

-- Events that a trigger could not start a run for. Those of a trigger that is gone go with it, or by retention.
CREATE TABLE chronicle_data.trigger_failure (
    trigger_id bigint NOT NULL,
    global_position bigint NOT NULL,           -- of the event
    sqlstate text NOT NULL,
    error text NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE chronicle_data.trigger_failure REPLICA IDENTITY FULL; -- a publication of all tables must not stop us
CREATE INDEX trigger_failure_trigger ON chronicle_data.trigger_failure (trigger_id, global_position);
CREATE INDEX trigger_failure_time ON chronicle_data.trigger_failure (failed_at);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.trigger_failure', '');

-- Acts only on what the append functions insert: a restore starts nothing.
CREATE FUNCTION chronicle_data.start_triggered() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'chronicle_start_triggered';
CREATE TRIGGER workflows AFTER INSERT ON chronicle_data.event
    FOR EACH STATEMENT EXECUTE FUNCTION chronicle_data.start_triggered();
-- Also where session_replication_role is replica.
ALTER TABLE chronicle_data.event ENABLE ALWAYS TRIGGER workflows;

CREATE FUNCTION chronicle.create_trigger(
    workflow_id text, categories text[] DEFAULT NULL, types text[] DEFAULT NULL, filter jsonpath DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_create_trigger';
COMMENT ON FUNCTION chronicle.create_trigger(text, text[], text[], jsonpath) IS
'Starts a run of the workflow for each event that is appended from now on and matches, in the appender''s transaction, as the workflow''s owner, with the event object as input. Returns the trigger''s id. System events never match.
categories, types: NULL all of them. filter: over the event object, as in read_all.
An append never fails because of a trigger: where the event cannot be made an input (an upcaster raises, it nests too deeply), there is no run, but a row in trigger_failures.
Errors: 42704 no such workflow; 42501 neither its owner nor an admin, or the owner may not read a category; 22023 a bad category or type, or an empty array; 42939 a reserved one; 22004 NULL workflow_id, or in an array.';
CREATE FUNCTION chronicle.drop_trigger(trigger_id bigint) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_drop_trigger';
COMMENT ON FUNCTION chronicle.drop_trigger(bigint) IS
'Removes a trigger. Runs that it started go on. Errors: 42704 no such trigger, or not yours; 22004 NULL.';

-- Why it starts nothing at present; NULL: it does.
CREATE FUNCTION chronicle_data.trigger_fault(workflow_id text, categories text[]) RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'chronicle_trigger_fault';

CREATE VIEW chronicle.triggers WITH (security_barrier) AS
SELECT t.trigger_id, t.workflow_id, t.categories, t.types, t.filter, t.created_by, t.created_at,
       chronicle_data.trigger_fault(t.workflow_id, t.categories) AS fault
  FROM chronicle_data.workflow_trigger AS t
  JOIN chronicle_data.workflow AS w ON w.workflow_id = t.workflow_id
 WHERE chronicle_data.sees_execution(w.owner, NULL);
COMMENT ON VIEW chronicle.triggers IS 'One row per trigger of a workflow that the reader owns, or sees as an admin.';
COMMENT ON COLUMN chronicle.triggers.categories IS 'NULL: all';
COMMENT ON COLUMN chronicle.triggers.types IS 'NULL: all';
COMMENT ON COLUMN chronicle.triggers.fault IS 'why it starts nothing at present: the owner is gone, or may not read the events, or the workflow is disabled; NULL: it does';
COMMENT ON COLUMN chronicle.triggers.filter IS 'over the event object; NULL: every event';
GRANT SELECT ON chronicle.triggers TO PUBLIC;

CREATE VIEW chronicle.trigger_failures WITH (security_barrier) AS
SELECT f.trigger_id, t.workflow_id, f.global_position, f.sqlstate, f.error, f.failed_at
  FROM chronicle_data.trigger_failure AS f
  JOIN chronicle_data.workflow_trigger AS t ON t.trigger_id = f.trigger_id
  JOIN chronicle_data.workflow AS w ON w.workflow_id = t.workflow_id
 WHERE chronicle_data.sees_execution(w.owner, NULL);
COMMENT ON VIEW chronicle.trigger_failures IS 'One row per event that a trigger of a workflow that the reader owns, or sees as an admin, could not start a run for. They stay for chronicle.execution_retention, or until the trigger is dropped.';
COMMENT ON COLUMN chronicle.trigger_failures.global_position IS 'of the event, which is stored';
GRANT SELECT ON chronicle.trigger_failures TO PUBLIC;
