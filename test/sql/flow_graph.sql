-- Graphs: parallel branches and joins, conditions, skipping, failing, retries, timeouts, references, and what history tells.
SET search_path = public, chronicle;
-- Stores a workflow, runs it and waits. Nodes: [id, sql, more keys]; edges: 'a>b b>c', with a condition 'a>b:$.x>1'.
CREATE PROCEDURE graph_run(id text, nodes jsonb, edges text DEFAULT '', input jsonb DEFAULT '{}', INOUT run uuid DEFAULT NULL, INOUT status text DEFAULT NULL)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM create_workflow(jsonb_build_object('id', 'graph_' || id,
        'nodes', (SELECT jsonb_agg(jsonb_build_object('id', n -> 0, 'nodeType', 'sql.query', 'config', jsonb_build_object('sql', n -> 1)) || coalesce(n -> 2, '{}'))
                    FROM jsonb_array_elements(nodes) AS n),
        'edges', (SELECT coalesce(jsonb_agg(jsonb_build_object('source', split_part(split_part(e, ':', 1), '>', 1), 'target', split_part(split_part(e, ':', 1), '>', 2),
                                                               'condition', nullif(substring(e FROM '[^:]*:(.*)'), ''))), '[]')
                    FROM regexp_split_to_table(edges, ' ') AS e WHERE e <> '')));
    run := execute_workflow('graph_' || id, input);
    COMMIT;
    status := wait_for_execution(run);
END $$;
\set show 'SELECT node_id, status, attempts, output, sqlstate, error FROM node_executions WHERE execution_id = :''run'' ORDER BY node_id;'
\set outcome 'SELECT status, completed_nodes, total_nodes, failed_node, error, result FROM executions WHERE execution_id = :''run'';'
-- Events in order; those of nodes that may run side by side come by node.
\set history 'SELECT type, node_id, data - ''workflowId'' - ''executionId'' - ''workflowName'' - ''duration'' - ''dueAt'' - ''context'' - ''nodeId'' - ''nodeType'' AS data FROM execution_history WHERE execution_id = :''run'' ORDER BY version;'

-- 1. A line: every event, in order, with what it carries.
CALL graph_run('line', '[["a", "SELECT n FROM generate_series(1, 3) AS n"], ["b", "SELECT sum(n) AS sum FROM input"], ["c", "SELECT sum * 2 AS twice FROM input"]]', 'a>b b>c') \gset
:outcome
:history
SELECT DISTINCT data ->> 'workflowId' AS workflow, data ->> 'executionId' = :'run' AS run, data ->> 'workflowName' AS name FROM execution_history WHERE execution_id = :'run';
SELECT type, node_id, data ->> 'nodeId' AS node, data ->> 'nodeType' AS node_type, data ? 'duration' AS duration FROM execution_history WHERE execution_id = :'run' AND node_id = 'a' ORDER BY version;
SELECT bool_and(version = number) AS contiguous, bool_and(global_position > before) AS rising
  FROM (SELECT version, global_position, row_number() OVER w AS number, lag(global_position, 1, 0::bigint) OVER w AS before
          FROM execution_history WHERE execution_id = :'run' WINDOW w AS (ORDER BY version)) AS e;

-- 2. Parallel branches and a join: it runs once, after both.
CREATE TABLE graph_effect (run uuid DEFAULT NULL, node text, at timestamptz DEFAULT clock_timestamp());
CALL graph_run('diamond', '[["start", "SELECT 1 AS n"], ["left", "INSERT INTO graph_effect (node) VALUES (''left'') RETURNING node"], ["right", "INSERT INTO graph_effect (node) VALUES (''right'') RETURNING node"],
    ["join", "SELECT count(*) AS effects, (SELECT string_agg(node, '','' ORDER BY node) FROM input) AS seen FROM graph_effect"]]', 'start>left start>right left>join right>join') \gset
:outcome
SELECT node_id, status, attempts FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
SELECT count(*) FILTER (WHERE type = 'NodeExecutionStarted') AS starts,
       min(version) FILTER (WHERE node_id = 'join') > max(version) FILTER (WHERE node_id IN ('left', 'right')) AS join_last,
       max(version) FILTER (WHERE node_id = 'start') < min(version) FILTER (WHERE node_id IN ('left', 'right')) AS start_first
  FROM execution_history WHERE execution_id = :'run';
