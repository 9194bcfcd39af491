-- When each node of a run worked, what the run waited for, and a Gantt bar that reads well in psql.

-- One bar: an even track, and the cells that the attempt took. At least one cell, so that a tiny node is seen; ends that
-- meet in time meet in the bar. first, last: shares of the run's time, 0 to 1.
CREATE FUNCTION chronicle_data.timeline_bar(first double precision, last double precision, status text, width int)
    RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT repeat('░', c.before) || repeat(g.body, c.cells - 1) || g.head || repeat('░', width - c.before - c.cells)
      FROM (SELECT LEAST(GREATEST(round(first * width)::int, 0), width - 1) AS before,
                   LEAST(round(last * width)::int, width) AS until) AS r
     CROSS JOIN LATERAL (SELECT r.before, GREATEST(r.until - r.before, 1) AS cells) AS c
     CROSS JOIN LATERAL (SELECT CASE WHEN status IN ('completed', 'compensated', 'running') THEN '█'
                                     WHEN status = 'failed' THEN '▓'
                                     ELSE '▒' END AS body,
                                CASE WHEN status IN ('completed', 'compensated') THEN '█'
                                     WHEN status IN ('failed', 'cancelled') THEN '×'
                                     WHEN status = 'skipped' THEN '·'
                                     ELSE '►' END AS head) AS g;
END;

-- Per run: attempt gathers the events into one row per attempt; latest has, for each node, the predecessor that it waited
-- for: the last one that ended before it began (join: any begins before others end); path walks back through these from
-- the attempt that ended last. One object instead of a join in the recursion: a step costs a look-up, not a scan.
CREATE VIEW chronicle.execution_timeline WITH (security_barrier) AS
SELECT e.workflow_id, e.execution_id, a.node_id, a.node_type, a.attempt, a.status, a.started_at, a.ended_at,
       chronicle_data.ms_between(e.started_at, COALESCE(a.started_at, a.ended_at)) AS offset_ms,
       chronicle_data.ms_between(a.started_at, a.ended_at) AS duration_ms,
       a.records_processed, a.error, a.on_critical_path,
       chronicle_data.timeline_bar(
           chronicle_data.ms_between(e.started_at, COALESCE(a.started_at, a.ended_at)) / s.run_ms,
           chronicle_data.ms_between(e.started_at, COALESCE(a.ended_at, a.next_start, s.until)) / s.run_ms,
           a.status, current_setting('chronicle.timeline_width')::int) AS bar,
       a.compensating
  FROM chronicle_data.execution AS e
 CROSS JOIN LATERAL (SELECT COALESCE(e.ended_at, statement_timestamp()) AS until,
                            GREATEST(chronicle_data.ms_between(e.started_at, COALESCE(e.ended_at, statement_timestamp())),
                                     0.001) AS run_ms) AS s
 CROSS JOIN LATERAL (
    WITH RECURSIVE moment AS (
        SELECT v.node_id, k.compensating, COALESCE((v.data ->> 'attempt')::int, 0) AS attempt,
               max(v.version) AS last_version, max(v.data ->> 'nodeType') AS node_type,
               max(v.recorded_at) FILTER (WHERE k.what = 'Started') AS started_at,
               max(v.recorded_at) FILTER (WHERE k.what = 'Completed') AS completed_at,
               max(v.recorded_at) FILTER (WHERE k.what = 'Failed') AS failed_at,
               max(v.recorded_at) FILTER (WHERE k.what = 'Cancelled') AS cancelled_at,
               max(v.recorded_at) FILTER (WHERE k.what = 'Skipped') AS skipped_at,
               max((v.data ->> 'recordsProcessed')::bigint) FILTER (WHERE k.what = 'Completed') AS records,
               max(v.data ->> 'error') FILTER (WHERE k.what = 'Failed') AS error
          FROM chronicle_data.workflow_event AS v
          JOIN (VALUES ('NodeExecutionStarted', 'Started', false), ('NodeExecutionCompleted', 'Completed', false),
                       ('NodeExecutionFailed', 'Failed', false), ('NodeExecutionCancelled', 'Cancelled', false),
                       ('NodeExecutionSkipped', 'Skipped', false), ('CompensationStarted', 'Started', true),
                       ('CompensationCompleted', 'Completed', true), ('CompensationFailed', 'Failed', true))
               AS k (type, what, compensating) ON k.type = v.type
         WHERE v.execution_id = e.execution_id
         GROUP BY v.node_id, k.compensating, COALESCE((v.data ->> 'attempt')::int, 0)
    ), attempt AS MATERIALIZED (
        SELECT m.node_id, m.compensating, m.attempt, m.last_version, m.node_type, m.started_at, m.records, m.error,
               COALESCE(m.completed_at, m.failed_at, m.cancelled_at, m.skipped_at) AS ended_at,
               lead(m.started_at) OVER (PARTITION BY m.node_id, m.compensating ORDER BY m.attempt) AS next_start,
               min(m.started_at) OVER (PARTITION BY m.node_id, m.compensating) AS first_start,
               CASE WHEN m.completed_at IS NOT NULL AND m.compensating THEN 'compensated'
                    WHEN m.completed_at IS NOT NULL THEN 'completed'
                    WHEN m.failed_at IS NOT NULL THEN 'failed'
                    WHEN m.cancelled_at IS NOT NULL THEN 'cancelled'
                    WHEN m.skipped_at IS NOT NULL THEN 'skipped' END AS outcome
          FROM moment AS m
         WHERE m.started_at IS NOT NULL OR m.skipped_at IS NOT NULL
    ), latest AS MATERIALIZED (
        SELECT jsonb_object_agg(g.target, a.node_id ORDER BY a.ended_at, a.last_version) AS predecessor
          FROM chronicle_data.definition_edge AS g
          JOIN attempt AS a ON a.node_id = g.source AND NOT a.compensating
          JOIN attempt AS b ON b.node_id = g.target AND NOT b.compensating
         WHERE g.definition_id = e.definition_id AND a.ended_at <= COALESCE(b.first_start, b.ended_at)
    ), path (node_id) AS (
        (SELECT a.node_id
           FROM attempt AS a
          WHERE a.outcome IN ('completed', 'failed') AND NOT a.compensating
          ORDER BY a.ended_at DESC, a.last_version DESC LIMIT 1)
        UNION
        SELECT b.node_id
          FROM path AS p
         CROSS JOIN LATERAL (SELECT (SELECT l.predecessor FROM latest AS l) ->> p.node_id AS node_id) AS b
         WHERE b.node_id IS NOT NULL
    )
    SELECT a.node_id, a.compensating, n.node_index, COALESCE(a.node_type, n.node_type) AS node_type, a.attempt, a.started_at, a.ended_at, a.next_start,
           a.records AS records_processed,
           COALESCE(a.outcome, CASE WHEN a.next_start IS NULL AND e.ended_at IS NULL
                                    THEN COALESCE(CASE WHEN t.begun THEN 'waiting' END, NULLIF(t.state, 'held'), 'running')
                                    ELSE 'cancelled' END) AS status,
           CASE WHEN a.outcome IS NULL AND (a.next_start IS NOT NULL OR e.ended_at IS NOT NULL)
                THEN 'the worker was lost' ELSE a.error END AS error,
           NOT a.compensating AND a.node_id IN (SELECT p.node_id FROM path AS p) AS on_critical_path
      FROM attempt AS a
      LEFT JOIN chronicle_data.definition_node AS n ON n.definition_id = e.definition_id AND n.node_id = a.node_id
      LEFT JOIN chronicle_data.node_task AS t ON t.execution_id = e.execution_id AND t.node_index = n.node_index
                                             AND t.compensating = a.compensating
    ) AS a
 WHERE chronicle_data.sees_execution(e.owner, e.started_by)
 ORDER BY e.queued_at, e.execution_id, COALESCE(a.started_at, a.ended_at), a.node_index, a.compensating, a.attempt;
