-- rebuild_projection, cancel_rebuild, verify_projection of tables. In a database of its own: it sees every event.
SELECT current_database() AS back \gset
CREATE DATABASE regress_projection_rebuild TEMPLATE template0 ENCODING 'UTF8';
\c regress_projection_rebuild
SET client_min_messages = warning;
CREATE EXTENSION chronicle;
CREATE ROLE regress_rebuild_owner LOGIN;
CREATE ROLE regress_rebuild_other;
SELECT chronicle.grant_access('regress_rebuild_owner', 'operator'), chronicle.grant_access('regress_rebuild_other', 'operator');
CREATE SCHEMA shop AUTHORIZATION regress_rebuild_owner;
-- Waits until no rebuild is under way, and what it made is gone.
CREATE FUNCTION public.rebuilt() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..600 LOOP
        EXIT WHEN (SELECT parts FROM leftovers()) = 0 AND NOT EXISTS (SELECT FROM chronicle.projections WHERE status = 'rebuilding');
        PERFORM pg_sleep(0.1);
    END LOOP;
    RETURN (SELECT string_agg(name || ': ' || status || coalesce(', ' || last_error, ''), E'\n' ORDER BY name) FROM chronicle.projections
             WHERE status NOT IN ('running', 'disabled') OR last_error IS NOT NULL);
END $$;
-- What a rebuild makes: nothing of it is left when it is over.
CREATE FUNCTION public.leftovers(OUT schemas bigint, OUT states bigint, OUT parts bigint) LANGUAGE sql SECURITY DEFINER AS $$
    SELECT (SELECT count(*) FROM pg_namespace WHERE nspname ~ '^chronicle_(rebuild|verify)'),
           (SELECT count(*) FROM chronicle_data.projection_state AS s LEFT JOIN chronicle_data.projection_progress AS g USING (projection_id)
             WHERE g.generation IS DISTINCT FROM s.generation),
           (SELECT count(*) FROM chronicle_data.projection_rebuild_part) $$;
SET ROLE regress_rebuild_owner;
SET search_path = shop, public, chronicle;

