-- Runs that nodes start: workflow.call, map.each; and function.call, which map.each uses, too.
SET search_path = public, chronicle;
-- Stores a workflow. Nodes: [id, type, config, more keys]; edges: 'a>b b>c'.
CREATE PROCEDURE children_make(id text, nodes jsonb, edges text DEFAULT '') LANGUAGE plpgsql AS $$
BEGIN
    PERFORM create_workflow(jsonb_build_object('id', 'children_' || id,
        'nodes', (SELECT jsonb_agg(jsonb_build_object('id', n -> 0, 'nodeType', n -> 1, 'config', n -> 2) || coalesce(n -> 3, '{}')) FROM jsonb_array_elements(nodes) AS n),
        'edges', (SELECT coalesce(jsonb_agg(jsonb_build_object('source', split_part(e, '>', 1), 'target', split_part(e, '>', 2))), '[]')
                    FROM regexp_split_to_table(edges, ' ') AS e WHERE e <> '')));
END $$;
CREATE PROCEDURE children_run(id text, nodes jsonb, edges text DEFAULT '', input jsonb DEFAULT '{}', INOUT run uuid DEFAULT NULL, INOUT status text DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
    CALL children_make(id, nodes, edges);
    run := execute_workflow('children_' || id, input);
    COMMIT;
    status := wait_for_execution(run);
END $$;
-- Waits until the query says true.
CREATE PROCEDURE children_until(query text) LANGUAGE plpgsql AS $$
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
\set show 'SELECT node_id, status, attempts, records_processed AS records, regexp_replace(output::text, ''[0-9a-f-]{36}'', ''…'') AS output, sqlstate, error FROM node_executions WHERE execution_id = :''run'' ORDER BY node_id;'
\set children 'SELECT workflow_id, status, input, result, started_by = session_user AS by_owner FROM executions WHERE parent_execution_id = :''run'' ORDER BY queued_at, execution_id;'
\set left_over 'SELECT (SELECT count(*) FROM chronicle_data.awaited_child) AS awaited, (SELECT count(*) FROM chronicle_data.map_item) AS items, (SELECT count(*) FROM chronicle_data.node_task) AS tasks;'

-- 1. Definitions.
SELECT path, problem FROM validate_workflow('{"id": "w", "nodes": [
    {"id": "a", "nodeType": "workflow.call"}, {"id": "b", "nodeType": "workflow.call", "config": {"workflow": "x", "wait": "perhaps"}},
    {"id": "c", "nodeType": "map.each", "config": {"items": []}}, {"id": "d", "nodeType": "map.each", "config": {"items": [], "workflow": "x", "function": "y"}},
    {"id": "e", "nodeType": "map.each", "config": {"items": 5, "workflow": "x"}}, {"id": "f", "nodeType": "map.each", "config": {"items": [], "workflow": "x", "maxConcurrency": 0}},
    {"id": "g", "nodeType": "function.call"}, {"id": "h", "nodeType": "function.call", "config": {"function": "f", "args": []}}]}');

-- 2. workflow.call: what the child gets and gives; its run belongs to the parent's; wait: false.
CALL children_make('divide', '[["a", "sql.query", {"sql": "SELECT (100 / (:input ->> ''by'')::int) AS result"}], ["b", "sql.query", {"sql": "SELECT result + 1 AS more FROM input"}], ["c", "sql.query", {"sql": "SELECT 1 AS one"}]]', 'a>b');
CALL children_run('call', '[["n", "sql.query", {"sql": "SELECT 5 AS five"}], ["call", "workflow.call", {"workflow": "children_divide", "input": {"by": {"$": "$.nodes.n[0].five"}}}],
    ["after", "sql.query", {"sql": "SELECT :more AS more", "parameters": {"more": {"$": "$.nodes.call.b[0].more"}}}],
    ["gone", "workflow.call", {"workflow": "children_divide", "input": {"by": 50}, "wait": false}]]', 'n>call call>after') \gset
