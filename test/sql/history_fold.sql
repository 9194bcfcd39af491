-- Every status is a function of the events: runs of every kind and every end, their events folded here in plain SQL, and
-- compared with every view that shows runs, nodes, attempts, failures, signals, tasks, schedules, triggers, statistics.
SET search_path = public, chronicle;
CREATE PROCEDURE fold_until(condition text) LANGUAGE plpgsql AS $$
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
CREATE TABLE fold_broken (node text);
CREATE FUNCTION fold_work(node text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM public.fold_broken AS b WHERE b.node = fold_work.node) THEN RAISE EXCEPTION '% is broken', node; END IF;
    RETURN node;
END $$;
-- Nodes [id, more keys]; edges 'a>b b>c'.
CREATE FUNCTION fold_define(id text, nodes jsonb, edges text DEFAULT '', more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
SELECT (create_workflow(jsonb_build_object('id', 'fold_' || id,
    'nodes', (SELECT jsonb_agg(jsonb_build_object('id', n -> 0, 'nodeType', 'sql.query', 'config', jsonb_build_object('sql', format('SELECT public.fold_work(%L) AS n', n ->> 0))) || coalesce(n -> 1, '{}')) FROM jsonb_array_elements(nodes) AS n),
    'edges', (SELECT coalesce(jsonb_agg(jsonb_build_object('source', split_part(split_part(e, ':', 1), '>', 1), 'target', split_part(split_part(e, ':', 1), '>', 2), 'condition', nullif(substring(e FROM '[^:]*:(.*)'), ''))), '[]')
                FROM regexp_split_to_table(edges, ' ') AS e WHERE e <> '')) || more)).workflow_id;
$$;
SELECT fold_define('line', '[["a"], ["b"], ["c"]]', 'a>b b>c'), fold_define('branch', '[["a"], ["no"], ["after"], ["yes"], ["join"]]', 'a>no:$.n=="x" no>after a>yes yes>join after>join'),
       fold_define('any', '[["a"], ["slow", {"nodeType": "wait.timer", "config": {"for": "1h"}}], ["first", {"join": "any"}], ["end"]]', 'a>first slow>first first>end'),
       fold_define('retry', '[["a", {"retry": {"max_attempts": 3, "initial_interval": "1ms"}}], ["b"]]', 'a>b'),
       fold_define('soft', '[["soft", {"on_failure": "continue"}], ["b"]]', 'soft>b'),
       fold_define('saga', '[["p"], ["q", {"compensate": {"nodeType": "sql.query", "config": {"sql": "SELECT 1"}}}], ["bad", {"on_failure": "compensate"}]]', 'p>q q>bad'),
       fold_define('stuck', '[["p"], ["q", {"compensate": {"nodeType": "sql.query", "config": {"sql": "SELECT 1 / 0"}, "retry": {"max_attempts": 2, "initial_interval": 0}}}], ["bad", {"on_failure": "compensate"}]]', 'p>q q>bad'),
       fold_define('overdue', '[["a"], ["s", {"nodeType": "wait.signal", "config": {"name": "go"}}]]', '', '{"timeout": "100 ms"}'),
       fold_define('waits', '[["t", {"nodeType": "wait.timer", "config": {"for": "1ms"}}], ["s", {"nodeType": "wait.signal", "config": {"name": "go"}}], ["late", {"nodeType": "wait.signal", "config": {"name": "never", "timeout": "1ms", "on_timeout": "continue"}}]]', 't>s s>late'),
       fold_define('held', '[["s", {"nodeType": "wait.signal", "config": {"name": "go"}}], ["z"]]', 's>z'),
       fold_define('task', '[["t", {"nodeType": "task.external", "config": {"queue": "fold"}}]]'),
       fold_define('parent', '[["c", {"nodeType": "workflow.call", "config": {"workflow": "fold_line"}}], ["m", {"nodeType": "map.each", "config": {"items": [1, 2, 3], "workflow": "fold_line"}}]]', 'c>m');
INSERT INTO fold_broken VALUES ('soft'), ('bad');
-- Completed, failed, compensated; two of each.
SELECT count(execute_workflow('fold_' || w)) FROM unnest(ARRAY['line', 'branch', 'any', 'soft', 'saga', 'stuck', 'overdue', 'parent', 'waits']) AS w, generate_series(1, 2);
SELECT count(signal_execution(execution_id, 'go', '{"by": "fold"}')) FROM executions WHERE workflow_id = 'fold_waits';
SELECT execute_workflow('fold_task') AS task \gset
CALL fold_until('(SELECT count(*) = 1 FROM chronicle.tasks WHERE queue = ''fold'')');
SELECT complete_task(task_id, attempt, '{"done": true}') FROM claim_tasks('fold', 'me');
CALL fold_until('NOT EXISTS (SELECT FROM chronicle.executions WHERE workflow_id LIKE ''fold%'' AND ended_at IS NULL)');
-- Failed with all its attempts, then made good; failed, and forked; cancelled while it waits, before it began, and while paused.
INSERT INTO fold_broken VALUES ('a');
SELECT execute_workflow('fold_retry') AS retried \gset
SELECT wait_for_execution(:'retried');
DELETE FROM fold_broken WHERE node = 'a';
INSERT INTO fold_broken VALUES ('b');
SELECT retry_execution(:'retried');
SELECT wait_for_execution(:'retried');
SELECT execute_workflow('fold_line') AS failed \gset
SELECT wait_for_execution(:'failed');
DELETE FROM fold_broken WHERE node = 'b';
SELECT retry_execution(:'retried');
SELECT retry_execution(execution_id) FROM (SELECT execution_id FROM executions WHERE workflow_id IN ('fold_saga', 'fold_stuck') ORDER BY queued_at LIMIT 3) AS e;
SELECT count(fork_execution(:'failed', 'b'));
SELECT execute_workflow('fold_held') AS waiting, execute_workflow('fold_held', run_at => clock_timestamp() + interval '1 day') AS later, execute_workflow('fold_held') AS paused \gset
CALL fold_until(format('(SELECT bool_and(status = ''waiting'') FROM chronicle.executions WHERE execution_id IN (%L, %L))', :'waiting', :'paused'));
SELECT pause_execution(:'paused'), resume_execution(:'paused'), pause_execution(:'paused');
SELECT cancel_execution(:'waiting', 'enough'), cancel_execution(:'later'), cancel_execution(:'paused');
-- By a trigger, and by the clock.
SELECT create_trigger('fold_branch', categories => '{fold}') AS trigger, schedule_workflow('fold_line', every => '100 ms') AS schedule \gset
SELECT append_event('fold-1', 'Happened');
CALL fold_until(format('(SELECT last_run_at IS NOT NULL FROM chronicle.schedules WHERE schedule_id = %s)', :schedule));
SELECT pause_schedule(:schedule);
CALL fold_until('NOT EXISTS (SELECT FROM chronicle.executions WHERE workflow_id LIKE ''fold%'' AND ended_at IS NULL)');

-- The fold. What a retry repeats is pending again; what a fork kept is as it was.
CREATE VIEW fold_event AS SELECT h.execution_id, h.workflow_id, h.version, h.type, h.node_id, h.recorded_at, h.data, (h.data ->> 'attempt')::int AS attempt FROM execution_history AS h WHERE h.workflow_id LIKE 'fold%';
CREATE VIEW fold_run AS
SELECT DISTINCT ON (q.execution_id) q.execution_id, q.workflow_id, q.recorded_at AS queued_at,
       (SELECT max(s.recorded_at) FROM fold_event AS s WHERE s.execution_id = q.execution_id AND s.type = 'WorkflowStarted') AS started_at,
       lower(substr(e.type, 9)) AS status, e.recorded_at AS ended_at, (e.data ->> 'completedNodes')::int AS completed_nodes, (q.data ->> 'totalNodes')::int AS total_nodes,
       e.data ->> 'failedNodeId' AS failed_node, e.data ->> 'error' AS error, (q.data ->> 'parentExecutionId')::uuid AS parent_execution_id
  FROM fold_event AS q JOIN fold_event AS e ON e.execution_id = q.execution_id AND e.type IN ('WorkflowCompleted', 'WorkflowFailed', 'WorkflowCancelled')
 WHERE q.type = 'WorkflowQueued' ORDER BY q.execution_id, e.version DESC;
CREATE VIEW fold_node AS
SELECT DISTINCT ON (execution_id, node_id) execution_id, node_id, status,
       CASE WHEN status IN ('skipped', 'kept') THEN 0 ELSE (SELECT coalesce(max(a.attempt), 0) FROM fold_event AS a WHERE a.execution_id = s.execution_id AND a.node_id = s.node_id AND a.type NOT LIKE 'Compensation%') END AS attempts, kept
  FROM (SELECT execution_id, node_id, version, CASE type WHEN 'CompensationCompleted' THEN 'compensated' ELSE lower(substr(type, 14)) END AS status, false AS kept
          FROM fold_event WHERE type IN ('NodeExecutionStarted', 'NodeExecutionCompleted', 'NodeExecutionFailed', 'NodeExecutionSkipped', 'NodeExecutionCancelled', 'CompensationCompleted')
        UNION ALL SELECT execution_id, k.key, version, k.value, true FROM fold_event CROSS JOIN jsonb_each_text(data -> 'kept') AS k WHERE type = 'WorkflowQueued') AS s
 ORDER BY execution_id, node_id, version DESC;
CREATE VIEW fold_attempt AS
SELECT s.execution_id, s.node_id, s.attempt, lower(substr(e.type, 14)) AS status, s.recorded_at AS started_at, e.recorded_at AS ended_at, (e.data ->> 'recordsProcessed')::bigint AS records, e.data ->> 'error' AS error
  FROM fold_event AS s LEFT JOIN fold_event AS e ON e.execution_id = s.execution_id AND e.node_id = s.node_id AND e.attempt = s.attempt AND e.type IN ('NodeExecutionCompleted', 'NodeExecutionFailed', 'NodeExecutionCancelled')
 WHERE s.type = 'NodeExecutionStarted';
CREATE VIEW fold_undo AS
SELECT s.execution_id, s.node_id, s.attempt, CASE e.type WHEN 'CompensationCompleted' THEN 'compensated' ELSE 'failed' END AS status, s.recorded_at AS started_at, e.recorded_at AS ended_at, (e.data ->> 'recordsProcessed')::bigint AS records, e.data ->> 'error' AS error
  FROM fold_event AS s LEFT JOIN fold_event AS e ON e.execution_id = s.execution_id AND e.node_id = s.node_id AND e.attempt = s.attempt AND e.type IN ('CompensationCompleted', 'CompensationFailed')
 WHERE s.type = 'CompensationStarted';

-- There is something of everything.
SELECT status, count(*) > 0 AS there FROM fold_run GROUP BY 1 ORDER BY 1;
SELECT status, count(*) > 0 AS there FROM fold_node GROUP BY 1 ORDER BY 1;
SELECT DISTINCT type FROM fold_event ORDER BY 1;
-- Only events of the contract; versions without holes; each attempt has one start and one end; each run one end more than retries.
SELECT type FROM fold_event WHERE type NOT IN ('WorkflowQueued', 'WorkflowStarted', 'WorkflowCompleted', 'WorkflowFailed', 'WorkflowCancelled', 'WorkflowPaused', 'WorkflowResumed', 'WorkflowRetried',
    'NodeExecutionStarted', 'NodeExecutionCompleted', 'NodeExecutionFailed', 'NodeExecutionRetryScheduled', 'NodeExecutionSkipped', 'NodeExecutionCancelled', 'NodeExecutionWaiting', 'SignalReceived', 'TimerFired', 'WaitTimedOut',
    'CompensationStarted', 'CompensationCompleted', 'CompensationFailed');
SELECT execution_id FROM fold_event GROUP BY 1 HAVING count(*) <> max(version) OR min(version) <> 1;
SELECT execution_id, node_id, attempt FROM fold_event WHERE type LIKE 'NodeExecution%' AND attempt > 0 GROUP BY 1, 2, 3
HAVING count(*) FILTER (WHERE type = 'NodeExecutionStarted') <> 1 OR count(*) FILTER (WHERE type IN ('NodeExecutionCompleted', 'NodeExecutionFailed', 'NodeExecutionCancelled')) <> 1;
SELECT execution_id, node_id, attempt FROM fold_event WHERE type LIKE 'Compensation%' GROUP BY 1, 2, 3
HAVING count(*) FILTER (WHERE type = 'CompensationStarted') <> 1 OR count(*) FILTER (WHERE type IN ('CompensationCompleted', 'CompensationFailed')) <> 1;
SELECT execution_id FROM fold_event GROUP BY 1
HAVING count(*) FILTER (WHERE type IN ('WorkflowCompleted', 'WorkflowFailed', 'WorkflowCancelled')) <> 1 + count(*) FILTER (WHERE type = 'WorkflowRetried') OR count(*) FILTER (WHERE type = 'WorkflowQueued') <> 1;
-- executions
SELECT f.workflow_id, f, e.status, e.queued_at, e.started_at, e.ended_at, e.completed_nodes, e.failed_node, e.error
  FROM fold_run AS f FULL JOIN (SELECT * FROM executions WHERE workflow_id LIKE 'fold%') AS e USING (execution_id)
 WHERE (f.status, f.queued_at, f.started_at, f.ended_at, f.completed_nodes, f.total_nodes, f.failed_node, f.error, f.parent_execution_id)
       IS DISTINCT FROM (e.status, e.queued_at, e.started_at, e.ended_at, e.completed_nodes, e.total_nodes, e.failed_node, e.error, e.parent_execution_id);
-- node_executions
SELECT n.workflow_id, node_id, f.status, n.status AS shown, f.attempts, n.attempts AS shown
  FROM fold_node AS f FULL JOIN (SELECT * FROM node_executions WHERE workflow_id LIKE 'fold%') AS n USING (execution_id, node_id)
 WHERE (f.status, CASE WHEN f.kept THEN 0 ELSE f.attempts END) IS DISTINCT FROM (n.status, CASE WHEN n.status = 'skipped' THEN 0 ELSE n.attempts END);
SELECT n.workflow_id, n.node_id, a, n.started_at, n.ended_at, n.records_processed, n.error
  FROM node_executions AS n JOIN fold_attempt AS a ON a.execution_id = n.execution_id AND a.node_id = n.node_id AND a.attempt = n.attempts
 WHERE n.workflow_id LIKE 'fold%' AND (a.started_at, a.ended_at, a.records, CASE WHEN n.status = 'failed' THEN a.error END)
       IS DISTINCT FROM (n.started_at, n.ended_at, n.records_processed, n.error);
-- execution_timeline, execution_failures
SELECT execution_id, node_id, attempt, a.status, t.status AS shown
  FROM (SELECT *, false AS compensating FROM fold_attempt UNION ALL SELECT *, true FROM fold_undo) AS a
  FULL JOIN (SELECT * FROM execution_timeline WHERE workflow_id LIKE 'fold%' AND attempt > 0) AS t USING (execution_id, node_id, attempt, compensating)
 WHERE (a.status, a.started_at, a.ended_at, a.records, a.error) IS DISTINCT FROM (t.status, t.started_at, t.ended_at, t.records_processed, t.error);
SELECT execution_id, node_id, attempt, a.error, f.error AS shown
  FROM (SELECT *, false AS compensating FROM fold_attempt WHERE status = 'failed' UNION ALL SELECT *, true FROM fold_undo WHERE status = 'failed') AS a
  FULL JOIN (SELECT * FROM execution_failures WHERE workflow_id LIKE 'fold%') AS f USING (execution_id, node_id, attempt, compensating)
 WHERE (a.error, a.ended_at) IS DISTINCT FROM (f.error, f.failed_at);
-- workflow_statistics, workflow_status
SELECT workflow_id, f, s.total, s.completed, s.failed, s.cancelled, s.running
  FROM (SELECT workflow_id, count(*) AS total, count(*) FILTER (WHERE status = 'completed') AS completed, count(*) FILTER (WHERE status = 'failed') AS failed, count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
               max(started_at) AS last_started_at, avg(extract(epoch FROM ended_at - started_at) * 1000)::numeric(20, 3) AS avg_ms FROM fold_run GROUP BY 1) AS f
  FULL JOIN (SELECT * FROM workflow_statistics WHERE workflow_id LIKE 'fold%' AND total > 0) AS s USING (workflow_id)
 WHERE (f.total, f.completed, f.failed, f.cancelled, 0::bigint, f.last_started_at, f.avg_ms) IS DISTINCT FROM (s.total, s.completed, s.failed, s.cancelled, s.running, s.last_started_at, s.avg_ms::numeric(20, 3));
SELECT workflow_id, f.status, s.state FROM workflow_status AS s JOIN (SELECT DISTINCT ON (workflow_id) * FROM fold_run ORDER BY workflow_id, queued_at DESC, execution_id DESC) AS f USING (workflow_id)
 WHERE (f.execution_id, f.status, f.ended_at, f.completed_nodes) IS DISTINCT FROM (s.current_execution_id, s.state, s.ended_at, s.completed_nodes);
-- signals, tasks, schedules, triggers
SELECT signal_id, g.name, e.data FROM (SELECT g.* FROM signals AS g WHERE g.workflow_id LIKE 'fold%') AS g
  FULL JOIN (SELECT (data ->> 'signalId')::bigint AS signal_id, execution_id, data, recorded_at FROM fold_event WHERE type = 'SignalReceived') AS e USING (signal_id)
 WHERE (g.execution_id, g.name, g.payload, g.sent_at) IS DISTINCT FROM (e.execution_id, e.data ->> 'name', e.data -> 'payload', e.recorded_at);
SELECT count(*) AS taken, count(*) FILTER (WHERE a.status = 'completed' AND a.ended_at >= g.sent_at) AS by_a_wait
  FROM signals AS g LEFT JOIN fold_attempt AS a ON a.execution_id = g.execution_id AND a.node_id = g.taken_by WHERE g.workflow_id LIKE 'fold%' AND g.taken_by IS NOT NULL;
SELECT count(*) AS open_tasks FROM tasks WHERE queue = 'fold';
SELECT s.last_run_at = f.at AS last_run, s.last_execution_id = f.id AS that_run
  FROM schedules AS s, (SELECT recorded_at AS at, execution_id AS id FROM fold_event WHERE type = 'WorkflowQueued' AND data ->> 'scheduleId' = :'schedule' ORDER BY recorded_at DESC LIMIT 1) AS f WHERE s.schedule_id = :schedule;
SELECT t.workflow_id, (SELECT count(*) FROM fold_event WHERE type = 'WorkflowQueued' AND (data ->> 'triggerId')::bigint = t.trigger_id) AS runs FROM triggers AS t WHERE t.trigger_id = :trigger;
SELECT count(*) AS queued FROM chronicle_data.node_task JOIN fold_run USING (execution_id);

SELECT drop_trigger(:trigger), unschedule_workflow(:schedule);
DROP VIEW fold_undo, fold_attempt, fold_node, fold_run, fold_event;
DROP TABLE fold_broken;
DROP FUNCTION fold_work, fold_define;
DROP PROCEDURE fold_until;
