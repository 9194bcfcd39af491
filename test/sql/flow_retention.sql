-- Retention: runs that are over for long are removed with everything that is theirs, by families. Their times are set
-- back, not waited for; a changed setting of the database restarts the scheduler, which looks at once.
SET search_path = public, chronicle;
CREATE PROCEDURE retention_until(condition text) LANGUAGE plpgsql AS $$
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
CREATE PROCEDURE retention_age(days int, runs uuid[]) LANGUAGE sql AS $$
UPDATE chronicle_data.execution SET queued_at = queued_at - days * interval '1 day', started_at = started_at - days * interval '1 day', ended_at = ended_at - days * interval '1 day'
 WHERE execution_id = ANY (runs);
$$;
CREATE VIEW retention_rest AS
SELECT e.id, (SELECT count(*) FROM chronicle_data.execution WHERE execution_id = e.id) AS runs, (SELECT count(*) FROM chronicle_data.workflow_event WHERE execution_id = e.id) AS events,
       (SELECT count(*) FROM chronicle_data.node_result WHERE execution_id = e.id) AS results, (SELECT count(*) FROM chronicle_data.node_rows WHERE execution_id = e.id) AS chunks,
       (SELECT count(*) FROM chronicle_data.execution_log WHERE execution_id = e.id) AS lines, (SELECT count(*) FROM chronicle_data.signal WHERE execution_id = e.id) AS signals
  FROM (SELECT NULL::uuid AS id) AS none RIGHT JOIN (SELECT DISTINCT execution_id AS id FROM chronicle_data.workflow_event) AS e ON true;
SELECT version FROM create_workflow('{"id": "retention_one", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1 AS n"}}, {"id": "b", "nodeType": "console.log"}], "edges": [{"source": "a", "target": "b"}]}');
SELECT version FROM create_workflow('{"id": "retention_waits", "nodes": [{"id": "w", "nodeType": "wait.signal", "config": {"name": "go"}}]}');
SELECT version FROM create_workflow('{"id": "retention_parent", "nodes": [{"id": "c", "nodeType": "workflow.call", "config": {"workflow": "retention_one"}}, {"id": "d", "nodeType": "workflow.call", "config": {"workflow": "retention_waits", "wait": false}}]}');
SELECT version FROM create_workflow('{"id": "retention_many", "nodes": [{"id": "m", "nodeType": "map.each", "config": {"items": {"$": "$.input"}, "workflow": "retention_one"}}]}');
SHOW chronicle.execution_retention;
BEGIN;
SELECT execute_workflow('retention_one') AS old, execute_workflow('retention_one') AS young, execute_workflow('retention_waits') AS open, execute_workflow('retention_parent') AS parent,
       execute_workflow('retention_many', (SELECT jsonb_agg(i) FROM generate_series(1, 120) AS i)) AS many \gset
SELECT signal_execution(:'old', 'never');
COMMIT;
CALL retention_until(format('(SELECT bool_and(status = ''completed'') FROM chronicle.executions WHERE execution_id IN (%L, %L, %L, %L))', :'old', :'young', :'parent', :'many'));
SELECT array_agg(execution_id) AS all FROM chronicle_data.execution WHERE workflow_id LIKE 'retention%' AND execution_id <> :'young' \gset
CALL retention_age(29, :'all');
SELECT 'ALTER DATABASE ' || quote_ident(current_database()) || ' SET chronicle.execution_retention = ''20d''' AS shorter, 'ALTER DATABASE ' || quote_ident(current_database()) || ' RESET chronicle.execution_retention' AS default,
       'ALTER DATABASE ' || quote_ident(current_database()) || ' SET chronicle.execution_retention = -1' AS never \gset

-- 1. Within the time, and for ever: nothing goes. (A marker run shows that the scheduler has looked since.)
:never;
SELECT execute_workflow('retention_one', run_at => clock_timestamp() + interval '100 ms') AS marker \gset
SELECT wait_for_execution(:'marker');
SELECT count(*) FROM executions WHERE execution_id = ANY (:'all');

