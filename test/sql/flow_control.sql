-- Starting with a key, a time, a priority; pausing, resuming, cancelling.
SET search_path = public, chronicle;
\set history 'SELECT type, node_id, data - ''workflowId'' - ''executionId'' - ''workflowName'' - ''duration'' - ''nodeId'' - ''nodeType'' - ''runAt'' AS data FROM execution_history WHERE execution_id = :''run'' ORDER BY version;'
\set outcome 'SELECT status, completed_nodes, total_nodes, started_at IS NULL AS never_started, ended_at IS NULL AS open FROM executions WHERE execution_id = :''run'';'
\set nodes 'SELECT node_id, status, attempts FROM node_executions WHERE execution_id = :''run'' ORDER BY node_id;'
CREATE FUNCTION control_raised(statement text, OUT code text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    code := 'none';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END $$;
-- A node that runs until the gate is opened.
CREATE TABLE control_gate (name text PRIMARY KEY);
CREATE FUNCTION control_wait(wanted text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    WHILE NOT EXISTS (SELECT FROM public.control_gate WHERE name = wanted) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN wanted;
END $$;
CREATE PROCEDURE control_until(condition text) LANGUAGE plpgsql AS $$
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
CREATE TABLE control_effect (node text);
SELECT version FROM create_workflow('{"id": "control_one", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT :input::text AS got"}}]}');
SELECT version FROM create_workflow('{"id": "control_gated", "nodes": [
    {"id": "a", "nodeType": "sql.query", "config": {"sql": "INSERT INTO control_effect VALUES (''a'')"}, "own_transaction": true},
    {"id": "b", "nodeType": "sql.query", "config": {"sql": "WITH w AS (SELECT control_wait(:gate) AS g) INSERT INTO control_effect SELECT ''b '' || g FROM w", "parameters": {"gate": {"$": "$.input.gate"}}}, "own_transaction": true},
    {"id": "c", "nodeType": "sql.query", "config": {"sql": "INSERT INTO control_effect VALUES (''c'')"}}],
    "edges": [{"source": "a", "target": "b"}, {"source": "b", "target": "c"}]}');

-- 1. Idempotency keys: one run for a key; another input is CH033.
SELECT execute_workflow('control_one', '{"n": 1}', 'order-1') AS run \gset
SELECT execute_workflow('control_one', '{"n": 1.0}', 'order-1') = :'run' AS same_run;
SELECT wait_for_execution(:'run');
SELECT execute_workflow('control_one', '{"n": 1}', 'order-1', priority => 5) = :'run' AS same_run_when_over;
SELECT o.code, o.message, o.detail::jsonb -> 'key' AS key, o.detail::jsonb ->> 'execution' = :'run' AS names_it, o.hint
  FROM control_raised($$SELECT execute_workflow('control_one', '{"n": 2}', 'order-1')$$) AS o;
SELECT execute_workflow('control_one', '{"n": 1}', 'order-2') <> :'run' AS another_key;
BEGIN;
SELECT execute_workflow('control_one', '{}', 'undone') AS undone \gset
SELECT execute_workflow('control_one', '{}', 'undone') = :'undone' AS same_in_the_transaction;
ROLLBACK;
SELECT execute_workflow('control_one', '{}', 'undone') <> :'undone' AS after_the_rollback;
SELECT execute_workflow('control_gated', '{"gate": "never"}', 'order-1', run_at => clock_timestamp() + interval '1 day') AS run \gset
SELECT cancel_execution(:'run'), workflow_id, idempotency_key FROM executions WHERE execution_id = :'run';
SELECT count(*) FROM executions WHERE workflow_id = 'control_one' AND idempotency_key = 'order-1';
SELECT a AS argument, o.code, o.message, o.detail
  FROM unnest(ARRAY[$$idempotency_key => ''$$, $$idempotency_key => repeat('k', 1025)$$, 'priority => 1000001', 'priority => -2147483648',
                    $$run_at => 'infinity'$$, $$metadata => '[]'$$]) AS a,
       control_raised('SELECT execute_workflow(''control_one'', ' || a || ')') AS o;

-- 2. run_at: not before; what is past is now. A run that waits for its time is pending.
SELECT execute_workflow('control_one', run_at => '-infinity') AS run \gset
SELECT wait_for_execution(:'run');
SELECT execute_workflow('control_one', run_at => clock_timestamp() + interval '1500 ms') AS run \gset
:outcome
:nodes
SELECT wait_for_execution(:'run');
SELECT started_at >= run_at AS not_before, data ? 'runAt' AS told
  FROM chronicle_data.execution JOIN execution_history AS h USING (execution_id) WHERE execution_id = :'run' AND h.type = 'WorkflowQueued';
-- Paused while it waits for its time; the time comes; nothing runs before it is resumed.
SELECT execute_workflow('control_one', run_at => clock_timestamp() + interval '1 s') AS run \gset
SELECT pause_execution(:'run');
CALL control_until(format('(SELECT state = ''held'' FROM chronicle_data.node_task WHERE execution_id = %L)', :'run'));
:outcome
:nodes
SELECT resume_execution(:'run');
SELECT wait_for_execution(:'run');
:history

-- 3. Pause and resume: what runs ends, nothing begins.
SELECT execute_workflow('control_gated', '{"gate": "one"}') AS run \gset
CALL control_until(format('(SELECT status = ''running'' FROM chronicle.node_executions WHERE execution_id = %L AND node_id = ''b'')', :'run'));
SELECT pause_execution(:'run');
SELECT pause_execution(:'run');
:outcome
:nodes
INSERT INTO control_gate VALUES ('one');
CALL control_until(format('(SELECT status = ''completed'' FROM chronicle.node_executions WHERE execution_id = %L AND node_id = ''b'')', :'run'));
:outcome
:nodes
SELECT node FROM control_effect ORDER BY node;
SELECT state FROM workflow_status WHERE workflow_id = 'control_gated';
SELECT resume_execution(:'run');
SELECT wait_for_execution(:'run');
:history
SELECT node FROM control_effect ORDER BY node;
SELECT f, o.code, replace(o.message, :'run', '…') AS message, o.detail::jsonb ->> 'state' AS state, o.hint
  FROM unnest(ARRAY['pause', 'resume']) AS f, control_raised(format('SELECT %s_execution(%L)', f, :'run')) AS o;
-- In the transaction that starts it, too.
BEGIN;
SELECT execute_workflow('control_one') AS run \gset
SELECT pause_execution(:'run');
COMMIT;
:outcome
SELECT resume_execution(:'run');
SELECT wait_for_execution(:'run');

-- 4. Cancel: running SQL is interrupted and rolled back, the rest never starts; again is false.
TRUNCATE control_effect;
SELECT execute_workflow('control_gated', '{"gate": "two"}') AS run \gset
CALL control_until(format('(SELECT status = ''running'' FROM chronicle.node_executions WHERE execution_id = %L AND node_id = ''b'')', :'run'));
SELECT cancel_execution(:'run', 'no longer wanted'), cancel_execution(:'run');
SELECT wait_for_execution(:'run');
:outcome
:nodes
:history
CALL control_until('NOT EXISTS (SELECT FROM chronicle.workers WHERE current_node = ''b'')');
SELECT node FROM control_effect ORDER BY node;
SELECT count(*) AS queued FROM chronicle_data.node_task WHERE execution_id = :'run';
SELECT o.code FROM control_raised(format('SELECT execution_result(%L)', :'run')) AS o;
-- Before it began, while paused, and undone by a rollback.
SELECT execute_workflow('control_one', run_at => clock_timestamp() + interval '1 day') AS run \gset
SELECT cancel_execution(:'run');
:outcome
:nodes
SELECT execute_workflow('control_one', run_at => clock_timestamp() + interval '1 day') AS run \gset
SELECT pause_execution(:'run'), cancel_execution(:'run');
:outcome
SELECT execute_workflow('control_one', run_at => clock_timestamp() + interval '1 day') AS run \gset
BEGIN;
SELECT cancel_execution(:'run');
ROLLBACK;
:outcome
SELECT cancel_execution(:'run');

-- What a savepoint takes back has not happened: the node that runs is not interrupted.
SELECT execute_workflow('control_gated', '{"gate": "kept"}') AS run \gset
CALL control_until(format('(SELECT status = ''running'' FROM chronicle.node_executions WHERE execution_id = %L AND node_id = ''b'')', :'run'));
BEGIN;
SAVEPOINT outer_one;
SAVEPOINT inner_one;
SELECT cancel_execution(:'run');
RELEASE inner_one;
ROLLBACK TO outer_one;
COMMIT;
INSERT INTO control_gate VALUES ('kept');
SELECT wait_for_execution(:'run', '60s');
:nodes
-- What it keeps, has.
SELECT execute_workflow('control_gated', '{"gate": "never"}') AS run \gset
CALL control_until(format('(SELECT status = ''running'' FROM chronicle.node_executions WHERE execution_id = %L AND node_id = ''b'')', :'run'));
BEGIN;
SAVEPOINT outer_one;
SELECT cancel_execution(:'run');
RELEASE outer_one;
SAVEPOINT outer_one;
ROLLBACK TO outer_one;
COMMIT;
CALL control_until(format('NOT EXISTS (SELECT FROM chronicle.workers WHERE current_execution = %L AND current_node = ''b'')', :'run'));
:nodes
-- A transaction that may not write starts no run.
BEGIN READ ONLY;
SELECT execute_workflow('control_one');
ROLLBACK;

-- 5. Who may: the owner, members of its role, admins; to others it does not exist.
CREATE ROLE control_owner; CREATE ROLE control_other;
SELECT grant_access('control_owner', 'operator'), grant_access('control_other', 'operator');
SET ROLE control_owner;
SELECT version FROM create_workflow('{"id": "control_owned", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}');
SELECT execute_workflow('control_owned', run_at => clock_timestamp() + interval '1 day') AS run \gset
SET ROLE control_other;
SELECT f, o.code, o.message = format('execution %s does not exist', :'run') AS says_so, o.detail::jsonb -> 'state' AS state
  FROM unnest(ARRAY['cancel', 'pause', 'resume']) AS f, control_raised(format('SELECT chronicle.%s_execution(%L)', f, :'run')) AS o;
SET ROLE control_owner;
SELECT pause_execution(:'run'), resume_execution(:'run'), cancel_execution(:'run', 'by its owner');
RESET ROLE;
SELECT f, o.code FROM unnest(ARRAY['cancel', 'pause', 'resume']) AS f,
       unnest(ARRAY['00000000-0000-0000-0000-000000000000', NULL]) AS id, control_raised(format('SELECT %s_execution(%L)', f, id)) AS o ORDER BY 1, 2;
-- A node cannot cancel its own run: the cancel would be undone with the node.
SELECT version FROM create_workflow('{"id": "control_self", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT chronicle.cancel_execution(:self::uuid)", "parameters": {"self": {"$": "$.execution_id"}}}}]}');
SELECT execute_workflow('control_self') AS run \gset
SELECT wait_for_execution(:'run');
SELECT sqlstate, error FROM execution_failures WHERE execution_id = :'run';

SELECT revoke_access('control_owner', 'operator'), revoke_access('control_other', 'operator');
DROP ROLE control_owner; DROP ROLE control_other;
DROP TABLE control_gate, control_effect;
DROP FUNCTION control_raised, control_wait;
DROP PROCEDURE control_until;

-- A pause that comes while short nodes run together: the first one ends, the others are undone, and begin when the run goes on. So nothing
-- begins after a pause, whenever it comes.
CREATE TABLE control_effect (run uuid, node text);
CREATE FUNCTION control_work(run uuid, node text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.control_effect VALUES (run, node);
    PERFORM pg_sleep(0.006);
    RETURN node;
END $$;
SELECT version FROM create_workflow((SELECT jsonb_build_object('id', 'control_paused_batch', 'nodes', jsonb_agg(jsonb_build_object('id', 'n' || n, 'nodeType', 'sql.query',
    'config', jsonb_build_object('sql', format('SELECT public.control_work(:run::uuid, %L) AS x', 'n' || n), 'parameters', jsonb '{"run": {"$": "$.execution_id"}}'))),
    'edges', (SELECT jsonb_agg(jsonb_build_object('source', 'n' || n, 'target', 'n' || n + 1)) FROM generate_series(1, 6) AS n)) FROM generate_series(1, 7) AS n));
CREATE PROCEDURE control_pause_batches() LANGUAGE plpgsql AS $$
DECLARE
    run uuid;
BEGIN
    FOR i IN 1 .. 40 LOOP
        run := execute_workflow('control_paused_batch');
        COMMIT;
        WHILE (SELECT status = 'pending' FROM executions WHERE execution_id = run) LOOP
            PERFORM pg_sleep(0.001);
            COMMIT;
        END LOOP;
        PERFORM pg_sleep(i % 20 * 0.002);
        IF (SELECT ended_at IS NULL FROM executions WHERE execution_id = run) THEN
            BEGIN
                PERFORM pause_execution(run);
            EXCEPTION WHEN SQLSTATE 'CH031' THEN NULL; -- over in between
            END;
        END IF;
        COMMIT;
    END LOOP;
END $$;
CALL control_pause_batches();
DO $$
BEGIN
    FOR i IN 1 .. 3000 LOOP
        EXIT WHEN NOT EXISTS (SELECT FROM chronicle.node_executions WHERE workflow_id = 'control_paused_batch' AND status = 'running');
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
SELECT count(*) > 0 AS some_paused FROM executions WHERE workflow_id = 'control_paused_batch' AND status = 'paused';
SELECT count(*) AS begun_while_paused FROM execution_history AS p JOIN execution_history AS s USING (execution_id)
 WHERE p.workflow_id = 'control_paused_batch' AND p.type = 'WorkflowPaused' AND s.type = 'NodeExecutionStarted' AND s.version > p.version;
SELECT count(resume_execution(execution_id)) > 0 AS resumed FROM executions WHERE workflow_id = 'control_paused_batch' AND status = 'paused';
DO $$
BEGIN
    FOR i IN 1 .. 3000 LOOP
        EXIT WHEN NOT EXISTS (SELECT FROM chronicle.executions WHERE workflow_id = 'control_paused_batch' AND ended_at IS NULL);
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
SELECT e.status, count(DISTINCT e.execution_id) AS runs, count(*) AS effects, count(DISTINCT (f.run, f.node)) AS different FROM executions AS e JOIN control_effect AS f ON f.run = e.execution_id WHERE e.workflow_id = 'control_paused_batch' GROUP BY 1;
DROP PROCEDURE control_pause_batches;
DROP FUNCTION control_work;
DROP TABLE control_effect;
