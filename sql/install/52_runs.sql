-- Workflows, their runs and their nodes as they stand now.

-- The nodes and edges of each definition, in the spellings that create_workflow accepts (a null is an absent key).
-- Internal: no grants.
CREATE VIEW chronicle_data.definition_node AS
SELECT d.definition_id, (n.number - 1)::int AS node_index, n.node ->> 'id' AS node_id,
       COALESCE(n.node ->> 'node_type', n.node ->> 'nodeType', n.node #>> '{data,node_type}',
                n.node #>> '{data,nodeType}', n.node ->> 'type') AS node_type
  FROM chronicle_data.workflow_version AS d
 CROSS JOIN LATERAL jsonb_array_elements(d.definition -> 'nodes') WITH ORDINALITY AS n (node, number);
CREATE VIEW chronicle_data.definition_edge AS
SELECT d.definition_id, COALESCE(g.edge ->> 'source', g.edge ->> 'from') AS source,
       COALESCE(g.edge ->> 'target', g.edge ->> 'to') AS target
  FROM chronicle_data.workflow_version AS d
 CROSS JOIN LATERAL jsonb_array_elements(NULLIF(d.definition -> 'edges', 'null')) AS g (edge);

CREATE VIEW chronicle.workflow_versions WITH (security_barrier) AS
SELECT d.workflow_id, d.version, d.definition ->> 'version' AS version_label, d.created_by, d.created_at, d.definition
  FROM chronicle_data.workflow_version AS d
  JOIN chronicle_data.workflow AS w ON w.workflow_id = d.workflow_id AND d.version >= w.first_version
 WHERE chronicle_data.sees_execution(w.owner, NULL);
COMMENT ON VIEW chronicle.workflow_versions IS 'Every version of every workflow; view workflows has the newest ones.';
COMMENT ON COLUMN chronicle.workflow_versions.version_label IS 'key "version" of the definition';
COMMENT ON COLUMN chronicle.workflow_versions.definition IS 'as it was given to create_workflow';
GRANT SELECT ON chronicle.workflow_versions TO PUBLIC;

CREATE VIEW chronicle.workflows WITH (security_barrier) AS
SELECT w.workflow_id, w.version, d.definition ->> 'version' AS version_label,
       COALESCE(NULLIF(d.definition ->> 'name', ''), w.workflow_id) AS name, d.definition ->> 'description' AS description,
       ARRAY(SELECT jsonb_array_elements_text(NULLIF(d.definition -> 'tags', 'null'))) AS tags,
       jsonb_array_length(d.definition -> 'nodes') AS nodes,
       COALESCE(jsonb_array_length(NULLIF(d.definition -> 'edges', 'null')), 0) AS edges,
       w.enabled, w.owner,
       (SELECT count(*)
          FROM chronicle_data.execution AS e
         WHERE e.workflow_id = w.workflow_id AND chronicle_data.sees_execution(e.owner, e.started_by)) AS executions,
       (SELECT e.status
          FROM chronicle_data.execution AS e
         WHERE e.workflow_id = w.workflow_id AND chronicle_data.sees_execution(e.owner, e.started_by)
         ORDER BY e.queued_at DESC, e.execution_id DESC LIMIT 1) AS last_status,
       (SELECT min(s.next_run_at)
          FROM chronicle_data.schedule AS s
         WHERE s.workflow_id = w.workflow_id AND NOT s.paused AND w.enabled) AS next_run_at,
       d.definition
  FROM chronicle_data.workflow AS w
  JOIN chronicle_data.workflow_version AS d ON d.workflow_id = w.workflow_id AND d.version = w.version
 WHERE chronicle_data.sees_execution(w.owner, NULL);
COMMENT ON VIEW chronicle.workflows IS 'One row per workflow, with its newest version.';
COMMENT ON COLUMN chronicle.workflows.version IS 'the newest version: 1, 2, 3 …';
COMMENT ON COLUMN chronicle.workflows.version_label IS 'key "version" of the definition';
COMMENT ON COLUMN chronicle.workflows.name IS 'key "name" of the definition, else the id';
COMMENT ON COLUMN chronicle.workflows.nodes IS 'how many';
COMMENT ON COLUMN chronicle.workflows.edges IS 'how many';
COMMENT ON COLUMN chronicle.workflows.owner IS 'the role that its nodes run as';
COMMENT ON COLUMN chronicle.workflows.executions IS 'runs that are kept, of all versions';
COMMENT ON COLUMN chronicle.workflows.last_status IS 'status of the newest run; NULL: never run';
COMMENT ON COLUMN chronicle.workflows.next_run_at IS 'when a schedule starts it next; NULL: no schedule does';
GRANT SELECT ON chronicle.workflows TO PUBLIC;

-- With the order inside the view, ORDER BY queued_at DESC LIMIT n works out the results of n runs only.
CREATE INDEX execution_queued ON chronicle_data.execution (queued_at DESC);
CREATE VIEW chronicle.executions WITH (security_barrier) AS
SELECT e.execution_id, e.workflow_id, e.version AS workflow_version,
       COALESCE(NULLIF(d.definition ->> 'name', ''), e.workflow_id) AS workflow_name,
       e.status, e.queued_at, e.started_at, e.ended_at,
       chronicle_data.ms_between(e.started_at, e.ended_at) AS duration_ms,
       COALESCE(e.completed_nodes,
                (SELECT count(*)::int
                   FROM chronicle_data.node_result AS r
                  WHERE r.execution_id = e.execution_id AND r.status = 'completed')) AS completed_nodes,
       e.total_nodes, e.input,
       CASE WHEN e.status = 'completed' THEN
           (SELECT COALESCE(jsonb_object_agg(r.node_id, r.output), '{}')
              FROM chronicle_data.node_result AS r
             WHERE r.execution_id = e.execution_id AND r.status IN ('completed', 'failed')
               AND NOT EXISTS (SELECT FROM chronicle_data.definition_edge AS g
                                WHERE g.definition_id = e.definition_id AND g.source = r.node_id))
       END AS result,
       e.error, e.failed_node, e.parent_execution_id, e.started_by, e.priority, e.idempotency_key, e.metadata
  FROM chronicle_data.execution AS e
  LEFT JOIN chronicle_data.workflow_version AS d ON d.definition_id = e.definition_id
 WHERE chronicle_data.sees_execution(e.owner, e.started_by)
 ORDER BY e.queued_at DESC;
COMMENT ON VIEW chronicle.executions IS
'One row per run that the reader owns, started, or sees as an admin; newest first.';
COMMENT ON COLUMN chronicle.executions.workflow_version IS 'the version that the run started with, and keeps';
COMMENT ON COLUMN chronicle.executions.status IS 'pending, running, waiting, paused, completed, failed or cancelled';
COMMENT ON COLUMN chronicle.executions.started_at IS 'NULL: still pending';
COMMENT ON COLUMN chronicle.executions.ended_at IS 'NULL: not over';
COMMENT ON COLUMN chronicle.executions.duration_ms IS 'milliseconds from start to end; NULL: not over, or never started';
COMMENT ON COLUMN chronicle.executions.completed_nodes IS 'nodes in state completed, so far';
COMMENT ON COLUMN chronicle.executions.result IS 'outputs of the nodes without outgoing edges, by node id; NULL unless completed';
COMMENT ON COLUMN chronicle.executions.error IS 'message of the error that made it fail';
COMMENT ON COLUMN chronicle.executions.failed_node IS 'the node that made it fail';
COMMENT ON COLUMN chronicle.executions.parent_execution_id IS 'the run whose node started this one';
COMMENT ON COLUMN chronicle.executions.priority IS 'higher runs first';
GRANT SELECT ON chronicle.executions TO PUBLIC;

-- All nodes of the run's definition. A node without a result is pending or in the queue while the run lives, and was
-- cancelled when it is over. OFFSET 0 keeps the planner at one run at a time: it would hash all results of all runs for
-- the runs of one workflow.
CREATE VIEW chronicle.node_executions WITH (security_barrier) AS
SELECT e.execution_id, e.workflow_id, n.node_id, n.node_type, n.status, n.attempts, n.started_at,
       COALESCE(n.ended_at, e.ended_at) AS ended_at,
       chronicle_data.ms_between(n.started_at, n.ended_at) AS duration_ms,
       n.records_processed, n.output, n.output_truncated,
       CASE WHEN n.status IN ('failed', 'retrying') THEN n.failure ->> 'error' END AS error,
       CASE WHEN n.status IN ('failed', 'retrying') THEN n.failure ->> 'sqlstate' END AS sqlstate
  FROM chronicle_data.execution AS e
 CROSS JOIN LATERAL (
       SELECT n.node_index, n.node_id, n.node_type,
              COALESCE(r.status, CASE WHEN e.ended_at IS NOT NULL THEN 'cancelled'
                                      WHEN t.begun THEN 'waiting'
                                      WHEN t.state = 'held' THEN 'ready'
                                      WHEN t.state = 'scheduled' THEN 'pending'
                                      ELSE COALESCE(t.state, 'pending') END) AS status,
              COALESCE(r.attempts, t.attempt, 0) AS attempts,
              COALESCE(r.started_at, t.started_at) AS started_at, r.ended_at,
              r.records_processed, r.output, COALESCE(r.output_truncated, false) AS output_truncated,
              f.last_failures -> n.node_id AS failure
         FROM chronicle_data.definition_node AS n
        CROSS JOIN (SELECT jsonb_object_agg(v.node_id, v.data ORDER BY v.version) AS last_failures
                      FROM chronicle_data.workflow_event AS v
                     WHERE v.execution_id = e.execution_id AND v.type = 'NodeExecutionFailed') AS f
         LEFT JOIN chronicle_data.node_result AS r ON r.execution_id = e.execution_id AND r.node_index = n.node_index
         LEFT JOIN chronicle_data.node_task AS t ON t.execution_id = e.execution_id AND t.node_index = n.node_index
        WHERE n.definition_id = e.definition_id
       OFFSET 0) AS n
 WHERE chronicle_data.sees_execution(e.owner, e.started_by)
 ORDER BY e.queued_at DESC, e.execution_id, n.node_index;
COMMENT ON VIEW chronicle.node_executions IS
'One row per node of each run, also of nodes that have not run; newest run first, nodes in the order of the definition.';
COMMENT ON COLUMN chronicle.node_executions.status IS
'pending, ready, running, waiting, retrying, completed, failed, skipped, cancelled or compensated';
COMMENT ON COLUMN chronicle.node_executions.attempts IS 'tries so far, the running one included';
COMMENT ON COLUMN chronicle.node_executions.started_at IS 'NULL: has not started';
COMMENT ON COLUMN chronicle.node_executions.ended_at IS 'NULL: not over; of a node that its run''s end cancelled: that end';
COMMENT ON COLUMN chronicle.node_executions.duration_ms IS 'milliseconds from start to end; NULL: not over, or never started';
COMMENT ON COLUMN chronicle.node_executions.records_processed IS 'rows that it read, made or wrote';
COMMENT ON COLUMN chronicle.node_executions.output IS 'the first chronicle.output_rows rows of its output';
COMMENT ON COLUMN chronicle.node_executions.output_truncated IS 'true: the output has more rows';
COMMENT ON COLUMN chronicle.node_executions.error IS 'message of the last failure, while failed or retrying';
COMMENT ON COLUMN chronicle.node_executions.sqlstate IS 'SQLSTATE of the last failure, while failed or retrying';
GRANT SELECT ON chronicle.node_executions TO PUBLIC;

CREATE VIEW chronicle.workflow_status WITH (security_barrier) AS
SELECT w.workflow_id,
       CASE WHEN e.status IS NULL THEN 'idle'
            WHEN e.status IN ('pending', 'waiting') THEN 'running'
            ELSE e.status END AS state,
       e.execution_id AS current_execution_id, e.started_at, e.ended_at, e.status AS current_status,
       COALESCE(e.completed_nodes,
                CASE WHEN e.execution_id IS NOT NULL THEN
                    (SELECT count(*)::int
                       FROM chronicle_data.node_result AS r
                      WHERE r.execution_id = e.execution_id AND r.status = 'completed')
                END) AS completed_nodes,
       e.total_nodes
  FROM chronicle_data.workflow AS w
  LEFT JOIN LATERAL (
       SELECT e.execution_id, e.started_at, e.ended_at, e.status, e.completed_nodes, e.total_nodes
         FROM chronicle_data.execution AS e
        WHERE e.workflow_id = w.workflow_id AND chronicle_data.sees_execution(e.owner, e.started_by)
        ORDER BY e.queued_at DESC, e.execution_id DESC LIMIT 1) AS e ON true
 WHERE chronicle_data.sees_execution(w.owner, NULL);
COMMENT ON VIEW chronicle.workflow_status IS 'One row per workflow: what its newest run is doing, or how it ended.';
COMMENT ON COLUMN chronicle.workflow_status.state IS
'idle (never run), running (also pending and waiting), paused, completed, failed or cancelled';
COMMENT ON COLUMN chronicle.workflow_status.current_execution_id IS 'the newest run, over or not';
COMMENT ON COLUMN chronicle.workflow_status.current_status IS 'its status as in view executions';
GRANT SELECT ON chronicle.workflow_status TO PUBLIC;

CREATE VIEW chronicle.workflow_statistics WITH (security_barrier) AS
SELECT w.workflow_id, c.total, c.completed, c.failed, c.cancelled,
       c.total - c.finished AS running,
       c.completed::double precision / NULLIF(c.finished, 0) AS success_rate,
       c.avg_ms, c.percentiles[1] AS p50_ms, c.percentiles[2] AS p95_ms, c.percentiles[3] AS p99_ms, c.last_started_at
  FROM chronicle_data.workflow AS w
 CROSS JOIN LATERAL (
       SELECT count(*) AS total,
              count(*) FILTER (WHERE e.status = 'completed') AS completed,
              count(*) FILTER (WHERE e.status = 'failed') AS failed,
              count(*) FILTER (WHERE e.status = 'cancelled') AS cancelled,
              count(*) FILTER (WHERE e.status IN ('completed', 'failed', 'cancelled')) AS finished,
              avg(chronicle_data.ms_between(e.started_at, e.ended_at)) AS avg_ms,
              percentile_cont(ARRAY[0.5, 0.95, 0.99])
                  WITHIN GROUP (ORDER BY chronicle_data.ms_between(e.started_at, e.ended_at)) AS percentiles,
              max(e.started_at) AS last_started_at
         FROM chronicle_data.execution AS e
        WHERE e.workflow_id = w.workflow_id AND chronicle_data.sees_execution(e.owner, e.started_by)) AS c
 WHERE chronicle_data.sees_execution(w.owner, NULL);
COMMENT ON VIEW chronicle.workflow_statistics IS
'One row per workflow: counts of its kept runs, and durations of those that are over.';
COMMENT ON COLUMN chronicle.workflow_statistics.running IS 'runs that are not over (pending, running, waiting, paused)';
COMMENT ON COLUMN chronicle.workflow_statistics.success_rate IS 'completed / (completed + failed + cancelled), 0 to 1; NULL: none is over';
COMMENT ON COLUMN chronicle.workflow_statistics.avg_ms IS 'milliseconds; NULL: none is over';
COMMENT ON COLUMN chronicle.workflow_statistics.p50_ms IS 'milliseconds (median); NULL: none is over';
COMMENT ON COLUMN chronicle.workflow_statistics.p95_ms IS 'milliseconds; NULL: none is over';
COMMENT ON COLUMN chronicle.workflow_statistics.p99_ms IS 'milliseconds; NULL: none is over';
COMMENT ON COLUMN chronicle.workflow_statistics.last_started_at IS 'start of the run that started last';
GRANT SELECT ON chronicle.workflow_statistics TO PUBLIC;
