-- What happened: events of the store and of runs, failures, printed lines. Views only, derived from the tables.
--
-- Every view is security_barrier: a condition that could leak (anything but the built-in comparisons) runs after the
-- view's own. Comparisons of workflow_id, execution_id, stream and global_position reach the indexes.

-- Whole milliseconds since 1970, and milliseconds between two times: one rounding for all views.
CREATE FUNCTION chronicle_data.epoch_ms(at timestamptz) RETURNS bigint
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN floor(extract(epoch FROM at) * 1000)::bigint;
CREATE FUNCTION chronicle_data.ms_between(earlier timestamptz, later timestamptz) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (extract(epoch FROM later - earlier) * 1000)::double precision;

-- A run's events find their run by its id; the name of the stream is put together here, and found by this index.
CREATE INDEX execution_stream ON chronicle_data.execution
    (('workflow-' || workflow_id || '/' || execution_id::text));

-- Each kind of event behind a barrier of its own: the planner opens a UNION ALL view up, barrier or not, and would run a
-- reader's condition on rows that the reader must not see.
CREATE VIEW chronicle_data.user_event WITH (security_barrier) AS
SELECT v.global_position, s.name AS stream, v.version, k.type,
       CASE WHEN (SELECT EXISTS (SELECT FROM chronicle_data.upcaster))
                 AND chronicle_data.upcast_version(k.type, v.type_version) > v.type_version
            THEN chronicle_data.upcast_data(v.global_position) ELSE v.data END AS data,
       v.metadata, v.event_id, v.recorded_at, k.category,
       CASE WHEN (SELECT EXISTS (SELECT FROM chronicle_data.upcaster))
            THEN chronicle_data.upcast_version(k.type, v.type_version) ELSE v.type_version END AS type_version,
       COALESCE(v.metadata ->> 'correlation_id', v.metadata ->> '$correlationId') AS correlation_id,
       COALESCE(v.metadata ->> 'causation_id', v.metadata ->> '$causationId') AS causation_id,
       v.actor
  FROM chronicle_data.event AS v
  JOIN chronicle_data.stream AS s ON s.stream_id = v.stream_id
  JOIN chronicle_data.event_kind AS k ON k.kind_id = v.kind_id
 WHERE v.version > s.hidden
   AND CASE WHEN s.max_count IS NULL AND s.max_age IS NULL AND s.truncate_before IS NULL
                 AND NOT (SELECT EXISTS (SELECT FROM chronicle_data.category AS g
                                            WHERE g.max_count IS NOT NULL OR g.max_age IS NOT NULL))
            THEN true ELSE v.version > chronicle_data.hidden_versions(s.stream_id) END
   AND ((SELECT chronicle_data.has_level('reader')) OR chronicle_data.may_read_stream(s.name));
CREATE VIEW chronicle_data.engine_event WITH (security_barrier) AS
SELECT v.global_position, 'workflow-' || e.workflow_id || '/' || e.execution_id::text AS stream, v.version, v.type, v.data,
       '{}'::jsonb AS metadata, v.event_id, v.recorded_at, 'workflow' COLLATE "C" AS category, 1 AS type_version,
       NULL::text AS correlation_id, NULL::text AS causation_id, v.actor
  FROM chronicle_data.workflow_event AS v
  JOIN chronicle_data.execution AS e ON e.execution_id = v.execution_id
 WHERE chronicle_data.sees_execution(e.owner, e.started_by);

CREATE VIEW chronicle.events WITH (security_barrier) AS
SELECT u.global_position, u.stream, u.version, u.type, u.data, u.metadata, u.event_id, u.recorded_at, u.category,
       u.type_version, u.correlation_id, u.causation_id, u.actor
  FROM chronicle_data.user_event AS u
UNION ALL
SELECT w.global_position, w.stream, w.version, w.type, w.data, w.metadata, w.event_id, w.recorded_at, w.category,
       w.type_version, w.correlation_id, w.causation_id, w.actor
  FROM chronicle_data.engine_event AS w
UNION ALL
SELECT o.global_position, o.stream, o.version, o.type, o.data, o.metadata, o.event_id, o.recorded_at, o.category,
       o.type_version, o.correlation_id, o.causation_id, o.actor
  FROM chronicle_data.own_unnamed_events() AS o;
