-- task.external: claimed, completed and failed by programs outside; leases, attempts, rights.
SET search_path = public, chronicle;
CREATE PROCEDURE tasks_start(id text, nodes jsonb, edges text DEFAULT '', priority int DEFAULT 0, INOUT run uuid DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM create_workflow(jsonb_build_object('id', 'tasks_' || id,
        'nodes', (SELECT jsonb_agg(jsonb_build_object('id', n -> 0, 'nodeType', n -> 1, 'config', n -> 2) || coalesce(n -> 3, '{}')) FROM jsonb_array_elements(nodes) AS n),
        'edges', (SELECT coalesce(jsonb_agg(jsonb_build_object('source', split_part(e, '>', 1), 'target', split_part(e, '>', 2))), '[]')
                    FROM regexp_split_to_table(edges, ' ') AS e WHERE e <> '')));
    run := execute_workflow('tasks_' || id, '{"n": 5}', priority => priority);
END $$;
CREATE PROCEDURE tasks_until(query text) LANGUAGE plpgsql AS $$
DECLARE
    so boolean;
BEGIN
    FOR i IN 1 .. 3000 LOOP
        EXECUTE query INTO so;
        EXIT WHEN so;
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
    IF so IS NOT TRUE THEN
        RAISE 'not so: %', query;
    END IF;
END $$;
\set show 'SELECT node_id, status, attempts, output, sqlstate, error FROM node_executions WHERE execution_id = :''run'' ORDER BY node_id;'

-- 1. From the queue to the output; waiting for a task; what the views and events say.
SELECT path, problem FROM validate_workflow('{"id": "w", "nodes": [{"id": "a", "nodeType": "task.external"}, {"id": "b", "nodeType": "task.external", "config": {"queue": " ", "worker": "x"}}]}');
SELECT * FROM claim_tasks('tasks_none', 'me');
SELECT * FROM claim_tasks('tasks_none', 'me', wait => '20 ms');
CALL tasks_start('one', '[["n", "sql.query", {"sql": "SELECT 7 AS n"}], ["t", "task.external", {"queue": "print", "input": {"n": {"$": "$.nodes.n[0].n"}, "of": {"$": "$.input.n"}}}],
    ["after", "sql.query", {"sql": "SELECT :pages AS pages", "parameters": {"pages": {"$": "$.nodes.t.pages"}}}]]', 'n>t t>after') \gset
SELECT task_id AS task, attempt, execution_id = :'run' AS this_run, node_id, input, deadline > clock_timestamp() + interval '25 s' AS half_a_minute FROM claim_tasks('print', 'printer-1', wait => '30 s') \gset
SELECT :attempt AS attempt, :'this_run' AS this_run, :'node_id' AS node_id, :'input' AS input, :'half_a_minute' AS half_a_minute;
SELECT queue, node_id, attempt, worker, deadline IS NOT NULL AS has_deadline, workflow_id, input FROM tasks WHERE execution_id = :'run';
SELECT status FROM executions WHERE execution_id = :'run';
SELECT count(*) FROM claim_tasks('print', 'printer-2');
SELECT heartbeat_task(:task, 1, '1 h');
SELECT deadline > clock_timestamp() + interval '59 min' AS longer FROM tasks WHERE task_id = :task;
SELECT complete_task(:task, 1, '{"pages": 3}');
SELECT wait_for_execution(:'run');
:show
SELECT count(*) FROM tasks WHERE execution_id = :'run';
SELECT type, (data ->> 'taskId')::bigint = :task AS task, data ->> 'queue' AS queue, data ->> 'worker' AS worker FROM execution_history WHERE execution_id = :'run' AND node_id = 't' ORDER BY version;
-- Over is over.
\set VERBOSITY terse
DO $$
DECLARE
    call text;
    task bigint := (SELECT (data ->> 'taskId')::bigint FROM chronicle.execution_history WHERE workflow_id = 'tasks_one' AND type = 'NodeExecutionWaiting');
    detail text;
BEGIN
    FOREACH call IN ARRAY ARRAY['complete_task(%s, 1)', 'fail_task(%s, 1, ''no'')', 'heartbeat_task(%s, 1)'] LOOP
        BEGIN
            EXECUTE format('SELECT chronicle.' || call, task);
        EXCEPTION WHEN SQLSTATE 'CH032' THEN
            GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
            RAISE INFO '%: %, %', call, regexp_replace(sqlerrm, 'task \d+', 'task …'), detail::jsonb - 'task';
        END;
    END LOOP;
END $$;

-- 2. An output is NULL when none is given. A failure: the retry policy's, or for good; each attempt is claimed anew.
CALL tasks_start('null', '[["t", "task.external", {"queue": "q"}]]') \gset
SELECT task_id AS task, input IS NULL AS null_input, input FROM claim_tasks('q', 'w', wait => '30 s') \gset
SELECT complete_task(:task, 1);
SELECT wait_for_execution(:'run');
:show
CALL tasks_start('retry', '[["t", "task.external", {"queue": "q"}, {"retry": {"max_attempts": 3, "initial_interval": 0}}]]') \gset
SELECT task_id AS task, attempt FROM claim_tasks('q', 'w', wait => '30 s') \gset
SELECT fail_task(:task, 1, 'paper jam');
SELECT task_id = :task AS same_task, attempt FROM claim_tasks('q', 'w', wait => '30 s');
SELECT fail_task(:task, 2, 'no paper', retryable => false);
SELECT wait_for_execution(:'run');
:show
SELECT attempt, sqlstate, error, detail::jsonb - 'task' AS detail FROM execution_failures WHERE execution_id = :'run' ORDER BY attempt;
CALL tasks_start('plain', '[["t", "task.external", {"queue": "q"}]]') \gset
SELECT fail_task(task_id, attempt, 'once is enough') FROM claim_tasks('q', 'w', wait => '30 s');
SELECT wait_for_execution(:'run');
:show

-- 3. A lease that ends: the attempt fails, with the node's retries; whoever held it is told.
CALL tasks_start('lease', '[["t", "task.external", {"queue": "q"}, {"retry": {"max_attempts": 2, "initial_interval": 0}}]]') \gset
SELECT task_id AS task FROM claim_tasks('q', 'slow', lease => '20 ms', wait => '30 s') \gset
SELECT attempt AS next_attempt FROM claim_tasks('q', 'quick', wait => '30 s') \gset
SELECT :next_attempt AS attempt;
SELECT set_config('tasks.task', :'task', false) IS NOT NULL AS set;
DO $$
DECLARE
    call text;
    detail text;
BEGIN
    FOREACH call IN ARRAY ARRAY['complete_task(%s, 1)', 'fail_task(%s, 1, ''no'')', 'heartbeat_task(%s, 1)'] LOOP
        BEGIN
            EXECUTE format('SELECT chronicle.' || call, current_setting('tasks.task'));
        EXCEPTION WHEN SQLSTATE 'CH032' THEN
            GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
            RAISE INFO '%: %', call, detail::jsonb - 'task';
        END;
    END LOOP;
END $$;
SELECT complete_task(:task, 2, '"by quick"');
SELECT wait_for_execution(:'run');
:show
SELECT attempt, sqlstate, regexp_replace(error, 'task \d+', 'task …') AS error, detail::jsonb - 'task' AS detail FROM execution_failures WHERE execution_id = :'run';
-- Without retries it is the node's failure. The node's own timeout counts, too, claimed or not.
CALL tasks_start('lease_once', '[["t", "task.external", {"queue": "q"}]]') \gset
SELECT count(*) FROM claim_tasks('q', 'slow', lease => '20 ms', wait => '30 s');
SELECT wait_for_execution(:'run');
SELECT sqlstate FROM node_executions WHERE execution_id = :'run';
CALL tasks_start('timeout', '[["t", "task.external", {"queue": "nobody"}, {"timeout": "20 ms"}]]') \gset
SELECT wait_for_execution(:'run');
:show
SELECT count(*) FROM claim_tasks('nobody', 'w');

-- Its node is held, because the run is paused: nobody looks at it every moment. The run goes on, and its attempt has failed.
CALL tasks_start('held', '[["t", "task.external", {"queue": "h"}, {"timeout": "1 s", "on_failure": "continue"}]]') \gset
BEGIN;
SELECT count(*) FROM claim_tasks('h', 'slow', lease => '3 s', wait => '30 s');
SELECT pause_execution(:'run');
COMMIT;
CALL tasks_until(format('SELECT state = ''held'' FROM chronicle_data.node_task WHERE execution_id = %L', :'run'));
CALL tasks_until('SELECT bool_and(deadline < clock_timestamp() - interval ''100 ms'') FROM tasks WHERE queue = ''h''');
-- Within some windows of two seconds: what was done before is counted late.
DO $$
DECLARE
    before bigint;
    done bigint;
BEGIN
    FOR _ IN 1 .. 15 LOOP
        PERFORM pg_stat_clear_snapshot();
        SELECT xact_commit INTO before FROM pg_stat_database WHERE datname = current_database();
        PERFORM pg_sleep(2.2), pg_stat_clear_snapshot();
        SELECT xact_commit - before INTO done FROM pg_stat_database WHERE datname = current_database();
        IF done < 100 THEN
            RETURN;
        END IF;
    END LOOP;
    RAISE 'never calm: % transactions in two seconds', done;
END $$;
SELECT resume_execution(:'run');
SELECT wait_for_execution(:'run');
:show

-- 4. Cancelled: gone from the queue; its holder is told.
CALL tasks_start('cancel', '[["t", "task.external", {"queue": "c"}], ["u", "task.external", {"queue": "c"}]]') \gset
CALL tasks_until(format('SELECT count(*) = 2 FROM tasks WHERE execution_id = %L', :'run'));
SELECT task_id AS task FROM claim_tasks('c', 'w') \gset
SELECT cancel_execution(:'run');
SELECT count(*) FROM tasks WHERE execution_id = :'run';
SELECT count(*) FROM claim_tasks('c', 'w', 10);
SELECT set_config('tasks.task', :'task', false) IS NOT NULL AS set;
DO $$
DECLARE
    detail text;
BEGIN
    PERFORM chronicle.complete_task(current_setting('tasks.task')::bigint, 1);
EXCEPTION WHEN SQLSTATE 'CH032' THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RAISE INFO '% %', regexp_replace(sqlerrm, 'task \d+', 'task …'), detail::jsonb - 'task';
END $$;

-- 5. Order: priority; at most max_count. A claim that is rolled back never was.
CALL tasks_start('order', '[["a", "task.external", {"queue": "o", "input": "a"}, {"priority": 4}], ["b", "task.external", {"queue": "o", "input": "b"}, {"priority": 5}], ["c", "task.external", {"queue": "o", "input": "c"}, {"priority": 3}], ["d", "task.external", {"queue": "o", "input": "d"}]]') \gset
CALL tasks_until(format('SELECT count(*) = 4 FROM tasks WHERE execution_id = %L', :'run'));
BEGIN;
SELECT input FROM claim_tasks('o', 'w', 1);
ROLLBACK;
SELECT string_agg(input::text, ' ') AS claimed FROM claim_tasks('o', 'w', 3);
SELECT string_agg(input::text, ' ') AS claimed FROM claim_tasks('o', 'w', 3);
SELECT cancel_execution(:'run');

-- 6. Wrong arguments.
\set VERBOSITY verbose
SELECT * FROM claim_tasks(NULL, 'w');
SELECT * FROM claim_tasks('q', NULL);
SELECT * FROM claim_tasks('', 'w');
SELECT * FROM claim_tasks('q', 'w', 0);
SELECT * FROM claim_tasks('q', 'w', lease => '0');
SELECT * FROM claim_tasks('q', 'w', lease => '-1 s');
SELECT * FROM claim_tasks('q', 'w', wait => '61 s');
BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM claim_tasks('q', 'w'); SELECT * FROM claim_tasks('q', 'w', wait => '1 s'); ROLLBACK;
BEGIN; SELECT append_event('tasks-1', 'X'); SELECT * FROM claim_tasks('q', 'w', wait => '1 s'); ROLLBACK;
SELECT complete_task(NULL, 1);
SELECT complete_task(1, NULL);
SELECT complete_task(-1, 1);
SELECT fail_task(:task, 1, NULL);
SELECT heartbeat_task(:task, 1, '0');
\set VERBOSITY terse
CALL tasks_start('attempts', '[["t", "task.external", {"queue": "q"}], ["later", "task.external", {"queue": "q7"}]]') \gset
SELECT task_id AS task FROM claim_tasks('q', 'w', wait => '30 s') \gset
CALL tasks_until('SELECT count(*) = 1 FROM tasks WHERE queue = ''q7''');
DO $$ BEGIN PERFORM chronicle.complete_task((SELECT task_id FROM chronicle.tasks WHERE workflow_id = 'tasks_attempts' AND queue = 'q'), 2);
EXCEPTION WHEN invalid_parameter_value THEN RAISE INFO '%', regexp_replace(sqlerrm, 'task \d+', 'task …'); END $$;
DO $$ BEGIN PERFORM chronicle.complete_task((SELECT task_id FROM chronicle.tasks WHERE workflow_id = 'tasks_attempts' AND queue = 'q'), 0);
EXCEPTION WHEN invalid_parameter_value THEN RAISE INFO '%', regexp_replace(sqlerrm, 'task \d+', 'task …'); END $$;

-- Claimed by nobody: nobody can end it.
DO $$ BEGIN PERFORM chronicle.complete_task((SELECT task_id FROM chronicle.tasks WHERE queue = 'q7'), 1);
EXCEPTION WHEN SQLSTATE 'CH032' THEN RAISE INFO '%', regexp_replace(sqlerrm, 'task \d+', 'task …'); END $$;

-- 7. Another's task is none.
CREATE ROLE regress_tasks;
GRANT USAGE ON SCHEMA chronicle TO regress_tasks;
SET ROLE regress_tasks;
SELECT count(*) FROM tasks;
SELECT count(*) FROM claim_tasks('q7', 'thief');
DO $$ BEGIN PERFORM chronicle.complete_task(1, 1); EXCEPTION WHEN undefined_object THEN RAISE INFO '%', sqlerrm; END $$;
RESET ROLE;
SELECT complete_task(:task, 1), (SELECT count(complete_task(task_id, attempt)) FROM claim_tasks('q7', 'w'));
SELECT wait_for_execution(:'run');
REVOKE ALL ON SCHEMA chronicle FROM regress_tasks;
DROP ROLE regress_tasks;
-- A map of tasks.
CALL tasks_start('child', '[["t", "task.external", {"queue": "m", "input": {"$": "$.input"}}]]') \gset
SELECT cancel_execution(:'run');
CALL tasks_start('map', '[["m", "map.each", {"workflow": "tasks_child", "items": [10, 20, 30]}]]') \gset
CALL tasks_until('SELECT count(*) = 3 FROM tasks WHERE queue = ''m''');
SELECT count(complete_task(task_id, attempt, to_jsonb(input::text::int + 1))) FROM claim_tasks('m', 'w', 10);
SELECT wait_for_execution(:'run');
:show
SELECT state, count(*) FROM chronicle_data.task WHERE state IN ('queued', 'claimed') GROUP BY state;
SELECT count(*) FROM chronicle_data.node_task;
DROP PROCEDURE tasks_start, tasks_until;
