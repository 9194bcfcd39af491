-- Flows of trivial steps, owned by an ordinary role; and the plain tables that they are compared with.
-- bench.plain_event has the columns and indexes of chronicle_data.workflow_event (sql/install/20_store.sql): change them
-- together. What chronicle works out for each event (time, id, version, floor) is a constant or a default there.
SET client_min_messages = warning;
CREATE EXTENSION chronicle;
CREATE SCHEMA bench;
DO $$ BEGIN
    CREATE ROLE bench_flows LOGIN;
EXCEPTION WHEN duplicate_object THEN
    NULL;
END $$;
SELECT chronicle.grant_access('bench_flows', 'operator');
GRANT USAGE ON SCHEMA bench TO bench_flows;

CREATE TABLE bench.effect (x int);
CREATE TABLE bench.plain_effect (x int);
GRANT SELECT, INSERT ON bench.effect TO bench_flows;

CREATE SEQUENCE bench.position_seq CACHE 8;
CREATE SEQUENCE bench.version_seq CACHE 8;
CREATE TABLE bench.plain_event (
    global_position bigint PRIMARY KEY DEFAULT nextval('bench.position_seq'),
    execution_id uuid NOT NULL DEFAULT '01900000-0000-7000-8000-000000000000',
    version bigint NOT NULL DEFAULT nextval('bench.version_seq'),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    floor bigint NOT NULL DEFAULT 0,
    event_id uuid NOT NULL DEFAULT '01900000-0000-7000-8000-000000000000',
    type text COLLATE "C" NOT NULL,
    actor text NOT NULL DEFAULT 'bench_flows',
    node_id text COLLATE "C",
    data jsonb NOT NULL,
    UNIQUE (execution_id, version)
);

SET SESSION AUTHORIZATION bench_flows;
SELECT chronicle.create_workflow(jsonb_build_object('id', w.id,
           'nodes', jsonb_build_array(
               jsonb_build_object('id', 'make', 'nodeType', 'sql.query', 'own_transaction', w.own,
                                  'config', '{"sql": "SELECT 1 AS x"}'::jsonb),
               jsonb_build_object('id', 'change', 'nodeType', 'sql.query', 'own_transaction', w.own,
                                  'config', '{"sql": "SELECT x + 1 AS x FROM input"}'::jsonb),
               jsonb_build_object('id', 'write', 'nodeType', 'sql.query', 'own_transaction', w.own,
                                  'config', '{"sql": "INSERT INTO bench.effect SELECT x FROM input"}'::jsonb)),
           'edges', '[{"source": "make", "target": "change"}, {"source": "change", "target": "write"}]'::jsonb))
  FROM (VALUES ('three', false), ('three_own', true)) AS w (id, own);
SELECT chronicle.create_workflow('{"id": "single", "nodes": [{"id": "only", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}');
SELECT chronicle.create_workflow('{"id": "map", "nodes": [{"id": "each", "nodeType": "map.each",
    "config": {"items": {"$": "$.input"}, "workflow": "single"}}]}');
RESET SESSION AUTHORIZATION;

-- Starts n runs, a hundred in a transaction.
CREATE PROCEDURE bench.queue(workflow text, n int) LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL synchronous_commit = off;
    FOR i IN 1..n LOOP
        PERFORM chronicle.execute_workflow(workflow);
        IF i % 100 = 0 THEN
            COMMIT;
            SET LOCAL synchronous_commit = off;
        END IF;
    END LOOP;
    COMMIT;
END $$;

-- Keeps n runs in flight for some seconds.
CREATE PROCEDURE bench.keep_in_flight(workflow text, n int, seconds float) LANGUAGE plpgsql AS $$
DECLARE
    until timestamptz := clock_timestamp() + make_interval(secs => seconds);
    missing int;
BEGIN
    WHILE clock_timestamp() < until LOOP
        SELECT n - count(*) INTO missing FROM chronicle_data.node_task;
        IF missing <= n / 100 THEN
            PERFORM pg_sleep(0.001);
        END IF;
        FOR i IN 1..least(missing, 100) LOOP
            PERFORM chronicle.execute_workflow(workflow);
        END LOOP;
        COMMIT;
    END LOOP;
END $$;

-- n maps of so many items, one after the other.
CREATE PROCEDURE bench.run_maps(n int, items int) LANGUAGE plpgsql AS $$
DECLARE
    run uuid;
BEGIN
    FOR i IN 1..n LOOP
        run := chronicle.execute_workflow('map', (SELECT jsonb_agg(m) FROM generate_series(1, items) AS m));
        COMMIT;
        WHILE EXISTS (SELECT FROM chronicle_data.execution WHERE execution_id = run AND ended_at IS NULL) LOOP
            COMMIT;
            PERFORM pg_sleep(0.02);
        END LOOP;
    END LOOP;
END $$;

-- Milliseconds of n runs, one after the other with pauses, from the call of execute_workflow until wait_for_execution
-- returns; and of as many empty commits (a record in the WAL, and its flush), in turns.
CREATE TABLE bench.latency (flow float, empty float);
CREATE PROCEDURE bench.measure_latency(n int) LANGUAGE plpgsql AS $$
DECLARE
    at timestamptz[];
    run uuid;
BEGIN
    TRUNCATE bench.latency;
    COMMIT;
    FOR i IN 1..n LOOP
        PERFORM pg_sleep(0.01);
        COMMIT;
        at[1] := clock_timestamp();
        run := chronicle.execute_workflow('single');
        COMMIT;
        PERFORM chronicle.wait_for_execution(run);
        at[2] := clock_timestamp();
        COMMIT;
        PERFORM pg_sleep(0.01);
        COMMIT;
        at[3] := clock_timestamp();
        PERFORM pg_logical_emit_message(true, 'bench', '');
        COMMIT;
        at[4] := clock_timestamp();
        INSERT INTO bench.latency VALUES (extract(epoch FROM at[2] - at[1]) * 1000, extract(epoch FROM at[4] - at[3]) * 1000);
        COMMIT;
    END LOOP;
END $$;

-- What runs that began after a moment took.
CREATE FUNCTION bench.drained_since(moment timestamptz) RETURNS float LANGUAGE sql
    RETURN (SELECT count(*) / extract(epoch FROM max(e.ended_at) - min(e.started_at))
              FROM chronicle_data.execution AS e WHERE e.queued_at > moment AND e.parent_execution_id IS NULL);