COMMENT ON VIEW chronicle.events IS
'Every event: of users'' streams (for readers) and of runs (category workflow, by the rights on the run). No order of its own: ORDER BY global_position. A row passes where a chronicle.event is wanted: apply(state, e) FROM events e.';
COMMENT ON COLUMN chronicle.events.global_position IS 'number in the whole log; rises, may have holes';
COMMENT ON COLUMN chronicle.events.version IS 'number in the stream: 1, 2, 3 …';
COMMENT ON COLUMN chronicle.events.recorded_at IS 'wall clock when it was appended; of a node''s start and end: when they happened';
COMMENT ON COLUMN chronicle.events.category IS 'the part of the stream''s name before the first "-"';
COMMENT ON COLUMN chronicle.events.type_version IS 'version of the event type, after its upcasters';
COMMENT ON COLUMN chronicle.events.correlation_id IS 'metadata key correlation_id or $correlationId';
COMMENT ON COLUMN chronicle.events.causation_id IS 'metadata key causation_id or $causationId';
COMMENT ON COLUMN chronicle.events.actor IS 'who appended it: the session user; of a run: the workflow''s owner';
GRANT SELECT ON chronicle.events TO PUBLIC;
CREATE TRIGGER refuse_change INSTEAD OF INSERT OR UPDATE OR DELETE ON chronicle.events
    FOR EACH ROW EXECUTE FUNCTION chronicle_data.refuse_change();

CREATE FUNCTION chronicle_data.event_of(e chronicle.events) RETURNS chronicle.event
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ROW((e).global_position, (e).stream, (e).version, (e).type, (e).data, (e).metadata, (e).event_id,
               (e).recorded_at, (e).category, (e).type_version, (e).correlation_id, (e).causation_id,
               (e).actor)::chronicle.event;
CREATE CAST (chronicle.events AS chronicle.event) WITH FUNCTION chronicle_data.event_of(chronicle.events) AS IMPLICIT;

CREATE VIEW chronicle.execution_history WITH (security_barrier) AS
SELECT e.workflow_id, e.execution_id, v.version, v.global_position, v.type, v.node_id, v.recorded_at, v.data
  FROM chronicle_data.execution AS e
  JOIN chronicle_data.workflow_event AS v ON v.execution_id = e.execution_id
 WHERE chronicle_data.sees_execution(e.owner, e.started_by);
COMMENT ON VIEW chronicle.execution_history IS
'Every event of every run. No order of its own: ORDER BY version within a run, ORDER BY global_position over several.';
COMMENT ON COLUMN chronicle.execution_history.version IS 'number in the run: 1, 2, 3 …';
COMMENT ON COLUMN chronicle.execution_history.node_id IS 'NULL for events of the run itself';
COMMENT ON COLUMN chronicle.execution_history.recorded_at IS 'when it happened';
COMMENT ON COLUMN chronicle.execution_history.data IS 'camelCase; duration and delay in milliseconds';
GRANT SELECT ON chronicle.execution_history TO PUBLIC;

CREATE VIEW chronicle.execution_failures WITH (security_barrier) AS
SELECT e.workflow_id, e.execution_id, v.node_id, (v.data ->> 'attempt')::int AS attempt, v.recorded_at AS failed_at,
       v.data ->> 'sqlstate' AS sqlstate, v.data ->> 'error' AS error, NULLIF(v.data ->> 'detail', '') AS detail,
       NULLIF(v.data ->> 'hint', '') AS hint, NULLIF(v.data ->> 'context', '') AS context,
       v.type = 'CompensationFailed' AS compensating
  FROM chronicle_data.execution AS e
  JOIN chronicle_data.workflow_event AS v ON v.execution_id = e.execution_id
   AND v.type IN ('NodeExecutionFailed', 'CompensationFailed')
 WHERE chronicle_data.sees_execution(e.owner, e.started_by);
COMMENT ON VIEW chronicle.execution_failures IS
'One row per failed attempt of a node or of its compensation, also of those that a later attempt made good, with PostgreSQL''s error fields.';
COMMENT ON COLUMN chronicle.execution_failures.attempt IS '1 for the first';
COMMENT ON COLUMN chronicle.execution_failures.error IS 'the error''s message';
COMMENT ON COLUMN chronicle.execution_failures.context IS 'where in the SQL it happened';
COMMENT ON COLUMN chronicle.execution_failures.compensating IS 'true: an attempt at undoing the node';
GRANT SELECT ON chronicle.execution_failures TO PUBLIC;

CREATE VIEW chronicle.execution_logs WITH (security_barrier) AS
SELECT l.execution_id, l.node_id, l.seq, l.at, l.level, l.message
  FROM chronicle_data.execution AS e
  JOIN chronicle_data.execution_log AS l ON l.execution_id = e.execution_id
 WHERE chronicle_data.sees_execution(e.owner, e.started_by);
COMMENT ON VIEW chronicle.execution_logs IS 'What console.log nodes printed: one row per line. ORDER BY at, node_id, seq.';
COMMENT ON COLUMN chronicle.execution_logs.seq IS 'number of the line in its node';
GRANT SELECT ON chronicle.execution_logs TO PUBLIC;