SELECT :'status' AS status;
:show
CALL children_until(format('SELECT count(*) = 2 FROM executions WHERE parent_execution_id = %L AND status = ''completed''', :'run'));
:children
SELECT type, node_id, data ->> 'parentNodeId' AS parent_node, data ->> 'waitingFor' AS waiting_for, (data ->> 'childExecutionId') IN (SELECT execution_id::text FROM executions WHERE parent_execution_id = :'run') AS names_child
  FROM execution_history WHERE execution_id = :'run' AND node_id IN ('call', 'gone') ORDER BY node_id, version;
SELECT data -> 'parentExecutionId' = to_jsonb(:'run'::text) AS parent, data -> 'parentNodeId' AS node FROM execution_history
 WHERE type = 'WorkflowQueued' AND execution_id IN (SELECT execution_id FROM executions WHERE parent_execution_id = :'run') ORDER BY 2;

-- 3. The child's failure is the node's; the node's retries start it anew; the run goes on where it may.
CALL children_run('fails', '[["call", "workflow.call", {"workflow": "children_divide", "input": {"by": 0}}, {"on_failure": "continue", "retry": {"max_attempts": 2, "initial_interval": 0}}],
    ["none", "workflow.call", {"workflow": "children_nothing"}, {"on_failure": "continue"}]]') \gset
SELECT :'status' AS status;
:show
:children
SELECT attempt, sqlstate, detail::jsonb - 'execution' AS detail, (detail::jsonb ->> 'execution')::uuid IN (SELECT execution_id FROM executions WHERE parent_execution_id = :'run') AS names_child
  FROM execution_failures WHERE execution_id = :'run' AND node_id = 'call' ORDER BY attempt;
-- A child that is cancelled fails the node; the node's timeout cancels the child.
CALL children_make('waits', '[["w", "wait.signal", {"name": "go"}]]');
CALL children_make('parent', '[["c", "workflow.call", {"workflow": "children_waits"}]]');
SELECT execute_workflow('children_parent') AS run \gset
CALL children_until(format('SELECT count(*) = 1 FROM executions WHERE parent_execution_id = %L AND status = ''waiting''', :'run'));
SELECT status FROM executions WHERE execution_id = :'run';
SELECT cancel_execution(execution_id) FROM executions WHERE parent_execution_id = :'run';
SELECT wait_for_execution(:'run');
SELECT sqlstate, regexp_replace(error, '[0-9a-f-]{36}', '…') AS error FROM node_executions WHERE execution_id = :'run';
CALL children_run('timeout', '[["c", "workflow.call", {"workflow": "children_waits"}, {"timeout": "1s"}]]') \gset
:show
:children
:left_over

-- 4. Cancel goes all the way down, also to those that nobody waits for; and so does the failure of a sibling.
CALL children_make('middle', '[["c", "workflow.call", {"workflow": "children_waits"}], ["d", "workflow.call", {"workflow": "children_waits", "wait": false}], ["m", "map.each", {"workflow": "children_waits", "items": [1, 2, 3], "max_concurrency": 2}]]');
CALL children_make('top', '[["c", "workflow.call", {"workflow": "children_middle"}]]');
SELECT execute_workflow('children_top') AS run \gset
CALL children_until($$SELECT count(*) = 4 FROM executions WHERE workflow_id = 'children_waits' AND status = 'waiting'$$);
SELECT cancel_execution(:'run', 'enough');
SELECT workflow_id, status, count(*) FROM executions WHERE execution_id = :'run' OR queued_at > (SELECT queued_at FROM executions WHERE execution_id = :'run') GROUP BY 1, 2 ORDER BY 1, 2;
SELECT DISTINCT workflow_id, data ->> 'reason' AS reason FROM execution_history WHERE type = 'WorkflowCancelled' AND global_position > (SELECT min(global_position) FROM execution_history WHERE execution_id = :'run') ORDER BY 1, 2;
:left_over
CREATE FUNCTION children_once_there(run uuid) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 3000 LOOP
        EXIT WHEN EXISTS (SELECT FROM chronicle.executions WHERE parent_execution_id = run);
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN 1;
END $$;
CALL children_run('sibling', '[["c", "workflow.call", {"workflow": "children_waits"}], ["bad", "sql.query", {"sql": "SELECT 1 / (children_once_there(:run::uuid) - 1)", "parameters": {"run": {"$": "$.execution_id"}}}]]') \gset
SELECT :'status' AS status;
:children
-- join any: what is not needed any more is cancelled with its children.
CALL children_run('any', '[["slow", "workflow.call", {"workflow": "children_waits"}], ["fast", "sql.query", {"sql": "SELECT children_once_there(:run::uuid) AS one", "parameters": {"run": {"$": "$.execution_id"}}}], ["end", "sql.query", {"sql": "SELECT 1 AS one"}, {"join": "any"}]]', 'slow>end fast>end') \gset
SELECT :'status' AS status, (SELECT string_agg(node_id || ' ' || n.status, ', ' ORDER BY node_id) FROM node_executions AS n WHERE execution_id = :'run') AS nodes;
:children
:left_over

