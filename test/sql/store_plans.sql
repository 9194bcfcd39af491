-- Reads touch what they return, and little else: index entries counted (PostgreSQL's own counters of this transaction) in a log of
-- 20,000 events, for common and rare categories and types, alone and combined, for many of them, and for results that are empty.
-- In a database of its own.
CREATE DATABASE regress_plans TEMPLATE template0 ENCODING 'UTF8';
\c regress_plans
CREATE EXTENSION chronicle;
SET search_path = public, chronicle;
SET synchronous_commit = off;
SELECT count(append_event_arrays('plancommon-' || s, array_fill('Common'::text, ARRAY[100]), array_fill('{}'::jsonb, ARRAY[100])))
  FROM generate_series(1, 100) s;
SELECT last_position() AS middle, (SELECT min(global_position) - 1 FROM events WHERE category = 'plancommon') AS before \gset
SELECT count(append_event('planrare-' || n, 'Common')) FROM generate_series(1, 3) n;
SELECT count(append_event('plancommon-' || n, 'Rare')) FROM generate_series(1, 3) n;
SELECT count(append_event('planmany' || n || '-1', 'Many')) FROM generate_series(1, 200) n;
SELECT count(append_event_arrays('plancommon-' || s, array_fill('Common'::text, ARRAY[100]), array_fill('{}'::jsonb, ARRAY[100])))
  FROM generate_series(1, 100) s;
SELECT count(append_event('planlate' || n || '-1', 'Late')) FROM generate_series(1, 200) n;
SELECT array_agg('planmany' || n) || array_agg('planlate' || n) AS many FROM generate_series(1, 200) n \gset
VACUUM ANALYZE chronicle_data.event;
VACUUM ANALYZE chronicle_data.stream;
VACUUM ANALYZE chronicle_data.event_kind;

-- Rows returned, and what was taken from the indexes of events beside them: little is up to four entries for each kind asked for
-- and what a page holds.
CREATE FUNCTION touches(query text, OUT rows bigint, OUT beside text) LANGUAGE plpgsql AS $$
DECLARE
    entries bigint[];
    scans bigint[];
BEGIN
    FOR i IN 1 .. 2 LOOP
        entries[i] := (SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid)) FROM pg_index WHERE indrelid = 'chronicle_data.event'::regclass);
        scans[i] := pg_stat_get_xact_numscans('chronicle_data.event'::regclass);
        IF i = 1 THEN
            EXECUTE 'SELECT count(*) FROM (SELECT global_position FROM ' || query || ') AS q' INTO rows;
        END IF;
    END LOOP;
    entries[2] := entries[2] - entries[1] - rows;
    beside := CASE WHEN scans[2] > scans[1] THEN 'A SCAN OF THE TABLE' WHEN entries[2] > 2000 THEN entries[2] || ' ENTRIES' ELSE 'little' END;
END $$;

SELECT q AS "read_all(after, …)", t.* FROM unnest(ARRAY[
        'max_count => 10',
        'max_count => 10, categories => ''{planrare}''',
        'max_count => 10, types => ''{Rare}''',
        'max_count => 10, categories => ''{planrare}'', types => ''{Rare}''',
        'max_count => 10, categories => ''{plancommon}'', types => ''{Rare}''',
        'max_count => 10, categories => ''{plancommon}''',
        'max_count => 10, types => ''{Common,Rare}''',
        'max_count => 10, types => ''{Never}''',
        'max_count => 10, categories => ''{plannever}''',
        'max_count => 10, type_regex => ''^Rar''',
        'max_count => 10, types => ''{Many}''',
        'max_count => 1000, types => ''{Many}''',
        'max_count => 1000, types => ''{Late,Never}''',
        'max_count => 1000, type_regex => ''^(Many|Late)$''',
        'max_count => 10, types => ''{Many,Common}''',
        'max_count => 1000, backwards => true, types => ''{Rare}''',
        'max_count => 1000, backwards => true, types => ''{Many}''',
        'max_count => 1000, backwards => true, types => ''{Never}''']) WITH ORDINALITY AS u (q, n),
    touches('read_all(' || CASE WHEN q LIKE '%backwards%' THEN '' ELSE 'after_position => ' || :before || ', ' END || q || ')') AS t
 ORDER BY n;
