-- Every view of runs, over rows put straight into the tables, so that each time is known. All in one transaction that is
-- undone: no worker sees it, and no other test does.
BEGIN;
SET LOCAL timezone = 'UTC';
SET LOCAL datestyle = 'ISO';
SET LOCAL search_path = public, chronicle;
CREATE ROLE regress_history_owner;
CREATE ROLE regress_history_starter;
CREATE ROLE regress_history_other;

CREATE FUNCTION pg_temp.run_id(run int) RETURNS uuid LANGUAGE sql IMMUTABLE
    RETURN ('00000000-0000-7000-8000-' || lpad(run::text, 12, '0'))::uuid;
CREATE FUNCTION pg_temp.at(ms numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE
    RETURN timestamptz '2026-01-02 10:00:00+00' + ms * interval '1 millisecond';

CREATE FUNCTION pg_temp.workflow(definition jsonb, version int DEFAULT 1) RETURNS void LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO chronicle_data.workflow (workflow_id, version, owner, created_at)
    VALUES (definition ->> 'id', version, 'regress_history_owner', pg_temp.at(0))
    ON CONFLICT (workflow_id) DO UPDATE SET version = excluded.version;
    INSERT INTO chronicle_data.workflow_version
           (definition_id, workflow_id, version, definition, content, search_path, created_by, created_at)
    VALUES (nextval('chronicle_data.definition_id_seq'), definition ->> 'id', version, definition, '{}', 'public',
            'regress_history_owner', pg_temp.at(0));
END;

-- One run, queued 5 ms before it starts. completed: NULL while it lives.
CREATE FUNCTION pg_temp.run(run int, workflow text, run_status text, start_ms numeric, end_ms numeric DEFAULT NULL,
    completed int DEFAULT NULL, failed_node text DEFAULT NULL, error text DEFAULT NULL) RETURNS void LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO chronicle_data.execution
           (execution_id, workflow_id, version, definition_id, owner, started_by, status, priority, total_nodes,
            queued_at, started_at, ended_at, completed_nodes, failed_node, error, input, metadata)
    SELECT pg_temp.run_id(run), d.workflow_id, d.version, d.definition_id, w.owner, 'regress_history_starter', run_status, 0,
           jsonb_array_length(d.definition -> 'nodes'), pg_temp.at(COALESCE(start_ms, 9000) - 5), pg_temp.at(start_ms),
           pg_temp.at(end_ms), completed, failed_node, error, jsonb_build_object('run', run), '{}'
      FROM chronicle_data.workflow AS w
      JOIN chronicle_data.workflow_version AS d ON d.workflow_id = w.workflow_id AND d.version = w.version
     WHERE w.workflow_id = workflow;
END;

CREATE FUNCTION pg_temp.event(run int, ms numeric, type text, node text DEFAULT NULL, more jsonb DEFAULT '{}')
    RETURNS void LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO chronicle_data.workflow_event
           (global_position, execution_id, version, recorded_at, floor, event_id, type, actor, node_id, data)
    SELECT 9000000000001 + (SELECT count(*) FROM chronicle_data.workflow_event WHERE global_position > 9000000000000),
           e.execution_id,
           1 + (SELECT count(*) FROM chronicle_data.workflow_event AS v WHERE v.execution_id = e.execution_id),
           pg_temp.at(ms), 0, md5(random()::text)::uuid, event.type, e.owner, node,
           jsonb_build_object('workflowId', e.workflow_id, 'executionId', e.execution_id, 'workflowName', e.workflow_id)
               || CASE WHEN node IS NULL THEN '{}' ELSE jsonb_build_object('nodeId', node, 'nodeType',
                    (SELECT COALESCE(n ->> 'nodeType', n ->> 'node_type', n #>> '{data,nodeType}')
                       FROM jsonb_array_elements(d.definition -> 'nodes') AS n WHERE n ->> 'id' = node)) END || more
      FROM chronicle_data.execution AS e
      JOIN chronicle_data.workflow_version AS d USING (definition_id)
     WHERE e.execution_id = pg_temp.run_id(run);
END;

-- One attempt that ended: its two events. outcome: Completed, Failed or Cancelled.
CREATE FUNCTION pg_temp.attempt(run int, node text, start_ms numeric, end_ms numeric, outcome text DEFAULT 'Completed',
    attempt int DEFAULT 1, more jsonb DEFAULT '{}') RETURNS void LANGUAGE sql
BEGIN ATOMIC
    SELECT pg_temp.event(run, start_ms, 'NodeExecutionStarted', node, jsonb_build_object('attempt', attempt));
    SELECT pg_temp.event(run, end_ms, 'NodeExecution' || outcome, node,
                         jsonb_build_object('attempt', attempt, 'duration', end_ms - start_ms) || more);
END;

-- How a node ended.
CREATE FUNCTION pg_temp.result(run int, node text, status text, attempts int, start_ms numeric, end_ms numeric,
    records bigint DEFAULT NULL, output jsonb DEFAULT NULL, truncated boolean DEFAULT false) RETURNS void LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO chronicle_data.node_result
           (execution_id, node_index, node_id, status, attempts, started_at, ended_at, records_processed, output,
            output_truncated)
    SELECT e.execution_id, n.number - 1, result.node, result.status, result.attempts, pg_temp.at(start_ms), pg_temp.at(end_ms),
           records, result.output, truncated
      FROM chronicle_data.execution AS e
      JOIN chronicle_data.workflow_version AS d USING (definition_id)
     CROSS JOIN LATERAL jsonb_array_elements(d.definition -> 'nodes') WITH ORDINALITY AS n (node, number)
     WHERE e.execution_id = pg_temp.run_id(run) AND n.node ->> 'id' = result.node;
END;

-- A node in the queue.
CREATE FUNCTION pg_temp.task(run int, node text, state text, attempt int DEFAULT 0, start_ms numeric DEFAULT NULL)
    RETURNS void LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO chronicle_data.node_task (execution_id, node_index, node_id, state, owner, priority, attempt, started_at)
    SELECT e.execution_id, n.number - 1, task.node, task.state, e.owner, 0, task.attempt, pg_temp.at(start_ms)
      FROM chronicle_data.execution AS e
      JOIN chronicle_data.workflow_version AS d USING (definition_id)
     CROSS JOIN LATERAL jsonb_array_elements(d.definition -> 'nodes') WITH ORDINALITY AS n (node, number)
     WHERE e.execution_id = pg_temp.run_id(run) AND n.node ->> 'id' = task.node;
END;

-- h_line: three nodes in a row; two versions; the spellings of a React-Flow editor.
\o /dev/null
SELECT pg_temp.workflow('{"id": "h_line", "nodes": [{"id": "only", "nodeType": "sql.query"}]}');
SELECT pg_temp.workflow('{"id": "h_line", "name": "A line", "description": "three in a row", "version": "2.1",
    "tags": ["daily", "shop"],
    "nodes": [{"id": "read", "data": {"nodeType": "sql.query"}}, {"id": "clean", "node_type": "filter"},
              {"id": "store", "nodeType": "table.write"}],
    "edges": [{"id": "a", "from": "read", "to": "clean"}, {"id": "b", "source": "clean", "target": "store"}]}', 2);
SELECT pg_temp.run(1, 'h_line', 'completed', 0, 100.25, 3);
SELECT pg_temp.event(1, 0, 'WorkflowQueued', NULL, '{"totalNodes": 3, "version": 2}');
SELECT pg_temp.event(1, 0, 'WorkflowStarted', NULL, '{"totalNodes": 3, "version": 2}');
SELECT pg_temp.attempt(1, 'read', 1, 50, 'Completed', 1, '{"recordsProcessed": 10}');
SELECT pg_temp.attempt(1, 'clean', 50, 50.4, 'Completed', 1, '{"recordsProcessed": 7}');
SELECT pg_temp.attempt(1, 'store', 51, 100, 'Completed', 1, '{"recordsProcessed": 7}');
SELECT pg_temp.event(1, 100.25, 'WorkflowCompleted', NULL, '{"duration": 100.25, "completedNodes": 3, "totalNodes": 3}');
SELECT pg_temp.result(1, 'read', 'completed', 1, 1, 50, 10, '[{"n": 1}]', true);
SELECT pg_temp.result(1, 'clean', 'completed', 1, 50, 50.4, 7, '[{"n": 1}]');
SELECT pg_temp.result(1, 'store', 'completed', 1, 51, 100, 7, '{"rows": 7}');
-- … and a second run: started, one node over, one at work, one that waits for its second attempt, one not begun.
SELECT pg_temp.workflow('{"id": "h_live", "nodes": [{"id": "first", "nodeType": "sql.query"},
    {"id": "busy", "nodeType": "sql.query"}, {"id": "again", "nodeType": "sql.query"},
    {"id": "last", "nodeType": "console.log"}],
    "edges": [{"source": "first", "target": "busy"}, {"source": "first", "target": "again"},
              {"source": "busy", "target": "last"}, {"source": "again", "target": "last"}]}');
SELECT pg_temp.run(2, 'h_live', 'running', 0);
SELECT pg_temp.attempt(2, 'first', 0, 10);
SELECT pg_temp.event(2, 10, 'NodeExecutionStarted', 'busy', '{"attempt": 1}');
SELECT pg_temp.attempt(2, 'again', 10, 20, 'Failed', 1,
                       '{"error": "not yet", "sqlstate": "P0001", "hint": "", "detail": ""}');
SELECT pg_temp.event(2, 20, 'NodeExecutionRetryScheduled', 'again', '{"attempt": 1, "delay": 1000}');
SELECT pg_temp.result(2, 'first', 'completed', 1, 0, 10, 1, '[{"n": 1}]');
SELECT pg_temp.task(2, 'busy', 'running', 1, 10);
SELECT pg_temp.task(2, 'again', 'retrying', 1, 10);
SELECT pg_temp.run(3, 'h_live', 'pending', NULL);
SELECT pg_temp.task(3, 'first', 'ready');
-- h_diamond: the slow side, not the quick one, is on the critical path; a skipped node may be a link of it.
SELECT pg_temp.workflow('{"id": "h_diamond", "name": "Diamond", "nodes": [{"id": "read", "nodeType": "sql.query"},
    {"id": "quick", "nodeType": "sql.query"}, {"id": "slow", "nodeType": "sql.query"},
    {"id": "unused", "nodeType": "sql.query"}, {"id": "report", "nodeType": "sql.query"},
    {"id": "print", "nodeType": "console.log"}],
    "edges": [{"source": "read", "target": "quick"}, {"source": "read", "target": "slow"},
              {"source": "slow", "target": "unused", "condition": "$.n > 9"}, {"source": "quick", "target": "report"},
              {"source": "unused", "target": "report"}, {"source": "read", "target": "print"}]}');
