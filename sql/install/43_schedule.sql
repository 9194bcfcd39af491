-- Schedules: workflows that run by the clock. C++: src/flow/schedule.cpp, src/core/{cron,schedule}.cpp.

CREATE SEQUENCE chronicle_data.schedule_id_seq AS bigint;
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.schedule_id_seq', '');
CREATE TABLE chronicle_data.schedule (
    schedule_id bigint NOT NULL DEFAULT nextval('chronicle_data.schedule_id_seq') CONSTRAINT schedule_pkey PRIMARY KEY,
    workflow_id text COLLATE "C" NOT NULL,
    cron text,                                 -- either this
    every interval,                            -- or this, of a fixed length
    every_us bigint,                           -- the same in microseconds
    timezone text NOT NULL,
    input jsonb NOT NULL,
    overlap text NOT NULL CHECK (overlap IN ('skip', 'queue', 'allow', 'cancel_running')),
    catch_up boolean NOT NULL,
    paused boolean NOT NULL DEFAULT false,
    from_definition boolean NOT NULL,          -- metadata.schedule of the newest version
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,           -- "every" counts from here
    next_run_at timestamptz,                   -- NULL: never again
    last_run_at timestamptz,                   -- when it last started a run
    last_execution_id uuid,
    waiting_runs int NOT NULL DEFAULT 0,       -- overlap queue: runs that begin one after another
    last_error text,                           -- why it could not start a run the last time it should have
    CONSTRAINT schedule_one CHECK ((cron IS NULL) <> (every IS NULL) AND (every IS NULL) = (every_us IS NULL))
);
CREATE INDEX schedule_workflow ON chronicle_data.schedule (workflow_id);
CREATE INDEX schedule_due ON chronicle_data.schedule (next_run_at) WHERE NOT paused;
CREATE INDEX schedule_waiting ON chronicle_data.schedule (schedule_id) WHERE waiting_runs > 0;
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.schedule', '');

CREATE FUNCTION chronicle.schedule_workflow(
    workflow_id text, cron text DEFAULT NULL, every interval DEFAULT NULL, timezone text DEFAULT 'UTC',
    input jsonb DEFAULT '{}', overlap text DEFAULT 'skip', catch_up boolean DEFAULT false) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_schedule_workflow';
COMMENT ON FUNCTION chronicle.schedule_workflow(text, text, interval, text, jsonb, text, boolean) IS
'Runs a workflow by the clock, as its owner, always in its newest version. Returns the schedule''s id.
cron: "minute hour day month weekday", evaluated in timezone. every: a fixed length of time, 100 ms to 100000 days, counted from now. Exactly one of them.
overlap, when the run before is not over: skip this one; queue it; allow both; cancel_running cancels the one before.
catch_up: one run for all that were missed while nothing could run (more than a minute late); false: none.
Errors: 22023 not exactly one of cron and every, or one that is wrong, an unknown timezone or overlap; 42704 no such workflow; 42501 neither its owner nor an admin; 22004 NULL workflow_id.';

CREATE FUNCTION chronicle.unschedule_workflow(schedule_id bigint) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_unschedule_workflow';
COMMENT ON FUNCTION chronicle.unschedule_workflow(bigint) IS
'Removes a schedule. Runs that it started go on. Errors: 42704 no such schedule, or not yours; 22004 NULL.';
CREATE FUNCTION chronicle.pause_schedule(schedule_id bigint) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_pause_schedule';
COMMENT ON FUNCTION chronicle.pause_schedule(bigint) IS
'Starts no more runs by this schedule until it is resumed. Errors: 42704 no such schedule, or not yours; 22004 NULL.';
CREATE FUNCTION chronicle.resume_schedule(schedule_id bigint) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_resume_schedule';
COMMENT ON FUNCTION chronicle.resume_schedule(bigint) IS
'Lets a paused schedule go on with the next time after now; what came while it was paused is not made up. Errors: 42704 no such schedule, or not yours; 22004 NULL.';

CREATE VIEW chronicle.schedules WITH (security_barrier) AS
SELECT s.schedule_id, s.workflow_id, s.cron, s.every, s.timezone,
       CASE WHEN NOT s.paused THEN s.next_run_at END AS next_run_at,
       s.last_run_at, s.paused, s.overlap, s.catch_up, s.input, s.last_execution_id, s.waiting_runs, s.last_error,
       s.from_definition, s.created_by, s.created_at
  FROM chronicle_data.schedule AS s
  JOIN chronicle_data.workflow AS w ON w.workflow_id = s.workflow_id
 WHERE chronicle_data.sees_execution(w.owner, NULL);
COMMENT ON VIEW chronicle.schedules IS 'One row per schedule of a workflow that the reader owns, or sees as an admin.';
COMMENT ON COLUMN chronicle.schedules.cron IS 'NULL: it has an interval';
COMMENT ON COLUMN chronicle.schedules.every IS 'NULL: it has a cron expression';
COMMENT ON COLUMN chronicle.schedules.timezone IS 'where cron is evaluated';
COMMENT ON COLUMN chronicle.schedules.next_run_at IS 'NULL: paused, or never again';
COMMENT ON COLUMN chronicle.schedules.last_run_at IS 'when it last started a run';
COMMENT ON COLUMN chronicle.schedules.waiting_runs IS 'overlap queue: runs that begin when the one before is over';
COMMENT ON COLUMN chronicle.schedules.last_error IS 'why it could not start a run the last time; NULL: it could';
COMMENT ON COLUMN chronicle.schedules.from_definition IS 'metadata.schedule of the workflow''s newest version made it';
GRANT SELECT ON chronicle.schedules TO PUBLIC;
