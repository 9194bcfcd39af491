-- read_stream: all arguments in all combinations, streams that are absent, streams of runs, events as arguments.
\c -
SET search_path = public, chronicle;
CREATE FUNCTION read_raised(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE query;
    RETURN 'none';
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate || ' ' || sqlerrm;
END $$;

-- Five events; other streams lie in between, before and after.
SELECT count(append_event(stream, 'T' || n, jsonb_build_object('n', n)))
  FROM generate_series(1, 5) AS n, unnest(ARRAY['read_a-1', 'read_b-1', 'read_c-1']) AS stream;
SELECT * FROM read_stream('read_b-1') AS e WHERE false;
SELECT version, stream, type, data, metadata, category, type_version, correlation_id, causation_id,
       actor = session_user AS by_me, recorded_at <= clock_timestamp() AS past, event_id IS NOT NULL AS has_id, global_position > 0 AS has_position
  FROM read_stream('read_b-1');

-- from_version, max_count, backwards: every combination, as arrays of versions.
SELECT backwards, f.from_version, c.max_count,
       (SELECT array_agg(e.version ORDER BY e.ordinality)
          FROM read_stream('read_b-1', f.from_version, c.max_count, b.backwards) WITH ORDINALITY AS e) AS versions
  FROM unnest(ARRAY[false, true, NULL]) WITH ORDINALITY AS b (backwards, b_number),
       unnest(ARRAY[NULL, 1, 3, 5, 6, 9223372036854775807]) WITH ORDINALITY AS f (from_version, f_number),
       unnest(ARRAY[NULL, 1, 2, 5, 9223372036854775807]) WITH ORDINALITY AS c (max_count, c_number)
 ORDER BY b_number, f_number, c_number;
SELECT version FROM read_stream(stream => 'read_b-1', backwards => true, max_count => 1);
SELECT version FROM read_stream('read_b-1', max_count => 2, from_version => 4);

-- Absent streams have no rows; reserved names and any other name can be asked for.
SELECT count(*) FROM unnest(ARRAY['read_none-1', 'read_none', '$system', '$', '-', 'read_b', 'READ_B-1', 'read_b-1 ', 'workflow',
                                  'workflow-none/1', 'workflow-none/00000000-0000-0000-0000-000000000000']) AS name, read_stream(name);
SELECT query, read_raised('SELECT * FROM read_stream(' || query || ')')
  FROM unnest(ARRAY['NULL', '''''', 'repeat(''x'', 1025)', '''read_b-1'', 0', '''read_b-1'', -1', '''read_b-1'', 1, 0', '''read_b-1'', 1, -1',
                    '''read_none-1'', 1, 0', '''workflow-x/1'', 0', '''read_b-1'', 1, 9223372036854775807, true']) WITH ORDINALITY AS t (query, number)
 ORDER BY number;

-- What a reader sees is its snapshot: its own transaction's events in the next statement, not those of the same one.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM read_stream('read_b-1');
SELECT append_event('read_b-1', 'Own');
SELECT version, type FROM read_stream('read_b-1', 5);
SAVEPOINT undone;
SELECT append_event('read_b-1', 'Undone');
SELECT count(*) FROM read_stream('read_b-1');
ROLLBACK TO undone;
SELECT count(*) FROM read_stream('read_b-1');
ROLLBACK;
SELECT count(*) FROM read_stream('read_b-1');
SELECT append_event('read_b-2', 'T') AS version, (SELECT count(*) FROM read_stream('read_b-2')) AS same_statement;
-- A cursor keeps its snapshot and can go back.
BEGIN;
DECLARE events SCROLL CURSOR FOR SELECT version FROM read_stream('read_b-1');
FETCH 2 FROM events;
SELECT append_event('read_b-1', 'Later');
FETCH ALL FROM events;
FETCH BACKWARD 2 FROM events;
ROLLBACK;

-- The same rows as the view's, column by column.
SELECT count(*) AS differences
  FROM ((SELECT * FROM events WHERE stream = 'read_b-1' EXCEPT ALL SELECT * FROM read_stream('read_b-1'))
        UNION ALL (SELECT * FROM read_stream('read_b-1') EXCEPT ALL SELECT * FROM events WHERE stream = 'read_b-1')) AS d;
SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
 WHERE attrelid = (SELECT typrelid FROM pg_type WHERE oid = 'chronicle.event'::regtype);

-- Folding: a row is an event, of the function and of the view.
CREATE FUNCTION read_apply(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql IMMUTABLE
    RETURN jsonb_set(state, ARRAY[e.type], e.data -> 'n') || jsonb_build_object('version', e.version);
CREATE AGGREGATE read_fold (chronicle.event) (sfunc = read_apply, stype = jsonb, initcond = '{}');
SELECT read_apply('{}', e) FROM read_stream('read_b-1', 2, 1) AS e;
SELECT read_apply('{}', e) FROM events AS e WHERE stream = 'read_b-1' AND version = 2;
SELECT read_fold(e ORDER BY e.version) AS of_function FROM read_stream('read_b-1') AS e;
SELECT read_fold(e ORDER BY e.version) AS of_view FROM events AS e WHERE stream = 'read_b-1';
DO $$
DECLARE
    e chronicle.event;
    state jsonb = '{}';
BEGIN
    FOR e IN SELECT * FROM chronicle.read_stream('read_b-1', backwards => true, max_count => 2) LOOP
        state = read_apply(state, e);
    END LOOP;
    RAISE NOTICE '%', state;
END $$;
-- In a LATERAL join, and more rows than fit into work_mem.
SELECT s.name, count(e.version) FROM unnest(ARRAY['read_a-1', 'read_b-1', 'read_none']) AS s (name) LEFT JOIN LATERAL read_stream(s.name) AS e ON true
 GROUP BY 1 ORDER BY 1;
SELECT append_event_arrays('read_long-1', array_fill('T'::text, ARRAY[5000]),
           (SELECT array_agg(jsonb_build_object('n', n, 'pad', repeat('x', 100)) ORDER BY n) FROM generate_series(1, 5000) AS n));
SET work_mem = '64kB';
SELECT count(*), bool_and(version = (data ->> 'n')::int) AS right_data, max(version) FROM read_stream('read_long-1');
RESET work_mem;

-- A run's stream: workflow-<workflow>/<execution>.
SELECT workflow_id, version FROM create_workflow('{"id": "read_flow", "nodes": [{"id": "one", "nodeType": "sql.query", "config": {"sql": "SELECT 1 AS x"}}]}');
SELECT execute_workflow('read_flow') AS run \gset
SELECT wait_for_execution(:'run');
SELECT 'workflow-read_flow/' || :'run' AS stream \gset
SELECT version, type, category, type_version, metadata, correlation_id, causation_id, actor = session_user AS owner, data ->> 'nodeId' AS node
  FROM read_stream(:'stream');
SELECT array_agg(version) FROM read_stream(:'stream', 2, 2);
SELECT array_agg(version) FROM read_stream(:'stream', 3, NULL, true);
SELECT array_agg(version) FROM read_stream(:'stream', NULL, 2, true);
SELECT count(*) FROM read_stream(upper(:'stream'));
SELECT count(*) FROM read_stream('workflow-other/' || :'run');
SELECT count(*) AS differences
  FROM ((SELECT * FROM events WHERE stream = :'stream' EXCEPT ALL SELECT * FROM read_stream(:'stream'))
        UNION ALL (SELECT * FROM read_stream(:'stream') EXCEPT ALL SELECT * FROM events WHERE stream = :'stream')) AS d;
-- Ids of a run's events are ids like others: no event of a user's stream can have one.
SELECT left(read_raised(format('SELECT append_event(''read_a-1'', ''T'', event_id => %L)', event_id)), 5) AS code FROM read_stream(:'stream', 1, 1);
SELECT left(read_raised(format('SELECT append_event(''read_new-1'', ''T'', event_id => %L)', event_id)), 5) AS code FROM read_stream(:'stream', 1, 1);

DROP AGGREGATE read_fold(chronicle.event);
DROP FUNCTION read_apply, read_raised;