SELECT pg_temp.run(4, 'h_diamond', 'completed', 1000, 2000, 5);
SELECT pg_temp.attempt(4, 'read', 1000, 1200);
SELECT pg_temp.attempt(4, 'quick', 1200, 1300);
SELECT pg_temp.attempt(4, 'slow', 1200, 1800);
SELECT pg_temp.event(4, 1800, 'NodeExecutionSkipped', 'unused', '{"reason": "no live edge"}');
SELECT pg_temp.attempt(4, 'print', 1210, 1240);
SELECT pg_temp.attempt(4, 'report', 1800, 2000);
SELECT pg_temp.result(4, 'read', 'completed', 1, 1000, 1200);
SELECT pg_temp.result(4, 'quick', 'completed', 1, 1200, 1300);
SELECT pg_temp.result(4, 'slow', 'completed', 1, 1200, 1800);
SELECT pg_temp.result(4, 'unused', 'skipped', 0, NULL, 1800);
SELECT pg_temp.result(4, 'print', 'completed', 1, 1210, 1240, 1, NULL);
SELECT pg_temp.result(4, 'report', 'completed', 1, 1800, 2000, 2, '[{"day": "2026-01-01"}]');
INSERT INTO chronicle_data.execution_log (execution_id, node_id, seq, at, message)
VALUES (pg_temp.run_id(4), 'print', 1, pg_temp.at(1220), 'n=1'), (pg_temp.run_id(4), 'print', 2, pg_temp.at(1220), 'n=2');
-- h_any: go begins when the first of its two predecessors is done, so it did not wait for the other.
SELECT pg_temp.workflow('{"id": "h_any", "nodes": [{"id": "fast", "nodeType": "sql.query"},
    {"id": "slow", "nodeType": "sql.query"}, {"id": "go", "nodeType": "sql.query", "join": "any"}],
    "edges": [{"source": "fast", "target": "go"}, {"source": "slow", "target": "go"}]}');
