-- Retention of streams and categories: hidden everywhere at once, the numbers go on.
SET search_path = public, chronicle;
SELECT safe_position() AS start \gset
CREATE FUNCTION pg_temp.seen(name text) RETURNS TABLE(by_stream text, by_log text, by_category text, by_view text, counted bigint)
LANGUAGE sql AS $$
    SELECT (SELECT string_agg(version::text, ' ' ORDER BY version) FROM read_stream(name)),
           (SELECT string_agg(version::text, ' ' ORDER BY version) FROM read_all(max_count => 100000) WHERE stream = name),
           (SELECT string_agg(version::text, ' ' ORDER BY version) FROM read_category(split_part(name, '-', 1)) WHERE stream = name),
           (SELECT string_agg(version::text, ' ' ORDER BY version) FROM events WHERE stream = name),
           (SELECT event_count FROM streams WHERE stream = name)
$$;
-- Events that were recorded some days ago.
CREATE FUNCTION pg_temp.age(name text, up_to bigint, days int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    ALTER TABLE chronicle_data.event DISABLE TRIGGER refuse_change; -- it refuses
    UPDATE chronicle_data.event AS e SET recorded_at = clock_timestamp() - make_interval(days => days, secs => up_to - e.version)
      FROM chronicle_data.stream AS s WHERE s.stream_id = e.stream_id AND s.name = age.name AND e.version <= up_to;
    ALTER TABLE chronicle_data.event ENABLE ALWAYS TRIGGER refuse_change;
END $$;

SELECT append_event_arrays('ret_a-1', array_fill('E'::text, ARRAY[10]), NULL), append_event_arrays('ret_a-2', array_fill('E'::text, ARRAY[10]), NULL);
-- The newest so many.
SELECT set_stream_retention('ret_a-1', max_count => 3);
SELECT * FROM pg_temp.seen('ret_a-1');
SELECT version FROM read_stream('ret_a-1', 2, 2);
SELECT version FROM read_stream('ret_a-1', backwards => true);
SELECT version FROM read_stream('ret_a-1', 9, backwards => true);
SELECT stream_version('ret_a-1'), append_event('ret_a-1', 'E', expected_version => 10);
SELECT * FROM pg_temp.seen('ret_a-1');
SELECT stream, version, event_count, deleted, tombstoned, max_count, max_age, truncate_before FROM streams WHERE category = 'ret_a' ORDER BY stream;
-- From a version on; also one that is still to come.
SELECT set_stream_retention('ret_a-1', truncate_before => 6);
SELECT * FROM pg_temp.seen('ret_a-1');
SELECT set_stream_retention('ret_a-1', truncate_before => 13);
SELECT * FROM pg_temp.seen('ret_a-1');
SELECT append_events('ret_a-1', '[{"type": "E"}, {"type": "E"}]');
SELECT * FROM pg_temp.seen('ret_a-1');
-- Nothing is deleted by it: the number counts, not what is to be seen.
SELECT append_event('ret_a-1', 'X', expected_version => 0);
SELECT append_events('ret_a-1', '[]', -1);
-- By age. An interval counts in UTC, whatever the session's time zone.
SELECT pg_temp.age('ret_a-2', 6, 10);
SELECT set_stream_retention('ret_a-2', max_age => '9 days');
SELECT * FROM pg_temp.seen('ret_a-2');
SELECT set_stream_retention('ret_a-2', max_age => '11 days');
SELECT * FROM pg_temp.seen('ret_a-2');
SELECT pg_temp.age('ret_a-2', 10, 12);
SELECT * FROM pg_temp.seen('ret_a-2');
SELECT set_stream_retention('ret_a-2', max_age => '1 year');
SELECT * FROM pg_temp.seen('ret_a-2');
-- Every cut, by halving.
SELECT pg_temp.age('ret_a-2', v, 30 - v::int * 2) FROM generate_series(10, 1, -1) AS v;
DO $$
DECLARE
    seen text;
BEGIN
    FOR days IN 9 .. 29 LOOP
        PERFORM set_stream_retention('ret_a-2', max_age => make_interval(days => days, hours => 12));
        SELECT string_agg(version::text, ' ') INTO seen FROM read_stream('ret_a-2');
        IF seen IS DISTINCT FROM (SELECT string_agg(v::text, ' ') FROM generate_series(1, 10) AS v WHERE 30 - v * 2 <= days) THEN
            RAISE EXCEPTION '% days: %', days, seen;
        END IF;
    END LOOP;
END $$;
-- The strictest field wins.
SELECT set_stream_retention('ret_a-2', 5, '13 days', 4);
SELECT * FROM pg_temp.seen('ret_a-2');
SELECT set_stream_retention('ret_a-2', 1, '13 days', 4);
SELECT * FROM pg_temp.seen('ret_a-2');
SELECT set_stream_retention('ret_a-2', 5, '14 days', 10);
SELECT * FROM pg_temp.seen('ret_a-2');
SELECT set_stream_retention('ret_a-2');
SELECT * FROM pg_temp.seen('ret_a-2');

-- A category's: for the streams of it that say nothing of their own, field by field.
SELECT append_event_arrays('ret_b-1', array_fill('E'::text, ARRAY[4]), NULL), append_event_arrays('ret_b-2', array_fill('E'::text, ARRAY[4]), NULL);
SELECT set_category_retention('ret_b', max_count => 1);
SELECT n AS stream, s.* FROM unnest(ARRAY['ret_b-1', 'ret_b-2']) AS n, pg_temp.seen(n) AS s;
SELECT set_stream_retention('ret_b-2', max_count => 3);
SELECT n AS stream, s.* FROM unnest(ARRAY['ret_b-1', 'ret_b-2']) AS n, pg_temp.seen(n) AS s;
SELECT pg_temp.age('ret_b-1', 4, 10), pg_temp.age('ret_b-2', 3, 10);
SELECT set_category_retention('ret_b', max_count => 2, max_age => '9 days');
SELECT n AS stream, s.* FROM unnest(ARRAY['ret_b-1', 'ret_b-2']) AS n, pg_temp.seen(n) AS s;
SELECT set_stream_retention('ret_b-1', max_age => '20 days');
SELECT n AS stream, s.* FROM unnest(ARRAY['ret_b-1', 'ret_b-2']) AS n, pg_temp.seen(n) AS s;
-- A stream that is made later, another category.
SELECT append_event_arrays('ret_b-3', array_fill('E'::text, ARRAY[4]), NULL), append_event_arrays('ret_bb-1', array_fill('E'::text, ARRAY[4]), NULL);
SELECT n AS stream, s.* FROM unnest(ARRAY['ret_b-3', 'ret_bb-1']) AS n, pg_temp.seen(n) AS s;
SELECT describe_category('ret_b', 'Baskets');
SELECT category, streams, events, last_position > :start AS positioned, description, max_count, max_age FROM categories WHERE category LIKE 'ret%' ORDER BY category;
SELECT set_category_retention('ret_b'), describe_category('ret_b');
SELECT category, streams, events, description, max_count, max_age FROM categories WHERE category LIKE 'ret%' ORDER BY category;
SELECT n AS stream, s.* FROM unnest(ARRAY['ret_b-1', 'ret_b-3']) AS n, pg_temp.seen(n) AS s;

-- Deleted, and retained: the next event begins anew.
SELECT append_event_arrays('ret_c-1', array_fill('E'::text, ARRAY[4]), NULL), set_stream_retention('ret_c-1', max_count => 3);
SELECT delete_stream('ret_c-1');
SELECT * FROM pg_temp.seen('ret_c-1');
SELECT append_event('ret_c-1', 'E', expected_version => 0);
SELECT * FROM pg_temp.seen('ret_c-1');
SELECT append_event_arrays('ret_c-1', array_fill('E'::text, ARRAY[4]), NULL);
SELECT * FROM pg_temp.seen('ret_c-1');
-- Before the first event: a stream with version 0, which does not exist yet.
SELECT set_stream_retention('ret_c-2', max_count => 1);
SELECT stream_version('ret_c-2'), append_events('ret_c-2', '[]', 0);
SELECT stream, version, event_count, deleted, max_count FROM streams WHERE stream = 'ret_c-2';
SELECT append_events('ret_c-2', '[{"type": "A"}, {"type": "B"}]', 0);
SELECT * FROM pg_temp.seen('ret_c-2');
-- A retry of what is hidden answers as the first time.
SELECT append_event('ret_c-3', 'R', event_id => '00000000-0000-4000-8000-00000c0de1e7');
SELECT set_stream_retention('ret_c-3', truncate_before => 2);
SELECT append_event('ret_c-3', 'R', event_id => '00000000-0000-4000-8000-00000c0de1e7');
-- Undone with its transaction; at once for the transaction itself.
BEGIN;
SELECT set_stream_retention('ret_c-1', max_count => 1);
SELECT * FROM pg_temp.seen('ret_c-1');
ROLLBACK;
SELECT * FROM pg_temp.seen('ret_c-1');
-- In REPEATABLE READ ages are counted from one moment.
SELECT append_event('ret_c-4', 'E'), append_event('ret_c-4', 'E'), set_stream_retention('ret_c-4', max_age => '9 days');
CREATE PROCEDURE pg_temp.ageing() LANGUAGE plpgsql AS $$
BEGIN
    ALTER TABLE chronicle_data.event DISABLE TRIGGER refuse_change;
    UPDATE chronicle_data.event AS e SET recorded_at = now() - '9 days'::interval + '50 milliseconds'::interval
      FROM chronicle_data.stream AS s WHERE s.stream_id = e.stream_id AND s.name = 'ret_c-4' AND e.version = 1;
    ALTER TABLE chronicle_data.event ENABLE ALWAYS TRIGGER refuse_change;
    PERFORM pg_sleep(0.1);
END $$;
BEGIN ISOLATION LEVEL REPEATABLE READ;
CALL pg_temp.ageing();
SELECT * FROM pg_temp.seen('ret_c-4');
ROLLBACK;
BEGIN;
CALL pg_temp.ageing();
SELECT * FROM pg_temp.seen('ret_c-4');
ROLLBACK;
-- Tombstoned.
SELECT tombstone_stream('ret_c-3');
SELECT set_stream_retention('ret_c-3', max_count => 1);
SELECT stream, version, event_count, deleted, tombstoned, updated_at > created_at AS updated FROM streams WHERE stream = 'ret_c-3';

-- Errors.
SELECT set_stream_retention(NULL);
SELECT set_stream_retention('');
SELECT set_stream_retention('$streams-x', 1);
SELECT set_stream_retention('workflow-x', 1);
SELECT set_stream_retention('ret_c-1', 0);
SELECT set_stream_retention('ret_c-1', max_age => '0');
SELECT set_stream_retention('ret_c-1', max_age => '-1 day');
SELECT set_stream_retention('ret_c-1', max_age => '1 month -40 days');
SELECT set_stream_retention('ret_c-1', max_age => '100000 years');
SELECT set_stream_retention('ret_c-1', max_age => '-178000000 years');
SELECT set_stream_retention('ret_c-1', truncate_before => 0);
SELECT set_category_retention(NULL);
SELECT set_category_retention('ret_c-1', 1);
SELECT set_category_retention('workflow', 1);
SELECT set_category_retention('$streams', 1);
SELECT set_category_retention('ret_c', -1);
SELECT set_category_retention('ret_c', max_age => '-1 s');
SELECT describe_category('ret_c-1', 'x');

-- Rights: an admin sets it, readers see what is left, others nothing.
CREATE ROLE regress_ret_reader;
CREATE ROLE regress_ret_operator;
CREATE ROLE regress_ret_none;
SELECT grant_access('regress_ret_reader', 'reader'), grant_access('regress_ret_operator', 'operator');
SET ROLE regress_ret_operator;
SELECT set_stream_retention('ret_a-1', 1);
SELECT set_category_retention('ret_a', 1);
SELECT describe_category('ret_a', 'As');
SET ROLE regress_ret_reader;
SELECT describe_category('ret_a', 'As');
SELECT stream, event_count FROM streams WHERE stream IN ('ret_a-1', 'ret_c-1') ORDER BY stream;
SELECT category, events, description FROM categories WHERE category = 'ret_a';
SELECT count(*) FROM events WHERE stream = 'ret_c-1';
SET ROLE regress_ret_none;
SELECT count(*) FROM streams;
SELECT count(*) FROM categories;
SELECT count(*) FROM events WHERE stream = 'ret_c-1';
SELECT chronicle_data.hidden_versions(1);
SELECT position_at(now());
RESET ROLE;
-- What views ask row by row is kept for one snapshot and one user only, also where one place asks through a whole transaction.
SELECT append_event_arrays('ret_d-1', array_fill('E'::text, ARRAY[4]), NULL);
DO $$
DECLARE
    id bigint := (SELECT stream_id FROM chronicle_data.stream WHERE name = 'ret_d-1');
    hidden bigint;
BEGIN
    FOR i IN 1 .. 4 LOOP
        IF i = 2 THEN
            PERFORM chronicle.delete_stream('ret_d-1');
        ELSIF i = 3 THEN
            SET LOCAL ROLE regress_ret_none;
        ELSIF i = 4 THEN
            SET LOCAL ROLE regress_ret_reader;
        END IF;
        hidden := chronicle_data.hidden_versions(id);
        RAISE NOTICE '%', hidden;
    END LOOP;
END $$;
-- A right to one category shows that one.
SELECT set_stream_retention('ret_a-1', 1), grant_category('regress_ret_none', 'ret_c', 'read');
SET ROLE regress_ret_none;
SELECT stream, event_count FROM streams ORDER BY stream;
SELECT category, streams, events FROM categories;
SELECT stream, version FROM events ORDER BY global_position;
SELECT position_at('infinity') = safe_position();
RESET ROLE;
SELECT set_stream_retention('ret_a-1'), revoke_category('regress_ret_none', 'ret_c', 'read');
SELECT revoke_access('regress_ret_reader', 'reader'), revoke_access('regress_ret_operator', 'reader');
DROP ROLE regress_ret_reader, regress_ret_operator, regress_ret_none;

-- Plans: the ends of indexes, and only what is selected.
CREATE FUNCTION pg_temp.scans(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
    scan text;
BEGIN
    SET LOCAL enable_seqscan = off;
    SET LOCAL enable_bitmapscan = off;
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        scan := substring(regexp_replace(line, 'Index (Only )?Scan( Backward)?', 'Index Scan') FROM '(Index Scan using \w+|(?:Seq|Bitmap) .*Scan on \w+)');
        IF scan IS NOT NULL THEN
            RETURN NEXT scan;
        END IF;
    END LOOP;
END $$;
SELECT DISTINCT scans FROM pg_temp.scans('SELECT stream FROM streams WHERE stream = ''ret_a-1''') ORDER BY 1;
SELECT DISTINCT scans FROM pg_temp.scans('SELECT * FROM streams WHERE stream = ''ret_a-1''') ORDER BY 1;
SELECT DISTINCT scans FROM pg_temp.scans('SELECT category, streams FROM categories WHERE category = ''ret_a''') ORDER BY 1;
SELECT DISTINCT scans FROM pg_temp.scans('SELECT * FROM categories WHERE category = ''ret_a''') ORDER BY 1;
-- (What is planned for the events of runs depends on the statistics of what other tests left.)
SELECT DISTINCT scans FROM pg_temp.scans('SELECT * FROM events WHERE stream = ''ret_a-1''') WHERE scans !~ 'execution|workflow' ORDER BY 1;