SELECT node FROM graph_effect ORDER BY node;
-- Wide and deep: 60 branches, each of two nodes, one join.
SELECT '[["start", "SELECT 1 AS n"]]'::jsonb || jsonb_agg(n) AS nodes FROM (
    SELECT jsonb_build_array('a' || i, 'SELECT n + ' || i || ' AS n FROM input') AS n FROM generate_series(1, 60) AS i UNION ALL
    SELECT jsonb_build_array('b' || i, 'SELECT n FROM a' || i) FROM generate_series(1, 60) AS i UNION ALL
    SELECT '["join", "SELECT count(*), sum(n) FROM input"]') AS x \gset
SELECT string_agg('start>a' || i || ' a' || i || '>b' || i || ' b' || i || '>join', ' ') AS edges FROM generate_series(1, 60) AS i \gset
CALL graph_run('wide', :'nodes', :'edges') \gset
:outcome
-- Parts without a connection are one run.
CALL graph_run('islands', '[["a", "SELECT 1 AS x"], ["b", "SELECT x + 1 AS x FROM input"], ["c", "SELECT 9 AS x"]]', 'a>b') \gset
:outcome

-- 3. Conditions over the output, and skipping: a node whose edges are all dead is skipped, and what follows it alone.
CALL graph_run('conditions', '[["a", "SELECT * FROM (VALUES (5, ''x''), (50, ''y'')) AS t (total, name)"], ["big", "SELECT 1"], ["small", "SELECT 1"], ["named", "SELECT 1"], ["both", "SELECT 1"], ["none", "SELECT 1"], ["not_a_predicate", "SELECT 1"],
    ["after_big", "SELECT 1"], ["after_small", "SELECT 1"], ["either", "SELECT count(*) FROM input"], ["missing", "SELECT 1"], ["error", "SELECT 1"], ["always", "SELECT 1"]]',
    'a>big:$.total>10 a>small:$.total<0 a>named:$.name=="x" a>both:$.total>10&&$.name=="x" a>none:$[0].total>10 a>not_a_predicate:$.total big>after_big small>after_small after_big>either after_small>either a>missing:$.nothing>1 a>error:$.name>1 a>always') \gset
SELECT node_id, status, attempts, started_at IS NULL AS never_started FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
:outcome
SELECT type, node_id, data ->> 'reason' AS reason, data -> 'attempt' AS attempt FROM execution_history WHERE execution_id = :'run' AND type = 'NodeExecutionSkipped' ORDER BY node_id;
-- Over no rows, over a node without rows, and all the way down: everything skipped is a completed run.
CALL graph_run('nothing', '[["a", "SELECT 1 AS x WHERE false"], ["b", "SELECT 1"], ["c", "SELECT 1"], ["effect", "DELETE FROM graph_effect"], ["d", "SELECT 1"], ["e", "SELECT 2 AS x"], ["f", "SELECT count(*) FROM graph_effect"]]', 'a>b:$.x>0 b>c effect>d:$.x>0 effect>f c>e') \gset
SELECT node_id, status FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
:outcome
-- A join of a live and a dead branch gets the live one's rows.
CALL graph_run('one_side', '[["a", "SELECT 1 AS x"], ["yes", "SELECT ''yes'' AS side"], ["no", "SELECT ''no'' AS side, 2 AS other_columns"], ["join", "SELECT * FROM input"]]', 'a>yes:$.x==1 a>no:$.x==2 yes>join no>join') \gset
:show