SELECT pg_temp.run(8, 'h_any', 'completed', 5000, 5400, 3);
SELECT pg_temp.attempt(8, 'fast', 5000, 5100);
SELECT pg_temp.attempt(8, 'slow', 5000, 5300);
SELECT pg_temp.attempt(8, 'go', 5100, 5400);
SELECT pg_temp.result(8, 'fast', 'completed', 1, 5000, 5100);
SELECT pg_temp.result(8, 'slow', 'completed', 1, 5000, 5300);
SELECT pg_temp.result(8, 'go', 'completed', 1, 5100, 5400);
-- h_risky: one node fails for good, its sibling is cancelled while it works, what follows never starts.
SELECT pg_temp.workflow('{"id": "h_risky", "nodes": [{"id": "load", "nodeType": "sql.query"},
    {"id": "charge", "nodeType": "sql.query"}, {"id": "pack", "nodeType": "sql.query"},
    {"id": "ship", "nodeType": "sql.query"}, {"id": "gift", "nodeType": "sql.query"}],
    "edges": [{"source": "load", "target": "charge"}, {"source": "load", "target": "pack"},
              {"source": "load", "target": "gift", "condition": "false"},
              {"source": "charge", "target": "ship"}, {"source": "pack", "target": "ship"}]}');
SELECT pg_temp.run(5, 'h_risky', 'failed', 3000, 3400, 1, 'charge', 'card refused');
SELECT pg_temp.attempt(5, 'load', 3000, 3100);
SELECT pg_temp.event(5, 3100, 'NodeExecutionSkipped', 'gift', '{"reason": "no live edge"}');
SELECT pg_temp.event(5, 3100, 'NodeExecutionStarted', 'pack', '{"attempt": 1}');
SELECT pg_temp.attempt(5, 'charge', 3100, 3380, 'Failed', 1, '{"error": "card refused", "sqlstate": "P0001",
    "detail": "limit 5", "hint": "ask", "context": "SQL statement"}');