-- 2. The old one goes with all that is its own, and so does the family of 121; an open run stays, and so does a family
-- with an open member; the young one stays.
:shorter;
CALL retention_until(format('NOT EXISTS (SELECT FROM chronicle.executions WHERE execution_id IN (%L, %L))', :'old', :'many'));
CALL retention_until('NOT EXISTS (SELECT FROM retention_rest WHERE runs = 0)');
SELECT workflow_id, status, count(*) FROM executions WHERE workflow_id LIKE 'retention%' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*) AS left_over FROM (SELECT execution_id FROM chronicle_data.node_result UNION ALL SELECT execution_id FROM chronicle_data.node_rows UNION ALL SELECT execution_id FROM chronicle_data.execution_log
    UNION ALL SELECT execution_id FROM chronicle_data.signal UNION ALL SELECT execution_id FROM chronicle_data.workflow_event UNION ALL SELECT execution_id FROM chronicle_data.node_task) AS r
 WHERE NOT EXISTS (SELECT FROM chronicle_data.execution AS e WHERE e.execution_id = r.execution_id);
SELECT count(*) FROM events WHERE stream = 'workflow-retention_one/' || :'old';
SELECT count(*) > 0 AS kept FROM execution_history WHERE execution_id = :'parent';

-- 3. When its last member is over, and old, the family goes.
SELECT signal_execution(execution_id, 'go') FROM executions WHERE parent_execution_id = :'parent' AND workflow_id = 'retention_waits';
CALL retention_until(format('(SELECT bool_and(status = ''completed'') FROM chronicle.executions WHERE parent_execution_id = %L)', :'parent'));
:default;
SELECT array_agg(execution_id) AS children FROM chronicle_data.execution WHERE parent_execution_id = :'parent' \gset
CALL retention_age(40, :'children');
:shorter;
CALL retention_until(format('NOT EXISTS (SELECT FROM chronicle.executions WHERE execution_id = %L OR parent_execution_id = %L)', :'parent', :'parent'));
SELECT count(*) FROM retention_rest WHERE runs = 0;
SELECT cancel_execution(:'open');

-- 4. Tasks of programs outside go as well, all attempts of them, and what a map's function was stored as; it can be called again.
CREATE FUNCTION retention_call(context jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT context -> 'input' $$;
SELECT version FROM create_workflow('{"id": "retention_tasks", "nodes": [{"id": "t", "nodeType": "task.external", "config": {"queue": "retention"}, "retry": {"max_attempts": 2, "initial_interval": 0}}, {"id": "m", "nodeType": "map.each", "config": {"items": [1, 2], "function": "retention_call"}}]}');
SELECT execute_workflow('retention_tasks') AS run, execute_workflow('retention_tasks') AS young \gset
CALL retention_until('(SELECT count(*) = 2 FROM chronicle.tasks WHERE queue = ''retention'' AND attempt = 1)');
SELECT count(fail_task(task_id, attempt, 'again')) FROM claim_tasks('retention', 'w', 2);
CALL retention_until('(SELECT count(*) = 2 FROM chronicle.tasks WHERE queue = ''retention'' AND attempt = 2)');
SELECT count(complete_task(task_id, attempt)) FROM claim_tasks('retention', 'w', 2);
CALL retention_until(format('(SELECT bool_and(status = ''completed'') FROM chronicle.executions WHERE execution_id IN (%L, %L))', :'run', :'young'));
\set kept 'SELECT count(*) AS tasks, (SELECT count(*) FROM chronicle_data.workflow_version WHERE workflow_id LIKE ''retention_tasks/%'') AS calls FROM chronicle_data.task WHERE queue = ''retention'';'
:kept
:default;
SELECT array_agg(execution_id) AS family FROM chronicle_data.execution WHERE execution_id = :'run' OR parent_execution_id = :'run' \gset
CALL retention_age(40, :'family');
:shorter;
CALL retention_until(format('NOT EXISTS (SELECT FROM chronicle.executions WHERE execution_id = %L)', :'run'));
:kept
:default;
SELECT array_agg(execution_id) AS family FROM chronicle_data.execution WHERE execution_id = :'young' OR parent_execution_id = :'young' \gset
CALL retention_age(40, :'family');
:shorter;
CALL retention_until('NOT EXISTS (SELECT FROM chronicle_data.workflow_version WHERE workflow_id LIKE ''retention_tasks/%'')');
:kept
SELECT execute_workflow('retention_tasks') AS run \gset
CALL retention_until(format('(SELECT count(*) = 2 FROM chronicle.executions WHERE parent_execution_id = %L AND status = ''completed'')', :'run'));
SELECT cancel_execution(:'run');
SELECT count(*) AS calls FROM chronicle_data.workflow_version WHERE workflow_id LIKE 'retention_tasks/%';

-- 5. Nobody else removes them.
DELETE FROM chronicle_data.workflow_event;
:default;
DROP VIEW retention_rest;
DROP PROCEDURE retention_until, retention_age;
