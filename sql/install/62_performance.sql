-- Where the time of runs goes: nodes over all runs, one run against another, one run on one page.

-- Of each node the attempt that ended it counts. The node's type is that of the newest version that ran.
CREATE VIEW chronicle.node_performance WITH (security_barrier) AS
SELECT s.workflow_id, s.node_id, n.node_type, s.runs, s.failures, s.avg_ms, s.p95_ms, s.max_ms, s.share_of_total,
       s.place = 1 AND s.total_ms > 0 AS is_bottleneck
  FROM (SELECT t.workflow_id, t.node_id, t.definition_id, t.runs, t.failures, t.avg_ms, t.p95_ms, t.max_ms, t.total_ms,
               t.total_ms / NULLIF(sum(t.total_ms) OVER (PARTITION BY t.workflow_id), 0) AS share_of_total,
               row_number() OVER (PARTITION BY t.workflow_id ORDER BY t.total_ms DESC, t.node_id) AS place
          FROM (SELECT e.workflow_id, r.node_id, max(e.definition_id) AS definition_id, count(*) AS runs,
                       count(*) FILTER (WHERE r.status = 'failed') AS failures,
                       avg(d.ms) AS avg_ms, percentile_cont(0.95) WITHIN GROUP (ORDER BY d.ms) AS p95_ms,
                       max(d.ms) AS max_ms, sum(d.ms) AS total_ms
                  FROM chronicle_data.execution AS e
                  JOIN chronicle_data.node_result AS r ON r.execution_id = e.execution_id
                 CROSS JOIN LATERAL (SELECT chronicle_data.ms_between(r.started_at, r.ended_at) AS ms) AS d
                 WHERE r.started_at IS NOT NULL AND r.status IN ('completed', 'failed', 'compensated')
                   AND chronicle_data.sees_execution(e.owner, e.started_by)
                 GROUP BY e.workflow_id, r.node_id) AS t) AS s
  LEFT JOIN chronicle_data.definition_node AS n ON n.definition_id = s.definition_id AND n.node_id = s.node_id;
COMMENT ON VIEW chronicle.node_performance IS
'One row per node of a workflow, over all its kept runs: how often it ran to its end, and how long that took.';
COMMENT ON COLUMN chronicle.node_performance.runs IS 'runs in which the node completed or failed for good';
COMMENT ON COLUMN chronicle.node_performance.failures IS 'of those: runs in which it failed for good';
COMMENT ON COLUMN chronicle.node_performance.avg_ms IS 'milliseconds from start to end of the attempt that ended it';
COMMENT ON COLUMN chronicle.node_performance.p95_ms IS 'milliseconds';
COMMENT ON COLUMN chronicle.node_performance.max_ms IS 'milliseconds';
COMMENT ON COLUMN chronicle.node_performance.share_of_total IS 'its part of the time of all nodes of the workflow, 0 to 1';
COMMENT ON COLUMN chronicle.node_performance.is_bottleneck IS 'the node of its workflow with the largest share';
GRANT SELECT ON chronicle.node_performance TO PUBLIC;