SELECT pg_temp.event(5, 3400, 'NodeExecutionCancelled', 'pack', '{"attempt": 1, "reason": "the run failed"}');
SELECT pg_temp.event(5, 3400, 'NodeExecutionCancelled', 'ship', '{"attempt": 0, "reason": "the run failed"}');
SELECT pg_temp.event(5, 3400, 'WorkflowFailed', NULL, '{"failedNodeId": "charge", "error": "card refused", "sqlstate": "P0001"}');
SELECT pg_temp.result(5, 'load', 'completed', 1, 3000, 3100);
SELECT pg_temp.result(5, 'gift', 'skipped', 0, NULL, 3100);
SELECT pg_temp.result(5, 'charge', 'failed', 1, 3100, 3380);
SELECT pg_temp.result(5, 'pack', 'cancelled', 1, 3100, 3400);
-- … and, in an earlier run of it, charge fails, loses its worker twice in attempts 2 and 3, and then succeeds.
SELECT pg_temp.run(6, 'h_risky', 'completed', 2000, 3000, 4);
SELECT pg_temp.attempt(6, 'load', 2000, 2100);
SELECT pg_temp.event(6, 2100, 'NodeExecutionSkipped', 'gift', '{"reason": "no live edge"}');
SELECT pg_temp.attempt(6, 'charge', 2100, 2200, 'Failed', 1, '{"error": "busy", "sqlstate": "55P03"}');
SELECT pg_temp.event(6, 2300, 'NodeExecutionStarted', 'charge', '{"attempt": 2}');
SELECT pg_temp.event(6, 2500, 'NodeExecutionStarted', 'charge', '{"attempt": 3}');
SELECT pg_temp.attempt(6, 'charge', 2600, 2800, 'Completed', 3);
SELECT pg_temp.attempt(6, 'pack', 2100, 2150);
SELECT pg_temp.attempt(6, 'ship', 2800, 3000);
SELECT pg_temp.result(6, 'load', 'completed', 1, 2000, 2100);
SELECT pg_temp.result(6, 'gift', 'skipped', 0, NULL, 2100);
SELECT pg_temp.result(6, 'charge', 'completed', 3, 2600, 2800);
SELECT pg_temp.result(6, 'pack', 'completed', 1, 2100, 2150);
SELECT pg_temp.result(6, 'ship', 'completed', 1, 2800, 3000, NULL, '{"shipped": true}');
SELECT pg_temp.run(7, 'h_risky', 'cancelled', 1000, 1500, 0);
-- h_idle: never run; null stands for an absent key.
SELECT pg_temp.workflow('{"id": "h_idle", "name": "", "nodes": [{"id": "only", "type": "sql.query"}], "edges": null, "tags": null}');
-- An event of a user.
INSERT INTO chronicle_data.stream VALUES (900000001, 'h_cart-1', 'h_cart', pg_temp.at(0));
INSERT INTO chronicle_data.event_kind VALUES (900000001, 'h_cart', 'ItemAdded');
INSERT INTO chronicle_data.event
VALUES (9000000000000, 900000001, 1, pg_temp.at(0), 0, 900000001, 1, md5('one')::uuid, true, 'regress_history_owner', '{"sku": "a"}',
        '{"$correlationId": "c1", "causation_id": "c0"}');
