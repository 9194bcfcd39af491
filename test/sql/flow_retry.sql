-- Runs that are over go on: retry_execution, fork_execution.
SET search_path = public, chronicle;
\set history 'SELECT type, node_id, data - ''workflowId'' - ''executionId'' - ''workflowName'' - ''duration'' - ''nodeId'' - ''nodeType'' - ''detail'' - ''hint'' - ''context'' - ''delay'' - ''dueAt'' - ''totalNodes'' - ''forkedFrom'' AS data FROM execution_history WHERE execution_id = :''run'' ORDER BY version;'
\set outcome 'SELECT status, completed_nodes, total_nodes, failed_node, error, ended_at IS NULL AS open, result FROM executions WHERE execution_id = :''run'';'
\set nodes 'SELECT node_id, status, attempts, started_at IS NULL AS not_here, output FROM node_executions WHERE execution_id = :''run'' ORDER BY node_id;'
CREATE FUNCTION retry_raised(statement text, OUT code text, OUT message text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    code := 'none';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
END $$;
CREATE TABLE retry_done (node text);
CREATE TABLE retry_broken (node text);
-- Does its work, unless the node is broken.
CREATE FUNCTION retry_work(node text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM public.retry_broken AS b WHERE b.node = retry_work.node) THEN
        RAISE EXCEPTION '% is broken', node USING ERRCODE = 'P0007';
    END IF;
    INSERT INTO public.retry_done VALUES (node);
    RETURN node;
END $$;
CREATE PROCEDURE retry_run(id text, nodes text[], edges text, more jsonb DEFAULT '{}', input jsonb DEFAULT '{}', INOUT run uuid DEFAULT NULL, INOUT status text DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM create_workflow(jsonb_build_object('id', 'retry_' || id,
        'nodes', (SELECT jsonb_agg(jsonb_build_object('id', n, 'nodeType', 'sql.query', 'config', jsonb_build_object('sql', format('SELECT retry_work(%L) AS done, :input::jsonb ->> ''n'' AS n', n), 'parameters', jsonb_build_object('input', jsonb '{"$": "$.input"}'))) || coalesce(more -> n, '{}')) FROM unnest(nodes) AS n),
        'edges', (SELECT coalesce(jsonb_agg(jsonb_build_object('source', split_part(split_part(e, ':', 1), '>', 1), 'target', split_part(split_part(e, ':', 1), '>', 2),
                                                               'condition', nullif(substring(e FROM '[^:]*:(.*)'), ''))), '[]') FROM regexp_split_to_table(edges, ' ') AS e WHERE e <> '')));
    run := execute_workflow('retry_' || id, input);
    COMMIT;
    status := wait_for_execution(run);
END $$;

-- 1. A failed run goes on from the failed node; what is finished is kept. Attempts count on, the policy counts anew.
INSERT INTO retry_broken VALUES ('b');
CALL retry_run('line', '{a,b,c,d}', 'a>d d>b b>c', '{"b": {"retry": {"max_attempts": 2, "initial_interval": "1ms"}}}') \gset
:outcome
SELECT retry_execution(:'run');
SELECT status IN ('running', 'failed') AS goes_on FROM executions WHERE execution_id = :'run';
SELECT wait_for_execution(:'run');
SELECT attempt, sqlstate, error FROM execution_failures WHERE execution_id = :'run' ORDER BY attempt;
TRUNCATE retry_broken;
SELECT retry_execution(:'run');
SELECT wait_for_execution(:'run');
SELECT status, completed_nodes, failed_node, error FROM executions WHERE execution_id = :'run';
SELECT node_id, status, attempts FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
SELECT node, count(*) FROM retry_done GROUP BY 1 ORDER BY 1;
SELECT type, data -> 'nodes' AS nodes, data -> 'fromNode' AS from_node FROM execution_history WHERE execution_id = :'run' AND type IN ('WorkflowRetried', 'WorkflowFailed', 'WorkflowCompleted') ORDER BY version;
SELECT attempt, status FROM execution_timeline WHERE execution_id = :'run' AND node_id = 'b' ORDER BY attempt;
SELECT o.code, replace(o.message, :'run', '…') AS message, o.hint FROM retry_raised(format('SELECT retry_execution(%L)', :'run')) AS o;

-- 2. from_node: it and all that follows run again, whatever became of them.
TRUNCATE retry_done;
INSERT INTO retry_broken VALUES ('d');
CALL retry_run('from', '{a,b,c,d}', 'a>b b>c c>d') \gset
TRUNCATE retry_broken;
SELECT retry_execution(:'run', 'b');
SELECT wait_for_execution(:'run');
SELECT node, count(*) FROM retry_done GROUP BY 1 ORDER BY 1;
SELECT node_id, status, attempts FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;

-- 3. Cancelled before it began, and in the midst.
SELECT execute_workflow('retry_from', run_at => clock_timestamp() + interval '1 day') AS run \gset
SELECT cancel_execution(:'run'), retry_execution(:'run');
SELECT wait_for_execution(:'run');
SELECT type FROM execution_history WHERE execution_id = :'run' AND type LIKE 'Workflow%' ORDER BY version;

-- 4. Skipped nodes stay skipped; one that failed under "continue" is kept.
TRUNCATE retry_done;
INSERT INTO retry_broken VALUES ('soft'), ('end');
CALL retry_run('mixed', '{a,soft,no,yes,end}', 'a>soft a>no:$.done=="x" a>yes yes>end soft>end', '{"soft": {"on_failure": "continue"}}') \gset
SELECT node_id, status FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
TRUNCATE retry_broken;
SELECT retry_execution(:'run');
SELECT wait_for_execution(:'run');
SELECT node_id, status, attempts FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
SELECT node, count(*) FROM retry_done GROUP BY 1 ORDER BY 1;

-- 5. What was compensated is undone, and so runs again, with what follows from it.
TRUNCATE retry_done;
INSERT INTO retry_broken VALUES ('ship');
CALL retry_run('saga', '{reserve,charge,ship}', 'reserve>charge charge>ship', '{"charge": {"compensate": {"nodeType": "sql.query", "config": {"sql": "DELETE FROM retry_done WHERE node = ''charge''"}}}, "ship": {"on_failure": "compensate"}}') \gset
SELECT node_id, status FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
TRUNCATE retry_broken;
SELECT retry_execution(:'run');
SELECT wait_for_execution(:'run');
SELECT node_id, status, attempts FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
SELECT node, count(*) FROM retry_done GROUP BY 1 ORDER BY 1;

-- 6. A fork keeps all but the node and what follows from it; the other run stays as it is.
TRUNCATE retry_done;
CALL retry_run('fork', '{a,b,c,d}', 'a>b b>c a>d', input => '{"n": 1}') \gset
SELECT :'run' AS first \gset
SELECT fork_execution(:'first', 'b', '{"n": 2}') AS run \gset
SELECT wait_for_execution(:'run');
:nodes
:outcome
:history
SELECT data ->> 'forkedFrom' = :'first' AS forked_from FROM execution_history WHERE execution_id = :'run' AND type = 'WorkflowQueued';
SELECT node, count(*) FROM retry_done GROUP BY 1 ORDER BY 1;
SELECT fork_execution(:'run', 'c') AS run \gset
SELECT wait_for_execution(:'run');
:nodes
SELECT status, input FROM executions WHERE workflow_id = 'retry_fork' ORDER BY queued_at;
-- Of a failed run: what failed runs again, too. In the version that it had.
INSERT INTO retry_broken VALUES ('c');
CALL retry_run('fork', '{a,b,c,d,e}', 'a>b b>d d>c a>e') \gset
SELECT version FROM create_workflow('{"id": "retry_fork", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}');
TRUNCATE retry_broken;
SELECT fork_execution(:'run', 'e') AS run \gset
SELECT wait_for_execution(:'run');
SELECT workflow_version FROM executions WHERE execution_id = :'run';
SELECT node_id, status, attempts FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;

-- 7. Errors.
SELECT execute_workflow('retry_line', run_at => clock_timestamp() + interval '1 day') AS open \gset
SELECT s AS statement, o.code, regexp_replace(o.message, '[0-9a-f-]{36}', '…') AS message, o.hint
  FROM unnest(ARRAY['retry_execution(%2$L)', 'fork_execution(%2$L, ''a'')', 'fork_execution(%1$L, ''none'')', 'retry_execution(%1$L, ''none'')', 'retry_execution(%1$L)', 'fork_execution(%1$L, NULL)',
                    'fork_execution(NULL, ''a'')', 'retry_execution(NULL)', 'retry_execution(''00000000-0000-0000-0000-000000000000'')', 'fork_execution(''00000000-0000-0000-0000-000000000000'', ''a'')']) AS s,
       retry_raised('SELECT ' || format(s, :'first', :'open')) AS o;
SELECT cancel_execution(:'open');
CREATE ROLE retry_other;
SELECT grant_access('retry_other', 'operator');
SET ROLE retry_other;
SELECT o.code FROM unnest(ARRAY['retry_execution(%L)', 'fork_execution(%L, ''a'')']) AS s, retry_raised('SELECT chronicle.' || format(s, :'first')) AS o;
RESET ROLE;
SELECT revoke_access('retry_other', 'operator');
DROP ROLE retry_other;
DROP TABLE retry_done, retry_broken;
DROP FUNCTION retry_raised, retry_work;
DROP PROCEDURE retry_run;

-- 8. A fork from a node that is skipped again has nothing to run: it is over.
SELECT * FROM create_workflow('{"id": "retry_skipped", "nodes": [
    {"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1 AS v"}}, {"id": "b", "nodeType": "sql.query", "config": {"sql": "SELECT 2"}}],
    "edges": [{"source": "a", "target": "b", "condition": "$.v > 5"}]}');
