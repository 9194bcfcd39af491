-- join any, timeouts of runs, and sagas.
SET search_path = public, chronicle;
-- Stores a workflow, runs it and waits. Nodes: [id, sql, more keys]; edges: 'a>b b>c'; more: keys of the definition.
CREATE PROCEDURE saga_run(id text, nodes jsonb, edges text DEFAULT '', more jsonb DEFAULT '{}', INOUT run uuid DEFAULT NULL, INOUT status text DEFAULT NULL)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM create_workflow(jsonb_build_object('id', 'saga_' || id,
        'nodes', (SELECT jsonb_agg(jsonb_build_object('id', n -> 0, 'nodeType', 'sql.query', 'config', jsonb_build_object('sql', n -> 1)) || coalesce(n -> 2, '{}'))
                    FROM jsonb_array_elements(nodes) AS n),
        'edges', (SELECT coalesce(jsonb_agg(jsonb_build_object('source', split_part(e, '>', 1), 'target', split_part(e, '>', 2))), '[]')
                    FROM regexp_split_to_table(edges, ' ') AS e WHERE e <> '')) || more);
    run := execute_workflow('saga_' || id, '{"who": "me"}');
    COMMIT;
    status := wait_for_execution(run);
END $$;
\set show 'SELECT node_id, status, attempts, sqlstate, error FROM node_executions WHERE execution_id = :''run'' ORDER BY node_id;'
\set outcome 'SELECT status, completed_nodes, total_nodes, failed_node, error FROM executions WHERE execution_id = :''run'';'
\set history 'SELECT type, node_id, data - ''workflowId'' - ''executionId'' - ''workflowName'' - ''duration'' - ''dueAt'' - ''delay'' - ''context'' - ''hint'' - ''detail'' - ''nodeId'' AS data FROM execution_history WHERE execution_id = :''run'' ORDER BY version;'
\set left 'SELECT count(*) AS left_in_the_queue FROM chronicle_data.node_task WHERE execution_id = :''run'';'
-- What undoes a node: SQL over its output.
CREATE FUNCTION undo(sql text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS
$$ SELECT jsonb_build_object('compensate', jsonb_build_object('nodeType', 'sql.query', 'config', jsonb_build_object('sql', sql)) || more) $$;
CREATE TABLE saga_effect (number int GENERATED ALWAYS AS IDENTITY, what text);

-- 1. join any: at the first live edge; what only that edge needed is cancelled, what others need is not.
CALL saga_run('any', '[["quick", "SELECT 1 AS x"], ["far", "SELECT pg_sleep(600)"], ["near", "SELECT 1"], ["needed", "SELECT 2 AS x"], ["first", "SELECT x FROM input", {"join": "any"}], ["other", "SELECT needed.x FROM needed, quick"]]',
    'quick>first quick>other far>near near>first needed>first needed>other') \gset
:outcome
SELECT node_id, status FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
SELECT node_id, data ->> 'reason' AS reason FROM execution_history WHERE execution_id = :'run' AND type = 'NodeExecutionCancelled' ORDER BY node_id;
:left
-- One that was at work is interrupted, and leaves nothing.
CREATE FUNCTION saga_once_slow_works() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 1..2000 LOOP
        EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4713 AND granted);
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN 1;
END $$;
CALL saga_run('any_running', '[["quick", "SELECT saga_once_slow_works() AS x"], ["slow", "WITH i AS (INSERT INTO saga_effect (what) VALUES (''slow'')) SELECT pg_advisory_xact_lock(4713), pg_sleep(600)"], ["first", "SELECT x FROM quick", {"join": "any"}], ["last", "SELECT x FROM input"]]',
    'quick>first slow>first first>last') \gset
:outcome
SELECT node_id, status, attempts FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
-- A node that failed and continues counts as live. Only dead edges: skipped.
CALL saga_run('any_failed', '[["far", "SELECT pg_sleep(600)"], ["bad", "SELECT 1 / 0", {"on_failure": "continue"}], ["b", "SELECT ''ran'' AS b", {"join": "any"}]]', 'far>b bad>b') \gset
SELECT node_id, status FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
SELECT create_workflow('{"id": "saga_any_skipped", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1 AS x"}}, {"id": "b", "nodeType": "sql.query", "config": {"sql": "SELECT 1 AS x"}},
    {"id": "c", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}, "join": "any"}], "edges": [{"from": "a", "to": "c", "condition": "$.x > 1"}, {"from": "b", "to": "c", "condition": "$.x > 2"}]}');