\o

-- Views, as a superuser sees them; without ORDER BY where the view has an order.
SELECT workflow_id, version, version_label, name, description, tags, nodes, edges, enabled, owner, executions, last_status,
       next_run_at
  FROM workflows WHERE workflow_id ~ '^h_' ORDER BY 1;
SELECT workflow_id, version, version_label, created_by, jsonb_array_length(definition -> 'nodes') AS nodes
  FROM workflow_versions WHERE workflow_id ~ '^h_' ORDER BY 1, 2;
\x on
SELECT * FROM executions WHERE workflow_id ~ '^h_' ORDER BY execution_id;
\x off
SELECT right(execution_id::text, 2) AS run, queued_at::time FROM executions WHERE workflow_id = 'h_risky';
SELECT right(execution_id::text, 2) AS run, workflow_id, node_id, node_type, status, attempts, started_at::time,
       ended_at::time, duration_ms, records_processed AS records, output, output_truncated AS cut, error, sqlstate
  FROM node_executions WHERE workflow_id ~ '^h_';
SELECT version, global_position, type, node_id, recorded_at, data - 'executionId' - 'workflowName' AS data
  FROM execution_history WHERE execution_id = pg_temp.run_id(1) ORDER BY version;
\pset null null
SELECT * FROM execution_failures WHERE workflow_id ~ '^h_' ORDER BY failed_at;
\pset null ''
SELECT * FROM execution_logs WHERE execution_id = pg_temp.run_id(4) ORDER BY at, node_id, seq;
SELECT * FROM workflow_status WHERE workflow_id ~ '^h_' ORDER BY 1;
\x on
SELECT * FROM workflow_statistics WHERE workflow_id ~ '^h_' ORDER BY 1;
\x off

-- Where the time goes.
SELECT workflow_id, node_id, node_type, runs, failures, avg_ms, p95_ms, max_ms, round(share_of_total::numeric, 3) AS share, is_bottleneck
  FROM node_performance WHERE workflow_id ~ '^h_' ORDER BY 1, 9 DESC, 2;
SELECT node_id, before_ms, after_ms, round(speedup::numeric, 3) AS speedup FROM compare_executions(pg_temp.run_id(4), pg_temp.run_id(1));
SELECT node_id, before_ms, after_ms, speedup FROM compare_executions(pg_temp.run_id(2), pg_temp.run_id(3));
\x on
SELECT * FROM execution_detail(pg_temp.run_id(1));
SELECT status, duration_ms, nodes, failed_node, error, sqlstate, detail, hint, critical_path, slowest_node, timeline FROM execution_detail(pg_temp.run_id(5));
SELECT * FROM execution_detail(pg_temp.run_id(6));
SELECT status, started_at, ended_at, duration_ms, nodes, under_way, critical_path, slowest_node, result FROM execution_detail(pg_temp.run_id(2));
SELECT status, started_at, queued_ms, duration_ms, nodes, under_way, critical_path, slowest_node, timeline FROM execution_detail(pg_temp.run_id(3));
\x off

