-- An append does not fail because of a trigger; what could not be started can be seen, by who may see the trigger, and started later.
-- In a database of its own: a registered type stays.
SELECT current_database() AS back \gset
CREATE DATABASE regress_trigger_failures TEMPLATE template0 ENCODING 'UTF8';
\c regress_trigger_failures
SET client_min_messages = warning;
CREATE EXTENSION chronicle;
RESET client_min_messages;
SET search_path = public, chronicle;
CREATE FUNCTION trigger_raised(statement text, OUT code text, OUT message text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    code := 'none';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
END $$;
CREATE PROCEDURE trigger_until_over() LANGUAGE plpgsql AS $$
DECLARE until timestamptz := clock_timestamp() + interval '60s';
BEGIN
    WHILE EXISTS (SELECT FROM executions WHERE workflow_id LIKE 'trigger%' AND ended_at IS NULL) LOOP
        IF clock_timestamp() > until THEN RAISE 'runs are not over'; END IF;
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;

-- 1. An upcaster that raises: of five events the three that can be read start runs, of each trigger that wants them.
CREATE ROLE "trigger Op's ""Role"""; CREATE ROLE "trigger Writer";
SELECT grant_access('"trigger Op''s ""Role"""', 'operator'), grant_access('"trigger Writer"', 'writer');
CREATE SCHEMA "trigger Schema" AUTHORIZATION "trigger Op's ""Role""";
SET ROLE "trigger Op's ""Role""";
SET search_path = "trigger Schema", public, chronicle;
SELECT version FROM create_workflow('{"id": "trigger_up", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT :n AS n", "parameters": {"n": {"$": "$.input.data.n"}}}}]}');
SELECT create_trigger('trigger_up', '{raised}') AS every \gset
SELECT create_trigger('trigger_up', '{raised}', '{TriggerUp}', '$.data.n >= 4') AS some \gset
SELECT create_trigger('trigger_up', '{raised}', '{TriggerOther}') AS other \gset
CREATE FUNCTION "Up"(data jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN IF (data ->> 'n')::int % 2 = 0 THEN RAISE 'no "%"', data ->> 'n' USING ERRCODE = 'XU001'; END IF; RETURN data; END $$;
SELECT register_event_type('TriggerUp', version => 2), register_upcaster('TriggerUp', 1, '"Up"');
SET ROLE "trigger Writer";
SELECT append_events('raised-1', (SELECT jsonb_agg(jsonb_build_object('type', 'TriggerUp', 'data', jsonb_build_object('n', n), 'metadata', '{"schema_version": 1}'::jsonb) ORDER BY n) FROM generate_series(1, 5) AS n)) AS version;
SELECT count(*) AS not_the_appenders FROM trigger_failures;
SET ROLE "trigger Op's ""Role""";
SELECT CASE trigger_id WHEN :every THEN 'every' WHEN :some THEN 'some' END AS which, workflow_id, sqlstate, error, failed_at <= clock_timestamp() AS at FROM trigger_failures ORDER BY 1, global_position;
SELECT metadata ->> 'triggerId' = :'some' AS some, input ->> 'version' AS version FROM executions WHERE workflow_id = 'trigger_up' ORDER BY 1, 2;
-- Mended: the events are there.
CREATE OR REPLACE FUNCTION "Up"(data jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT data $$;
SELECT count(execute_workflow(f.workflow_id, to_jsonb(e))) FROM trigger_failures AS f JOIN events AS e USING (global_position) WHERE f.trigger_id = :every;
RESET ROLE;
CALL trigger_until_over();
SELECT result #>> '{a,0,n}' AS n, status FROM executions WHERE workflow_id = 'trigger_up' ORDER BY 1, 2;
-- A shutdown, a serialization failure and the like pass, as everywhere; nothing of the append is left.
SET ROLE "trigger Op's ""Role""";
CREATE OR REPLACE FUNCTION "Up"(data jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'again' USING ERRCODE = data ->> 'code'; END $$;
SELECT c AS raised, o.code FROM unnest('{40001,57P03,53200,58030,55P03,22012,XX000}'::text[]) AS c,
       trigger_raised(format('SELECT append_event(%L, %L, %L, %L)', 'raised-' || c, 'TriggerUp', jsonb_build_object('code', c), '{"schema_version": 1}')) AS o;
SELECT stream, version FROM streams WHERE category = 'raised' ORDER BY 1;
-- Not what the owner may not read, for the upcaster's words may tell of it; not of a disabled workflow.
RESET ROLE;
SELECT count(*) AS before FROM trigger_failures \gset
SELECT disable_workflow('trigger_up');
SELECT append_event('raised-1', 'TriggerUp', '{"code": "22012"}', '{"schema_version": 1}');
SELECT enable_workflow('trigger_up'), revoke_access('"trigger Op''s ""Role"""', 'reader'), grant_category('"trigger Op''s ""Role"""', 'raised', 'append');
SELECT append_event('raised-1', 'TriggerUp', '{"code": "22012"}', '{"schema_version": 1}');
SELECT count(*) - :before AS noted FROM trigger_failures;
SELECT grant_access('"trigger Op''s ""Role"""', 'operator'), revoke_category('"trigger Op''s ""Role"""', 'raised', 'append');
-- An undone append leaves no failure; a dropped trigger takes its own along, a dropped workflow all.
BEGIN;
SELECT append_event('raised-1', 'TriggerUp', '{"code": "22012"}', '{"schema_version": 1}');
ROLLBACK;
SELECT count(*) - :before AS noted FROM trigger_failures;
SELECT drop_trigger(:some);
SELECT count(*) FILTER (WHERE trigger_id = :every) AS every, count(*) FILTER (WHERE trigger_id <> :every) AS others FROM chronicle_data.trigger_failure;
SELECT drop_workflow('trigger_up');
SELECT count(*) FROM chronicle_data.trigger_failure;

-- 2. As deep as the store takes it: some of these can be no input, which is an object around the event, and none is refused. A filter and a
-- key that walk through all levels need more for each of them.
SELECT version FROM create_workflow('{"id": "trigger_deep", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}');
SELECT version FROM create_workflow('{"id": "trigger_key", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}], "concurrency": {"limit": 9, "key": "$.**.nothing"}}');
SELECT count(create_trigger(workflow, '{pit}', filter => filter::jsonpath)) FROM (VALUES ('trigger_deep', NULL), ('trigger_key', NULL), ('trigger_deep', 'exists($.**.nothing) || $.type == "Deep"')) AS t (workflow, filter);
CREATE PROCEDURE trigger_nest(INOUT depth int DEFAULT 100, INOUT appended bigint DEFAULT 0) LANGUAGE plpgsql AS $$
DECLARE beyond int := 100000; tried int; nested jsonb;
BEGIN
    WHILE beyond - depth > 1 LOOP
        tried := (depth + beyond) / 2;
        BEGIN
            nested := repeat('[', tried) || repeat(']', tried);
            PERFORM chronicle.append_event('flat-1', 'Deep', nested);
            depth := tried;
        EXCEPTION WHEN statement_too_complex THEN
            beyond := tried;
        END;
    END LOOP;
    FOR up IN 0..100 LOOP
        nested := repeat('[', depth - up) || repeat(']', depth - up);
        PERFORM chronicle.append_event('pit-' || up, 'Deep', nested);
        appended := appended + 1;
    END LOOP;
END $$;
CALL trigger_nest() \gset
SELECT :depth > 1000 AS deep, :appended AS appended;
SELECT t.workflow_id, t.filter IS NOT NULL AS filtered, sqlstate, error, count(f.trigger_id) > 0 AS failed, count(f.trigger_id) + (SELECT count(*) FROM executions AS e WHERE e.metadata ->> 'triggerId' = t.trigger_id::text) AS failed_or_begun
  FROM triggers AS t LEFT JOIN trigger_failures AS f USING (trigger_id) WHERE t.categories = '{pit}' GROUP BY t.trigger_id, t.workflow_id, 2, 3, 4 ORDER BY 1, 2;
CALL trigger_until_over();

-- 3. Failures go when runs of their age go. (A changed setting of the database restarts the scheduler, which looks at once.)
SET search_path = public, chronicle;
UPDATE chronicle_data.trigger_failure SET failed_at = failed_at - interval '29 days' WHERE trigger_id > (SELECT min(trigger_id) FROM triggers);
ALTER DATABASE regress_trigger_failures SET chronicle.execution_retention = '28d';
CREATE PROCEDURE trigger_until_removed() LANGUAGE plpgsql AS $$
DECLARE until timestamptz := clock_timestamp() + interval '60s';
BEGIN
    WHILE EXISTS (SELECT FROM chronicle.trigger_failures WHERE failed_at < now() - interval '28 days') LOOP
        IF clock_timestamp() > until THEN RAISE 'failures are not removed'; END IF;
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
CALL trigger_until_removed();
SELECT count(DISTINCT trigger_id) AS young FROM trigger_failures;

\c :back
DROP DATABASE regress_trigger_failures;
DROP ROLE "trigger Op's ""Role""", "trigger Writer";
