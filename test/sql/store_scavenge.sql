-- scavenge: what is hidden is removed, a step a call; numbers and retries go on.
-- In a database of its own, whose scheduler does not scavenge.
SELECT current_database() AS back \gset
CREATE DATABASE regress_scavenge TEMPLATE template0 ENCODING 'UTF8';
ALTER DATABASE regress_scavenge SET chronicle.scavenge_interval = -1;
\c regress_scavenge
SET client_min_messages = warning;
CREATE EXTENSION chronicle;
RESET client_min_messages;
SET search_path = public, chronicle;
CREATE FUNCTION rows_of(name text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(e.version::text, ' ' ORDER BY e.version)
      FROM chronicle_data.event AS e JOIN chronicle_data.stream AS s USING (stream_id) WHERE s.name = rows_of.name
$$;
CREATE FUNCTION age(name text, up_to bigint, days int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    ALTER TABLE chronicle_data.event DISABLE TRIGGER refuse_change; -- it refuses
    UPDATE chronicle_data.event AS e SET recorded_at = clock_timestamp() - make_interval(days => days, secs => up_to - e.version)
      FROM chronicle_data.stream AS s WHERE s.stream_id = e.stream_id AND s.name = age.name AND e.version <= up_to;
    ALTER TABLE chronicle_data.event ENABLE ALWAYS TRIGGER refuse_change;
END $$;
CREATE VIEW shown AS SELECT stream, version, event_count, deleted FROM streams;

-- Nothing hidden, nothing removed.
SELECT append_event_arrays('scv_a-1', array_fill('E'::text, ARRAY[10]), NULL), append_event_arrays('scv_a-2', array_fill('E'::text, ARRAY[10]), NULL);
SELECT * FROM scavenge();
-- A retention.
SELECT set_stream_retention('scv_a-1', max_count => 3);
SELECT streams, events, bytes > 100 AS bytes FROM scavenge();
SELECT rows_of('scv_a-1'), rows_of('scv_a-2');
SELECT * FROM scavenge();
SELECT append_event('scv_a-1', 'E', expected_version => 10), append_event('scv_a-1', 'E');
SELECT streams, events FROM scavenge();
SELECT rows_of('scv_a-1');
SELECT version FROM read_stream('scv_a-1');
SELECT * FROM shown WHERE stream = 'scv_a-1';
-- Widened again: what is removed stays so.
SELECT set_stream_retention('scv_a-1', max_count => 100);
SELECT version FROM read_stream('scv_a-1');
SELECT * FROM shown WHERE stream = 'scv_a-1';
SELECT * FROM scavenge();
-- By age, and by version; also one to come.
SELECT age('scv_a-2', 4, 10), set_stream_retention('scv_a-2', max_age => '9 days');
SELECT streams, events FROM scavenge();
SELECT rows_of('scv_a-2');
SELECT set_stream_retention('scv_a-2', truncate_before => 12);
SELECT streams, events FROM scavenge();
SELECT rows_of('scv_a-2'), stream_version('scv_a-2');
SELECT * FROM shown WHERE stream = 'scv_a-2';
SELECT append_event('scv_a-2', 'E', expected_version => 0);
SELECT append_event('scv_a-2', 'E', expected_version => 10), append_event('scv_a-2', 'E');
SELECT rows_of('scv_a-2');
SELECT streams, events FROM scavenge();
SELECT rows_of('scv_a-2');
SELECT version FROM read_stream('scv_a-2');

-- A deleted stream: nothing is left of it but its last number.
SELECT append_event_arrays('scv_b-1', array_fill('E'::text, ARRAY[5]), NULL), delete_stream('scv_b-1');
SELECT updated_at AS deleted_at FROM streams WHERE stream = 'scv_b-1' \gset
SELECT streams, events FROM scavenge();
SELECT rows_of('scv_b-1'), stream_version('scv_b-1');
SELECT * FROM shown WHERE stream = 'scv_b-1';
SELECT updated_at = :'deleted_at' AS kept FROM streams WHERE stream = 'scv_b-1';
SELECT append_event('scv_b-1', 'E', expected_version => -1);
SELECT append_event('scv_b-1', 'E', expected_version => 0), append_event('scv_b-1', 'E', expected_version => 6);
SELECT version FROM read_stream('scv_b-1');
SELECT delete_stream('scv_b-1', 7);
SELECT streams, events FROM scavenge();
SELECT delete_stream('scv_b-1'), delete_stream('scv_b-1', 7), append_events('scv_b-1', '[]', 7);
-- In another session the same: what a process remembers of a stream is not trusted.
\c -
SET search_path = public, chronicle;
SELECT append_event('scv_b-1', 'E', expected_version => 7);
-- A tombstone: for ever, and nothing is left.
SELECT append_event('scv_b-2', 'E', event_id => '00000000-0000-4000-8000-0000005ca001'), tombstone_stream('scv_b-2');
SELECT streams, events FROM scavenge();
SELECT rows_of('scv_b-2'), stream_version('scv_b-2'), (SELECT count(*) FROM chronicle_data.removed_id) AS ids;
SELECT append_event('scv_b-2', 'E', event_id => '00000000-0000-4000-8000-0000005ca001');
SELECT * FROM shown WHERE stream = 'scv_b-2';

-- Retries of what was removed: by the ids that the caller gave.
SELECT append_events('scv_c-1', '[{"type": "A", "data": {"n": 1.0, "k": [1, 2]}, "event_id": "00000000-0000-4000-8000-0000005cc001"},
    {"type": "B"}, {"type": "C", "event_id": "00000000-0000-4000-8000-0000005cc003"}]');
SELECT last_position() AS third \gset
SELECT append_event('scv_c-1', 'D', event_id => '00000000-0000-4000-8000-0000005cc004');
SELECT set_stream_retention('scv_c-1', max_count => 2);
SELECT streams, events FROM scavenge();
SELECT rows_of('scv_c-1');
SELECT append_events('scv_c-1', '[{"type": "A", "data": {"k": [1, 2], "n": 1.00}, "event_id": "00000000-0000-4000-8000-0000005cc001"},
    {"type": "B"}, {"type": "C", "event_id": "00000000-0000-4000-8000-0000005cc003"}]', 99);
SELECT last_position() = :third AS same_position;
SELECT append_event('scv_c-1', 'A', '{"n": 1, "k": [1, 2]}', event_id => '00000000-0000-4000-8000-0000005cc001');
SELECT append_event('scv_c-1', 'A', '{"n": 2}', event_id => '00000000-0000-4000-8000-0000005cc001');
SELECT append_event('scv_c-1', 'X', '{"n": 1, "k": [1, 2]}', event_id => '00000000-0000-4000-8000-0000005cc001');
SELECT append_event('scv_c-2', 'A', '{"n": 1, "k": [1, 2]}', event_id => '00000000-0000-4000-8000-0000005cc001');
SELECT append_events('scv_c-1', '[{"type": "A", "data": {"k": [1, 2], "n": 1}, "event_id": "00000000-0000-4000-8000-0000005cc001"},
    {"type": "B", "event_id": "00000000-0000-4000-8000-0000005cc002"}]');
SELECT delete_stream('scv_c-1');
SELECT streams, events FROM scavenge();
SELECT append_event('scv_c-1', 'D', event_id => '00000000-0000-4000-8000-0000005cc004');

-- A step at a time.
SELECT append_event_arrays('scv_d-1', array_fill('E'::text, ARRAY[10]), NULL), append_event_arrays('scv_d-2', array_fill('E'::text, ARRAY[10]), NULL);
SELECT delete_stream('scv_d-1'), set_stream_retention('scv_d-2', max_count => 1);
SELECT s, streams, events FROM generate_series(1, 6) AS s, LATERAL (SELECT * FROM scavenge(4 + 0 * s)) AS step;
SELECT rows_of('scv_d-1'), rows_of('scv_d-2');
-- Undone with its transaction.
SELECT append_event('scv_d-2', 'E');
BEGIN;
SELECT streams, events FROM scavenge();
ROLLBACK;
SELECT rows_of('scv_d-2');
SELECT version FROM read_stream('scv_d-2');
BEGIN;
SELECT append_event('scv_d-2', 'E');
SELECT streams, events FROM scavenge();
SELECT append_event('scv_d-2', 'E'), version FROM read_stream('scv_d-2');
COMMIT;
SELECT streams, events FROM scavenge();
SELECT rows_of('scv_d-2');

-- A category: found when it is set, when its streams grow, when they age; a stream's own value is heeded.
SELECT append_event_arrays('scv_e-' || n, array_fill('E'::text || n % 2, ARRAY[5]), NULL) FROM generate_series(1, 3) AS n;
SELECT set_category_retention('scv_e', max_count => 2), set_stream_retention('scv_e-3', max_count => 4);
SELECT streams, events FROM scavenge();
SELECT rows_of('scv_e-1'), rows_of('scv_e-2'), rows_of('scv_e-3');
SELECT append_event('scv_e-1', 'New'), append_event('scv_e-3', 'New');
SELECT streams, events FROM scavenge();
SELECT rows_of('scv_e-1'), rows_of('scv_e-2'), rows_of('scv_e-3');
SELECT set_stream_retention('scv_e-3');
SELECT streams, events FROM scavenge();
SELECT rows_of('scv_e-3');
SELECT set_category_retention('scv_e', max_age => '9 days');
SELECT append_event_arrays('scv_e-' || n, array_fill('E'::text, ARRAY[5]), NULL) FROM generate_series(4, 5) AS n;
SELECT streams, events FROM scavenge();
SELECT age('scv_e-4', 3, 10), age('scv_e-1', 5, 10);
SELECT streams, events FROM scavenge();
SELECT rows_of('scv_e-1'), rows_of('scv_e-4'), rows_of('scv_e-5');
-- Progress: what was looked at is not looked at again.
SELECT counted_to = 0 AS counted, aged_to BETWEEN 1 AND safe_position() AS aged FROM chronicle_data.scavenge_progress WHERE category = 'scv_e';
SELECT count(*) FROM chronicle_data.scavenge_queue;
-- Changed: all is looked at again.
SELECT set_category_retention('scv_e', max_count => 1);
SELECT s, streams, events FROM generate_series(1, 4) AS s, LATERAL (SELECT * FROM scavenge(4 + 0 * s)) AS step;
SELECT n, rows_of('scv_e-' || n) FROM generate_series(1, 5) AS n;
SELECT category, streams, events FROM categories ORDER BY category;

-- Nobody else removes.
DELETE FROM chronicle_data.event;
BEGIN;
SELECT streams FROM scavenge();
DELETE FROM chronicle_data.event;
ROLLBACK;
UPDATE chronicle_data.event SET data = '{}';
TRUNCATE chronicle_data.event;
-- Rights and errors.
SELECT scavenge(0);
CREATE ROLE regress_scv_operator;
SELECT grant_access('regress_scv_operator', 'operator');
SET ROLE regress_scv_operator;
SELECT * FROM scavenge();
SELECT count(*) FROM chronicle_data.removed_id;
RESET ROLE;
SELECT grant_access('regress_scv_operator', 'admin');
SELECT delete_stream('scv_e-5');
SET ROLE regress_scv_operator;
SELECT streams, events FROM scavenge();
RESET ROLE;
BEGIN READ ONLY;
SELECT * FROM scavenge();
ROLLBACK;
-- In REPEATABLE READ too.
SELECT append_event('scv_e-4', 'E');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT streams, events FROM scavenge();
COMMIT;
SELECT rows_of('scv_e-4');
SELECT revoke_access('regress_scv_operator', 'reader');
DROP ROLE regress_scv_operator;
-- The log is in order and whole.
SELECT (SELECT sum(event_count) FROM streams) = (SELECT count(*) FROM read_all(max_count => 100000)) AS counted, (SELECT count(*) FROM read_all(max_count => 100000)) = (SELECT count(*) FROM events WHERE category NOT LIKE '$%') AS shown;
\c :back
DROP DATABASE regress_scavenge;