-- 4. A node that fails for good: the run fails, its siblings are cancelled, nothing of it stays.
CALL graph_run('failing', '[["ok", "INSERT INTO graph_effect (node) VALUES (''ok'') RETURNING node"], ["bad", "WITH i AS (INSERT INTO graph_effect (node) VALUES (''bad'')) SELECT 1 / (length(node) - 2) FROM input"], ["after", "SELECT 1"], ["far", "SELECT 1"]]', 'ok>bad bad>after after>far') \gset
:outcome
:show
:history
SELECT workflow_id, node_id, attempt, sqlstate, error, detail, hint, context FROM execution_failures WHERE execution_id = :'run';
SELECT node FROM graph_effect;
-- With all of PostgreSQL's fields.
CREATE FUNCTION graph_raise() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not today' USING ERRCODE = 'SH001', DETAIL = 'the detail', HINT = 'the hint'; END $$;
CALL graph_run('raising', '[["bad", "SELECT graph_raise()"]]') \gset
SELECT sqlstate, error, detail, hint, context FROM execution_failures WHERE execution_id = :'run';
SELECT data ->> 'failedNodeId' AS failed, data ->> 'error' AS error, data ->> 'sqlstate' AS sqlstate FROM execution_history WHERE execution_id = :'run' AND type = 'WorkflowFailed';
-- A sibling that is at work is interrupted, one that waits is not begun; none is left behind. bad fails when slow is at work.
CREATE FUNCTION graph_fail_beside_slow() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 1..2000 LOOP
        EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4712 AND granted);
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE EXCEPTION 'slow is at work';
END $$;
CREATE PROCEDURE graph_until(query text, INOUT reached boolean DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 1..2000 LOOP
        COMMIT;
        EXECUTE query INTO reached;
        EXIT WHEN reached;
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
CALL graph_run('siblings', '[["slow", "WITH i AS (INSERT INTO graph_effect (node) VALUES (''slow'')) SELECT pg_advisory_xact_lock(4712), pg_sleep(600)", {"own_transaction": true}],
    ["bad", "SELECT graph_fail_beside_slow()", {"own_transaction": true}], ["later", "SELECT 1"]]', 'slow>later') \gset
:outcome
:show
SELECT type, node_id, data ->> 'reason' AS reason, data -> 'attempt' AS attempt FROM execution_history WHERE execution_id = :'run' AND type = 'NodeExecutionCancelled' ORDER BY node_id;
CALL graph_until('SELECT NOT EXISTS (SELECT FROM pg_locks WHERE locktype = ''advisory'' AND objid = 4712)');
SELECT count(*) FROM graph_effect WHERE node = 'slow';
SELECT count(*) AS left_in_the_queue FROM chronicle_data.node_task WHERE execution_id = :'run';

-- 5. Retries: attempts count, wait as the policy says, and keep nothing of a failed try; the nodes before run once.
CREATE SEQUENCE graph_tries;
CALL graph_run('retry', '[["first", "INSERT INTO graph_effect (node) VALUES (''first'')"], ["shaky", "WITH i AS (INSERT INTO graph_effect (node) VALUES (''shaky'')) SELECT 10 / (CASE WHEN nextval(''graph_tries'') < 3 THEN 0 ELSE 1 END) AS x",
    {"retry": {"max_attempts": 5, "initial_interval": "10ms", "backoff": 3, "jitter": 0}}], ["last", "SELECT x FROM input"]]', 'first>shaky shaky>last') \gset
:outcome
:show
:history
SELECT node, count(*) FROM graph_effect WHERE node IN ('first', 'shaky') GROUP BY 1 ORDER BY 1;
SELECT attempt, sqlstate, error FROM execution_failures WHERE execution_id = :'run' ORDER BY attempt;
SELECT node_id, attempt, status, error FROM execution_timeline WHERE execution_id = :'run';
-- Used up; of a class or a code that is not retried; without a policy one try.
CALL graph_run('retry_used_up', '[["bad", "SELECT 1 / 0", {"retry": {"max_attempts": 3, "initial_interval": 0}}]]') \gset
SELECT :'status' AS status, attempts, sqlstate FROM node_executions WHERE execution_id = :'run';
CALL graph_run('retry_class', '[["bad", "SELECT 1 / 0", {"retry": {"max_attempts": 3, "initial_interval": 0, "non_retryable": ["42", "22"]}}]]') \gset
SELECT :'status' AS status, attempts FROM node_executions WHERE execution_id = :'run';
CALL graph_run('retry_code', '[["bad", "SELECT 1 / 0", {"retry": {"max_attempts": 3, "initial_interval": 0, "non_retryable": ["22012"]}}]]') \gset
SELECT :'status' AS status, attempts FROM node_executions WHERE execution_id = :'run';
CALL graph_run('retry_other_code', '[["bad", "SELECT 1 / 0", {"retry": {"max_attempts": 2, "initial_interval": 0, "non_retryable": ["22013", "23"]}}]]') \gset
SELECT :'status' AS status, attempts FROM node_executions WHERE execution_id = :'run';
CALL graph_run('no_retry', '[["bad", "SELECT 1 / 0"]]') \gset
SELECT :'status' AS status, attempts FROM node_executions WHERE execution_id = :'run';

-- 6. on_failure continue: the edges out of the failed node are live, the run goes on and may complete.
CALL graph_run('continue', '[["bad", "SELECT 1 / 0 AS x", {"on_failure": "continue"}], ["next", "SELECT ''went on'' AS x"], ["conditional", "SELECT ''too'' AS x"], ["good", "SELECT 1 AS x"], ["join", "SELECT count(*) FROM input"],
    ["end", "SELECT 1 / 0", {"on_failure": "continue"}], ["tried", "SELECT 1 / 0", {"on_failure": "continue", "retry": {"max_attempts": 2, "initial_interval": 0}}]]', 'bad>next bad>join good>join next>end next>tried') \gset