SELECT execute_workflow('retry_skipped') AS run \gset
SELECT wait_for_execution(:'run');
SELECT fork_execution(:'run', 'b') AS fork \gset
SELECT wait_for_execution(:'fork', '5s');
SELECT type, node_id FROM execution_history WHERE execution_id = :'fork' ORDER BY version;

-- 9. A join any that had its live edge: a branch that was cancelled because nobody needed it stays so in a retry.
CREATE TABLE retry_gate (open boolean);
INSERT INTO retry_gate VALUES (false);
SELECT version FROM create_workflow('{"id": "retry_any", "nodes": [
    {"id": "f", "nodeType": "sql.query", "config": {"sql": "SELECT 1 AS x"}}, {"id": "far", "nodeType": "wait.timer", "config": {"for": "1h"}}, {"id": "s", "nodeType": "sql.query", "config": {"sql": "SELECT 1 AS x"}},
    {"id": "j", "nodeType": "sql.query", "join": "any", "config": {"sql": "SELECT 1 / open::int AS x FROM retry_gate"}}, {"id": "end", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}],
    "edges": [{"source": "f", "target": "j"}, {"source": "far", "target": "s"}, {"source": "s", "target": "j"}, {"source": "j", "target": "end"}]}');
SELECT execute_workflow('retry_any') AS run \gset
SELECT wait_for_execution(:'run');
UPDATE retry_gate SET open = true;
SELECT retry_execution(:'run');
SELECT wait_for_execution(:'run', '5 s');
-- (far may have begun to wait before j failed, or not.)
SELECT node_id, status, CASE WHEN node_id <> 'far' THEN attempts END AS attempts FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
SELECT data -> 'nodes' AS retried FROM execution_history WHERE execution_id = :'run' AND type = 'WorkflowRetried';
-- From f on, the other branch is needed as well: it may be the faster one.
SELECT fork_execution(:'run', 'f') AS fork \gset
SELECT data -> 'kept' AS kept FROM execution_history WHERE execution_id = :'fork' AND type = 'WorkflowQueued';
SELECT wait_for_execution(:'fork');
DROP TABLE retry_gate;

