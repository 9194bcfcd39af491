-- Projections by the words of the contract: as roles of all kinds, under names that need quotes; what is applied, what is refused, what
-- follows when a right is lost or code is replaced. In a database of its own: it sees every event.
SELECT current_database() AS back \gset
CREATE DATABASE regress_projection_edges TEMPLATE template0 ENCODING 'UTF8';
\c regress_projection_edges
SET client_min_messages = warning;
CREATE EXTENSION chronicle;
CREATE ROLE "regress Edge ""Owner""" LOGIN;
CREATE ROLE regress_edge_other LOGIN;
CREATE ROLE regress_edge_reader;
CREATE ROLE regress_edge_writer;
CREATE ROLE regress_edge_admin;
SELECT chronicle.grant_access('"regress Edge ""Owner"""', 'operator'), chronicle.grant_access('regress_edge_other', 'operator'),
       chronicle.grant_access('regress_edge_reader', 'reader'), chronicle.grant_access('regress_edge_writer', 'writer'), chronicle.grant_access('regress_edge_admin', 'admin') \g /dev/null
CREATE SCHEMA "My ""shop""" AUTHORIZATION "regress Edge ""Owner""";
CREATE FUNCTION public.until(status text, projection text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..600 LOOP
        EXIT WHEN (SELECT p.status FROM chronicle.projections AS p WHERE p.name = projection) = until.status;
        PERFORM pg_sleep(0.1);
    END LOOP;
    RETURN (SELECT concat_ws(': ', p.status, p.last_error) FROM chronicle.projections AS p WHERE p.name = projection);
END $$;

-- --- names with quotes and capitals ---
SET ROLE "regress Edge ""Owner""";
SET search_path = "My ""shop""", public, chronicle;
CREATE TABLE "The ""rows""" ("Key" text PRIMARY KEY, "N" bigint);
CREATE TABLE plain (key text PRIMARY KEY, n bigint);
CREATE FUNCTION "Count ""It"""(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(state::int + 1)';
CREATE FUNCTION "Note ""It"""(event chronicle.event) RETURNS void LANGUAGE sql AS
$$ INSERT INTO plain VALUES (event.stream, 1) ON CONFLICT (key) DO UPDATE SET n = plain.n + 1 $$;
SELECT create_projection('A "state"', handler => '"Count ""It"""', initial_state => '0', partition_by => 'stream', categories => '{Odd}');
SELECT create_projection('A ''handler''', handler => '"My ""shop"""."Note ""It"""', categories => '{Odd}', options => '{"reset": "DELETE FROM plain"}');
SELECT create_projection('A; statement', categories => '{Odd}', options => '{"target": "\"The \"\"rows\"\"\""}', statement => $$
    INSERT INTO "The ""rows""" AS t SELECT stream, count(*) FROM new_events GROUP BY 1 ON CONFLICT ("Key") DO UPDATE SET "N" = t."N" + excluded."N" $$);
SELECT append_event('Odd-"1"', 'x'), append_event('Odd-''2''', 'x'), append_event('Odd-"1"', 'x');
SELECT name, owner, wait_for_projection(name, timeout => '60s') FROM projections ORDER BY 1;
SELECT partition, state FROM projection_states ORDER BY 1;
SELECT * FROM plain ORDER BY 1;
SELECT * FROM "The ""rows""" ORDER BY 1;
UPDATE "The ""rows""" SET "N" = 7 WHERE "Key" LIKE '%1%';
UPDATE plain SET n = 7;
SELECT * FROM verify_projection('A; statement');
SELECT rebuild_projection('A; statement'), rebuild_projection('A "state"'), reset_projection('A ''handler''');
SELECT public.until('running', name) FROM projections ORDER BY name;
SELECT wait_for_projection('A ''handler''', timeout => '60s');
SELECT * FROM verify_projection('A; statement');
SELECT * FROM plain ORDER BY 1;
-- Dropped, the tables stay.
SELECT drop_projection('A ''handler'''), drop_projection('A; statement');
SELECT (SELECT count(*) FROM plain), (SELECT count(*) FROM "The ""rows""");

-- --- who may what: nobody but its owner and admins ---
RESET ROLE;
CREATE FUNCTION public.try(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'SELECT ' || command;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate || ' ' || sqlerrm;
END $$;
CREATE VIEW public.tries AS SELECT command, public.try(format('chronicle.%s(%L)', command, 'A "state"'))
FROM unnest('{disable_projection,enable_projection,reset_projection,rebuild_projection,cancel_rebuild,projection_state,wait_for_projection,verify_projection,replay_parked_events,drop_projection}'::text[]) AS command;
GRANT SELECT ON public.tries TO PUBLIC;
CREATE FUNCTION public.tried(OUT tried bigint, OUT answers text, OUT projections bigint, OUT states bigint, OUT creating text) LANGUAGE sql AS $$
    SELECT count(*), string_agg(DISTINCT try, ', '), (SELECT count(*) FROM chronicle.projections), (SELECT count(*) FROM chronicle.projection_states),
           public.try($_$chronicle.create_projection('theirs', statement => 'SELECT 1 FROM new_events', options => '{"start_from": "end"}')$_$) FROM public.tries $$;
SET ROLE regress_edge_reader;
SELECT * FROM public.tried();
SET ROLE regress_edge_writer;
SELECT * FROM public.tried();
SET ROLE regress_edge_other;
SELECT * FROM public.tried();
SELECT chronicle.drop_projection('theirs');
SET ROLE regress_edge_admin;
SELECT command, public.try(format('chronicle.%s(%L)', command, 'A "state"')) FROM unnest('{disable_projection,enable_projection,reset_projection,projection_state,drop_projection}'::text[]) AS command;
RESET ROLE;

-- --- NULL means the default ---
SET ROLE "regress Edge ""Owner""";
SELECT create_projection('nulls', '"Count ""It"""', NULL, NULL, '{Odd}', NULL, NULL, NULL, '0', NULL, NULL, NULL);
SELECT wait_for_projection('nulls', NULL, NULL);
SELECT projection_state('nulls', NULL);
SELECT drop_projection('nulls', NULL), drop_projection('nulls', true);

-- --- new_events: rows of event; once per batch; in order ---
CREATE TABLE batches (events bigint, types text, whole text);
CREATE FUNCTION whole(event chronicle.event) RETURNS text LANGUAGE sql AS $$ SELECT event.type || event.version $$;
SELECT create_projection('batches', mode => 'inline', categories => '{batch}', statement => $$ INSERT INTO batches SELECT count(*), string_agg(type, ' '), string_agg(whole(e), ' ') FROM new_events AS e $$);
SELECT append_events('batch-1', '[{"type": "a"}, {"type": "b"}, {"type": "c"}]');
SELECT count(*) FROM append_streams('[{"stream": "batch-3", "events": [{"type": "f"}, {"type": "g"}]}, {"stream": "batch-2", "events": [{"type": "h"}]}, {"stream": "other-1", "events": [{"type": "i"}]}]');
SELECT * FROM batches;
CREATE TABLE whole_rows AS SELECT * FROM events WHERE false;
SELECT create_projection('all columns', categories => '{batch}', statement => 'INSERT INTO whole_rows SELECT * FROM new_events');
SELECT wait_for_projection('all columns', timeout => '60s');
SELECT count(*) AS events, (SELECT count(*) FROM (SELECT * FROM events WHERE category = 'batch' EXCEPT TABLE whole_rows) AS d) AS differ FROM whole_rows;

-- --- inline: classes 40, 53, 57, 58 and 55P03 pass unchanged, others are CH010 ---
CREATE FUNCTION fails(event chronicle.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'failed' USING ERRCODE = event.data->>'with'; END $$;
SELECT create_projection('fails', handler => 'fails', mode => 'inline', categories => '{fail}');
DO $$
DECLARE
    code text;
BEGIN
    FOREACH code IN ARRAY '{40001,40P01,53100,53200,53300,57P01,57P03,58030,58P01,55P03,55000,23505,22012,P0001,42P01,CH005,XX001}'::text[] LOOP
        BEGIN
            PERFORM append_event('fail-1', 'x', jsonb_build_object('with', code));
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING '% becomes %', code, sqlstate;
        END;
    END LOOP;
END $$;
SELECT stream_version('fail-1') IS NULL AS undone, drop_projection('fails');

-- --- events are upcast ---
CREATE FUNCTION upcast(data jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT data || '{"up": true}' $$;
SELECT register_event_type('Old', version => 1), register_event_type('Old', version => 2), register_upcaster('Old', 1, 'upcast');
CREATE FUNCTION gather(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE sql AS 'SELECT state || event.data';
SELECT create_projection('upcast inline', mode => 'inline', handler => 'gather', initial_state => '[]', types => '{Old}');
SELECT append_event('old-1', 'Old', '{"n": 1}', '{"schema_version": 1}'), append_event('old-1', 'Old', '{"n": 2}');
SELECT create_projection('upcast async', handler => 'gather', initial_state => '[]', types => '{Old}');
SELECT wait_for_projection('upcast async', timeout => '60s');
SELECT projection, state FROM projection_states WHERE projection LIKE 'upcast%' ORDER BY 1;
-- The view counts what is to come without looking at its data: an upcaster that fails stops the projection, not the view.
SELECT disable_projection('upcast async'), append_event('old-2', 'Old', '{"n": 2}', '{"schema_version": 1}');
CREATE OR REPLACE FUNCTION upcast(data jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'cannot be upcast'; END $$;
SELECT name, lag_events FROM projections WHERE name LIKE 'upcast%' ORDER BY 1;
CREATE OR REPLACE FUNCTION upcast(data jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT data || '{"up": true}' $$;
SELECT enable_projection('upcast async');
SELECT wait_for_projection('upcast async', timeout => '60s');
SELECT projection_state('upcast async');

-- --- from a time; a state begins as {} ---
SELECT recorded_at AS since FROM events WHERE stream = 'old-1' AND version = 2 \gset
SELECT create_projection('since', handler => 'gather', options => jsonb_build_object('start_from', :'since'));
SELECT create_projection('default state', handler => 'gather', types => '{Old}', mode => 'inline');
SELECT wait_for_projection('since', timeout => '60s'), wait_for_projection('default state', timeout => '60s');
SELECT projection_state('default state'), (SELECT events FROM projection_states WHERE projection = 'since') - (SELECT count(*) FROM events WHERE recorded_at >= :'since' AND category <> 'workflow' AND category NOT LIKE '$%') AS difference,
       (SELECT events FROM projection_states WHERE projection = 'since') < (SELECT count(*) FROM events) AS not_all;
SELECT drop_projection('since'), drop_projection('default state');

-- --- behind: how far, and what is hidden meanwhile is never seen ---
SELECT create_projection('behind', handler => 'gather', initial_state => '[]', categories => '{behind}');
SELECT wait_for_projection('behind'), disable_projection('behind');
SELECT append_event('behind-1', 'x', '1'), append_event('behind-2', 'x', '2'), append_event('behind-2', 'x', '3');
SELECT lag_events, lag_ms > 0 AS ms FROM projections WHERE name = 'behind';
SELECT delete_stream('behind-1');
SELECT lag_events FROM projections WHERE name = 'behind';
SELECT enable_projection('behind');
SELECT wait_for_projection('behind', timeout => '60s');
SELECT projection_state('behind');
-- What was seen before it was hidden stays; computed anew it does not count.
SELECT delete_stream('behind-2');
SELECT projection_state('behind');
SELECT * FROM verify_projection('behind');

-- --- the events of runs: for async ones ---
SELECT create_projection('runs', handler => '"Count ""It"""', initial_state => '0', categories => '{workflow}', mode => 'inline');
SELECT create_projection('runs', handler => '"Count ""It"""', initial_state => '0', streams => '{workflow-x/y}', mode => 'inline');
SELECT create_projection('runs', handler => '"Count ""It"""', initial_state => '0', partition_by => '$.type', categories => '{workflow}');
SELECT create_workflow('{"id": "edge", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}');
SELECT execute_workflow('edge') AS run \gset
SELECT wait_for_execution(:'run');
SELECT wait_for_projection('runs', (SELECT max(global_position) FROM execution_history), timeout => '60s');
SELECT partition, state FROM projection_states WHERE projection = 'runs' ORDER BY 1;

-- --- code that fails waits twice as long each time, up to an hour; replaced, it is tried at once ---
CREATE FUNCTION backs_off(event chronicle.event) RETURNS void LANGUAGE sql AS 'SELECT 1 / 0';
SELECT create_projection('backs off', handler => 'backs_off', categories => '{slow}', options => '{"retry_delay": "10min", "max_retries": 9}');
SELECT append_event('slow-1', 'x');
RESET ROLE;
CREATE FUNCTION public.tried_again(attempt int) RETURNS TABLE (attempts int, minutes int, failing bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..600 LOOP
        EXIT WHEN EXISTS (SELECT FROM chronicle.projection_failures AS f WHERE projection = 'backs off' AND f.attempts = attempt);
        PERFORM pg_sleep(0.1);
    END LOOP;
    RETURN QUERY WITH again AS (UPDATE chronicle_data.projection_progress AS g SET due_at = now() WHERE g.attempts = attempt RETURNING projection_id)
    SELECT g.attempts, round(extract(epoch FROM g.due_at - g.error_at) / 60)::int, (SELECT count(*) FROM chronicle.projection_failures WHERE projection = 'backs off' AND parked_at IS NULL)
      FROM chronicle_data.projection_progress AS g JOIN again USING (projection_id);
END $$;
SELECT * FROM public.tried_again(1);
SELECT append_event('slow-2', 'x');
SELECT * FROM public.tried_again(2);
SELECT append_event('slow-2', 'x');
SELECT * FROM public.tried_again(3);
SELECT append_event('slow-2', 'x');
SELECT * FROM public.tried_again(4);
UPDATE chronicle_data.projection_progress SET due_at = now() + '1 day' WHERE attempts >= 4;
SET ROLE "regress Edge ""Owner""";
CREATE FUNCTION goes_on(event chronicle.event) RETURNS void LANGUAGE sql AS 'SELECT';
SELECT create_projection('backs off', handler => 'goes_on', categories => '{slow}', replace => true);
SELECT wait_for_projection('backs off', timeout => '60s');
SELECT last_error FROM projections WHERE name = 'backs off';

-- --- parked: once, in order, again parked when it fails again; what is hidden meanwhile goes ---
CREATE FUNCTION picky(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN IF event.type = 'bad' THEN RAISE EXCEPTION 'picky'; END IF; RETURN state || to_jsonb(event.stream || event.version); END $$;
SELECT create_projection('picky', handler => 'picky', initial_state => '[]', partition_by => 'stream', categories => '{p}', options => '{"max_retries": 0, "on_error": "park"}');
SELECT append_events('p-1', '[{"type": "good"}, {"type": "bad"}, {"type": "good"}, {"type": "bad"}]'), append_events('p-2', '[{"type": "bad"}, {"type": "good"}]'), append_event('p-3', 'good');
SELECT wait_for_projection('picky', timeout => '60s');
CREATE VIEW parked AS SELECT e.stream, e.version, f.attempts, f.error, f.sqlstate FROM projection_failures AS f JOIN events AS e USING (global_position) WHERE f.projection = 'picky' AND parked_at IS NOT NULL ORDER BY 1, 2;
TABLE parked;
SELECT partition, state FROM projection_states WHERE projection = 'picky' ORDER BY 1;
SELECT replay_parked_events('picky');
TABLE parked;
-- One that comes later waits behind its partition's.
SELECT append_event('p-1', 'good'), append_event('p-3', 'good');
SELECT wait_for_projection('picky', timeout => '60s');
SELECT delete_stream('p-2');
CREATE OR REPLACE FUNCTION picky(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN IF event.type = 'bad' AND event.version = 4 THEN RAISE EXCEPTION 'still'; END IF; RETURN state || to_jsonb(event.stream || event.version); END $$;
SELECT replay_parked_events('picky');
TABLE parked;
SELECT partition, state FROM projection_states WHERE projection = 'picky' ORDER BY 1;
CREATE OR REPLACE FUNCTION picky(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE sql AS $$ SELECT state || to_jsonb(event.stream || event.version) $$;
SELECT replay_parked_events('picky');
SELECT partition, state FROM projection_states WHERE projection = 'picky' ORDER BY 1;
SELECT count(*) FROM projection_failures WHERE projection = 'picky';
SELECT * FROM verify_projection('picky');

-- --- dropped and created again, it begins anew; what was undone was never there ---
SELECT drop_projection('picky');
SELECT create_projection('picky', handler => 'picky', initial_state => '[]', partition_by => 'stream', categories => '{p}');
SELECT wait_for_projection('picky', timeout => '60s');
SELECT partition, state FROM projection_states WHERE projection = 'picky' ORDER BY 1;
SELECT create_projection('kept', handler => '"Count ""It"""', initial_state => '0', mode => 'inline', categories => '{undo}');
BEGIN;
SELECT create_projection('undone', handler => '"Count ""It"""', initial_state => '0', mode => 'inline', categories => '{undo}'), drop_projection('kept');
SELECT append_event('undo-1', 'x');
SELECT projection, state FROM projection_states WHERE projection IN ('kept', 'undone');
ROLLBACK;
BEGIN;
SELECT disable_projection('kept');
SELECT append_event('undo-1', 'x');
SELECT projection_state('kept');
ROLLBACK;
SELECT append_event('undo-1', 'x');
SELECT projection, state FROM projection_states WHERE projection IN ('kept', 'undone');

-- --- a partition that is too long is a fault of its event ---
SELECT create_projection('long', handler => '"Count ""It"""', initial_state => '0', partition_by => '$.data.key', categories => '{long}', options => '{"max_retries": 0, "on_error": "park"}');
SELECT create_projection('long inline', handler => '"Count ""It"""', initial_state => '0', partition_by => '$.data.key', mode => 'inline', types => '{Longer}');
SELECT append_event('long-1', 'x', jsonb_build_object('key', (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 400) AS n))), append_event('long-1', 'x', '{"key": "short"}');
\set VERBOSITY terse
SELECT append_event('long-1', 'Longer', jsonb_build_object('key', repeat('x', 1025)));
\set VERBOSITY default
SELECT wait_for_projection('long', timeout => '60s');
SELECT partition, state FROM projection_states WHERE projection = 'long';
SELECT error, sqlstate FROM projection_failures WHERE projection = 'long';
RESET ROLE;

-- --- an owner loses a right: the projection is at fault, passes nothing, and is shown ---
GRANT ALL ON SCHEMA "My ""shop""" TO regress_edge_other;
SET ROLE regress_edge_other;
SELECT create_projection('loses', handler => '"Count ""It"""', initial_state => '0', types => '{lost}');
SELECT create_projection('loses inline', handler => '"Count ""It"""', initial_state => '0', categories => '{lose}', mode => 'inline');
SELECT wait_for_projection('loses', timeout => '60s');
RESET ROLE;
SELECT chronicle.revoke_access('regress_edge_other', 'reader'), chronicle.grant_category('regress_edge_other', 'some', 'read');
SET ROLE "regress Edge ""Owner""";
SELECT append_event('lose-1', 'x');
SELECT append_event('others-1', 'lost');
RESET ROLE;
SELECT public.until('faulted', 'loses');
SELECT name, status, lag_events IS NULL AS unknown FROM projections WHERE name LIKE 'loses%' ORDER BY 1;
SET ROLE regress_edge_other;
SELECT name, status FROM projections ORDER BY 1;
RESET ROLE;
SELECT chronicle.grant_access('regress_edge_other', 'reader');
SELECT enable_projection('loses');
SELECT wait_for_projection('loses', timeout => '60s');
SELECT projection_state('loses');
SELECT append_event('lose-1', 'x');
SELECT projection_state('loses inline');

-- --- nobody's identity but the owner's ---
SET ROLE "regress Edge ""Owner""";
CREATE FUNCTION escapes(event chronicle.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE event.data->>'sql'; END $$;
SELECT create_projection('escapes ' || n, handler => 'escapes', streams => ARRAY['escape-' || n]), append_event('escape-' || n, 'x', jsonb_build_object('sql', sql))
  FROM unnest(ARRAY['RESET ROLE', 'SET SESSION AUTHORIZATION DEFAULT', 'SET ROLE regress_edge_admin', 'CREATE TEMP TABLE t (n int)', 'PREPARE p AS SELECT 1']) WITH ORDINALITY AS s (sql, n) ORDER BY n \g /dev/null
SELECT public.until('faulted', name) FROM projections WHERE name LIKE 'escapes%' ORDER BY name;

RESET ROLE;
SELECT drop_projection(name) FROM projections \g /dev/null
DROP EXTENSION chronicle CASCADE;
\c :back
DROP DATABASE regress_projection_edges;
DROP ROLE "regress Edge ""Owner""", regress_edge_other, regress_edge_reader, regress_edge_writer, regress_edge_admin;
