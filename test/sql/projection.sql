-- Projections: the three kinds, async and inline; filters, faults, parking, management, rights.
-- In a database of its own: they see every event that is there.
SELECT current_database() AS back \gset
CREATE DATABASE regress_projection TEMPLATE template0 ENCODING 'UTF8';
\c regress_projection
SET client_min_messages = warning;
CREATE EXTENSION chronicle;
CREATE ROLE regress_projection_owner LOGIN;
CREATE ROLE regress_projection_other;
SELECT chronicle.grant_access('regress_projection_owner', 'operator');
SELECT chronicle.grant_access('regress_projection_other', 'operator');
CREATE SCHEMA shop AUTHORIZATION regress_projection_owner;
SET ROLE regress_projection_owner;
SET search_path = shop, chronicle;

CREATE TABLE seen (position bigint PRIMARY KEY, stream text, type text, who text);
CREATE FUNCTION note(event chronicle.event) RETURNS void LANGUAGE sql AS
$$ INSERT INTO seen VALUES (event.global_position, event.stream, event.type, current_user) $$;
CREATE FUNCTION total(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF event.type = 'poison' THEN
        RAISE EXCEPTION 'poisoned' USING ERRCODE = 'P0009', DETAIL = 'the detail', HINT = 'the hint';
    END IF;
    RETURN jsonb_build_object('n', (state->>'n')::int + 1, 'sum', (state->>'sum')::int + coalesce((event.data->>'amount')::int, 0));
END $$;
CREATE TABLE sales (stream text PRIMARY KEY, n bigint, amount numeric);

-- What events are there before, counts too.
SELECT append_event('sale-1', 'sold', '{"amount": 10, "shop": "a"}'), append_event('sale-2', 'sold', '{"amount": 5, "shop": "b"}');

-- --- async, the three kinds ---
SELECT create_projection('seen', handler => 'note', categories => '{sale}');
SELECT create_projection('per_stream', handler => 'shop.total', initial_state => '{"n": 0, "sum": 0}', partition_by => 'stream', categories => '{sale}');
SELECT create_projection('per_shop', handler => 'total', initial_state => '{"n": 0, "sum": 0}', partition_by => '$.data.shop', types => '{sold}');
SELECT create_projection('all', handler => 'total', initial_state => '{"n": 0, "sum": 0}', categories => '{sale}');
SELECT create_projection('sales', statement => $$
    INSERT INTO sales AS s SELECT stream, count(*), sum((data->>'amount')::numeric) FROM new_events GROUP BY stream
    ON CONFLICT (stream) DO UPDATE SET n = s.n + excluded.n, amount = s.amount + excluded.amount $$,
    categories => '{sale}', options => '{"target": "sales"}');
SELECT append_event('sale-1', 'sold', '{"amount": 7, "shop": "a"}'), append_event('other-1', 'sold', '{"amount": 1, "shop": "c"}'), append_event('sale-3', 'given');
SELECT name, wait_for_projection(name, timeout => '60s') FROM projections ORDER BY name;
SELECT stream, type, who FROM seen ORDER BY position;
SELECT * FROM sales ORDER BY stream;
SELECT projection, partition, state, events FROM projection_states ORDER BY projection, partition;
SELECT projection_state('per_shop', 'a'), projection_state('per_shop', 'nobody') IS NULL AS absent, projection_state('all');
SELECT name, mode, kind, status, global_position >= last_position() AS at_end, lag_events, lag_ms, progress, eta, events_processed, last_error, owner FROM projections ORDER BY name;
SELECT * FROM verify_projection('per_stream');
SELECT * FROM verify_projection('per_shop');
RESET ROLE;
UPDATE chronicle_data.projection_state SET state = '{"n": 9, "sum": 9}' WHERE partition = 'b';
DELETE FROM chronicle_data.projection_state WHERE partition = 'c';
SET ROLE regress_projection_owner;
SELECT * FROM verify_projection('per_shop') ORDER BY partition;
SELECT * FROM verify_projection('seen');
-- Own streams only, by name and by expression; events of streams' ends are seen by those who name them.
SELECT create_projection('one', handler => 'total', initial_state => '{"n": 0, "sum": 0}', streams => '{sale-2}');
SELECT create_projection('regex', handler => 'total', initial_state => '{"n": 0, "sum": 0}', partition_by => 'category', stream_regex => '-1$');
SELECT create_projection('ends', handler => 'total', initial_state => '{"n": 0, "sum": 0}', partition_by => '$.type', categories => '{$streams}');
SELECT delete_stream('sale-3');
SELECT name, wait_for_projection(name, timeout => '60s') FROM projections WHERE name IN ('one', 'regex', 'ends') ORDER BY name;
SELECT projection, partition, state FROM projection_states WHERE projection IN ('one', 'regex', 'ends') ORDER BY 1, 2;
-- From the end, from a position, from a time.
SELECT create_projection('late', handler => 'total', initial_state => '{"n": 0, "sum": 0}', categories => '{sale}', options => '{"start_from": "end"}');
SELECT create_projection('never', handler => 'total', initial_state => '{"n": 0, "sum": 0}', categories => '{sale}', options => '{"start_from": "2000-01-01"}');
SELECT append_event('sale-1', 'sold', '{"amount": 1, "shop": "a"}');
SELECT wait_for_projection('late'), wait_for_projection('never');
SELECT projection_state('late'), projection_state('never');

-- --- inline ---
SELECT create_projection('inline_total', handler => 'total', mode => 'inline', initial_state => '{"n": 0, "sum": 0}', partition_by => 'stream', categories => '{live}');
CREATE TABLE addresses (email text PRIMARY KEY);
CREATE FUNCTION guard(event chronicle.event) RETURNS void LANGUAGE sql AS $$ INSERT INTO shop.addresses VALUES (event.data->>'email') $$;
SELECT create_projection('guard', handler => 'guard', mode => 'inline', types => '{registered}');
CREATE TABLE counted (type text PRIMARY KEY, n bigint);
SELECT create_projection('counted', statement => 'INSERT INTO counted AS c SELECT type, count(*) FROM new_events GROUP BY 1 ON CONFLICT (type) DO UPDATE SET n = c.n + excluded.n',
    mode => 'inline', categories => '{live}');
SELECT name, status FROM projections WHERE mode = 'inline' ORDER BY 1;
BEGIN;
SELECT append_events('live-1', '[{"type": "x", "data": {"amount": 3}}, {"type": "y", "data": {"amount": 4}}]');
SELECT projection_state('inline_total', 'live-1');
SELECT * FROM counted ORDER BY 1;
ROLLBACK;
SELECT projection_state('inline_total', 'live-1') IS NULL AS undone, (SELECT count(*) FROM counted) AS counted;
SELECT append_event('user-1', 'registered', '{"email": "a@example.org"}');
-- (The position is where the counting of positions stands, which is no matter here.)
DO $$
DECLARE
    detail text;
BEGIN
    PERFORM append_event('user-2', 'registered', '{"email": "a@example.org"}');
EXCEPTION WHEN SQLSTATE 'CH010' THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RAISE WARNING '%', SQLERRM USING DETAIL = detail::jsonb - 'position';
END $$;
SELECT stream_version('user-2') IS NULL AS undone;
DO $$
DECLARE
    state text;
    detail text;
    context text;
BEGIN
    PERFORM append_event('live-1', 'poison');
EXCEPTION WHEN SQLSTATE 'CH010' THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, detail = PG_EXCEPTION_DETAIL, context = PG_EXCEPTION_CONTEXT;
    RAISE WARNING '% % % % %', state, detail::jsonb->>'projection', detail::jsonb->>'sqlstate', detail::jsonb->>'message', detail::jsonb->>'detail';
    RAISE WARNING 'position %, context %', detail::jsonb->>'position' IS NOT NULL, context LIKE '%function total(%' AND detail::jsonb->>'context' LIKE '%function total(%';
END $$;
-- Errors that drivers repeat a transaction on pass unchanged.
CREATE FUNCTION busy(event chronicle.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'busy' USING ERRCODE = '40001'; END $$;
SELECT create_projection('busy', handler => 'busy', mode => 'inline', categories => '{busy}');
DO $$ BEGIN PERFORM append_event('busy-1', 'x'); EXCEPTION WHEN OTHERS THEN RAISE WARNING '%', sqlstate; END $$;
SELECT drop_projection('busy');
SELECT append_event('busy-1', 'x');
-- Disabled, what is appended is made up for.
SELECT append_event('live-1', 'x', '{"amount": 1}');
SELECT disable_projection('inline_total');
SELECT append_event('live-1', 'x', '{"amount": 20}');
SELECT projection_state('inline_total', 'live-1');
SELECT enable_projection('inline_total');
SELECT append_event('live-1', 'x', '{"amount": 300}');
SELECT wait_for_projection('inline_total', timeout => '60s');
SELECT projection_state('inline_total', 'live-1');
SELECT * FROM verify_projection('inline_total');
-- Over existing events it catches up first.
SELECT create_projection('inline_late', handler => 'total', mode => 'inline', initial_state => '{"n": 0, "sum": 0}', categories => '{live}');
SELECT wait_for_projection('inline_late', timeout => '60s');
SELECT projection_state('inline_late');

-- --- faults ---
SELECT create_projection('stops', handler => 'total', initial_state => '{"n": 0, "sum": 0}', categories => '{bad}', options => '{"max_retries": 1, "retry_delay": "10ms"}');
SELECT create_projection('parks', handler => 'total', initial_state => '{"n": 0, "sum": 0}', partition_by => 'stream', categories => '{bad}', options => '{"max_retries": 1, "retry_delay": "10ms", "on_error": "park"}');
SELECT create_projection('parks_sql', statement => 'INSERT INTO seen SELECT global_position + 1000000000, stream, (array[type])[1 / (type <> ''poison'')::int], current_user FROM new_events', categories => '{bad}', options => '{"max_retries": 0, "on_error": "park"}');
SELECT append_events('bad-1', '[{"type": "a", "data": {"amount": 1}}, {"type": "poison"}, {"type": "b", "data": {"amount": 2}}]'),
       append_events('bad-2', '[{"type": "a", "data": {"amount": 30}}, {"type": "b", "data": {"amount": 40}}]');
SELECT wait_for_projection('parks', timeout => '60s'), wait_for_projection('parks_sql', timeout => '60s');
SELECT projection, partition, state FROM projection_states WHERE projection = 'parks' ORDER BY partition;
SELECT stream, type FROM seen WHERE position > 1000000000 ORDER BY position;
DO $$ BEGIN FOR i IN 1..600 LOOP EXIT WHEN (SELECT status FROM projections WHERE name = 'stops') = 'faulted'; PERFORM pg_sleep(0.1); END LOOP; END $$;
SELECT name, status, last_error FROM projections WHERE name IN ('stops', 'parks') ORDER BY 1;
SELECT f.projection, e.stream, e.version, f.attempts, f.error, f.sqlstate, f.parked_at IS NOT NULL AS parked
  FROM projection_failures f JOIN events e USING (global_position) WHERE f.projection <> 'regex' ORDER BY 1, 2, 3;
SELECT projection_state('stops');
SELECT wait_for_projection('stops');
CREATE OR REPLACE FUNCTION total(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE sql AS
$$ SELECT jsonb_build_object('n', (state->>'n')::int + 1, 'sum', (state->>'sum')::int + coalesce((event.data->>'amount')::int, 0)) $$;
SELECT replay_parked_events('parks'), enable_projection('stops');
SELECT wait_for_projection('stops', timeout => '60s');
SELECT projection_state('stops');
SELECT projection, partition, state FROM projection_states WHERE projection = 'parks' ORDER BY partition;
SELECT count(*) FROM projection_failures WHERE projection IN ('parks', 'stops');
-- A handler that takes too long is a fault; a missing function is one at once, and says so.
CREATE FUNCTION slow(event chronicle.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); END $$;
SELECT create_projection('slow', handler => 'slow', categories => '{bad}', options => '{"timeout": "50ms", "max_retries": 0}');
CREATE FUNCTION gone(event chronicle.event) RETURNS void LANGUAGE sql AS '';
SELECT create_projection('gone', handler => 'gone', categories => '{nothing}');
DROP FUNCTION gone;
SELECT append_event('nothing-1', 'x');
DO $$ BEGIN FOR i IN 1..600 LOOP EXIT WHEN (SELECT count(*) FROM projections WHERE status = 'faulted') = 2; PERFORM pg_sleep(0.1); END LOOP; END $$;
SELECT name, last_error FROM projections WHERE status = 'faulted' ORDER BY 1;

-- --- management ---
SELECT create_projection('late', handler => 'total', initial_state => '{"n": 0, "sum": 0}', categories => '{sale}');
SELECT create_projection('late', handler => 'total', initial_state => '{"n": 0, "sum": 0}', categories => '{sale}', options => '{"batch_size": 3}', replace => true);
SELECT projection_state('late');
SELECT create_projection('late', handler => 'note', replace => true);
SELECT reset_projection('sales');
SELECT wait_for_projection('sales', timeout => '60s');
SELECT * FROM sales ORDER BY stream;
SELECT reset_projection('seen');
SELECT reset_projection('per_shop');
SELECT wait_for_projection('per_shop', timeout => '60s');
SELECT projection_state('per_shop', 'a');
SELECT disable_projection('late');
SELECT wait_for_projection('late', 0), status FROM projections WHERE name = 'late';
SELECT append_event('sale-1', 'sold');
SELECT wait_for_projection('late');
SELECT wait_for_projection('nowhere');
SELECT wait_for_projection('late', timeout => '2 minutes');
BEGIN;
SELECT append_event('sale-1', 'sold');
SELECT wait_for_projection('all');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT wait_for_projection('all');
ROLLBACK;
SELECT drop_projection('late'), drop_projection('late', if_exists => true);
SELECT drop_projection('late');

-- --- what is refused ---
SELECT create_projection('bad');
SELECT create_projection('bad', handler => 'note', statement => 'SELECT 1');
SELECT create_projection('bad', handler => 'nowhere');
SELECT create_projection('bad', handler => 'note', mode => 'later');
SELECT create_projection('bad', handler => 'note', initial_state => '{}');
SELECT create_projection('bad', handler => 'note', categories => '{a-b}');
SELECT create_projection('bad', handler => 'note', categories => '{}');
SELECT create_projection('bad', handler => 'note', stream_regex => '(');
SELECT create_projection('bad', handler => 'total', partition_by => '$..');
SELECT create_projection('bad', handler => 'note', options => '{"batch_size": 0, "wrong": 1}');
SELECT create_projection('bad', handler => 'note', options => '{"start_from": "yesterdayish"}');
SELECT create_projection('bad', handler => 'note', options => jsonb_build_object('retry_delay', repeat('€', 100)));
SELECT create_projection('bad', handler => 'note', options => '{"target": "sales"}');
SELECT create_projection('bad', handler => 'note', mode => 'inline', options => '{"on_error": "park"}');
SELECT create_projection('bad', statement => 'SELECT nothing FROM new_events');
SELECT create_projection('bad', statement => 'SELECT 1; SELECT 2');
SELECT create_projection('bad', statement => 'TRUNCATE sales');
SELECT create_projection(NULL, handler => 'note');
SELECT create_projection('', handler => 'note');
SELECT projection_state('sales');
RESET ROLE;
SET ROLE regress_projection_other;
SELECT count(*) FROM projections;
SELECT count(*) FROM projection_states;
SELECT disable_projection('all');
SELECT projection_state('all');
RESET ROLE;
CREATE ROLE regress_projection_nobody;
GRANT USAGE ON SCHEMA shop TO regress_projection_nobody;
SET ROLE regress_projection_nobody;
SELECT create_projection('mine', statement => 'SELECT 1 FROM new_events');
RESET ROLE;
SELECT drop_projection(name) FROM projections \g /dev/null
SELECT count(*) FROM projections;
DROP SCHEMA shop CASCADE;
SELECT chronicle.revoke_access('regress_projection_owner', 'reader'), chronicle.revoke_access('regress_projection_other', 'reader');
\c :back
DROP DATABASE regress_projection;
DROP ROLE regress_projection_owner, regress_projection_other, regress_projection_nobody;