SELECT execute_workflow('saga_any_skipped') AS run \gset
SELECT wait_for_execution(:'run');
SELECT node_id, status FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;

-- 2. A run that takes too long.
CALL saga_run('too_long', '[["done", "SELECT 1 AS x"], ["slow", "SELECT pg_sleep(600)", {"own_transaction": true}], ["later", "SELECT 1"], ["retried", "SELECT 1 / 0", {"retry": {"max_attempts": 9, "initial_interval": "1h"}}]]', 'done>slow slow>later', '{"timeout": "1s"}') \gset
:outcome
SELECT node_id, status, attempts FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
SELECT data - 'workflowId' - 'executionId' - 'duration' AS data FROM execution_history WHERE execution_id = :'run' AND type = 'WorkflowFailed';
:left
CALL saga_run('in_time', '[["a", "SELECT 1"]]', '', '{"timeout": "1h"}') \gset
:outcome
SELECT count(*) AS armed FROM chronicle_data.execution WHERE timeout_at IS NOT NULL;

-- 3. A saga: what was completed is undone, the last completed first; then the run is failed.
SELECT jsonb_build_array(
    jsonb_build_array('a', 'INSERT INTO saga_effect (what) VALUES (''a'') RETURNING number AS id, what', undo('INSERT INTO saga_effect (what) SELECT ''undo '' || what FROM input')),
    jsonb_build_array('plain', 'INSERT INTO saga_effect (what) VALUES (''plain'')'),
    jsonb_build_array('b', 'INSERT INTO saga_effect (what) VALUES (''b'') RETURNING what', undo('INSERT INTO saga_effect (what) SELECT ''undo '' || b.what || '', which came after '' || a.what || '', for '' || (:input ->> ''who'') FROM a, b')),
    jsonb_build_array('bad', 'SELECT 1 / 0', '{"on_failure": "compensate"}'::jsonb),
    jsonb_build_array('never', 'SELECT 1', undo('INSERT INTO saga_effect (what) VALUES (''undo never'')'))) AS nodes \gset
TRUNCATE saga_effect;
CALL saga_run('three', :'nodes', 'a>plain plain>b b>bad bad>never') \gset
:outcome
:show
:history
SELECT what FROM saga_effect ORDER BY number;
:left
-- The same when it is tried again and again; with on_failure fail nothing is undone.
TRUNCATE saga_effect;
CALL saga_run('retried', jsonb_set(:'nodes', '{3, 2}', '{"on_failure": "compensate", "retry": {"max_attempts": 3, "initial_interval": 0}}'), 'a>plain plain>b b>bad bad>never') \gset
SELECT what FROM saga_effect ORDER BY number;
TRUNCATE saga_effect;
CALL saga_run('not_wanted', jsonb_set(:'nodes', '{3, 2}', '{"on_failure": "fail"}'), 'a>plain plain>b b>bad bad>never') \gset
:outcome
SELECT what FROM saga_effect ORDER BY number;
-- Nothing to undo.
CALL saga_run('nothing', '[["a", "SELECT 1"], ["bad", "SELECT 1 / 0", {"on_failure": "compensate"}]]', 'a>bad') \gset
:outcome

-- 4. A compensation is retried, by its own policy, its node's, or three times.
CREATE SEQUENCE saga_tries;
SELECT jsonb_build_array(jsonb_build_array('a', 'SELECT 7 AS id', undo('INSERT INTO saga_effect (what) SELECT ''undo '' || (id / (CASE WHEN nextval(''saga_tries'') < 3 THEN 0 ELSE 1 END)) FROM input',
    '{"retry": {"max_attempts": 5, "initial_interval": "10ms"}}')), jsonb_build_array('bad', 'SELECT 1 / 0', '{"on_failure": "compensate"}'::jsonb)) AS nodes \gset
TRUNCATE saga_effect;
CALL saga_run('shaky', :'nodes', 'a>bad') \gset
:outcome
:show
SELECT type, node_id, data -> 'attempt' AS attempt, data ->> 'sqlstate' AS sqlstate, data ? 'dueAt' AS again FROM execution_history WHERE execution_id = :'run' AND type LIKE 'Compensation%' ORDER BY version;
SELECT what FROM saga_effect ORDER BY number;

