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
SELECT max(version) FROM chronicle_data.snapshot WHERE base;
SELECT drop_aggregate('cut');

-- An aggregate that is dropped, and created again as it was, goes on; as another one it has no state, and says so.
CREATE FUNCTION apply_sum(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql IMMUTABLE
    RETURN jsonb_build_object('sum', (state ->> 'sum')::int + (e.data ->> 'n')::int);
CREATE FUNCTION apply_other(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql IMMUTABLE RETURN '{}'::jsonb;
CREATE FUNCTION fill(name text, first int, last int) RETURNS bigint LANGUAGE sql
    RETURN append_event_arrays(name, array_fill('T'::text, ARRAY[last - first + 1]), ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(first, last) AS n));
SELECT create_aggregate('again', 'apply_sum', '{"sum": 0}', snapshot_every => 10);
SELECT fill('again-1', 1, 30), fill('again-2', 1, 30), fill('again-3', 1, 30), fill('again-4', 1, 5);
SELECT set_stream_retention('again-1', max_count => 5), set_stream_retention('again-2', max_count => 5), set_stream_retention('again-3', max_count => 5);
SELECT events FROM scavenge();
CREATE VIEW states AS SELECT s AS stream, l.* FROM unnest(ARRAY['again-1', 'again-2', 'again-3', 'again-4']) AS s LEFT JOIN LATERAL load_aggregate(s) AS l ON true;
SELECT * FROM states;
SELECT drop_aggregate('again');
SELECT create_aggregate('again', 'apply_sum', '{"sum": 0}', snapshot_every => 10);
SELECT * FROM states;
SELECT aggregate_state('again-1', 24);
-- What goes while there is no aggregate goes without a state; a deletion begins anew.
SELECT drop_aggregate('again');
SELECT set_stream_retention('again-2', max_count => 2), delete_stream('again-3');
SELECT events FROM scavenge();
SELECT create_aggregate('again', 'apply_other', snapshot_every => 10);
SELECT aggregate_state('again-1');
SELECT aggregate_state('again-1', 0);
SELECT * FROM replay('again-1', apply => 'apply_sum');
SELECT * FROM replay('again-1', to_version => 3);
SELECT find_first_version('again-1', '$');
SELECT take_snapshot('again-1');
SELECT aggregate_state('again-3'), aggregate_state('again-4');
-- Such a stream is written, cut and removed as any other, and nobody is warned each time.
SELECT fill('again-1', 31, 45);
SELECT events FROM scavenge(5);
SELECT min(version), max(version) FROM read_stream('again-1');
SELECT drop_aggregate('again');
SELECT create_aggregate('again', 'apply_sum', '{"sum": 0}', snapshot_every => 10);
SELECT aggregate_state('again-1');
SELECT aggregate_state('again-2');
SELECT aggregate_state('again-3'), aggregate_state('again-4');
SELECT count(*) FROM chronicle_data.dropped_base;
SELECT delete_stream('again-1'), fill('again-1', 1, 3);
SELECT aggregate_state('again-1');
-- Put away as another one in between, and with a function that is replaced: the base counts as of the aggregate that is dropped.
SELECT fill('again-5', 1, 30), set_stream_retention('again-5', max_count => 5);
SELECT events > 0 AS removed FROM scavenge();
SELECT create_aggregate('again', 'apply_other', '{"sum": 0}', snapshot_every => 10, replace => true);
SELECT drop_aggregate('again');
SELECT create_aggregate('again', 'apply_sum', '{"sum": 0}', snapshot_every => 10);
SELECT aggregate_state('again-5');
SELECT drop_aggregate('again');
SELECT create_aggregate('again', 'apply_other', '{"sum": 0}', snapshot_every => 10);
SELECT aggregate_state('again-5', 25), aggregate_state('again-5');
SELECT drop_aggregate('again');
-- A base is ahead of what a small step has removed; a retention that is then widened has its rows removed under it.
SELECT create_aggregate('ahead', 'apply_sum', '{"sum": 0}', snapshot_every => 10);
SELECT fill('ahead-1', 1, 30), set_stream_retention('ahead-1', truncate_before => 21);
SELECT events FROM scavenge(5);
SELECT set_stream_retention('ahead-1', truncate_before => 16);
SELECT events FROM scavenge();
SELECT n.version, n.base, n.state FROM chronicle_data.snapshot AS n JOIN chronicle_data.stream USING (stream_id) WHERE name = 'ahead-1' ORDER BY 1;
SELECT min(version) FROM read_stream('ahead-1');
SELECT v, aggregate_state('ahead-1', v) FROM unnest(ARRAY[20, 25]) AS v;
SELECT aggregate_state('ahead-1', 19);
-- One snapshot is kept beside a base, which is not pruned.
SELECT create_aggregate('alone', 'apply_sum', '{"sum": 0}', snapshot_every => 10, keep_snapshots => 1);
SELECT fill('alone-1', 1, 12), set_stream_retention('alone-1', truncate_before => 6);
SELECT events FROM scavenge();
SELECT fill('alone-1', 13, 33);
SELECT n.version, n.base, n.state FROM chronicle_data.snapshot AS n JOIN chronicle_data.stream USING (stream_id) WHERE name = 'alone-1' ORDER BY 1;
SELECT v, aggregate_state('alone-1', v) FROM unnest(ARRAY[5, 20, 33]) AS v;
-- A cut beyond the end: what is there is hidden and goes, what comes up to the cut is hidden and still counts.
SELECT create_aggregate('beyond', 'apply_sum', '{"sum": 0}', snapshot_every => 10);
SELECT fill('beyond-1', 1, 12), set_stream_retention('beyond-1', truncate_before => 1000);
SELECT events FROM scavenge();
SELECT fill('beyond-1', 13, 14);
SELECT * FROM load_aggregate('beyond-1');
SELECT events FROM scavenge();
SELECT fill('beyond-1', 15, 15);
SELECT * FROM load_aggregate('beyond-1');
SELECT n.version, n.base, n.state FROM chronicle_data.snapshot AS n JOIN chronicle_data.stream USING (stream_id) WHERE name = 'beyond-1' ORDER BY 1;
-- A base that was not committed yet when its stream was deleted goes with the rows.
SELECT delete_stream('beyond-1');
INSERT INTO chronicle_data.snapshot (stream_id, version, taken_at, fingerprint, base, state)
SELECT stream_id, hidden, now(), 1, true, '{"sum": 120}' FROM chronicle_data.stream WHERE name = 'beyond-1';
SELECT events FROM scavenge();
SELECT count(*) FROM chronicle_data.snapshot JOIN chronicle_data.stream USING (stream_id) WHERE name = 'beyond-1';
-- An aggregate that comes after the cut.
SELECT fill('late-1', 1, 10), fill('late-2', 1, 10), set_stream_retention('late-1', max_count => 3), set_stream_retention('late-2', max_count => 3);
SELECT events FROM scavenge();
SELECT delete_stream('late-2'), fill('late-2', 1, 2);
SELECT create_aggregate('late', 'apply_sum', '{"sum": 0}', snapshot_every => 10);
SELECT aggregate_state('late-1');
SELECT aggregate_state('late-2');
-- Its decide function gets no state either.
CREATE FUNCTION decide_nothing(state jsonb, command text, payload jsonb) RETURNS jsonb LANGUAGE sql RETURN '[]'::jsonb;
SELECT create_aggregate('late', 'apply_sum', '{"sum": 0}', decide => 'decide_nothing', replace => true);
SELECT execute_command('late-1', 'Look');
SELECT execute_command('late-2', 'Look');
\c :back
DROP DATABASE regress_state_scavenge;
