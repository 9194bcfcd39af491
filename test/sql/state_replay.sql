-- replay and find_first_version.
\c -
SET search_path = public, chronicle;
CREATE FUNCTION replay_raised(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE query;
    RETURN 'none';
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate || ' ' || sqlerrm;
END $$;
CREATE FUNCTION apply_stock(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF e.data ? 'fail' THEN
        RAISE EXCEPTION 'cannot be applied' USING ERRCODE = 'S0001';
    END IF;
    RETURN jsonb_build_object('stock', (state ->> 'stock')::int + (e.data ->> 'n')::int);
END $$;
CREATE FUNCTION apply_fixed(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object('stock', (state ->> 'stock')::int + COALESCE((e.data ->> 'n')::int, 0))
$$;
SELECT create_aggregate('stock', 'apply_stock', '{"stock": 0}', snapshot_every => 10);
SELECT append_event('stock-1', CASE WHEN n < 0 THEN 'Taken' ELSE 'Put' END, jsonb_build_object('n', n))
  FROM unnest(ARRAY[5, -2, -4, 3, -2, 1, 7]) WITH ORDINALITY AS t (n, o);

-- All of it, a part, a part that is empty; each state before is the one after the event before.
SELECT * FROM replay('stock-1');
SELECT f.f AS from_version, t.t AS to_version, (SELECT array_agg(r.version) FROM replay('stock-1', f.f, t.t) AS r) AS versions,
       (SELECT r.state_before FROM replay('stock-1', f.f, t.t) AS r LIMIT 1) AS first_before
  FROM unnest(ARRAY[NULL, 1, 4, 7, 8]) AS f (f), unnest(ARRAY[NULL, 1, 5, 7, 100]) AS t (t);
SELECT count(*) AS steps, count(*) FILTER (WHERE r.state_after = aggregate_state('stock-1', r.version) AND r.state_before = aggregate_state('stock-1', r.version - 1)) AS right
  FROM replay('stock-1') AS r;
SELECT count(*) FROM replay('stock-none');
SELECT query, replay_raised('SELECT * FROM ' || query)
  FROM unnest(ARRAY[$$replay(NULL)$$, $$replay('')$$, $$replay('stock-1', 0)$$, $$replay('stock-1', NULL, 0)$$, $$replay('none-1')$$, $$replay('stock-1', apply => 'none')$$,
                    $$find_first_version(NULL, '$')$$, $$find_first_version('stock-1', NULL)$$, $$find_first_version('none-1', '$')$$]) WITH ORDINALITY AS t (query, n)
 ORDER BY n;

-- It stops at the first error and says which, also before from_version; with another function one tries a fix.
SELECT append_event('stock-1', 'Broken', '{"fail": true}'), append_event('stock-1', 'Put', '{"n": 1}');
SELECT * FROM replay('stock-1', 7);
SELECT * FROM replay('stock-1', 9);
SELECT * FROM replay('stock-1', 2, 3);
SELECT * FROM replay('stock-1', 7, apply => 'apply_fixed');
SELECT version, state_after, error FROM replay('stock-1', 8, apply => 'apply_json_patch');
-- A category without an aggregate: from {}.
SELECT append_event('loose-1', 'T', '{"a": 1}'), append_event('loose-1', 'T', '{"a": null, "b": 2}');
SELECT version, state_before, state_after, error FROM replay('loose-1', apply => 'apply_merge_patch');
-- Cancel is no row.
CREATE FUNCTION apply_slow(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(60);
    RETURN state;
END $$;
SET statement_timeout = 50;
SELECT * FROM replay('stock-1', apply => 'apply_slow');
RESET statement_timeout;
-- In a larger query; the transaction goes on after an error that was a row.
BEGIN;
SELECT s, r.version, r.error FROM unnest(ARRAY['stock-1', 'stock-none']) AS s LEFT JOIN LATERAL (SELECT * FROM replay(s) WHERE error IS NOT NULL) AS r ON true;
SELECT append_event('stock-2', 'Put', '{"n": 1}');
COMMIT;

-- Since when? Every state is looked at: the condition need not stay true, and need not be true at a snapshot.
SELECT create_aggregate('stock', 'apply_fixed', '{"stock": 0}', snapshot_every => 10, replace => true);
SELECT predicate, find_first_version('stock-1', predicate)
  FROM unnest(ARRAY['$.stock < 0', '$.stock == 2', '$ ? (@.stock == 2)', '$.stock > 7', '$.stock > 100', '$.stock', '$.none', 'strict $.none.x == 1', '$.stock == 5']::jsonpath[]) AS predicate;
SELECT find_first_version('stock-1', '$.stock == $least');
SELECT find_first_version('stock-1', '$ ? (@."a\"$" == "$\"x" || @.stock starts with $"b c")');
SELECT find_first_version('stock-1', '$."$" == "$" || $.stock == 7');
SELECT append_event_arrays('stock-3', array_fill('Put'::text, ARRAY[95]), (SELECT array_agg(jsonb_build_object('n', CASE WHEN n = 37 THEN -100 WHEN n = 38 THEN 100 ELSE 1 END) ORDER BY n) FROM generate_series(1, 95) AS n));
SELECT find_first_version('stock-3', '$.stock < 0'), find_first_version('stock-3', '$.stock >= 80'), find_first_version('stock-none', '$');
-- After a deletion the count of versions goes on, and states begin anew.
SELECT delete_stream('stock-3'), append_event('stock-3', 'Put', '{"n": 3}');
SELECT version, state_before, state_after FROM replay('stock-3');
SELECT find_first_version('stock-3', '$.stock == 3'), find_first_version('stock-3', '$.stock == 0');
SELECT drop_aggregate('stock');
DROP FUNCTION apply_stock, apply_fixed, apply_slow, replay_raised;