SELECT q, t.* FROM unnest(ARRAY[
        'read_category(''planrare'')',
        'read_category(''plancommon'', max_count => 10)',
        'read_category(''plannever'')',
        'read_category(''planmany7'')',
        'read_stream(''plancommon-7'')',
        'read_stream(''plancommon-7'', max_count => 5)',
        'read_stream(''plancommon-7'', 150, 5)',
        'read_stream(''plancommon-7'', max_count => 5, backwards => true)',
        'read_stream(''plannever-1'')',
        'read_all(0, 10000) LIMIT 5']) WITH ORDINALITY AS u (q, n), touches(q) AS t
 ORDER BY n;

-- Many kinds at once, more than scans are held open: everything, in order, also when it is asked for in pieces.
SELECT count(*), count(DISTINCT category), bool_and(global_position > coalesce(previous, 0)) AS rising
  FROM (SELECT global_position, category, lag(global_position) OVER () AS previous FROM read_all(:before, 100000, categories => :'many')) q;
SELECT count(*), count(DISTINCT category), bool_and(global_position < coalesce(previous, 9223372036854775807)) AS falling
  FROM (SELECT global_position, category, lag(global_position) OVER () AS previous FROM read_all(NULL, 100000, categories => :'many', backwards => true)) q;
WITH RECURSIVE piece AS (
    SELECT :before::bigint AS last, 0::bigint AS taken
    UNION ALL
    SELECT q.last, q.taken FROM piece p,
           LATERAL (SELECT max(global_position) AS last, count(*) AS taken FROM read_all(p.last, 37, categories => :'many')) q WHERE q.taken > 0
)
SELECT sum(taken), count(*) - 1 AS pieces FROM piece;
SELECT count(*) FROM read_all(:before, 100000, types => '{Common,Rare,Many,Late}') WHERE category LIKE 'plan%';

-- Kinds that are named are looked up, however many there are.
CREATE FUNCTION kinds_touched(query text, OUT rows bigint, OUT kinds bigint) LANGUAGE plpgsql AS $$
BEGIN
    kinds := (SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid)) FROM pg_index WHERE indrelid = 'chronicle_data.event_kind'::regclass);
    EXECUTE 'SELECT count(*) FROM (SELECT global_position FROM ' || query || ') AS q' INTO rows;
    kinds := (SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid)) FROM pg_index WHERE indrelid = 'chronicle_data.event_kind'::regclass) - kinds;
END $$;
SELECT count(*) > 400 AS many FROM chronicle_data.event_kind;
SELECT q, t.rows, CASE WHEN t.kinds > 20 THEN t.kinds || ' KINDS' ELSE 'few' END AS kinds FROM unnest(ARRAY[
        'read_category(''planrare'')',
        'read_category(''plannever'')',
        'read_all(0, categories => ''{planmany7,planlate7,planmany7}'')',
        'read_all(0, types => ''{Rare,Never,Rare}'')',
        'read_all(0, categories => ''{plancommon}'', types => ''{Rare}'')',
        'read_all(0, categories => ''{plancommon}'', type_regex => ''^Rar'')']) WITH ORDINALITY AS u (q, n), kinds_touched(q) AS t
 ORDER BY n;
CREATE ROLE regress_plans_reader;
SELECT grant_category('regress_plans_reader', 'planrare', 'read');
SET ROLE regress_plans_reader;
SELECT t.rows, CASE WHEN t.kinds > 20 THEN t.kinds || ' KINDS' ELSE 'few' END AS kinds FROM kinds_touched('read_all(0)') AS t;
RESET ROLE;

-- The view: by stream, by position, by kind.
SELECT replace(q, :'middle', 'middle') AS "events WHERE …", t.* FROM unnest(ARRAY[
        'stream = ''plancommon-7''',
        'stream = ''plancommon-7'' AND version = 12',
        'stream = ''plannever-1''',
        'global_position = ' || :middle,
        'global_position BETWEEN ' || :middle || ' - 5 AND ' || :middle,
        'category = ''planrare''',
        'type = ''Rare''',
        'type = ''Never''',
        'category = ''plancommon'' AND type = ''Rare''']) WITH ORDINALITY AS u (q, n), touches('events WHERE ' || q) AS t
 ORDER BY n;
\c contrib_regression
DROP DATABASE regress_plans;
DROP ROLE regress_plans_reader;
