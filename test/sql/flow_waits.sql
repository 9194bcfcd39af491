-- Nodes that wait: timers, signals. What ends them, what cancels them, what they leave.
SET search_path = public, chronicle;
-- Stores a workflow and starts it. Nodes: [id, type, config, more keys]; edges: 'a>b b>c'.
CREATE PROCEDURE waits_start(id text, nodes jsonb, edges text DEFAULT '', input jsonb DEFAULT '{}', INOUT run uuid DEFAULT NULL)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM create_workflow(jsonb_build_object('id', 'waits_' || id,
        'nodes', (SELECT jsonb_agg(jsonb_build_object('id', n -> 0, 'nodeType', n -> 1, 'config', n -> 2) || coalesce(n -> 3, '{}')) FROM jsonb_array_elements(nodes) AS n),
        'edges', (SELECT coalesce(jsonb_agg(jsonb_build_object('source', split_part(e, '>', 1), 'target', split_part(e, '>', 2))), '[]')
                    FROM regexp_split_to_table(edges, ' ') AS e WHERE e <> '')));
    run := execute_workflow('waits_' || id, input);
END $$;
-- Waits until the run, or its nodes, are so.
CREATE PROCEDURE waits_until(run uuid, wanted text, node text DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
    now_is text;
BEGIN
    FOR i IN 1 .. 3000 LOOP
        IF node IS NULL THEN
            SELECT status INTO now_is FROM executions WHERE execution_id = run;
        ELSE
            SELECT status INTO now_is FROM node_executions WHERE execution_id = run AND node_id = node;
        END IF;
        EXIT WHEN now_is = wanted;
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
    IF now_is IS DISTINCT FROM wanted THEN
        RAISE 'it is %, not %', now_is, wanted;
    END IF;
END $$;
\set nodes 'SELECT node_id, status, attempts, output, sqlstate, error FROM node_executions WHERE execution_id = :''run'' ORDER BY node_id;'
\set events 'SELECT type, node_id, data - ''{workflowId,executionId,workflowName,nodeId,nodeType,duration,dueAt,signalId,version,context}''::text[] AS data FROM execution_history WHERE execution_id = :''run'' AND coalesce(node_id, '''') NOT IN (''yes'', ''no'') ORDER BY version;'
\set left_over 'SELECT count(*) AS left_over FROM chronicle_data.node_task WHERE execution_id = :''run'';'

-- 1. Definitions.
SELECT path, problem FROM validate_workflow('{"id": "w", "nodes": [
    {"id": "a", "nodeType": "wait.timer"}, {"id": "b", "nodeType": "wait.timer", "config": {"for": "1s", "until": "2030-01-01"}},
    {"id": "c", "nodeType": "wait.timer", "config": {"for": "soon"}}, {"id": "d", "nodeType": "wait.signal"},
    {"id": "e", "nodeType": "wait.signal", "config": {"name": "x", "onTimeout": "retry", "timeout": -1}}]}');

-- 2. wait.timer: for, until, what is past; the run waits when nothing else is under way. (Nobody shall wait long here: other tests show durations.)
CALL waits_start('timer', '[["a", "sql.query", {"sql": "SELECT 1 AS x"}], ["t", "wait.timer", {"for": "1s"}], ["past", "wait.timer", {"until": "2000-01-01 00:00:00+00"}],
    ["b", "sql.query", {"sql": "SELECT :t::jsonb ? ''due_at'' AS due", "parameters": {"t": {"$": "$.nodes.t"}}}]]', 'a>t t>b past>b') \gset
SELECT wait_for_execution(:'run');
SELECT node_id, status, attempts, output - 'due_at' AS output FROM node_executions WHERE execution_id = :'run' AND node_id IN ('t', 'past') ORDER BY node_id;
SELECT output FROM node_executions WHERE execution_id = :'run' AND node_id = 'b';
SELECT type, count(*) FROM execution_history WHERE execution_id = :'run' AND node_id = 't' GROUP BY type ORDER BY min(version);
-- The time is where every view says it is, and the wait was as long as it should be.
SELECT f.recorded_at >= (w.data ->> 'dueAt')::timestamptz AS not_early, w.data ->> 'dueAt' = f.data ->> 'dueAt' AS same,
       (w.data ->> 'dueAt')::timestamptz - s.recorded_at = '1 s' AS from_start
  FROM execution_history AS w JOIN execution_history AS f USING (execution_id, node_id) JOIN execution_history AS s USING (execution_id, node_id)
 WHERE w.execution_id = :'run' AND node_id = 't' AND w.type = 'NodeExecutionWaiting' AND f.type = 'TimerFired' AND s.type = 'NodeExecutionStarted';
-- A time that is none, and one that never comes.
CALL waits_start('no_time', '[["a", "wait.timer", {"until": {"$": "$.input.at"}}, {"on_failure": "continue"}], ["b", "wait.timer", {"until": "infinity"}, {"on_failure": "continue"}],
    ["c", "wait.timer", {"for": {"$": "$.input.nothing"}}, {"on_failure": "continue"}]]', '', '{"at": "tomorrow-ish"}') \gset
SELECT wait_for_execution(:'run');
SELECT node_id, status, sqlstate, error FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;

-- 3. wait.signal: the run waits; a signal of another name is kept, and ends nothing.
CALL waits_start('signal', '[["s", "wait.signal", {"name": "go"}], ["yes", "sql.query", {"sql": "SELECT :by AS by", "parameters": {"by": {"$": "$.nodes.s.payload.by"}}}],
    ["no", "sql.query", {"sql": "SELECT 1"}]]', 's>yes s>no') \gset
CALL waits_until(:'run', 'waiting');
SELECT signal_execution(:'run', 'other');
SELECT status FROM executions WHERE execution_id = :'run';
:nodes
SELECT state FROM workflow_status WHERE workflow_id = 'waits_signal';
SELECT signal_execution(:'run', 'go', '{"by": "ann"}');
SELECT wait_for_execution(:'run');
:nodes
:events
SELECT name, payload, sent_by = session_user AS mine, taken_by, taken_at IS NOT NULL AS taken FROM signals WHERE execution_id = :'run' ORDER BY signal_id;
:left_over
-- A signal that is rolled back was never sent; one before its wait is kept; two waits take two signals, oldest first.
CALL waits_start('two', '[["t", "wait.signal", {"name": "start"}], ["u", "wait.signal", {"name": "go"}], ["v", "wait.signal", {"name": "go"}]]', 't>u u>v') \gset
CALL waits_until(:'run', 'waiting');
BEGIN; SELECT signal_execution(:'run', 'go', '0'); ROLLBACK;
SELECT signal_execution(:'run', 'go', '1');
SELECT signal_execution(:'run', 'start');
CALL waits_until(:'run', 'waiting', 'v');
:nodes
SELECT signal_execution(:'run', 'go', '2');
SELECT wait_for_execution(:'run');
:nodes
-- Three that were sent before anybody waits: each wait takes the oldest.
CALL waits_start('kept', '[["t", "wait.signal", {"name": "start"}], ["u", "wait.signal", {"name": "go"}], ["v", "wait.signal", {"name": "go"}], ["w", "wait.signal", {"name": "go"}]]', 't>u u>v v>w') \gset
SELECT count(signal_execution(:'run', 'go', to_jsonb(n))) FROM generate_series(1, 3) AS n;
SELECT signal_execution(:'run', 'start');
SELECT wait_for_execution(:'run');
SELECT node_id, output -> 'payload' AS payload FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
-- In one transaction, and in REPEATABLE READ with a snapshot that is older than the wait.
CALL waits_start('both', '[["a", "wait.signal", {"name": "go"}], ["b", "wait.signal", {"name": "go"}]]') \gset
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM signals WHERE execution_id = :'run';
SELECT pg_sleep(0.05);
SELECT signal_execution(:'run', 'go'), signal_execution(:'run', 'go', 'null');
COMMIT;
SELECT wait_for_execution(:'run');
SELECT count(*) AS completed FROM node_executions WHERE execution_id = :'run' AND output = '{"name": "go", "payload": null, "timed_out": false}';

-- 4. Time is up: continue, fail (and its retry takes a signal that is there), the node's own timeout.
CALL waits_start('late', '[["go_on", "wait.signal", {"name": "a", "timeout": "20ms", "on_timeout": "continue"}], ["fails", "wait.signal", {"name": "b", "timeout": "20ms"}, {"on_failure": "continue"}],
    ["own", "wait.signal", {"name": "c"}, {"timeout": "20ms", "on_failure": "continue"}], ["timer", "wait.timer", {"for": "1h"}, {"timeout": "20ms", "on_failure": "continue"}]]') \gset
SELECT wait_for_execution(:'run');
:nodes
SELECT node_id, type, data - '{workflowId,executionId,workflowName,nodeId,nodeType,duration,dueAt}'::text[] AS data FROM execution_history
 WHERE execution_id = :'run' AND type IN ('WaitTimedOut', 'TimerFired') ORDER BY node_id;
CALL waits_start('retry', '[["s", "wait.signal", {"name": "a", "timeout": "20ms"}, {"retry": {"max_attempts": 2, "initial_interval": "1h", "jitter": 0}}]]') \gset
CALL waits_until(:'run', 'retrying', 's');
SELECT signal_execution(:'run', 'a', '"late"');
UPDATE chronicle_data.node_task SET due_at = clock_timestamp() WHERE execution_id = :'run';
CALL waits_start('wake', '[["t", "wait.timer", {"for": 0.001}]]', run => NULL) \gset other_
-- (That one made the scheduler look.)
SELECT wait_for_execution(:'run');
:nodes
-- (A busy machine may be too late for the first wait to begin at all.)
SELECT type, node_id, data -> 'attempt' AS attempt, data ->> 'error' AS error, data -> 'payload' AS payload FROM execution_history WHERE execution_id = :'run' AND type <> 'NodeExecutionWaiting' ORDER BY version;

-- 5. A run that fails cancels its waits.
CALL waits_start('fails', '[["s", "wait.signal", {"name": "go"}], ["t", "wait.timer", {"until": "2100-01-01"}], ["bad", "sql.query", {"sql": "SELECT pg_sleep(0.05), 1 / 0"}]]') \gset
SELECT wait_for_execution(:'run');
SELECT node_id, status FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
:left_over

-- 6. Errors of signal_execution.
\set VERBOSITY verbose
\set SHOW_CONTEXT never
SELECT signal_execution(NULL, 'x');
SELECT signal_execution(:'run', NULL);
SELECT signal_execution(:'run', '');
SELECT signal_execution(:'run', repeat('x', 1025));
SELECT signal_execution('00000000-0000-0000-0000-000000000000', 'x');
\set VERBOSITY terse
DO $$
BEGIN
    PERFORM chronicle.signal_execution((SELECT execution_id FROM chronicle.executions WHERE workflow_id = 'waits_fails'), 'x');
EXCEPTION WHEN SQLSTATE 'CH031' THEN
    RAISE NOTICE '%', regexp_replace(sqlerrm, '[0-9a-f-]{36}', '…');
END $$;
-- Another's run does not exist; neither do its signals.
CALL waits_start('mine', '[["s", "wait.signal", {"name": "go"}]]') \gset
CALL waits_until(:'run', 'waiting');
CREATE ROLE regress_waits;
GRANT USAGE ON SCHEMA chronicle TO regress_waits;
SET ROLE regress_waits;
SELECT count(*) FROM signals;
\set ECHO none
SELECT set_config('waits.run', :'run', false) IS NOT NULL AS set;
\set ECHO all
DO $$
BEGIN
    PERFORM chronicle.signal_execution(current_setting('waits.run')::uuid, 'go');
EXCEPTION WHEN SQLSTATE 'CH031' THEN
    RAISE NOTICE '%', regexp_replace(sqlerrm, '[0-9a-f-]{36}', '…');
END $$;
RESET ROLE;
SELECT signal_execution(:'run', 'go');
SELECT wait_for_execution(:'run');
REVOKE ALL ON SCHEMA chronicle FROM regress_waits;
DROP ROLE regress_waits;
SELECT count(*) AS left_over FROM chronicle_data.node_task;
DROP PROCEDURE waits_start, waits_until;