COMMENT ON VIEW chronicle.execution_timeline IS
'One row per attempt of a node, or at undoing it (a compensation), and one per skipped node; run by run, in the order of their starts.';
COMMENT ON COLUMN chronicle.execution_timeline.attempt IS '1 for the first; 0: skipped';
COMMENT ON COLUMN chronicle.execution_timeline.status IS
'completed, failed, cancelled or skipped; of a compensation compensated or failed; while it is not over, the node''s state (running, waiting …)';
COMMENT ON COLUMN chronicle.execution_timeline.started_at IS 'NULL: skipped';
COMMENT ON COLUMN chronicle.execution_timeline.ended_at IS 'NULL: not over, or its worker was lost';
COMMENT ON COLUMN chronicle.execution_timeline.offset_ms IS 'milliseconds from the run''s start to the attempt''s';
COMMENT ON COLUMN chronicle.execution_timeline.duration_ms IS 'milliseconds from start to end; NULL: not over, or skipped';
COMMENT ON COLUMN chronicle.execution_timeline.records_processed IS 'rows that it read, made or wrote';
COMMENT ON COLUMN chronicle.execution_timeline.error IS 'message of the error that ended this attempt';
COMMENT ON COLUMN chronicle.execution_timeline.on_critical_path IS
'the run (so far) took as long as the nodes of this chain: each waited for the one before it';
COMMENT ON COLUMN chronicle.execution_timeline.bar IS
'the run from start to end (or now) in chronicle.timeline_width cells: █ at work, ▓× failed, ▒× cancelled, ► not over, · skipped';
COMMENT ON COLUMN chronicle.execution_timeline.compensating IS 'true: an attempt at undoing the node';
GRANT SELECT ON chronicle.execution_timeline TO PUBLIC;
