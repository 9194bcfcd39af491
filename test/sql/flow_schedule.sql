-- Schedules: by interval and by cron, overlap, catch-up, pause, metadata.schedule. Times are moved, not waited for.
SET search_path = public, chronicle;
SET timezone = 'UTC';
CREATE FUNCTION schedule_raised(statement text, OUT code text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    code := 'none';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END $$;
CREATE PROCEDURE schedule_until(condition text) LANGUAGE plpgsql AS $$
DECLARE done boolean; until timestamptz := clock_timestamp() + interval '60s';
BEGIN
    LOOP
        EXECUTE 'SELECT ' || condition INTO done;
        EXIT WHEN done;
        IF clock_timestamp() > until THEN RAISE 'not in time: %', condition; END IF;
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
-- As if the schedule had been due for so long.
CREATE PROCEDURE schedule_due(id bigint, late interval) LANGUAGE plpgsql AS $$
DECLARE other bigint; due timestamptz := clock_timestamp() - late;
BEGIN
    UPDATE chronicle_data.schedule SET next_run_at = due, created_at = due - coalesce(every, '0') WHERE schedule_id = id;
    other := schedule_workflow('schedule_other', every => '1 day'); -- a new one wakes the scheduler
    COMMIT;
    PERFORM unschedule_workflow(other);
    COMMIT;
    CALL schedule_until(format('(SELECT next_run_at > clock_timestamp() FROM chronicle_data.schedule WHERE schedule_id = %s)', id));
END $$;
\set runs 'SELECT status, started_by = owner AS by_owner, input, metadata ->> ''scheduleId'' = :''id'' AS by_schedule, metadata ? ''scheduledFor'' AS for_time FROM chronicle_data.execution WHERE workflow_id = :''workflow'' ORDER BY queued_at;'
\set statuses 'SELECT status, count(*) FROM executions WHERE workflow_id = :''workflow'' GROUP BY 1 ORDER BY 1;'
SELECT version FROM create_workflow('{"id": "schedule_other", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}');
SELECT version FROM create_workflow('{"id": "schedule_one", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT :input::text AS got"}}]}');
\set workflow schedule_one

-- 1. By interval: the run is the owner's, has the schedule's input, and says why it is there.
SELECT schedule_workflow('schedule_one', every => '1 hour', input => '{"a": 1}') AS id \gset
SELECT cron, every, timezone, next_run_at = created_at + interval '1 hour' AS next_in_an_hour, last_run_at, paused, overlap, catch_up, input, waiting_runs, last_error, from_definition, created_by = session_user AS by_me FROM schedules WHERE schedule_id = :id;
SELECT next_run_at = (SELECT next_run_at FROM schedules WHERE schedule_id = :id) AS shown FROM workflows WHERE workflow_id = 'schedule_one';
UPDATE chronicle_data.schedule SET last_error = 'what was wrong before' WHERE schedule_id = :id;
CALL schedule_due(:id, '5 s');
CALL schedule_until('NOT EXISTS (SELECT FROM chronicle.executions WHERE workflow_id = ''schedule_one'' AND ended_at IS NULL)');
:runs
SELECT last_run_at = queued_at AS last_run, last_execution_id = execution_id AS that_run, next_run_at - created_at AS next_at, last_error
  FROM schedules CROSS JOIN executions AS e WHERE schedule_id = :id AND e.workflow_id = 'schedule_one';
SELECT data ->> 'scheduleId' = :'id' AS told FROM execution_history WHERE workflow_id = 'schedule_one' AND type = 'WorkflowQueued';
-- Missed by more than a minute: not made up.
CALL schedule_due(:id, '10 min');
SELECT count(*) FROM executions WHERE workflow_id = 'schedule_one';
-- Several at once are one, and the rate stays.
SELECT unschedule_workflow(:id);
SELECT schedule_workflow('schedule_one', every => '20 s') AS id \gset
CALL schedule_due(:id, '55 s');
SELECT count(*) FROM executions WHERE workflow_id = 'schedule_one';
SELECT extract(epoch FROM next_run_at - created_at) AS fourth FROM schedules WHERE schedule_id = :id;
SELECT unschedule_workflow(:id);
-- A minute-old schedule catches up: one run for all.
SELECT schedule_workflow('schedule_one', every => '1 hour', catch_up => true) AS id \gset
CALL schedule_due(:id, '10 h 10 min');
SELECT count(*) FROM executions WHERE workflow_id = 'schedule_one';
SELECT next_run_at - created_at AS next_at FROM schedules WHERE schedule_id = :id;
SELECT unschedule_workflow(:id);
-- A short one goes on by itself.
SELECT schedule_workflow('schedule_other', every => '100 ms', overlap => 'allow') AS id \gset
CALL schedule_until('(SELECT count(*) >= 3 FROM chronicle.executions WHERE workflow_id = ''schedule_other'')');
SELECT unschedule_workflow(:id);
SELECT count(*) FROM schedules;

-- 2. Overlap. The run before is not over: it waits for its time.
SELECT version FROM create_workflow('{"id": "schedule_long", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}');
\set workflow schedule_long
CREATE PROCEDURE schedule_start_long(id bigint) LANGUAGE plpgsql AS $$
DECLARE run uuid := execute_workflow('schedule_long', run_at => clock_timestamp() + interval '1 day');
BEGIN
    UPDATE chronicle_data.schedule SET last_execution_id = run WHERE schedule_id = id;
    COMMIT;
END $$;
SELECT schedule_workflow('schedule_long', every => '1 day') AS id \gset
CALL schedule_start_long(:id);
CALL schedule_due(:id, '1 s');
:statuses
SELECT unschedule_workflow(:id);
SELECT schedule_workflow('schedule_long', every => '1 day', overlap => 'cancel_running') AS id \gset
CALL schedule_start_long(:id);
CALL schedule_due(:id, '1 s');
CALL schedule_until('(SELECT count(*) = 1 FROM chronicle.executions WHERE workflow_id = ''schedule_long'' AND status = ''completed'')');
:statuses
SELECT data ->> 'reason' AS reason FROM execution_history WHERE workflow_id = 'schedule_long' AND type = 'WorkflowCancelled';
SELECT unschedule_workflow(:id);
SELECT schedule_workflow('schedule_long', every => '1 day', overlap => 'queue') AS id \gset
CALL schedule_start_long(:id);
CALL schedule_due(:id, '1 s');
CALL schedule_due(:id, '1 s');
SELECT waiting_runs FROM schedules WHERE schedule_id = :id;
:statuses
SELECT cancel_execution(last_execution_id) FROM schedules WHERE schedule_id = :id;
CALL schedule_until('(SELECT count(*) = 3 FROM chronicle.executions WHERE workflow_id = ''schedule_long'' AND status = ''completed'')');
:statuses
SELECT waiting_runs, last_error FROM schedules WHERE schedule_id = :id;
SELECT bool_and(queued_at >= before) AS one_after_another
  FROM (SELECT queued_at, lag(ended_at) OVER (ORDER BY queued_at) AS before FROM executions WHERE workflow_id = 'schedule_long' AND status = 'completed' ORDER BY queued_at DESC LIMIT 2) AS e;

-- 3. Pause and resume: what came meanwhile is not made up. A disabled workflow is not run.
SELECT pause_schedule(:id);
SELECT next_run_at, paused FROM schedules WHERE schedule_id = :id;
SELECT next_run_at FROM workflows WHERE workflow_id = 'schedule_long';
UPDATE chronicle_data.schedule SET next_run_at = clock_timestamp() - interval '1 s' WHERE schedule_id = :id;
SELECT resume_schedule(:id);
SELECT next_run_at - created_at AS next_at, paused FROM schedules WHERE schedule_id = :id;
SELECT resume_schedule(:id);
UPDATE chronicle_data.workflow SET enabled = false WHERE workflow_id = 'schedule_long';
SELECT next_run_at FROM workflows WHERE workflow_id = 'schedule_long';
CALL schedule_due(:id, '1 s');
:statuses
SELECT unschedule_workflow(:id);

-- 4. Cron: in its zone, across a change of clocks.
CREATE FUNCTION schedule_next(cron text, timezone text DEFAULT 'UTC') RETURNS timestamptz LANGUAGE plpgsql AS $$
DECLARE id bigint := schedule_workflow('schedule_one', cron => cron, timezone => timezone); next_at timestamptz;
BEGIN
    SELECT next_run_at INTO next_at FROM schedules WHERE schedule_id = id;
    PERFORM unschedule_workflow(id);
    RETURN next_at;
END $$;
SELECT zone, to_char(schedule_next('30 9 * * *', zone) AT TIME ZONE zone, 'HH24:MI:SS') AS local,
       schedule_next('30 9 * * *', zone) BETWEEN now() AND now() + interval '25 h' AS soon
  FROM unnest(ARRAY['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'Australia/Lord_Howe']) AS zone;
SELECT to_char(schedule_next('0 12 29 2 *'), 'MM-DD HH24:MI') AS leap_day, extract(dow FROM schedule_next('0 0 * * mon')) AS monday,
       extract(second FROM schedule_next('*/7 * * * * *'))::int % 7 AS seconds;
-- It fires.
SELECT schedule_workflow('schedule_one', cron => '* * * * * *') AS id \gset
\set workflow schedule_one
CALL schedule_until(format('(SELECT last_run_at IS NOT NULL FROM chronicle.schedules WHERE schedule_id = %s)', :id));
SELECT date_trunc('second', next_run_at) = next_run_at AS whole, last_error FROM schedules WHERE schedule_id = :id;
SELECT unschedule_workflow(:id);

-- 5. metadata.schedule of a definition: made with the version, replaced with the next, gone when it is off.
CREATE PROCEDURE schedule_define(metadata text) LANGUAGE sql AS $$
SELECT create_workflow(jsonb_build_object('id', 'schedule_defined', 'metadata', metadata::jsonb,
    'nodes', jsonb '[{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]'));
$$;
\set defined 'SELECT cron, every, timezone, overlap, catch_up, input, from_definition FROM schedules WHERE workflow_id = ''schedule_defined'';'
CALL schedule_define('{"schedule": {"enabled": true, "scheduleType": "cron", "cronExpression": "0 9 * * 1-5", "timeZone": "Europe/Berlin", "overlap": "queue", "input": {"x": 1}}}');
:defined
SELECT schedule_id AS id FROM schedules WHERE workflow_id = 'schedule_defined' \gset
CALL schedule_define('{"note": "another version", "schedule": {"enabled": true, "scheduleType": "cron", "cronExpression": "0 9 * * 1-5", "timeZone": "Europe/Berlin", "overlap": "queue", "input": {"x": 1}}}');
SELECT schedule_id = :id AS goes_on FROM schedules WHERE workflow_id = 'schedule_defined';
CALL schedule_define('{"schedule": {"enabled": true, "scheduleType": "fixed_rate", "interval": "90s"}}');
:defined
CALL schedule_define('{"schedule": {"enabled": false, "scheduleType": "cron", "cronExpression": "soon"}}');
:defined
SELECT count(*) FROM executions WHERE workflow_id = 'schedule_defined';
CALL schedule_define('{"schedule": {"enabled": true, "scheduleType": "immediate"}}');
SELECT count(*) FROM executions WHERE workflow_id = 'schedule_defined';
:defined
SELECT path, problem FROM validate_workflow('{"id": "x", "nodes": [], "metadata": {"schedule": {"enabled": true, "scheduleType": "cron", "cronExpression": "61 * * * *", "timezone": "Mars/Olympus", "catchUp": "often"}}}');
SELECT path, problem FROM validate_workflow('{"id": "x", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}], "metadata": {"schedule": {"enabled": true, "scheduleType": "cron", "cronExpression": "0 0 30 2 *"}}}');
SELECT path, problem FROM validate_workflow('{"id": "x", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}], "metadata": {"schedule": {"enabled": true, "scheduleType": "fixed_rate", "interval": "1 h", "timezone": "Mars/Olympus"}}}');

-- 6. Errors, and rights.
SELECT a AS arguments, o.code, replace(o.message, repeat('x', 300), '…') AS message, nullif(o.detail, '')::jsonb - 'timezone' AS detail
  FROM unnest(ARRAY[$$'none', every => '1 h'$$, $$'schedule_one'$$, $$'schedule_one', '* * * * *', '1 h'$$, $$'schedule_one', '* * * *'$$, $$'schedule_one', '0 0 30 2 *'$$,
                    $$'schedule_one', every => '1 month'$$, $$'schedule_one', every => '99 ms'$$, $$'schedule_one', every => '-1 h'$$, $$'schedule_one', every => '200000000 days'$$,
                    $$'schedule_one', '* * * * *', timezone => 'Mars/Olympus'$$, $$'schedule_one', '* * * * *', timezone => repeat('x', 300)$$,
                    $$'schedule_one', every => '1 h', overlap => 'never'$$, $$NULL, every => '1 h'$$]) AS a,
       schedule_raised('SELECT schedule_workflow(' || a || ')') AS o;
SELECT f, o.code, o.message FROM unnest(ARRAY['unschedule_workflow', 'pause_schedule', 'resume_schedule']) AS f, unnest(ARRAY['0', 'NULL']) AS id,
       schedule_raised(format('SELECT %s(%s)', f, id)) AS o ORDER BY 1, 2;
CREATE ROLE schedule_owner; CREATE ROLE schedule_stranger;
SELECT grant_access('schedule_owner', 'operator'), grant_access('schedule_stranger', 'operator');
SET ROLE schedule_owner;
SELECT version FROM create_workflow('{"id": "schedule_owned", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}');
SELECT schedule_workflow('schedule_owned', every => '1 h') AS id \gset
SELECT count(*) FROM schedules;
SET ROLE schedule_stranger;
SELECT count(*) FROM schedules;
SELECT f, o.code FROM unnest(ARRAY['unschedule_workflow', 'pause_schedule', 'resume_schedule']) AS f, schedule_raised(format('SELECT chronicle.%s(%s)', f, :id)) AS o;
SELECT o.code FROM schedule_raised($$SELECT schedule_workflow('schedule_owned', every => '1 h')$$) AS o;
SET ROLE schedule_owner;
SELECT pause_schedule(:id), resume_schedule(:id), unschedule_workflow(:id);
RESET ROLE;
SELECT revoke_access('schedule_owner', 'operator'), revoke_access('schedule_stranger', 'operator');
DROP ROLE schedule_owner; DROP ROLE schedule_stranger;
SELECT count(*) FROM schedules;
DROP FUNCTION schedule_raised, schedule_next;
DROP PROCEDURE schedule_until, schedule_due, schedule_start_long, schedule_define;
-- The run that waits for tomorrow.
SELECT bool_and(cancel_execution(execution_id)) AS cancelled FROM executions WHERE workflow_id = 'schedule_long' AND ended_at IS NULL;