-- The timeline, in the view's own order.
SELECT right(execution_id::text, 2) AS run, node_id, attempt, status, offset_ms, duration_ms, on_critical_path AS crit, bar
  FROM execution_timeline WHERE workflow_id ~ '^h_' AND execution_id <> pg_temp.run_id(2);
-- Of a run that is not over, bars grow to now: after so long, all that ended lies in the first cell.
SELECT node_id, attempt, status, ended_at IS NULL AS open, on_critical_path AS crit, bar, error
  FROM execution_timeline WHERE execution_id = pg_temp.run_id(2);
SET LOCAL chronicle.timeline_width = 10;
SELECT node_id, bar, length(bar) FROM execution_timeline WHERE execution_id = pg_temp.run_id(5);
RESET chronicle.timeline_width;
-- Every bar is as wide as the setting, and the ends that meet in time meet in the bar.
SELECT length(bar), count(*) FROM execution_timeline WHERE workflow_id ~ '^h_' GROUP BY 1;
SELECT chronicle_data.timeline_bar(first, last, 'completed', 10) AS bar
  FROM (VALUES (0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.999, 1.2), (-0.5, 0.1), (0.1, 0.333), (0.333, 0.5)) AS t (first, last);

-- Events of both kinds; a row of the view passes as an event.
SELECT global_position, stream, version, type, data, metadata, recorded_at, category, type_version, correlation_id,
       causation_id, actor
  FROM events WHERE stream = 'h_cart-1';
SELECT global_position, stream, version, type, metadata, category, type_version, correlation_id, actor
  FROM events WHERE stream = 'workflow-h_line/' || pg_temp.run_id(1) AND version IN (1, 9);
