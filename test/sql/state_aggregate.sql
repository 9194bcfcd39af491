-- Aggregates: definition, states now, at a version and at a time, kinds of apply functions, snapshots by the trigger.
\c -
SET search_path = public, chronicle;
CREATE FUNCTION state_raised(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    info text;
    help text;
BEGIN
    EXECUTE query;
    RETURN 'none';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS info = PG_EXCEPTION_DETAIL, help = PG_EXCEPTION_HINT;
    RETURN concat_ws(' / ', sqlstate || ' ' || sqlerrm, NULLIF(info, ''), NULLIF(help, ''));
END $$;
CREATE FUNCTION apply_sum(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF e.type = 'Bad' THEN
        RAISE EXCEPTION 'bad event';
    END IF;
    RETURN jsonb_build_object('sum', (state ->> 'sum')::numeric + (e.data ->> 'n')::numeric, 'version', e.version);
END $$;

-- Definition: what is refused, what is stored.
SELECT query, state_raised('SELECT ' || query)
  FROM unnest(ARRAY[
    $$create_aggregate(NULL, 'apply_sum')$$, $$create_aggregate('sum', NULL)$$, $$create_aggregate('', 'apply_sum')$$, $$create_aggregate('a-b', 'apply_sum')$$,
    $$create_aggregate('workflow', 'apply_sum')$$, $$create_aggregate('$x', 'apply_sum')$$, $$create_aggregate('sum', 'apply_none')$$, $$create_aggregate('sum', 'state_raised')$$,
    $$create_aggregate('sum', 'none.apply_sum')$$, $$create_aggregate('sum', 'a b')$$, $$create_aggregate('sum', 'apply_sum', decide => 'apply_sum')$$,
    $$create_aggregate('sum', 'apply_sum', snapshot_every => 9)$$, $$create_aggregate('sum', 'apply_sum', snapshot_every => 10001)$$,
    $$create_aggregate('sum', 'apply_sum', keep_snapshots => 0)$$, $$create_aggregate('sum', 'apply_sum', keep_snapshots => 11)$$,
    $$create_aggregate('sum', 'apply_sum', snapshot_after_idle => '0')$$, $$create_aggregate('sum', 'apply_sum', snapshot_after_idle => '-1 day')$$,
    $$aggregate_state('sum-1')$$, $$drop_aggregate('sum')$$, $$drop_aggregate('sum', true)$$, $$drop_aggregate(NULL)$$]) WITH ORDINALITY AS t (query, n)
 ORDER BY n;
SELECT create_aggregate('sum', 'apply_sum', '{"sum": 0}', snapshot_every => 10);
SELECT state_raised($$SELECT create_aggregate('sum', 'apply_sum')$$);
SELECT category, apply, decide, initial_state, snapshot_every, keep_snapshots, snapshot_after_idle, owner = current_user AS mine, fault, failing_streams FROM aggregates;
SELECT create_aggregate('sum', 'public.apply_sum', '{"sum": 0}', snapshot_every => 10, keep_snapshots => 3, snapshot_after_idle => '1 hour', replace => true);
SELECT category, apply, snapshot_every, keep_snapshots, snapshot_after_idle, updated_at > created_at AS changed FROM aggregates;

-- States: of nothing, now, at versions, at times, of both.
SELECT aggregate_state('sum-1'), aggregate_state('sum-1', 5), aggregate_state('sum-1', at_time => now());
SELECT * FROM load_aggregate('sum-1');
SELECT append_event('sum-1', 'Added', jsonb_build_object('n', n)) FROM generate_series(1, 5) AS n;
SELECT clock_timestamp() AS between \gset
SELECT append_event('sum-1', 'Added', jsonb_build_object('n', n)) FROM generate_series(6, 8) AS n;
SELECT v, aggregate_state('sum-1', v) FROM unnest(ARRAY[NULL, 0, 1, 4, 8, 9, 9223372036854775807]) WITH ORDINALITY AS t (v, n) ORDER BY n;
SELECT aggregate_state('sum-1', at_time => :'between') AS then, aggregate_state('sum-1', 3, :'between') AS version_first, aggregate_state('sum-1', 7, :'between') AS time_first,
       aggregate_state('sum-1', at_time => 'infinity') AS now, aggregate_state('sum-1', at_time => '-infinity') AS nothing;
SELECT r.version, aggregate_state('sum-1', at_time => r.recorded_at) ->> 'version' AS of_version FROM read_stream('sum-1') AS r;
SELECT * FROM load_aggregate('sum-1');
SELECT query, state_raised('SELECT ' || query)
  FROM unnest(ARRAY[$$aggregate_state(NULL)$$, $$aggregate_state('')$$, $$aggregate_state('sum-1', -1)$$, $$load_aggregate(NULL)$$, $$load_aggregate('other-1')$$,
                    $$take_snapshot(NULL)$$, $$take_snapshot('other-1')$$, $$drop_snapshots('sum-1', 'sum')$$, $$drop_snapshots('other-1')$$]) WITH ORDINALITY AS t (query, n)
 ORDER BY n;

-- Snapshots: at each multiple, the newest kept; a batch that jumps over several takes one at its end.
SELECT version, state, bytes > 0 AS has_bytes FROM snapshots WHERE stream = 'sum-1';
SELECT count(append_event('sum-1', 'Added', '{"n": 1}')) FROM generate_series(1, 45);
SELECT version, state FROM snapshots WHERE stream = 'sum-1' ORDER BY version;
SELECT append_event_arrays('sum-1', array_fill('Added'::text, ARRAY[34]), array_fill('{"n": 1}'::jsonb, ARRAY[34]));
SELECT append_event_arrays('sum-1', array_fill('Added'::text, ARRAY[2]), array_fill('{"n": 1}'::jsonb, ARRAY[2]));
SELECT version, state FROM snapshots WHERE stream = 'sum-1' ORDER BY version;
SELECT * FROM append_streams(jsonb_build_array(
    jsonb_build_object('stream', 'sum-2', 'events', (SELECT jsonb_agg('{"type": "Added", "data": {"n": 1}}'::jsonb) FROM generate_series(1, 10))),
    jsonb_build_object('stream', 'none-1', 'events', (SELECT jsonb_agg('{"type": "Added"}'::jsonb) FROM generate_series(1, 10))),
    jsonb_build_object('stream', 'sum-3', 'events', (SELECT jsonb_agg('{"type": "Added", "data": {"n": 2}}'::jsonb) FROM generate_series(1, 25)))));
SELECT stream, version, state FROM snapshots WHERE stream <> 'sum-1' ORDER BY stream;
SELECT * FROM load_aggregate('sum-1');
SELECT v, aggregate_state('sum-1', v) = jsonb_build_object('sum', (SELECT sum((data ->> 'n')::int) FROM read_stream('sum-1') WHERE version <= v), 'version', v) AS right
  FROM generate_series(1, 89, 8) AS v;
SELECT take_snapshot('sum-1'), take_snapshot('sum-1'), take_snapshot('sum-none'), drop_snapshots('sum-1');
SELECT * FROM load_aggregate('sum-1');
SELECT drop_snapshots('sum-1'), drop_snapshots(category => 'sum'), drop_snapshots();
-- What is undone leaves no snapshot; a savepoint neither.
BEGIN;
SELECT append_event_arrays('sum-4', array_fill('Added'::text, ARRAY[9]), array_fill('{"n": 1}'::jsonb, ARRAY[9]));
SAVEPOINT undone;
SELECT append_event('sum-4', 'Added', '{"n": 1}');
SELECT count(*) FROM snapshots WHERE stream = 'sum-4';
ROLLBACK TO undone;
SELECT count(*) FROM snapshots WHERE stream = 'sum-4';
SELECT append_event('sum-4', 'Added', '{"n": 5}');
SELECT version, state FROM snapshots WHERE stream = 'sum-4';
COMMIT;
-- The trigger acts on the append functions alone.
SELECT tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'chronicle_data.event'::regclass AND tgname = 'snapshot';

-- A replaced function makes old snapshots unused at once: by its text, by the aggregate, and back again.
SELECT append_event_arrays('sum-5', array_fill('Added'::text, ARRAY[12]), array_fill('{"n": 1}'::jsonb, ARRAY[12]));
SELECT * FROM load_aggregate('sum-5');
CREATE OR REPLACE FUNCTION apply_sum(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql
    RETURN jsonb_build_object('sum', (state ->> 'sum')::numeric + 100 * (e.data ->> 'n')::numeric, 'version', e.version);
SELECT * FROM load_aggregate('sum-5');
SELECT create_aggregate('sum', 'apply_sum', '{"sum": 1}', snapshot_every => 10, replace => true);
SELECT * FROM load_aggregate('sum-5');
SELECT take_snapshot('sum-5');
SELECT create_aggregate('sum', 'apply_sum', '{"sum": 1}', snapshot_every => 20, replace => true);
SELECT * FROM load_aggregate('sum-5');
ALTER FUNCTION apply_sum(jsonb, chronicle.event) SET extra_float_digits = 0;
SELECT * FROM load_aggregate('sum-5');
ALTER FUNCTION apply_sum(jsonb, chronicle.event) RESET ALL;
SELECT * FROM load_aggregate('sum-5');
BEGIN;
CREATE OR REPLACE FUNCTION apply_sum(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql RETURN '"undone"'::jsonb;
SELECT * FROM load_aggregate('sum-5');
ROLLBACK;
SELECT * FROM load_aggregate('sum-5');
SELECT create_aggregate('sum', 'apply_sum', '{"sum": 0}', snapshot_every => 10, replace => true);

-- A deleted stream begins anew; old snapshots do not come back. Versions at the deletion are empty.
SELECT append_event_arrays('sum-6', array_fill('Added'::text, ARRAY[20]), array_fill('{"n": 1}'::jsonb, ARRAY[20]));
SELECT delete_stream('sum-6');
SELECT * FROM load_aggregate('sum-6');
SELECT count(*) FROM snapshots WHERE stream = 'sum-6';
SELECT take_snapshot('sum-6');
SELECT append_event('sum-6', 'Added', '{"n": 3}');
SELECT v, aggregate_state('sum-6', v) FROM unnest(ARRAY[5, 20, 21]) AS v;
SELECT * FROM load_aggregate('sum-6');
SELECT take_snapshot('sum-6'), tombstone_stream('sum-6');
SELECT * FROM load_aggregate('sum-6');

-- Every kind of function; STRICT and NULL.
CREATE FUNCTION apply_last(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT (e).data $$;
CREATE FUNCTION apply_same(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT state $$;
CREATE FUNCTION apply_columns(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_array(e.global_position > 0, e.stream, e.version, e.type, e.data, e.metadata, e.event_id IS NOT NULL, e.recorded_at IS NOT NULL,
                             e.category, e.type_version, e.correlation_id, e.causation_id, e.actor = session_user)
$$;
CREATE FUNCTION apply_null(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql AS $$
    SELECT CASE WHEN e.data ? 'null' THEN NULL WHEN state IS NULL THEN '"was null"' ELSE state || e.data END
$$;
CREATE FUNCTION apply_strict(state jsonb, e chronicle.event) RETURNS jsonb STRICT LANGUAGE sql AS $$
    SELECT CASE WHEN e.data ? 'null' THEN NULL WHEN state IS NULL THEN '"was null"' ELSE state || e.data END
$$;
CREATE FUNCTION apply_definer(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET work_mem = '1MB' AS $$
BEGIN
    RETURN state || jsonb_build_object('work_mem', current_setting('work_mem'));
END $$;
CREATE FUNCTION apply_record(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    seen int;
BEGIN
    SELECT count(*) INTO seen FROM read_stream(e.stream, 1, 1000);
    e.data = e.data || jsonb_build_object('seen', seen);
    RETURN state || e.data;
END $$;
SELECT append_event('kind-1', 'First', '{"a": 1}', '{"correlation_id": "c", "$causationId": 7}'), append_event('kind-1', 'Second', '{"null": 1}'),
       append_event('kind-1', 'Third', jsonb_build_object('long', repeat('xyz', 10000))), append_event('kind-1', 'First', '{"b": 2}', '{"$correlationId": {"x": 1}, "causation_id": null}');
CREATE FUNCTION states_with(function text) RETURNS TABLE (at int, state text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM create_aggregate('kind', function, replace => true);
    RETURN QUERY SELECT n, left(aggregate_state('kind-1', n)::text, 200) FROM generate_series(1, 4) AS n;
END $$;
SELECT f.name, s.at, s.state
  FROM unnest(ARRAY['apply_last', 'apply_same', 'apply_columns', 'apply_null', 'apply_strict', 'apply_definer', 'apply_record', 'apply_merge_patch']) WITH ORDINALITY AS f (name, o),
       LATERAL states_with(f.name) AS s
 ORDER BY f.o, s.at;
SELECT length((aggregate_state('kind-1') ->> 'long')) AS untouched;
-- A NULL state is kept by a snapshot as well.
SELECT create_aggregate('kind', 'apply_strict', replace => true, snapshot_every => 10);
SELECT append_event_arrays('kind-2', array_fill('T'::text, ARRAY[12]), array_fill('{"null": 1}'::jsonb, ARRAY[12]));
SELECT version, state IS NULL AS is_null, bytes FROM snapshots WHERE stream = 'kind-2';
SELECT version, state IS NULL AS is_null, snapshot_version FROM load_aggregate('kind-2');

-- Ready-made functions fold natively; a called one gives the same.
CREATE FUNCTION called_merge_patch(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN apply_merge_patch(state, e); END $$;
SELECT append_event_arrays('merge-1', array_agg('T'::text), array_agg(CASE n % 7 WHEN 0 THEN jsonb_build_object('k' || n % 20, NULL) WHEN 1 THEN jsonb_build_object('o', jsonb_build_object('k' || n % 5, repeat('v', n % 13)))
           WHEN 2 THEN jsonb_build_object('o', jsonb_build_array(n, jsonb_build_object('n', n / 3.0))) WHEN 3 THEN jsonb_build_object('k' || n % 20, n % 2 = 0, 'x' || n % 3, n) ELSE jsonb_build_object('k' || n % 20, n::text) END ORDER BY n))
  FROM generate_series(1, 500) AS n;
SELECT create_aggregate('merge', 'apply_merge_patch');
CREATE TEMP TABLE native AS SELECT v, aggregate_state('merge-1', v) AS state FROM generate_series(0, 500, 7) AS v;
SELECT create_aggregate('merge', 'called_merge_patch', replace => true);
SELECT count(*) AS states, count(*) FILTER (WHERE state = aggregate_state('merge-1', v) AND state::text = aggregate_state('merge-1', v)::text) AS same FROM native;
SELECT create_aggregate('patch', 'apply_json_patch');
SELECT append_event('patch-1', 'T', '[{"op": "add", "path": "/list", "value": []}]') FROM generate_series(1, 1);
SELECT count(append_event('patch-1', 'T', jsonb_build_array(jsonb_build_object('op', 'add', 'path', '/list/-', 'value', n)))) FROM generate_series(1, 5) AS n;
SELECT append_event('patch-1', 'T', '[{"op": "remove", "path": "/list/9"}]');
SELECT aggregate_state('patch-1', 6), state_raised($$SELECT aggregate_state('patch-1')$$);

-- A failing apply function does not fail the append.
SELECT append_event_arrays('sum-7', array_fill('Bad'::text, ARRAY[9]), array_fill('{"n": 1}'::jsonb, ARRAY[9]));
CREATE OR REPLACE FUNCTION apply_sum(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF e.type = 'Bad' THEN
        RAISE EXCEPTION 'bad event' USING ERRCODE = 'XX123', DETAIL = 'its detail';
    END IF;
    RETURN jsonb_build_object('sum', (state ->> 'sum')::numeric + (e.data ->> 'n')::numeric, 'version', e.version);
END $$;
SELECT append_event('sum-7', 'Bad');
SELECT count(*) FROM snapshots WHERE stream = 'sum-7';
SELECT failing_streams FROM aggregates WHERE category = 'sum';
SELECT aggregate_state('sum-7');
SELECT count(*) FROM read_stream('sum-7');
DROP FUNCTION apply_sum;
SELECT category, fault FROM aggregates ORDER BY 1;
SELECT state_raised($$SELECT aggregate_state('sum-1')$$);
SELECT append_event_arrays('sum-8', array_fill('T'::text, ARRAY[10]), array_fill('{"n": 1}'::jsonb, ARRAY[10]));
CREATE FUNCTION apply_sum(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('sum', e.version) $$;
SELECT append_event_arrays('sum-8', array_fill('T'::text, ARRAY[10]), array_fill('{"n": 1}'::jsonb, ARRAY[10]));
SELECT stream, version, state FROM snapshots WHERE stream = 'sum-8';
SELECT failing_streams FROM aggregates WHERE category = 'sum';

-- Pruning: snapshots of another function count for nothing, and go with the next one.
CREATE FUNCTION apply_pruned(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql RETURN jsonb_build_object('n', (state ->> 'n')::int + 1);
SELECT create_aggregate('prune', 'apply_pruned', '{"n": 0}', snapshot_every => 10, keep_snapshots => 2);
CREATE FUNCTION pruned(name text, events int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. events / 10 LOOP
        PERFORM append_event_arrays(name, array_fill('T'::text, ARRAY[10]), NULL);
    END LOOP;
    RETURN (SELECT string_agg(version::text, ' ' ORDER BY version) FROM snapshots WHERE stream = name);
END $$;
SELECT pruned('prune-1', 30);
CREATE OR REPLACE FUNCTION apply_pruned(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql RETURN jsonb_build_object('n', (state ->> 'n')::int + 2);
SELECT aggregate_state('prune-1'), pruned('prune-1', 0) AS not_yet;
SELECT pruned('prune-1', 10), pruned('prune-1', 10), pruned('prune-1', 10);
SELECT v, aggregate_state('prune-1', v) FROM unnest(ARRAY[20, 55]) AS v;
-- Another initial state, or another search_path, makes other states.
SELECT create_aggregate('prune', 'apply_pruned', '{"n": 1000}', snapshot_every => 10, keep_snapshots => 2, replace => true);
SELECT aggregate_state('prune-1'), events_applied FROM load_aggregate('prune-1');
CREATE SCHEMA state_one;
CREATE SCHEMA state_two;
CREATE FUNCTION state_one.added() RETURNS int LANGUAGE sql RETURN 1;
CREATE FUNCTION state_two.added() RETURNS int LANGUAGE sql RETURN 2;
SET check_function_bodies = off;
CREATE OR REPLACE FUNCTION apply_pruned(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('n', (state ->> 'n')::int + added()) $$;
SET search_path = public, chronicle, state_one;
SELECT create_aggregate('prune', 'apply_pruned', '{"n": 0}', snapshot_every => 10, keep_snapshots => 2, replace => true);
SELECT take_snapshot('prune-1'), aggregate_state('prune-1');
SET search_path = public, chronicle, state_two;
SELECT events_applied, state FROM load_aggregate('prune-1');
SELECT create_aggregate('prune', 'apply_pruned', '{"n": 0}', snapshot_every => 10, keep_snapshots => 2, replace => true);
SELECT events_applied, state FROM load_aggregate('prune-1');
SET search_path = public, chronicle;
RESET check_function_bodies;
-- What is deleted lives on in no snapshot, nor in what is known of failures; undone, it does.
CREATE VIEW pg_temp.kept AS SELECT (SELECT count(*) FROM chronicle_data.snapshot JOIN chronicle_data.stream USING (stream_id) WHERE category = 'prune') AS snapshots,
    (SELECT count(*) FROM chronicle_data.snapshot_failure JOIN chronicle_data.stream USING (stream_id) WHERE category = 'prune') AS failures;
SET search_path = public, chronicle, state_two;
SELECT create_aggregate('prune', 'apply_pruned', '{"n": 0}', snapshot_every => 10, keep_snapshots => 2, replace => true);
SET search_path = public, chronicle;
SELECT pruned('prune-2', 20), pruned('prune-3', 20);
SELECT * FROM pg_temp.kept;
BEGIN;
SELECT delete_stream('prune-1'), tombstone_stream('prune-2');
SELECT * FROM pg_temp.kept;
ROLLBACK;
SELECT * FROM pg_temp.kept;
SELECT delete_stream('prune-1'), tombstone_stream('prune-2');
SELECT * FROM pg_temp.kept;
SELECT append_event_arrays('prune-4', array_fill('T'::text, ARRAY[10]), NULL), delete_stream('prune-4');
SELECT * FROM pg_temp.kept;
DROP FUNCTION state_two.added;
\set VERBOSITY terse
SELECT append_event_arrays('prune-3', array_fill('T'::text, ARRAY[10]), NULL);
\set VERBOSITY default
SELECT * FROM pg_temp.kept;
SELECT delete_stream('prune-3');
SELECT * FROM pg_temp.kept;
SELECT drop_aggregate('prune');
DROP FUNCTION apply_pruned, pruned, state_one.added;
DROP SCHEMA state_one, state_two;

-- Dropping: the snapshots go with it, the events stay.
SELECT drop_aggregate('sum'), drop_aggregate('kind'), drop_aggregate('merge'), drop_aggregate('patch');
SELECT count(*) FROM snapshots;
SELECT count(*) FROM chronicle_data.snapshot_failure;
SELECT append_event('sum-8', 'T'), stream_version('sum-8');
DROP FUNCTION states_with, apply_last, apply_same, apply_columns, apply_null, apply_strict, apply_definer, apply_record, called_merge_patch, apply_sum, state_raised;