-- 5. A workflow that calls itself ends at 100 runs below the first.
CALL children_run('self', '[["c", "workflow.call", {"workflow": "children_self"}]]') \gset
SELECT :'status' AS status, (SELECT error FROM node_executions WHERE execution_id = :'run') AS error, count(*) FROM executions WHERE workflow_id = 'children_self';

-- 6. map.each: outputs in the order of the items, whatever the order of the ends; [] is over at once.
CREATE FUNCTION children_sleep(context jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep((context #>> '{input,sleep}')::float8);
    RETURN context #> '{input,name}';
END $$;
CREATE FUNCTION children_add(context jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb((context ->> 'input')::int + 1) $$;
CREATE FUNCTION children_of_row(context jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT context #> '{input,n}' $$;
CALL children_run('map', '[["order", "map.each", {"function": "children_sleep", "items": [{"name": "a", "sleep": 0.1}, {"name": "b", "sleep": 0}, {"name": "c", "sleep": 0.05}]}],
    ["runs", "map.each", {"workflow": "children_divide", "items": [{"by": 1}, {"by": 2}]}], ["none", "map.each", {"workflow": "children_divide", "items": []}],
    ["ref", "map.each", {"function": "public.children_add", "items": {"$": "$.input.list"}, "max_concurrency": 1}],
    ["rows", "sql.query", {"sql": "SELECT n FROM generate_series(1, 3) AS n"}], ["of_rows", "map.each", {"function": "children_of_row", "items": {"$": "$.nodes.rows"}}, {"on_failure": "continue"}],
    ["after", "sql.query", {"sql": "SELECT sum(v) AS sum FROM unnest(:l::int[]) AS v", "parameters": {"l": {"$": "$.nodes.ref"}}}]]', 'rows>of_rows ref>after', '{"list": [1, 2, 3]}') \gset
SELECT :'status' AS status;
:show
SELECT workflow_id, input FROM executions WHERE parent_execution_id = :'run' AND workflow_id LIKE '%/%' ORDER BY workflow_id, queued_at;
SELECT count(*) AS shown_as_workflows FROM workflows WHERE workflow_id LIKE '%/%';
-- Not an array.
CALL children_run('no_array', '[["m", "map.each", {"function": "children_add", "items": {"$": "$.input.list"}}, {"on_failure": "continue"}], ["n", "map.each", {"function": "children_add", "items": {"$": "$.input.nothing"}}, {"on_failure": "continue"}]]', '', '{"list": {"a": 1}}') \gset
SELECT node_id, sqlstate, error FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
-- max_concurrency: never more at once, and all are done.
SELECT jsonb_agg(jsonb_build_object('name', i, 'sleep', 0.01)) AS list FROM generate_series(1, 9) AS i \gset
CALL children_run('limit', '[["m", "map.each", {"function": "children_sleep", "items": {"$": "$.input"}, "max_concurrency": 2}]]', '', :'list') \gset
SELECT :'status' AS status, (SELECT output FROM node_executions WHERE execution_id = :'run') AS output,
       max((SELECT count(*) FROM executions AS o WHERE o.parent_execution_id = :'run' AND o.queued_at <= e.queued_at AND o.ended_at > e.queued_at)) <= 2 AS within_limit
  FROM executions AS e WHERE e.parent_execution_id = :'run';
-- A failure names its item, cancels those under way, starts no more; its error is the item's.
CALL children_run('bad_item', '[["m", "map.each", {"workflow": "children_divide", "items": [{"by": 1}, {"by": 0}, {"by": 2}], "max_concurrency": 1}]]') \gset
SELECT :'status' AS status;
:show
SELECT sqlstate, error, detail::jsonb - 'execution' AS detail FROM execution_failures WHERE execution_id = :'run';
SELECT status, input FROM executions WHERE parent_execution_id = :'run' ORDER BY queued_at;
CALL children_make('either', '[["d", "sql.query", {"sql": "SELECT 1 / (:input ->> ''by'')::int AS x"}], ["w", "wait.signal", {"name": "go"}]]');
CALL children_run('others', '[["m", "map.each", {"workflow": "children_either", "items": [{"by": 1}, {"by": 0}, {"by": 1}]}]]') \gset
SELECT :'status' AS status, (SELECT error FROM node_executions WHERE execution_id = :'run') AS error, (SELECT string_agg(e.status, ' ' ORDER BY e.execution_id) FROM executions AS e WHERE parent_execution_id = :'run') AS children;
-- More items than one step starts, and cancels.
SELECT jsonb_agg(i) AS list FROM generate_series(1, 600) AS i \gset
CALL children_run('many', '[["m", "map.each", {"function": "children_add", "items": {"$": "$.input"}}]]', '', :'list') \gset
SELECT :'status' AS status, (SELECT output FROM node_executions WHERE execution_id = :'run') = (SELECT jsonb_agg(i) FROM generate_series(2, 601) AS i) AS in_order;
CALL children_make('many_wait', '[["m", "map.each", {"workflow": "children_waits", "items": {"$": "$.input"}}]]');
SELECT execute_workflow('children_many_wait', :'list') AS run \gset
CALL children_until(format('SELECT count(*) > 550 FROM chronicle_data.execution WHERE parent_execution_id = %L', :'run'));
SELECT cancel_execution(:'run');
CALL children_until(format('SELECT count(*) = 0 FROM chronicle_data.execution WHERE parent_execution_id = %L AND ended_at IS NULL', :'run'));
CALL children_until('SELECT NOT EXISTS (SELECT FROM chronicle_data.awaited_child)');
:left_over

-- A child that failed while its parent is paused, and is retried before the parent has seen that: the parent waits on.
CREATE TABLE children_gate (open boolean);
INSERT INTO children_gate VALUES (false);
CREATE FUNCTION children_pass() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    IF NOT (SELECT open FROM public.children_gate) THEN RAISE 'shut'; END IF;
    PERFORM pg_advisory_xact_lock_shared(4720);
    RETURN 1;
END $$;
CALL children_make('gated', '[["w", "wait.signal", {"name": "x"}], ["a", "sql.query", {"sql": "SELECT children_pass() AS n"}]]', 'w>a');
CALL children_make('calls_gated', '[["m", "workflow.call", {"workflow": "children_gated"}], ["n", "map.each", {"workflow": "children_gated", "items": [1, 2], "max_concurrency": 1}]]');
SELECT execute_workflow('children_calls_gated') AS run \gset
CALL children_until(format('SELECT count(*) = 2 FROM chronicle.executions WHERE parent_execution_id = %L AND status = ''waiting''', :'run'));
SELECT pause_execution(:'run');
SELECT count(signal_execution(execution_id, 'x')) FROM executions WHERE parent_execution_id = :'run';
CALL children_until(format('SELECT count(*) = 2 FROM chronicle.executions WHERE parent_execution_id = %L AND status = ''failed''', :'run'));
UPDATE children_gate SET open = true;
SELECT pg_advisory_lock(4720);
SELECT count(retry_execution(execution_id)) FROM executions WHERE parent_execution_id = :'run';
SELECT resume_execution(:'run');
CALL children_until(format('SELECT count(*) = 2 FROM chronicle.executions WHERE parent_execution_id = %L AND status = ''running''', :'run'));
SELECT status FROM executions WHERE execution_id = :'run';
SELECT pg_advisory_unlock(4720);
CALL children_until(format('SELECT count(*) >= 3 OR (SELECT ended_at IS NOT NULL FROM chronicle.executions WHERE execution_id = %1$L) FROM chronicle.executions WHERE parent_execution_id = %1$L', :'run'));
SELECT count(signal_execution(execution_id, 'x')) FROM executions WHERE parent_execution_id = :'run' AND ended_at IS NULL;
SELECT wait_for_execution(:'run');
SELECT node_id, status, attempts, error FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
SELECT status, count(*) FROM executions WHERE parent_execution_id = :'run' GROUP BY 1;
DROP TABLE children_gate;
DROP FUNCTION children_pass;
:left_over

-- 7. function.call: the context and args in, a value out; its errors are the node's.
CREATE FUNCTION children_context(context jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT context - 'execution_id' || jsonb_build_object('has_id', context ? 'execution_id') $$;
CREATE FUNCTION children_null(context jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT NULL::jsonb $$;
CREATE FUNCTION children_bad(context jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'no good' USING ERRCODE = 'XX123', HINT = 'try another'; END $$;
CREATE FUNCTION children_wrong(context text) RETURNS jsonb LANGUAGE sql AS $$ SELECT NULL::jsonb $$;
CREATE TABLE children_written (n int);
CREATE FUNCTION children_writes(context jsonb) RETURNS jsonb LANGUAGE sql AS $$ INSERT INTO public.children_written VALUES (1) RETURNING to_jsonb(n) $$;
CALL children_run('function', '[["rows", "sql.query", {"sql": "SELECT 7 AS n"}], ["f", "function.call", {"function": "children_context", "args": {"a": {"$": "$.nodes.rows[0].n"}}}],
    ["null", "function.call", {"function": "children_null"}], ["bad", "function.call", {"function": "children_bad"}, {"on_failure": "continue"}],
    ["wrong", "function.call", {"function": "children_wrong"}, {"on_failure": "continue"}], ["none", "function.call", {"function": "no_such.function"}, {"on_failure": "continue"}],
    ["w", "function.call", {"function": "children_writes"}], ["reads", "sql.query", {"sql": "SELECT n FROM children_written"}]]', 'rows>f w>reads', '{"who": "ann"}') \gset
SELECT :'status' AS status;
:show
SELECT sqlstate, error, hint FROM execution_failures WHERE execution_id = :'run' ORDER BY node_id;
-- As another's owner: what it may not start, it cannot.
CREATE ROLE regress_children LOGIN;
GRANT USAGE ON SCHEMA chronicle TO regress_children;
GRANT CREATE ON SCHEMA public TO regress_children;
SELECT grant_access('regress_children', 'operator');
SET ROLE regress_children;
CALL children_make('stranger', '[["c", "workflow.call", {"workflow": "children_waits"}, {"on_failure": "continue"}], ["f", "map.each", {"function": "children_add", "items": [1]}]]');
SELECT execute_workflow('children_stranger') AS run \gset
SELECT wait_for_execution(:'run');
SELECT node_id, status, output, sqlstate, error FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
SELECT workflow_id, status FROM executions WHERE parent_execution_id = :'run';
RESET ROLE;
SELECT owner FROM chronicle_data.execution WHERE parent_execution_id = :'run';
SELECT revoke_access('regress_children', 'reader');
REVOKE ALL ON SCHEMA chronicle, public FROM regress_children;
:left_over
DROP ROLE regress_children;
DROP PROCEDURE children_make, children_run, children_until;
DROP FUNCTION children_once_there;