CREATE FUNCTION total(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN RETURN jsonb_build_object('n', (state->>'n')::int + 1, 'sum', (state->>'sum')::int + (event.data->>'amount')::int); END $$;
CREATE FUNCTION note(event chronicle.event) RETURNS void LANGUAGE sql AS '';
CREATE TABLE sales (stream text PRIMARY KEY, n bigint, amount numeric);
CREATE VIEW sales_view AS SELECT * FROM sales;
CREATE TABLE live_sales (LIKE sales INCLUDING ALL);
SELECT count(append_event_arrays('sale-' || n, array_fill('sold'::text, ARRAY[n]), array_fill(jsonb_build_object('amount', n), ARRAY[n])))
  FROM generate_series(1, 40) AS n;
SELECT create_projection('sales', statement => $$
    INSERT INTO sales AS s SELECT stream, count(*), sum((data->>'amount')::numeric) FROM new_events GROUP BY stream
    ON CONFLICT (stream) DO UPDATE SET n = s.n + excluded.n, amount = s.amount + excluded.amount $$,
    categories => '{sale}', options => '{"target": "sales", "batch_size": 100}');
SELECT create_projection('live_sales', mode => 'inline', statement => $$
    INSERT INTO live_sales AS s SELECT stream, count(*), sum((data->>'amount')::numeric) FROM new_events GROUP BY stream
    ON CONFLICT (stream) DO UPDATE SET n = s.n + excluded.n, amount = s.amount + excluded.amount $$,
    categories => '{sale}', options => '{"target": "shop.live_sales"}');
SELECT create_projection('per_stream', handler => 'total', initial_state => '{"n": 0, "sum": 0}', partition_by => 'stream', categories => '{sale}');
SELECT create_projection('all', handler => 'total', initial_state => '{"n": 0, "sum": 0}', categories => '{sale}');
SELECT create_projection('live_states', mode => 'inline', handler => 'total', initial_state => '{"n": 0, "sum": 0}', partition_by => 'stream', categories => '{sale}');
SELECT create_projection('noted', handler => 'note', categories => '{sale}');
SELECT create_projection('somewhere', statement => 'SELECT count(*) FROM new_events', categories => '{sale}');
SELECT name, wait_for_projection(name, timeout => '60s') FROM projections ORDER BY name;

-- --- verify_projection of tables ---
SELECT * FROM verify_projection('sales');
SELECT * FROM verify_projection('live_sales');
UPDATE sales SET n = 7 WHERE stream = 'sale-3';
DELETE FROM sales WHERE stream = 'sale-4';
INSERT INTO sales VALUES ('nobody', 1, 2);
TRUNCATE live_sales;
SELECT * FROM verify_projection('sales');
SELECT count(*), min(kept::text), min(recomputed::text) FROM verify_projection('live_sales');
SELECT * FROM leftovers();
SELECT * FROM verify_projection('noted');
SELECT * FROM verify_projection('somewhere');

-- --- rebuild: the live rows are right again ---
RESET ROLE;
UPDATE chronicle_data.projection_state SET state = '{"n": 9, "sum": 9}' WHERE partition IN ('sale-2', '');
INSERT INTO chronicle_data.projection_state SELECT projection_id, generation, 'nobody', '{}', 1, 1 FROM chronicle_data.projection_progress;
SET ROLE regress_rebuild_owner;
SELECT count(*) FROM verify_projection('per_stream');
SELECT rebuild_projection(name) FROM projections WHERE name IN ('sales', 'live_sales', 'per_stream', 'all', 'live_states') \g /dev/null
SELECT append_event('sale-1', 'sold', '{"amount": 100}');
SELECT rebuilt() IS NULL AS all_well;
SELECT count(*) FROM projections AS p, LATERAL verify_projection(p.name) AS v WHERE p.name NOT IN ('noted', 'somewhere');
SELECT wait_for_projection('sales', timeout => '60s'), wait_for_projection('all', timeout => '60s');
SELECT count(*), sum(n), sum(amount) FROM sales;
SELECT count(*), sum(n), sum(amount) FROM live_sales;
SELECT projection_state('all'), projection_state('per_stream', 'sale-1'), projection_state('live_states', 'sale-2'), projection_state('per_stream', 'nobody') IS NULL AS gone;
SELECT append_event('sale-1', 'sold', '{"amount": 1000}');
SELECT projection_state('live_states', 'sale-1'), (SELECT amount FROM live_sales WHERE stream = 'sale-1');
SELECT name, status, progress, eta FROM projections WHERE name IN ('sales', 'per_stream') ORDER BY name;
SELECT * FROM leftovers();

-- --- the handler fails: the live rows stay, the views tell ---
CREATE OR REPLACE FUNCTION total(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF event.stream = 'sale-9' THEN
        RAISE EXCEPTION 'no ninth' USING ERRCODE = 'P0009';
    END IF;
    RETURN jsonb_build_object('n', (state->>'n')::int + 1, 'sum', (state->>'sum')::int + (event.data->>'amount')::int);
END $$;
SELECT rebuild_projection('per_stream');
SELECT rebuilt();
SELECT projection_state('per_stream', 'sale-9');
SELECT f.projection, e.stream, e.version, f.attempts, f.error, f.sqlstate, f.parked_at FROM projection_failures AS f JOIN events AS e USING (global_position);
SELECT name, status FROM projections WHERE last_error_position IS NOT NULL;
SELECT * FROM leftovers();
SELECT cancel_rebuild('per_stream');
SELECT count(*) FROM projection_failures;
SELECT cancel_rebuild('per_stream');
-- It must not append.
CREATE OR REPLACE FUNCTION total(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM append_event('echo-1', 'heard');
    RETURN jsonb_build_object('n', (state->>'n')::int + 1, 'sum', (state->>'sum')::int + (event.data->>'amount')::int);
END $$;
SELECT rebuild_projection('per_stream');
SELECT rebuilt();
SELECT stream_version('echo-1') IS NULL AS nothing_appended;
CREATE OR REPLACE FUNCTION total(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE sql AS
$$ SELECT jsonb_build_object('n', (state->>'n')::int + 1, 'sum', (state->>'sum')::int + (event.data->>'amount')::int) $$;
SELECT rebuild_projection('per_stream');
SELECT rebuilt() IS NULL AS all_well;

-- --- disabled, it waits; what ends it leaves nothing behind ---
CREATE FUNCTION paused(name text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM rebuild_projection(name), disable_projection(name);
    RETURN (SELECT p.status || ' ' || (SELECT schemas + parts FROM leftovers()) FROM projections AS p WHERE p.name = paused.name);
END $$;
SELECT paused('sales');
SELECT rebuild_projection('sales');
SELECT replay_parked_events('sales');
SELECT cancel_rebuild('sales');
SELECT rebuild_projection('sales');
SELECT * FROM leftovers();
SELECT enable_projection('sales'), paused('sales');
SELECT enable_projection('sales');
SELECT wait_for_projection('sales', timeout => '60s'), rebuilt() IS NULL AS all_well;
SELECT paused('sales');
SELECT reset_projection('sales');
SELECT * FROM leftovers();
SELECT wait_for_projection('sales', timeout => '60s');
SELECT paused('per_stream');
SET client_min_messages = notice;
SELECT create_projection('per_stream', handler => 'total', initial_state => '{"n": 0, "sum": 0}', partition_by => 'stream', categories => '{sale}', replace => true);
SET client_min_messages = warning;
SELECT * FROM leftovers();
SELECT paused('live_sales'), paused('live_states');
SELECT drop_projection('live_sales'), drop_projection('live_states');
SELECT * FROM leftovers();
BEGIN;
SELECT rebuild_projection('sales');
SELECT schemas FROM leftovers();
ROLLBACK;
SELECT * FROM leftovers();

-- --- what is refused ---
SELECT rebuild_projection('noted');
SELECT rebuild_projection('somewhere');
SELECT rebuild_projection('nowhere');
SELECT rebuild_projection(NULL);
SELECT cancel_rebuild('nowhere');
SELECT cancel_rebuild('sales');
CREATE FUNCTION try(target text, statement text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM create_projection('try', statement => statement, categories => '{nothing}', options => jsonb_build_object('target', target));
    PERFORM rebuild_projection('try');
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING '%: %', sqlstate, sqlerrm;
END $$;
CREATE TABLE no_key (n bigint);
CREATE TABLE numbered (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n bigint);
CREATE TABLE serial_number (k text PRIMARY KEY, id serial);
CREATE TABLE triggered (n bigint PRIMARY KEY);
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION change();
CREATE TABLE ruled (n bigint PRIMARY KEY);
CREATE RULE r AS ON INSERT TO ruled WHERE NEW.n = 0 DO INSTEAD NOTHING;
CREATE TABLE hidden (n bigint PRIMARY KEY);
ALTER TABLE hidden ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE TABLE good (n bigint PRIMARY KEY);
SELECT try('missing', 'INSERT INTO good SELECT global_position FROM new_events');
SELECT try('no_key', 'INSERT INTO no_key SELECT global_position FROM new_events');
SELECT try('sales_view', 'INSERT INTO good SELECT global_position FROM new_events');
SELECT try('numbered', 'INSERT INTO numbered (n) SELECT global_position FROM new_events');
SELECT try('serial_number', 'INSERT INTO serial_number SELECT stream FROM new_events');
SELECT try('triggered', 'INSERT INTO triggered SELECT global_position FROM new_events');
SELECT try('ruled', 'INSERT INTO ruled SELECT global_position FROM new_events');
SELECT try('hidden', 'INSERT INTO hidden SELECT global_position FROM new_events');
SELECT try('good', 'INSERT INTO shop.good SELECT global_position FROM new_events');
SELECT try('good', 'WITH a AS (INSERT INTO no_key SELECT 1 FROM new_events) INSERT INTO good SELECT global_position FROM new_events');
SELECT try('good', 'INSERT INTO good SELECT n FROM shop.good, new_events');
SELECT try('sales', 'INSERT INTO sales SELECT stream FROM new_events');
SELECT * FROM leftovers();
RESET ROLE;
SET ROLE regress_rebuild_other;
SELECT rebuild_projection('sales');
SELECT cancel_rebuild('sales');
SELECT * FROM verify_projection('sales');
RESET ROLE;
SET ROLE regress_rebuild_owner;

-- --- tables of all sorts: keys, generated columns, values that change places, foreign keys, partitions ---
CREATE TYPE mood AS ENUM ('low', 'high');
CREATE TABLE "Odd table" ("Key 1" text, k2 date, place json, "$live" mood DEFAULT 'low', doubled bigint GENERATED ALWAYS AS (n * 2) STORED,
    n bigint CHECK (n > 0), dropped int, PRIMARY KEY ("Key 1", k2) INCLUDE (n)) PARTITION BY LIST (k2);
ALTER TABLE "Odd table" DROP COLUMN dropped;
CREATE TABLE odd_first PARTITION OF "Odd table" FOR VALUES IN ('2024-01-01');
CREATE TABLE odd_rest PARTITION OF "Odd table" DEFAULT;
SELECT create_projection('odd', statement => $$
    INSERT INTO "Odd table" ("Key 1", k2, place, n) SELECT stream, '2024-01-01'::date + version::int - 1, data::json, version FROM new_events $$,
    stream_regex => '-[345]$', categories => '{sale}', options => '{"target": "\"Odd table\""}');
CREATE TABLE ranks (stream text PRIMARY KEY, rank bigint UNIQUE);
CREATE TABLE medals (stream text REFERENCES ranks, medal text);
CREATE TABLE audit (what text, stream text);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO shop.audit VALUES (TG_OP, coalesce(NEW.stream, OLD.stream)); RETURN NULL; END $$;
SELECT create_projection('ranks', statement => 'INSERT INTO ranks SELECT stream, substr(stream, 6)::bigint FROM new_events WHERE version = 1',
    categories => '{sale}', options => '{"target": "ranks"}');
SELECT wait_for_projection('odd', timeout => '60s'), wait_for_projection('ranks', timeout => '60s');
SELECT * FROM verify_projection('odd');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON ranks FOR EACH ROW EXECUTE FUNCTION audit();
UPDATE "Odd table" SET n = 50, place = '{"amount":  4}' WHERE "Key 1" = 'sale-4' AND k2 > '2024-01-03';
DELETE FROM "Odd table" WHERE "Key 1" = 'sale-5' AND n > 1;
UPDATE ranks SET rank = -rank WHERE rank < 3;
UPDATE ranks SET rank = 3 + rank WHERE rank < 0;
DELETE FROM ranks WHERE stream = 'sale-40';
INSERT INTO medals VALUES ('sale-3', 'bronze');
TRUNCATE audit;
SELECT partition, kept->>'n' AS n, recomputed FROM verify_projection('odd') ORDER BY 1;
SELECT * FROM verify_projection('ranks') ORDER BY 1;
SELECT rebuild_projection('odd'), rebuild_projection('ranks');
SELECT rebuilt() IS NULL AS all_well;
SELECT * FROM verify_projection('odd');
SELECT * FROM verify_projection('ranks');
SELECT * FROM "Odd table" WHERE "Key 1" = 'sale-4' ORDER BY k2;
SELECT what, stream FROM audit ORDER BY 1, 2;
-- The target changes meanwhile, or goes: the rebuild fails, and the rest is as it was.
SELECT paused('ranks');
ALTER TABLE ranks ADD COLUMN more text;
SELECT enable_projection('ranks');
SELECT rebuilt();
SELECT paused('ranks');
DROP TABLE ranks CASCADE;
SELECT enable_projection('ranks');
SELECT rebuilt();
SELECT * FROM leftovers();

-- --- parked events are left out, as from the live rows; a faulted one is rebuilt up to where it stopped ---
CREATE FUNCTION picky(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF event.type = 'bad' THEN
        RAISE EXCEPTION 'bad';
    END IF;
    RETURN to_jsonb(state::int + 1);
END $$;
SELECT append_events('p-1', '[{"type": "good"}, {"type": "bad"}, {"type": "good"}]'), append_events('p-2', '[{"type": "good"}]');
SELECT create_projection('parks', handler => 'picky', initial_state => '0', partition_by => 'stream', categories => '{p}',
    options => '{"max_retries": 0, "on_error": "park"}');
SELECT create_projection('stops', handler => 'picky', initial_state => '0', partition_by => 'stream', categories => '{p}', options => '{"max_retries": 0}');
SELECT wait_for_projection('parks', timeout => '60s');
DO $$ BEGIN FOR i IN 1..600 LOOP EXIT WHEN (SELECT status FROM projections WHERE name = 'stops') = 'faulted'; PERFORM pg_sleep(0.1); END LOOP; END $$;
CREATE OR REPLACE FUNCTION picky(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(state::int + 10)';
BEGIN;
SELECT rebuild_projection('parks'), rebuild_projection('stops');
SELECT replay_parked_events('parks');
ROLLBACK;
SELECT rebuild_projection('parks'), rebuild_projection('stops');
SELECT rebuilt();
SELECT projection, partition, state FROM projection_states WHERE projection IN ('parks', 'stops') ORDER BY 1, 2;
SELECT replay_parked_events('parks'), enable_projection('stops');
SELECT wait_for_projection('stops', timeout => '60s');
SELECT projection, partition, state FROM projection_states WHERE projection IN ('parks', 'stops') ORDER BY 1, 2;
SELECT * FROM verify_projection('parks');

-- DROP EXTENSION takes what a rebuild has made along.
SELECT paused('sales');
RESET ROLE;
DROP EXTENSION chronicle CASCADE;
SELECT nspname FROM pg_namespace WHERE nspname ~ '^chronicle';
\c :back
DROP DATABASE regress_projection_rebuild;
DROP ROLE regress_rebuild_owner, regress_rebuild_other;