-- The id itself; CH031 when the caller sees no such run.
CREATE FUNCTION chronicle_data.known_execution(execution_id uuid) RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN EXISTS (SELECT FROM chronicle.executions AS e WHERE e.execution_id = known_execution.execution_id)
                THEN known_execution.execution_id
                ELSE (chronicle_data.unknown_execution(known_execution.execution_id) #>> '{}')::uuid END;

CREATE FUNCTION chronicle.compare_executions(a uuid, b uuid)
    RETURNS TABLE (node_id text, before_ms double precision, after_ms double precision, speedup double precision)
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    WITH runs AS MATERIALIZED ( -- in this order, whatever the plan
        SELECT chronicle_data.known_execution(compare_executions.a) AS a, chronicle_data.known_execution(compare_executions.b) AS b
    )
    SELECT COALESCE(x.node_id, y.node_id), x.duration_ms, y.duration_ms, x.duration_ms / NULLIF(y.duration_ms, 0)
      FROM (SELECT n.node_id, n.duration_ms, row_number() OVER () AS place
              FROM chronicle.node_executions AS n
             WHERE n.execution_id = (SELECT r.a FROM runs AS r)) AS x
      FULL JOIN (SELECT n.node_id, n.duration_ms, row_number() OVER () AS place
                   FROM chronicle.node_executions AS n
                  WHERE n.execution_id = (SELECT r.b FROM runs AS r)) AS y ON y.node_id = x.node_id
     ORDER BY y.place, x.place;
END;
COMMENT ON FUNCTION chronicle.compare_executions(uuid, uuid) IS
'Two runs node by node, as before and after a change: milliseconds of the attempt that ended each node, and before / after. NULL: the node is not in that run, or did not run. In the order of b''s definition.
Errors: CH031 no such run, or not yours; 22004 NULL.';

CREATE FUNCTION chronicle.execution_detail(execution_id uuid)
    RETURNS TABLE (execution_id uuid, workflow_id text, workflow_name text, workflow_version int, status text,
        queued_at timestamptz, started_at timestamptz, ended_at timestamptz, queued_ms double precision,
        duration_ms double precision, nodes text, under_way text[], failed_node text, error text, sqlstate text,
        detail text, hint text, critical_path text, slowest_node text, timeline text, input jsonb, result jsonb,
        started_by text, priority int, idempotency_key text, parent_execution_id uuid, children bigint, metadata jsonb)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    WITH node AS MATERIALIZED (
        SELECT n.node_id, n.status, n.duration_ms, row_number() OVER () AS place
          FROM chronicle.node_executions AS n WHERE n.execution_id = execution_detail.execution_id
    ), line AS MATERIALIZED (
        SELECT t.node_id, t.attempt, t.status, t.duration_ms, t.on_critical_path, t.bar, t.compensating,
               row_number() OVER () AS place
          FROM chronicle.execution_timeline AS t WHERE t.execution_id = execution_detail.execution_id
    )
    SELECT e.execution_id, e.workflow_id, e.workflow_name, e.workflow_version, e.status, e.queued_at, e.started_at, e.ended_at,
           chronicle_data.ms_between(e.queued_at, e.started_at), e.duration_ms,
           (SELECT string_agg(c.count || ' ' || c.status, ', ' ORDER BY c.count DESC, c.status)
              FROM (SELECT n.status, count(*) AS count FROM node AS n GROUP BY n.status) AS c),
           ARRAY(SELECT n.node_id FROM node AS n
                  WHERE n.status IN ('running', 'waiting', 'retrying') ORDER BY n.place),
           e.failed_node, e.error, f.sqlstate, f.detail, f.hint,
           (SELECT string_agg(l.node_id, ' → ' ORDER BY l.place)
              FROM (SELECT l.node_id, min(l.place) AS place FROM line AS l WHERE l.on_critical_path GROUP BY l.node_id) AS l),
           (SELECT n.node_id FROM node AS n WHERE n.duration_ms IS NOT NULL ORDER BY n.duration_ms DESC, n.place LIMIT 1),
           (SELECT string_agg(l.bar || '  ' || CASE WHEN l.compensating THEN 'undo ' ELSE '' END || l.node_id || CASE WHEN l.attempt > 1 THEN ' #' || l.attempt ELSE '' END
                              || ' ' || l.status || COALESCE(' ' || round(l.duration_ms::numeric, 1) || ' ms', ''), E'\n'
                              ORDER BY l.place)
              FROM line AS l),
           e.input, e.result, e.started_by, e.priority, e.idempotency_key, e.parent_execution_id,
           (SELECT count(*) FROM chronicle.executions AS c WHERE c.parent_execution_id = e.execution_id), e.metadata
      FROM chronicle.executions AS e
      LEFT JOIN LATERAL (SELECT f.sqlstate, f.detail, f.hint
                           FROM chronicle.execution_failures AS f
                          WHERE f.execution_id = e.execution_id AND f.node_id = e.failed_node
                          ORDER BY f.failed_at DESC LIMIT 1) AS f ON true
     WHERE e.execution_id = chronicle_data.known_execution(execution_detail.execution_id);
END;
COMMENT ON FUNCTION chronicle.execution_detail(uuid) IS
'One run on one page (\x in psql): its states and times, how many nodes are in which state, why it failed, its critical path, its slowest node and its timeline, one bar for each attempt.
queued_ms: from queued_at to started_at. under_way: nodes that run, wait or are to be retried. sqlstate, detail, hint: of the last failure of failed_node. children: runs that its nodes started.
Errors: CH031 no such run, or not yours; 22004 NULL.';