:outcome
:show
SELECT type, node_id FROM execution_history WHERE execution_id = :'run' AND type LIKE 'Workflow%' ORDER BY version;
SELECT node_id, attempt, sqlstate FROM execution_failures WHERE execution_id = :'run' ORDER BY 1, 2;
-- Continued, and then another node fails for good.
CALL graph_run('continue_then_fail', '[["bad", "SELECT 1 / 0", {"on_failure": "continue"}], ["worse", "SELECT graph_raise()"]]', 'bad>worse') \gset
:outcome

-- 7. Timeouts: of the node, of the statement; each try has its own; 0 is none.
CALL graph_run('timeout', '[["slow", "SELECT pg_sleep(600)", {"timeout": "40ms"}]]') \gset
:outcome
SELECT attempt, sqlstate, error, hint FROM execution_failures WHERE execution_id = :'run';
CALL graph_run('timeout_config', '[["slow", "", {"config": {"sql": "SELECT pg_sleep(600)", "timeout": 0.04}, "retry": {"max_attempts": 2, "initial_interval": 0}}]]') \gset
SELECT :'status' AS status, attempts, sqlstate FROM node_executions WHERE execution_id = :'run';
CALL graph_run('timeout_continue', '[["before", "SELECT 7 AS x"], ["slow", "SELECT pg_sleep(600)", {"timeout": "40ms", "on_failure": "continue"}], ["after", "SELECT x FROM before"], ["none", "SELECT 1 AS x", {"timeout": 0}]]', 'before>slow slow>after after>none') \gset
:show
-- What a node made of a cancel that it swallowed is not its result: neither of its own timeout, nor of the time that it has
-- beside others, which it is not to feel at all.
CREATE FUNCTION graph_swallow(seconds float) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(seconds);
    RETURN 'slept';
EXCEPTION WHEN query_canceled THEN
    RETURN 'swallowed';
END $$;
CALL graph_run('timeout_swallowed', '[["slow", "SELECT graph_swallow(600) AS x", {"timeout": "40ms"}]]') \gset
SELECT :'status' AS status, output, sqlstate FROM node_executions WHERE execution_id = :'run';
CALL graph_run('budget_swallowed', '[["quick", "SELECT 1 AS x"], ["slow", "SELECT graph_swallow(0.2) AS x"]]', 'quick>slow') \gset
:show

-- 8. References: the first match in {"input", "execution_id", "nodes"}, of any type, in any config; strings are never scanned.
CALL graph_run('references', '[["a", "SELECT n, ''row '' || n AS t FROM generate_series(1, 3) AS n"], ["other", "SELECT 1 AS n"],
    ["b", "", {"config": {"sql": "SELECT :whole AS whole, :first AS first, :number + 1 AS number, :deep ->> ''x'' AS deep, :list AS list, :none::text AS none, :bool AS bool, :text AS text, :scan AS scan, :id::uuid = :run::uuid AS id, :filtered AS filtered, :stranger::text AS stranger",
        "parameters": {"whole": {"$": "$.nodes.a"}, "first": {"$": "$.nodes.a[0].t"}, "number": {"$": "$.input.n"}, "deep": {"$": "$.input.o"}, "list": {"$": "$.input.l[*]"}, "none": {"$": "$.input.nothing"}, "bool": {"$": "$.input.b"},
            "text": {"$": "$.input.\"strange key\""}, "scan": "$.input.n {x} :first", "id": {"$": "$.execution_id"}, "run": {"$": "$.execution_id"}, "filtered": {"$": "$.nodes.a[*] ? (@.n > 1).t"}, "stranger": {"$": "$.nodes.other"}}}}],
    ["sequence", "", {"nodeType": "sequence.numbers", "config": {"start": {"$": "$.input.n"}, "end": {"$": "$.nodes.a[2].n"}}}],
    ["collection", "", {"nodeType": "memory.collection", "config": {"data": {"$": "$.input.rows"}}}],
    ["kept", "", {"nodeType": "filter", "config": {"condition": {"$": "$.input.condition"}}}],
    ["quoted", "", {"config": {"sql": {"$": "$.input.sql"}}}]]',
    'a>b a>sequence b>collection collection>kept a>quoted',
    '{"n": 2, "o": {"x": "deep"}, "l": ["one", "two"], "b": false, "strange key": "it''s", "rows": [{"v": 1}, {"v": 2}], "condition": "v > 1", "sql": "SELECT count(*) FROM input"}') \gset
