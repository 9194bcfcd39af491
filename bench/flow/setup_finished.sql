-- Finished runs: copies of one that the engine ran, with ids, times and positions of their own. psql -v finished=N.
SET synchronous_commit = off;
CREATE FUNCTION pg_temp.uuid_at(at timestamptz) RETURNS uuid LANGUAGE sql
    RETURN (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(random()::text), 1, 3) ||
            '8' || substr(md5(random()::text), 1, 15))::uuid;
CREATE TEMP TABLE model AS
SELECT * FROM chronicle_data.execution WHERE workflow_id = 'three' AND status = 'completed' ORDER BY queued_at DESC LIMIT 1;
CREATE TEMP TABLE copies AS
SELECT n, interval '20 days' * ((n - 1)::float / :finished - 1) AS shift, pg_temp.uuid_at(m.queued_at + interval '20 days' * ((n - 1)::float / :finished - 1)) AS id
  FROM model AS m CROSS JOIN generate_series(1, :finished) AS n;
-- Positions of our own: whole blocks that the engine then never gives.
CREATE TEMP TABLE positions AS
SELECT min(p) AS first FROM (SELECT nextval('chronicle_data.position_seq') AS p
    FROM generate_series(0, :finished * 9 / 16384) OFFSET 0) AS blocks;

INSERT INTO chronicle_data.execution
SELECT (jsonb_populate_record(m, jsonb_build_object('execution_id', c.id, 'queued_at', m.queued_at + c.shift,
        'started_at', m.started_at + c.shift, 'ended_at', m.ended_at + c.shift))).*
  FROM model AS m CROSS JOIN copies AS c ORDER BY c.n;
INSERT INTO chronicle_data.node_result
SELECT c.id, r.node_index, r.node_id, r.status, r.attempts, r.started_at + c.shift, r.ended_at + c.shift, r.records_processed,
       r.live_edges, r.output, r.output_truncated, r.columns
  FROM copies AS c CROSS JOIN chronicle_data.node_result AS r
 WHERE r.execution_id = (SELECT execution_id FROM model) ORDER BY c.n, r.ended_at;
INSERT INTO chronicle_data.node_rows
SELECT c.id, r.node_index, r.chunk, r.rows FROM copies AS c CROSS JOIN chronicle_data.node_rows AS r
 WHERE r.execution_id = (SELECT execution_id FROM model) ORDER BY c.n, r.node_index;
INSERT INTO chronicle_data.workflow_event
SELECT p.first + (c.n - 1) * 9 + v.version - 1, c.id, v.version, v.recorded_at + c.shift, p.first - 1, pg_temp.uuid_at(v.recorded_at + c.shift),
       v.type, v.actor, v.node_id, jsonb_set(v.data, '{executionId}', to_jsonb(c.id))
  FROM copies AS c CROSS JOIN positions AS p CROSS JOIN chronicle_data.workflow_event AS v
 WHERE v.execution_id = (SELECT execution_id FROM model) ORDER BY c.n, v.version;
VACUUM (ANALYZE) chronicle_data.execution, chronicle_data.node_result, chronicle_data.node_rows, chronicle_data.workflow_event;
SELECT count(*) > :finished AND (SELECT count(*) FROM chronicle_data.workflow_event) >= 9 * :finished AS made FROM chronicle_data.execution WHERE status = 'completed' AND workflow_id = 'three' \gset
\if :made
\else
    \warn the runs were not made
    SELECT 1 / 0;
\endif
