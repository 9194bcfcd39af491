-- How the newest run of the workflow went: its events, and when each node worked.
\pset footer off
\pset null ''

SELECT execution_id AS run FROM executions WHERE workflow_id = 'package-history' ORDER BY queued_at DESC LIMIT 1 \gset

\echo The run :run
SELECT status, date_trunc('second', queued_at) AS queued_at, round(duration_ms::numeric, 1) AS ms, completed_nodes || ' of ' || total_nodes AS nodes
  FROM executions WHERE execution_id = :'run';

\echo Its history (view execution_history)
SELECT version AS "#", to_char(recorded_at, 'HH24:MI:SS.MS') AS at, type, node_id AS node, data ->> 'attempt' AS attempt,
       data ->> 'recordsProcessed' AS records, COALESCE(data ->> 'error', data ->> 'reason', '') AS remark
  FROM execution_history WHERE execution_id = :'run' ORDER BY version;

\echo Its timeline (view execution_timeline; * the path that the run waited for)
SELECT node_id || CASE WHEN attempt > 1 THEN ', attempt ' || attempt ELSE '' END AS node, status,
       round(offset_ms::numeric, 1) AS "from ms", round(duration_ms::numeric, 1) AS ms, records_processed AS records,
       CASE WHEN on_critical_path THEN '*' ELSE '' END AS "*", bar
  FROM execution_timeline WHERE execution_id = :'run' ORDER BY offset_ms, attempt;
