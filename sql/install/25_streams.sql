-- What streams and categories there are. Numbers are read from the ends of indexes, and each only when it is selected:
-- versions are contiguous, so a stream's events are counted by subtraction.

CREATE VIEW chronicle.streams WITH (security_barrier) AS
SELECT s.name AS stream, s.category,
       COALESCE((SELECT max(v.version) FROM chronicle_data.event AS v WHERE v.stream_id = s.stream_id), s.removed)
           AS version,
       GREATEST(COALESCE((SELECT max(v.version) FROM chronicle_data.event AS v WHERE v.stream_id = s.stream_id), 0)
                - CASE WHEN s.max_count IS NULL AND s.max_age IS NULL AND s.truncate_before IS NULL
                            AND NOT (SELECT EXISTS (SELECT FROM chronicle_data.category AS g
                                            WHERE g.max_count IS NOT NULL OR g.max_age IS NOT NULL))
                       THEN GREATEST(s.hidden, s.removed)
                       ELSE chronicle_data.hidden_versions(s.stream_id) END, 0) AS event_count,
       s.created_at,
       GREATEST(s.created_at, s.changed_at,
                (SELECT v.recorded_at FROM chronicle_data.event AS v WHERE v.stream_id = s.stream_id
                  ORDER BY v.version DESC LIMIT 1)) AS updated_at,
       s.tombstoned
           OR s.hidden > 0
              AND s.hidden >= COALESCE((SELECT max(v.version) FROM chronicle_data.event AS v
                                         WHERE v.stream_id = s.stream_id), s.removed) AS deleted,
       s.tombstoned, s.max_count, s.max_age, s.truncate_before
  FROM chronicle_data.stream AS s
 WHERE s.name NOT LIKE '$%'
   AND ((SELECT chronicle_data.has_level('reader')) OR chronicle_data.may_read(s.category));
COMMENT ON VIEW chronicle.streams IS
'The streams of users (those of runs are in executions), also deleted ones and those that have only a retention (version 0). Of the categories that the caller may read.';
COMMENT ON COLUMN chronicle.streams.version IS 'the last number given';
COMMENT ON COLUMN chronicle.streams.event_count IS 'events that readers see';
COMMENT ON COLUMN chronicle.streams.updated_at IS 'when the last event was recorded, or the stream was deleted, whichever came later';
COMMENT ON COLUMN chronicle.streams.deleted IS 'by delete_stream, and not written since; or tombstoned';
COMMENT ON COLUMN chronicle.streams.tombstoned IS 'for ever: it cannot be written again';
COMMENT ON COLUMN chronicle.streams.max_count IS 'the stream''s own retention; NULL: what its category says';
COMMENT ON COLUMN chronicle.streams.max_age IS 'the stream''s own retention; NULL: what its category says';
COMMENT ON COLUMN chronicle.streams.truncate_before IS 'versions below it are hidden';
GRANT SELECT ON chronicle.streams TO PUBLIC;
CREATE TRIGGER refuse_change INSTEAD OF INSERT OR UPDATE OR DELETE ON chronicle.streams
    FOR EACH ROW EXECUTE FUNCTION chronicle_data.refuse_change('delete_stream, tombstone_stream and set_stream_retention change a stream.');

CREATE VIEW chronicle.categories WITH (security_barrier) AS
SELECT n.category,
       (SELECT count(*) FROM chronicle_data.stream AS s WHERE s.category = n.category) AS streams,
       (SELECT COALESCE(sum(s.event_count), 0)::bigint FROM chronicle.streams AS s WHERE s.category = n.category)
           AS events,
       (SELECT max(p.last)
          FROM chronicle_data.event_kind AS k
         CROSS JOIN LATERAL (SELECT max(v.global_position) AS last FROM chronicle_data.event AS v
                              WHERE v.kind_id = k.kind_id) AS p
         WHERE k.category = n.category) AS last_position,
       c.description, c.max_count, c.max_age
  FROM (SELECT s.category FROM chronicle_data.stream AS s
        UNION
        SELECT g.category FROM chronicle_data.category AS g
         WHERE g.description IS NOT NULL OR g.max_count IS NOT NULL OR g.max_age IS NOT NULL) AS n
  LEFT JOIN chronicle_data.category AS c ON c.category = n.category
 WHERE n.category NOT LIKE '$%'
   AND ((SELECT chronicle_data.has_level('reader')) OR chronicle_data.may_read(n.category));
COMMENT ON VIEW chronicle.categories IS
'The categories of users'' streams, and those of which something is said (describe_category, set_category_retention), as far as the caller may read them.';
COMMENT ON COLUMN chronicle.categories.streams IS 'rows of view streams, deleted ones too';
COMMENT ON COLUMN chronicle.categories.events IS 'events that readers see';
COMMENT ON COLUMN chronicle.categories.last_position IS 'position of the newest stored event; NULL: none';
COMMENT ON COLUMN chronicle.categories.max_count IS 'retention of each of its streams that says nothing of its own';
COMMENT ON COLUMN chronicle.categories.max_age IS 'retention of each of its streams that says nothing of its own';
GRANT SELECT ON chronicle.categories TO PUBLIC;