SELECT node_id, status, CASE node_id WHEN 'b' THEN NULL ELSE output END AS output, error FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
SELECT jsonb_pretty(output -> 0) FROM node_executions WHERE execution_id = :'run' AND node_id = 'b';
-- What a reference brings must fit.
CALL graph_run('references_bad', '[["a", "SELECT 1 AS n"], ["type", "", {"nodeType": "sequence.numbers", "config": {"end": {"$": "$.input.text"}}, "on_failure": "continue"}], ["missing", "", {"config": {"sql": {"$": "$.input.nothing"}}, "on_failure": "continue"}],
    ["data", "", {"nodeType": "memory.collection", "config": {"data": {"$": "$.input.text"}}, "on_failure": "continue"}], ["mode", "", {"nodeType": "table.write", "config": {"table": "graph_effect", "mode": {"$": "$.input.text"}}, "on_failure": "continue"}]]', 'a>mode', '{"text": "no number"}') \gset
:show
-- 9. The JSON for dashboards, with ids and times masked.
CREATE FUNCTION graph_masked(document jsonb) RETURNS text LANGUAGE sql
    RETURN regexp_replace(regexp_replace(jsonb_pretty(document), '"(startTime|endTime|duration)": [0-9]+', '"\1": 0', 'g'), '"executionId": "[^"]+"', '"executionId": "…"', 'g');
CALL graph_run('json', '[["a", "SELECT 1 AS x"], ["b", "SELECT 1"], ["c", "SELECT 1 / 0", {"on_failure": "continue"}]]', 'a>b:$.x>1 a>c') \gset
SELECT graph_masked(status_json('graph_json'));
SELECT graph_masked(history_json('graph_json'));
SELECT graph_masked(timeline_json('graph_json', :'run'));
CALL graph_run('json', '[["a", "SELECT 1 / 0"]]') \gset
SELECT graph_masked(status_json('graph_json') - 'allExecutions'), jsonb_array_length(status_json('graph_json') -> 'allExecutions') AS executions, status_json('graph_json') #>> '{currentExecution,executionId}' = :'run' AS newest;
SELECT workflow_id, state, current_status, completed_nodes, total_nodes FROM workflow_status WHERE workflow_id IN ('graph_json', 'graph_line') ORDER BY 1;
SELECT workflow_id, total, completed, failed, cancelled, running, success_rate FROM workflow_statistics WHERE workflow_id IN ('graph_json', 'graph_line') ORDER BY 1;
SELECT execution_result(:'run') IS NULL AS none_of_a_failed_run;

-- 10. Runs keep the version that they started with; each version can be started.
CALL graph_run('version', '[["a", "SELECT 1 AS version"]]') \gset
CALL graph_run('version', '[["a", "SELECT 2 AS version"]]') \gset
SELECT execute_workflow('graph_version', version => 1, metadata => '{"why": "test"}') AS run \gset
SELECT wait_for_execution(:'run');
SELECT workflow_version, result, metadata, started_by = session_user AS by_me, priority FROM executions WHERE execution_id = :'run';

-- 11. Nothing stays in the queue, and every status is a function of the events.
SELECT count(*) AS queued FROM chronicle_data.node_task AS t JOIN chronicle_data.execution AS e USING (execution_id) WHERE e.workflow_id LIKE 'graph\_%';
SELECT e.execution_id, n.node_id, n.status
  FROM executions AS e JOIN node_executions AS n USING (execution_id)
  LEFT JOIN LATERAL (SELECT h.type FROM execution_history AS h WHERE h.execution_id = e.execution_id AND h.node_id = n.node_id ORDER BY h.version DESC LIMIT 1) AS last ON true
 WHERE e.workflow_id LIKE 'graph\_%' AND last.type IS DISTINCT FROM 'NodeExecution' || initcap(n.status);
SELECT e.workflow_id, e.status FROM executions AS e
 WHERE e.workflow_id LIKE 'graph\_%'
   AND (SELECT h.type FROM execution_history AS h WHERE h.execution_id = e.execution_id ORDER BY h.version DESC LIMIT 1) IS DISTINCT FROM 'Workflow' || initcap(e.status);

DROP TABLE graph_effect;
DROP SEQUENCE graph_tries;
DROP PROCEDURE graph_run, graph_until;
DROP FUNCTION graph_raise, graph_swallow, graph_masked, graph_fail_beside_slow;
