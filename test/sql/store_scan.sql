-- Reads in a FROM clause, row by row: the same rows as from the function itself, in every place of a query.
SET search_path = public, chronicle;
CREATE TABLE scan (stream text);
INSERT INTO scan SELECT 'scan' || pg_current_xact_id() || '-' || s FROM generate_series(1, 4) s;
SELECT stream AS s, left(stream, -2) AS category FROM scan LIMIT 1 \gset
SELECT count(append_event(stream, 'T' || v % 2, jsonb_build_object('n', v), '{"correlation_id": "c", "$causationId": "d"}'))
  FROM generate_series(1, 5) v, scan;

-- Which way is taken. Columns that nobody uses are not made; the row as a whole needs the function.
CREATE FUNCTION plan_of(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query;
END $$;
SELECT plan_of('SELECT stream FROM read_all(0, 10) WHERE version > 1 LIMIT 2');
SELECT plan_of('SELECT count(*) FROM read_category(''x'')');
SELECT plan_of('SELECT data FROM read_stream(''x-1'')');
SELECT plan_of('SELECT e FROM read_stream(''x-1'') e');
SELECT plan_of('SELECT 1 FROM read_stream(''x-1'') e WHERE e IS NULL');
SELECT plan_of('SELECT * FROM read_stream(''x-1'') WITH ORDINALITY');
SELECT plan_of('SELECT * FROM ROWS FROM (read_stream(''x-1''), generate_series(1, 2)) r');
SELECT plan_of('SELECT s.stream, e.version FROM scan s, read_stream(s.stream) e');

-- Every column, and both ways alike.
SELECT stream = :'s' AS stream, version, type, data, metadata, event_id IS NOT NULL AS event_id, recorded_at > now() - interval '1 day' AS recorded_at,
       category = :'category' AS category, type_version, correlation_id, causation_id, actor = session_user AS actor
  FROM read_stream(:'s', max_count => 2);
SELECT global_position, stream, version, type, data, metadata, event_id, recorded_at, category, type_version, correlation_id, causation_id, actor
  FROM read_category(:'category')
EXCEPT ALL
SELECT (e).* FROM (SELECT e FROM read_category(:'category') e OFFSET 0) x;
SELECT count(*), min(version), max(version), count(DISTINCT stream) FROM read_category(:'category');
SELECT (SELECT array_agg(version ORDER BY global_position) FROM read_stream(:'s', 2, 3)) AS forwards,
       (SELECT array_agg(version ORDER BY global_position DESC) FROM read_stream(:'s', 4, 2, true)) AS backwards,
       (SELECT count(*) FROM read_stream('scan_nothing')) AS absent;

-- Conditions, limits, order, joins, arguments from other tables: the scan begins anew for each row.
SELECT version, correlation_id FROM read_stream(:'s') WHERE type = 'T1' AND data ->> 'n' <> '3' ORDER BY version DESC LIMIT 2;
SELECT s.stream = :'s' AS first, e.versions FROM scan s, LATERAL (SELECT array_agg(version) AS versions FROM read_stream(s.stream, 3)) e ORDER BY 1 DESC;
SELECT count(*), count(DISTINCT e.stream) FROM scan s CROSS JOIN LATERAL read_category(:'category', max_count => length(s.stream) - length(s.stream) + 3) e;
SELECT count(*) FROM scan s JOIN read_category(:'category') e USING (stream) WHERE e.version = (SELECT max(version) FROM read_stream(s.stream));
SELECT count(*) FROM scan s LEFT JOIN LATERAL read_stream(s.stream || 'x') e ON true WHERE e.version IS NULL;
-- A filter over columns of both sides; one over columns that are not in the target list; a column twice; none at all; expressions.
SELECT count(*), bool_and(e.version > length(s.stream) - length(s.stream) + 2) FROM scan s CROSS JOIN LATERAL (SELECT * FROM read_stream(s.stream) r WHERE r.version > length(s.stream) - length(s.stream) + 2 OFFSET 0) e;
SELECT count(e.type) FROM scan s JOIN LATERAL read_stream(s.stream) e ON e.version + length(e.stream) > length(s.stream) + 2;
SELECT type, version, type AS again, version * 2 AS twice FROM read_stream(:'s') WHERE data ->> 'n' IN ('1', '2') AND category = :'category';
SELECT count(q.x), count(DISTINCT q.x) > 1 AS several FROM scan s LEFT JOIN LATERAL (SELECT s.stream || e.type AS x FROM read_stream(s.stream) e) q ON true;
-- … and with every column, and some of the outer side.
CREATE TABLE scan_wide AS SELECT stream, 1 AS a, 2 AS b, 3 AS c, 4 AS d FROM scan;
SELECT count(q.x), count(DISTINCT q.stream) > 1 AS several
  FROM scan_wide s LEFT JOIN LATERAL (SELECT e.stream, concat(s.a, s.b, s.c, s.d, e.global_position, e.stream, e.version, e.type, e.data, e.metadata, e.event_id,
                                             e.recorded_at, e.category, e.type_version, e.correlation_id, e.causation_id, e.actor) AS x FROM read_stream(s.stream) e) q ON true;
DROP TABLE scan_wide;
SELECT count(*) FROM read_stream(:'s') WHERE stream IS NOT NULL;
SELECT version + 1 AS next FROM read_stream(:'s') ORDER BY data ->> 'n' DESC, version LIMIT 2;
SELECT count(*) FROM read_category(:'category', (SELECT min(global_position) FROM read_category(:'category')), 3 + (SELECT count(*) FROM scan));
SELECT version FROM read_stream(:'s') UNION SELECT version FROM read_stream(:'s', 4) ORDER BY 1;
UPDATE scan SET stream = e.stream FROM read_stream(:'s') e WHERE e.stream = scan.stream AND e.version = 5 RETURNING e.version;

-- Prepared, with plans for one value and for any; in functions and views.
PREPARE versions_from (text, bigint) AS SELECT array_agg(version) FROM read_stream($1, $2);
SET plan_cache_mode = force_generic_plan;
EXECUTE versions_from (:'s', 4);
EXECUTE versions_from (:'s', 5);
EXECUTE versions_from (:'s', NULL);
RESET plan_cache_mode;
CREATE FUNCTION versions(name text) RETURNS SETOF bigint LANGUAGE sql STABLE AS 'SELECT version FROM chronicle.read_stream(name)';
SELECT sum(v) FROM versions(:'s') v;
CREATE VIEW scanned AS SELECT version FROM read_stream('nothing-here');
SELECT * FROM scanned;
EXPLAIN (COSTS OFF) SELECT * FROM scanned;

-- Cursors: forwards and backwards, appends in the loop are not seen, a commit in between keeps the rest.
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT version FROM read_stream(:'s');
FETCH 2 FROM c;
SELECT append_event(:'s', 'T');
FETCH BACKWARD 1 FROM c;
FETCH ALL FROM c;
ROLLBACK;
DECLARE held CURSOR WITH HOLD FOR SELECT version FROM read_stream(:'s', 4);
FETCH ALL FROM held;
CLOSE held;
DO $$
DECLARE
    r record;
    seen int := 0;
BEGIN
    FOR r IN SELECT e.stream FROM scan s, chronicle.read_stream(s.stream) e LOOP
        seen := seen + 1;
        PERFORM chronicle.append_event(r.stream || '-copy', 'C');
        IF seen % 7 = 0 THEN
            COMMIT;
        END IF;
    END LOOP;
    RAISE NOTICE '% read', seen;
END $$;

-- An error in the middle, caught and not: nothing stays open.
SELECT 1 / (3 - version) FROM read_stream(:'s');
DO $$
DECLARE
    name text := (SELECT stream FROM scan LIMIT 1);
BEGIN
    FOR i IN 1 .. 3 LOOP
        BEGIN
            PERFORM 1 / (3 - version) FROM scan s, chronicle.read_stream(s.stream);
        EXCEPTION WHEN division_by_zero THEN
            RAISE NOTICE 'caught';
        END;
        BEGIN
            PERFORM version FROM chronicle.read_stream(name, 0);
        EXCEPTION WHEN invalid_parameter_value THEN
            RAISE NOTICE '%', sqlerrm;
        END;
    END LOOP;
END $$;
SELECT version FROM read_stream(NULL);
SELECT version FROM read_all(-1);

-- Rights: those of the caller, as for the function itself.
CREATE ROLE scan_nobody;
GRANT USAGE ON SCHEMA chronicle TO scan_nobody;
SET ROLE scan_nobody;
SELECT version FROM chronicle.read_stream('scan-1');
RESET ROLE;
BEGIN;
REVOKE EXECUTE ON FUNCTION read_stream FROM PUBLIC;
SET LOCAL ROLE scan_nobody;
SELECT version FROM chronicle.read_stream('scan-1');
ROLLBACK;
REVOKE USAGE ON SCHEMA chronicle FROM scan_nobody;
DROP ROLE scan_nobody;
DROP VIEW scanned;
DROP FUNCTION versions, plan_of;
DROP TABLE scan;