-- 5. One that fails for good: nothing more is undone, and the run says what is not.
SELECT jsonb_build_array(
    jsonb_build_array('a', 'SELECT 1 AS x', undo('INSERT INTO saga_effect (what) VALUES (''undo a'')')),
    jsonb_build_array('b', 'SELECT 2 AS x', undo('SELECT x / 0 FROM input', '{"retry": {"max_attempts": 2, "initial_interval": 0}}')),
    jsonb_build_array('c', 'SELECT 3 AS x', undo('INSERT INTO saga_effect (what) VALUES (''undo c'')')),
    jsonb_build_array('bad', 'SELECT pg_size_bytes(''no size'')', '{"on_failure": "compensate"}'::jsonb)) AS nodes \gset
TRUNCATE saga_effect;
CALL saga_run('stuck', :'nodes', 'a>b b>c c>bad') \gset
:outcome
:show
SELECT type, node_id, data -> 'attempt' AS attempt, data ->> 'sqlstate' AS sqlstate FROM execution_history WHERE execution_id = :'run' AND type LIKE 'Compensation%' ORDER BY version;
SELECT data -> 'uncompensated' AS uncompensated, data ->> 'failedNodeId' AS failed, data ->> 'sqlstate' AS sqlstate FROM execution_history WHERE execution_id = :'run' AND type = 'WorkflowFailed';
SELECT what FROM saga_effect ORDER BY number;
:left
-- Its timeout; a statement that cannot be run.
SELECT jsonb_build_array(jsonb_build_array('a', 'SELECT 1 AS x', undo('SELECT pg_sleep(600)', '{"timeout": "40ms", "retry": {"max_attempts": 1}}')), jsonb_build_array('bad', 'SELECT 1 / 0', '{"on_failure": "compensate"}'::jsonb)) AS nodes \gset
CALL saga_run('undo_slow', :'nodes', 'a>bad') \gset
:outcome

-- 6. A run that times out is compensated when it is a saga.
SELECT jsonb_build_array(jsonb_build_array('a', 'SELECT 1 AS x', undo('INSERT INTO saga_effect (what) VALUES (''undo a'')')), jsonb_build_array('slow', 'SELECT pg_sleep(600)', '{"on_failure": "compensate"}'::jsonb)) AS nodes \gset
TRUNCATE saga_effect;
CALL saga_run('overdue', :'nodes', 'a>slow', '{"timeout": "1s"}') \gset
:outcome
SELECT node_id, status FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
SELECT what FROM saga_effect ORDER BY number;

-- 7. Faults.
SELECT path, problem FROM validate_workflow('{"id": "saga_faults", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}, "join": "some", "on_failure": "undo",
    "compensate": {"nodeType": "sql.query", "config": {"sqll": "x", "parameters": {"p": {"$": "$..["}}}, "retry": {"max_attempts": 0}, "timeout": "soon"}},
    {"id": "b", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}, "compensate": {"config": {}}}, {"id": "c", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}, "compensate": {"nodeType": "shell"}},
    {"id": "d", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}, "compensate": []}], "timeout": "never"}') ORDER BY path COLLATE "C", problem COLLATE "C";

-- 8. Cancelled while it is compensated: what is at work is interrupted, and the run fails with what is not undone.
CREATE PROCEDURE saga_until(query text) LANGUAGE plpgsql AS $$
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
CREATE PROCEDURE saga_until_undoing(run uuid) LANGUAGE plpgsql AS
$$ BEGIN CALL saga_until(format('SELECT EXISTS (SELECT FROM chronicle.execution_history WHERE execution_id = %L AND type = ''CompensationStarted'')', run)); END $$;
CREATE PROCEDURE saga_until_bad(run uuid) LANGUAGE plpgsql AS
$$ BEGIN CALL saga_until(format('SELECT status = ''running'' FROM chronicle.node_executions WHERE execution_id = %L AND node_id = ''bad''', run)); END $$;
CREATE TABLE saga_gate (open boolean);
INSERT INTO saga_gate VALUES (false);
SELECT jsonb_build_array(jsonb_build_array('a', 'SELECT 1 AS x', undo('INSERT INTO saga_effect (what) VALUES (''undo a'')')), jsonb_build_array('b', 'SELECT 2 AS x', undo('WITH i AS (INSERT INTO saga_effect (what) VALUES (''undo b'')) SELECT CASE WHEN NOT open THEN pg_sleep(600) END FROM saga_gate')),
    jsonb_build_array('bad', 'SELECT 1 / 0', '{"on_failure": "compensate"}'::jsonb)) AS nodes \gset
