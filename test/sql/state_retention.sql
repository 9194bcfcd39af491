-- States and retention: what was cut off still counts, and versions below the cut are refused.
\c -
SET search_path = public, chronicle;
CREATE FUNCTION apply_count(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql IMMUTABLE
    RETURN jsonb_build_object('count', (state ->> 'count')::int + 1, 'sum', (state ->> 'sum')::int + (e.data ->> 'n')::int);
SELECT create_aggregate('cut', 'apply_count', '{"count": 0, "sum": 0}', snapshot_every => 10);
SELECT append_event('cut-1', 'T', jsonb_build_object('n', n)) FROM generate_series(1, 7) AS n;
SELECT clock_timestamp() AS between \gset
SELECT count(append_event('cut-1', 'T', jsonb_build_object('n', n))) FROM generate_series(8, 25) AS n;
SELECT set_stream_retention('cut-1', max_count => 10);
SELECT min(version), max(version), count(*) FROM read_stream('cut-1');
SELECT v, aggregate_state('cut-1', v) FROM unnest(ARRAY[15, 16, 25, NULL]) AS v;
SELECT aggregate_state('cut-1', 14);
SELECT aggregate_state('cut-1', 0);
SELECT aggregate_state('cut-1', at_time => :'between');
SELECT aggregate_state('cut-1', at_time => now());
SELECT * FROM load_aggregate('cut-1');
SELECT version, state_before, state_after FROM replay('cut-1', to_version => 17);
SELECT version, state_before, state_after FROM replay('cut-1', 16, 16);
SELECT * FROM replay('cut-1', 15);
-- The state at the cut may be older than the cut: then, or before.
SELECT find_first_version('cut-1', '$.count >= 5'), find_first_version('cut-1', '$.count >= 20');
SELECT set_stream_retention('cut-1', truncate_before => 20);
SELECT v, aggregate_state('cut-1', v) FROM unnest(ARRAY[19, 25]) AS v;
SELECT aggregate_state('cut-1', 18);
SELECT set_stream_retention('cut-1', truncate_before => 1000);
SELECT aggregate_state('cut-1', 25) = aggregate_state('cut-1', at_time => now()) AS same;
SELECT aggregate_state('cut-1', 24);
-- The whole category; a stream that is cut to nothing keeps its state.
SELECT set_category_retention('cut', max_age => '1 microsecond');
SELECT count(*) FROM read_stream('cut-1');
SELECT * FROM load_aggregate('cut-1');
SELECT count(*) FROM replay('cut-1');
-- A deletion begins anew, and what was cut before it is forgotten.
SELECT delete_stream('cut-1');
SELECT * FROM load_aggregate('cut-1');
SELECT aggregate_state('cut-1', 3), aggregate_state('cut-1', 25);
SELECT set_category_retention('cut'), set_stream_retention('cut-1');
SELECT append_event('cut-1', 'T', '{"n": 1}');
SELECT * FROM load_aggregate('cut-1');
SELECT drop_aggregate('cut');
DROP FUNCTION apply_count;