CREATE FUNCTION pg_temp.apply(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE sql
    RETURN state || jsonb_build_object(event.stream || '@' || event.version, event.type);
SELECT pg_temp.apply('{"before": true}', e) FROM events AS e WHERE stream = 'h_cart-1';
SELECT to_jsonb(e::chronicle.event) = to_jsonb(e) AS same FROM events AS e WHERE stream = 'h_cart-1';
SELECT string_agg(attname || ' ' || format_type(atttypid, NULL), ', ' ORDER BY attnum)
           FILTER (WHERE attrelid = 'chronicle.events'::regclass)
     = string_agg(attname || ' ' || format_type(atttypid, NULL), ', ' ORDER BY attnum)
           FILTER (WHERE attrelid = (SELECT typrelid FROM pg_type WHERE oid = 'chronicle.event'::regtype)) AS same_columns
  FROM pg_attribute WHERE attnum > 0;

-- JSON.
SELECT jsonb_pretty(history_json('h_live'));
SELECT jsonb_pretty(history_json('h_line'));
SELECT history_json('h_idle'), status_json('h_idle'), timeline_json('h_idle');
SELECT jsonb_pretty(status_json('h_risky'));
SELECT jsonb_pretty(timeline_json('h_risky'));
SELECT timeline_json('h_risky', pg_temp.run_id(6)) -> 'nodes' -> 2 AS first_try_of_charge;
SELECT workflow_definition('h_line') ->> 'version' AS newest, workflow_definition('h_line', 1) -> 'nodes' AS first;
SELECT r AS run, execution_result(pg_temp.run_id(r)) FROM generate_series(1, 7) AS r;

-- Unknown, or somebody else's: the same error.
CREATE FUNCTION pg_temp.sqlstate_of(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE query;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate;
END $$;
CREATE VIEW pg_temp.calls AS SELECT * FROM unnest(ARRAY[
    'history_json(''h_none'')', 'status_json(''h_none'')', 'timeline_json(''h_none'')', 'workflow_definition(''h_none'')',
    'workflow_definition(''h_line'', 3)', 'execution_result(''00000000-0000-0000-0000-000000000000'')',
    'timeline_json(''h_line'', ''00000000-0000-7000-8000-000000000004'')',
    'history_json(NULL)', 'status_json(NULL)', 'timeline_json(NULL)', 'workflow_definition(NULL)', 'execution_result(NULL)',
    'execution_detail(NULL)', 'execution_detail(''00000000-0000-0000-0000-000000000000'')',
    'compare_executions(NULL, ''00000000-0000-7000-8000-000000000001'')',
    'compare_executions(''00000000-0000-7000-8000-000000000001'', NULL)',
    'compare_executions(''00000000-0000-7000-8000-000000000001'', ''00000000-0000-0000-0000-000000000000'')',
    'compare_executions(''00000000-0000-0000-0000-000000000000'', ''00000000-0000-7000-8000-000000000001'')',
    'execution_detail(''00000000-0000-7000-8000-000000000001'')',
    'compare_executions(''00000000-0000-7000-8000-000000000001'', ''00000000-0000-7000-8000-000000000004'')',
    'history_json(''h_line'')', 'execution_result(''00000000-0000-7000-8000-000000000001'')']) AS call;
GRANT SELECT ON pg_temp.calls TO PUBLIC;
SELECT call, pg_temp.sqlstate_of('SELECT chronicle.' || call) FROM pg_temp.calls;

-- What each role sees: the owner all of it, the starter the runs, another role nothing.
CREATE FUNCTION pg_temp.visible() RETURNS TABLE (relation text, rows bigint) LANGUAGE sql
BEGIN ATOMIC
    SELECT 'workflows', count(*) FROM workflows WHERE workflow_id LIKE 'h\_%'
    UNION ALL SELECT 'workflow_versions', count(*) FROM workflow_versions WHERE workflow_id LIKE 'h\_%'
    UNION ALL SELECT 'workflow_status', count(*) FROM workflow_status WHERE workflow_id LIKE 'h\_%'
    UNION ALL SELECT 'workflow_statistics', count(*) FROM workflow_statistics WHERE workflow_id LIKE 'h\_%'
    UNION ALL SELECT 'node_performance', count(*) FROM node_performance WHERE workflow_id LIKE 'h\_%'
    UNION ALL SELECT 'executions', count(*) FROM executions WHERE workflow_id LIKE 'h\_%'
    UNION ALL SELECT 'node_executions', count(*) FROM node_executions WHERE workflow_id LIKE 'h\_%'
    UNION ALL SELECT 'execution_history', count(*) FROM execution_history WHERE workflow_id LIKE 'h\_%'
    UNION ALL SELECT 'execution_timeline', count(*) FROM execution_timeline WHERE workflow_id LIKE 'h\_%'
    UNION ALL SELECT 'execution_failures', count(*) FROM execution_failures WHERE workflow_id LIKE 'h\_%'
    UNION ALL SELECT 'execution_logs', count(*) FROM execution_logs
                WHERE execution_id = '00000000-0000-7000-8000-000000000004'
    UNION ALL SELECT 'events', count(*) FROM events WHERE stream LIKE '%h\_%';
END;
SET LOCAL ROLE regress_history_owner;
SELECT * FROM pg_temp.visible();
SET LOCAL ROLE regress_history_starter;
SELECT * FROM pg_temp.visible() WHERE rows > 0;
SET LOCAL ROLE regress_history_other;
SELECT * FROM pg_temp.visible() WHERE rows > 0;
SELECT pg_temp.sqlstate_of('SELECT chronicle.' || call) FROM pg_temp.calls WHERE call LIKE '%h_line%' OR call ~ '^(execution_detail|compare).*7000.*';
-- A condition that tells what it is shown is shown nothing.
CREATE FUNCTION pg_temp.tell(workflow text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$
BEGIN
    RAISE NOTICE 'saw %', workflow;
    RETURN true;
END $$;
SELECT count(*) FROM executions WHERE pg_temp.tell(workflow_id);
SELECT count(*) FROM events WHERE pg_temp.tell(type);
SELECT count(*) FROM execution_history WHERE pg_temp.tell(type);
SELECT count(*) FROM execution_timeline WHERE pg_temp.tell(node_id);
SELECT pg_temp.sqlstate_of('SELECT * FROM chronicle_data.execution');
ROLLBACK;
