-- position_at: where to begin to read what was recorded from a time on.
-- In a database of its own: elsewhere tests change times.
SELECT current_database() AS back \gset
CREATE DATABASE regress_position_at TEMPLATE template0 ENCODING 'UTF8';
\c regress_position_at
SET client_min_messages = warning;
CREATE EXTENSION chronicle;
RESET client_min_messages;
SET search_path = public, chronicle;
SELECT position_at(now()) = safe_position() AS empty;
SELECT append_event('pat-1', 'A') FROM generate_series(1, 3);
SELECT clock_timestamp() AS first_gap, safe_position() AS at_first_gap \gset
SELECT append_event('pat-2', 'B') FROM generate_series(1, 3);
SELECT clock_timestamp() AS second_gap, safe_position() AS at_second_gap \gset
SELECT append_event('pat-1', 'C');
-- Between, at an event's own time, before everything, after everything.
SELECT position_at(:'first_gap') = :at_first_gap, position_at(:'second_gap') = :at_second_gap;
SELECT stream, version FROM read_all(position_at(:'first_gap'), categories => '{pat}');
SELECT bool_and(position_at(recorded_at) < global_position AND position_at(recorded_at + '1 us') >= global_position) FROM events WHERE category = 'pat';
SELECT position_at('-infinity') < min(global_position), count(*) FILTER (WHERE global_position <= position_at('-infinity')) FROM events;
SELECT position_at('4713-01-01 BC') = position_at('-infinity'), position_at('infinity') = safe_position(), position_at('294276-01-01') = safe_position(), position_at(now() + '1 hour') = safe_position();
-- By definition, for every event and the times around it.
SELECT count(*) AS wrong
  FROM events AS e
 CROSS JOIN (VALUES (interval '-1 s'), ('-1 us'), ('0'), ('1 us'), ('1 s')) AS t (shift)
 WHERE e.category = 'pat'
   AND position_at(e.recorded_at + t.shift) IS DISTINCT FROM COALESCE(
       (SELECT min(o.global_position) - 1
          FROM (SELECT global_position, recorded_at FROM chronicle_data.event
                UNION ALL SELECT global_position, recorded_at FROM chronicle_data.workflow_event) AS o
         WHERE o.recorded_at >= e.recorded_at + t.shift), safe_position());
-- Times that fall with rising positions, by seconds: nothing is missed.
SELECT append_event('pat-3', 'D') FROM generate_series(1, 50);
BEGIN;
ALTER TABLE chronicle_data.event DISABLE TRIGGER refuse_change; -- it refuses
UPDATE chronicle_data.event AS e
   SET recorded_at = '2001-01-01 00:00:00+00'::timestamptz + make_interval(secs => e.version + 8 * ((e.version * 7919) % 100) / 100.0)
  FROM chronicle_data.stream AS s WHERE s.stream_id = e.stream_id AND s.name IN ('pat-1', 'pat-2', 'pat-3');
SELECT count(*) FILTER (WHERE later) > 5 AS times_fall
  FROM (SELECT recorded_at < lag(recorded_at) OVER (ORDER BY global_position) AS later FROM events WHERE stream = 'pat-3') AS e;
SELECT count(*) AS wrong
  FROM generate_series(0, 60 * 10) AS tenths
 CROSS JOIN LATERAL (SELECT '2001-01-01 00:00:00+00'::timestamptz + make_interval(secs => tenths / 10.0) AS at) AS t
 WHERE position_at(t.at) > COALESCE((SELECT min(global_position) - 1 FROM events WHERE category = 'pat' AND recorded_at >= t.at), position_at(t.at));
ROLLBACK;
-- An open transaction's own events; nothing above the safe position is promised.
BEGIN;
SELECT append_event('pat-1', 'E');
SELECT position_at(now()) <= safe_position();
ROLLBACK;
SELECT position_at(NULL);
\c :back
DROP DATABASE regress_position_at;