-- 10. A disabled workflow starts no fork, but its runs can go on; one that was dropped has no runs any more that are not over.
CREATE FUNCTION retry_raised(statement text, OUT code text, OUT message text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    code := 'none';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
END $$;
SELECT execute_workflow('retry_any', run_at => clock_timestamp() + interval '1 day') AS cancelled \gset
SELECT cancel_execution(:'cancelled');
SELECT disable_workflow('retry_any');
SELECT o.* FROM retry_raised(format('SELECT fork_execution(%L, ''j'')', :'run')) AS o;
SELECT o.* FROM retry_raised(format('SELECT retry_execution(%L); SELECT cancel_execution(%1$L)', :'cancelled')) AS o;
SELECT drop_workflow('retry_any');
SELECT f, o.* FROM unnest(ARRAY['fork_execution(%2$L, ''j'')', 'retry_execution(%1$L)']) AS f, retry_raised('SELECT ' || format(f, :'cancelled', :'run')) AS o;
-- Another workflow of that id is another workflow.
SELECT version FROM create_workflow('{"id": "retry_any", "nodes": [{"id": "j", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}');
SELECT f, o.code FROM unnest(ARRAY['fork_execution(%2$L, ''j'')', 'retry_execution(%1$L)']) AS f, retry_raised('SELECT ' || format(f, :'cancelled', :'run')) AS o;
-- A function's calls are their caller's.
CREATE FUNCTION retry_call(context jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
SELECT version FROM create_workflow('{"id": "retry_calls", "nodes": [{"id": "m", "nodeType": "map.each", "config": {"items": [1], "function": "retry_call"}}]}');
SELECT execute_workflow('retry_calls') AS run \gset
SELECT wait_for_execution(:'run');
CREATE OR REPLACE FUNCTION retry_call(context jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT context -> 'input' $$;
SELECT execution_id AS child FROM executions WHERE parent_execution_id = :'run' \gset
SELECT retry_execution(:'child');
SELECT wait_for_execution(:'child');
DROP FUNCTION retry_raised, retry_call;