SELECT (create_workflow(jsonb_build_object('id', 'saga_hangs', 'nodes', (SELECT jsonb_agg(jsonb_build_object('id', n -> 0, 'nodeType', 'sql.query', 'config', jsonb_build_object('sql', n -> 1)) || coalesce(n -> 2, '{}')) FROM jsonb_array_elements(:'nodes') AS n),
    'edges', '[{"from": "a", "to": "b"}, {"from": "b", "to": "bad"}]'::jsonb))).version;
TRUNCATE saga_effect;
SELECT execute_workflow('saga_hangs') AS run \gset
CALL saga_until_undoing(:'run');
SELECT cancel_execution(:'run', 'enough') AS cancelled, cancel_execution(:'run') AS again;
SELECT wait_for_execution(:'run', '5 s');
:outcome
SELECT type, node_id, data -> 'attempt' AS attempt, data ->> 'sqlstate' AS sqlstate, data ->> 'error' AS error, data -> 'uncompensated' AS uncompensated
  FROM execution_history WHERE execution_id = :'run' AND (type LIKE 'Comp%' OR type IN ('WorkflowFailed', 'WorkflowCancelled')) ORDER BY version;
SELECT node_id, status FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
:left
-- Nothing of the interrupted one is left.
CALL saga_until('SELECT NOT EXISTS (SELECT FROM chronicle.workers WHERE current_node IS NOT NULL AND role = ''executor'')');
SELECT count(*) FROM saga_effect;
-- A retry goes on, and its compensations count on: each attempt is started once and ended once.
UPDATE saga_gate SET open = true;
SELECT retry_execution(:'run');
SELECT wait_for_execution(:'run');
SELECT retry_execution(:'run');
SELECT wait_for_execution(:'run');
SELECT type, node_id, data -> 'attempt' AS attempt FROM execution_history WHERE execution_id = :'run' AND type LIKE 'Comp%' ORDER BY version;
SELECT what, count(*) FROM saga_effect GROUP BY what ORDER BY what;
-- The policy counts anew: three attempts each time.
SELECT jsonb_build_array(jsonb_build_array('a', 'SELECT 1 AS x', undo('SELECT 1 / 0', '{"retry": {"max_attempts": 3, "initial_interval": 0}}')), jsonb_build_array('bad', 'SELECT 1 / 0', '{"on_failure": "compensate"}'::jsonb)) AS nodes \gset
CALL saga_run('never_undone', :'nodes', 'a>bad') \gset
SELECT retry_execution(:'run', 'a');
SELECT wait_for_execution(:'run');
SELECT type, string_agg(data ->> 'attempt', ' ' ORDER BY version) AS attempts FROM execution_history WHERE execution_id = :'run' AND type LIKE 'Comp%' GROUP BY type ORDER BY type;
-- Compensated because it was cancelled: cancelling once more changes nothing, as long as the run is not paused.
UPDATE saga_gate SET open = false;
SELECT version FROM create_workflow((SELECT jsonb_set(definition, '{nodes,2,config,sql}', '"SELECT pg_sleep(600)"') || '{"id": "saga_cancelled"}' FROM workflows WHERE workflow_id = 'saga_hangs'));
SELECT execute_workflow('saga_cancelled') AS run \gset
CALL saga_until_bad(:'run');
SELECT cancel_execution(:'run', 'first');
CALL saga_until_undoing(:'run');
SELECT cancel_execution(:'run', 'second');
SELECT status FROM executions WHERE execution_id = :'run';
SELECT pause_execution(:'run'), cancel_execution(:'run', 'third');
SELECT wait_for_execution(:'run', '5 s');
:outcome
-- Not begun yet: no attempt, no event of it.
UPDATE saga_gate SET open = true;
SELECT execute_workflow('saga_cancelled') AS run \gset
CALL saga_until_bad(:'run');
BEGIN;
SELECT cancel_execution(:'run', 'first'), pause_execution(:'run'), cancel_execution(:'run', 'second');
COMMIT;
SELECT status, error FROM executions WHERE execution_id = :'run';
SELECT type, data -> 'uncompensated' AS uncompensated FROM execution_history WHERE execution_id = :'run' AND (type LIKE 'Comp%' OR type IN ('WorkflowFailed', 'WorkflowCancelled')) ORDER BY version;
DROP PROCEDURE saga_until, saga_until_undoing, saga_until_bad;
DROP TABLE saga_gate;
