-- Scavenging under an aggregate, in a database of its own where nothing else scavenges: the state at the cut is kept in a base
-- snapshot, and everything goes on as before.
SELECT current_database() AS back \gset
CREATE DATABASE regress_state_scavenge TEMPLATE template0 ENCODING 'UTF8';
ALTER DATABASE regress_state_scavenge SET chronicle.scavenge_interval = -1;
\c regress_state_scavenge
SET client_min_messages = warning;
CREATE EXTENSION chronicle;
RESET client_min_messages;
SET search_path = public, chronicle;
CREATE FUNCTION apply_count(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql IMMUTABLE
    RETURN jsonb_build_object('count', (state ->> 'count')::int + 1, 'sum', (state ->> 'sum')::int + (e.data ->> 'n')::int);
SELECT create_aggregate('cut', 'apply_count', '{"count": 0, "sum": 0}', snapshot_every => 10);
SELECT append_event('cut-2', 'T', jsonb_build_object('n', n)) IS NULL AS failed FROM generate_series(1, 47) AS n GROUP BY 1;
SELECT set_stream_retention('cut-2', max_count => 4);
SELECT v, aggregate_state('cut-2', v) FROM unnest(ARRAY[43, 44, 47]) AS v;
SELECT streams > 0 AS streams, events > 0 AS events FROM scavenge();
SELECT count(*) FROM chronicle_data.event AS e JOIN chronicle_data.stream USING (stream_id) WHERE name = 'cut-2';
SELECT n.version, n.base, n.state FROM chronicle_data.snapshot AS n JOIN chronicle_data.stream USING (stream_id) WHERE name = 'cut-2' ORDER BY 1;
SELECT v, aggregate_state('cut-2', v) FROM unnest(ARRAY[43, 44, 47]) AS v;
SELECT aggregate_state('cut-2', 42);
SELECT * FROM load_aggregate('cut-2');
SELECT version, state_before, state_after FROM replay('cut-2');
SELECT find_first_version('cut-2', '$.count >= 40'), find_first_version('cut-2', '$.count >= 45');
-- Not even drop_snapshots takes it, nor another function: what is gone cannot be folded again.
SELECT drop_snapshots('cut-2'), drop_snapshots('cut-2');
SELECT * FROM load_aggregate('cut-2');
CREATE OR REPLACE FUNCTION apply_count(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql IMMUTABLE
    RETURN jsonb_build_object('count', (state ->> 'count')::int + 1, 'sum', 0);
SELECT * FROM load_aggregate('cut-2');
SELECT version, state_after FROM replay('cut-2', apply => 'apply_merge_patch');
-- Retention that is loosened shows no more states than there are.
SELECT set_stream_retention('cut-2');
SELECT aggregate_state('cut-2', 43), aggregate_state('cut-2', 46);
SELECT aggregate_state('cut-2', 42);
-- Pruning keeps the base, the next cut replaces it, in small steps, too.
SELECT append_event_arrays('cut-2', array_fill('T'::text, ARRAY[33]), array_fill('{"n": 1}'::jsonb, ARRAY[33]));
SELECT n.version, n.base, n.state FROM chronicle_data.snapshot AS n JOIN chronicle_data.stream USING (stream_id) WHERE name = 'cut-2' ORDER BY 1;
SELECT set_stream_retention('cut-2', truncate_before => 71);
SELECT events FROM scavenge(10);
SELECT n.version, n.base, n.state FROM chronicle_data.snapshot AS n JOIN chronicle_data.stream USING (stream_id) WHERE name = 'cut-2' ORDER BY 1;
SELECT aggregate_state('cut-2', 70), aggregate_state('cut-2');
SELECT aggregate_state('cut-2', 60);
SELECT events FROM scavenge();
SELECT aggregate_state('cut-2', 70), aggregate_state('cut-2');
-- A failing apply function keeps the rows.
CREATE OR REPLACE FUNCTION apply_count(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RAISE EXCEPTION 'cannot be applied';
END $$;
SELECT set_stream_retention('cut-2', truncate_before => 75);
SELECT events FROM scavenge();
SELECT min(version) FROM chronicle_data.event AS e JOIN chronicle_data.stream USING (stream_id) WHERE name = 'cut-2';
-- A deletion needs no base.
SELECT delete_stream('cut-2');
SELECT events FROM scavenge();
SELECT drop_aggregate('cut');
\c :back
DROP DATABASE regress_state_scavenge;
