-- Inline projections at their edges: handlers that append, where one begins, replicas' sessions, constraints that wait; and waiting.
SET search_path = public, chronicle;
SET client_min_messages = warning;
CREATE FUNCTION edge_count(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    CASE event.data->>'then'
    WHEN 'append' THEN PERFORM append_event(event.category || '-b', 'Inner'), append_event(event.category || '-c', 'Inner', '{"then": "append_one"}');
    WHEN 'append_one' THEN PERFORM append_event(event.category || '-b', 'Innermost');
    WHEN 'undo' THEN
        BEGIN
            PERFORM append_event(event.category || '-b', 'Undone');
            RAISE EXCEPTION 'undone';
        EXCEPTION WHEN OTHERS THEN PERFORM append_event(event.category || '-b', 'Instead');
        END;
    WHEN 'for ever' THEN PERFORM append_event(event.category || '-b', 'Again', event.data);
    ELSE NULL;
    END CASE;
    RETURN jsonb_build_object('n', (state->>'n')::int + 1, 'types', state->'types' || to_jsonb(event.type));
END $$;
CREATE TABLE edge_seen (n serial, type text);
CREATE FUNCTION edge_note(event chronicle.event) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.edge_seen (type) VALUES (event.type) $$;

-- What a handler appends is applied after what it was called for, by all projections, in the order of the log.
SELECT create_projection('edge', handler => 'edge_count', mode => 'inline', categories => '{edge}', initial_state => '{"n": 0, "types": []}');
SELECT create_projection('edge notes', handler => 'edge_note', mode => 'inline', categories => '{edge}');
SELECT append_events('edge-a', '[{"type": "First", "data": {"then": "append"}}, {"type": "Second"}]');
SELECT projection_state('edge');
SELECT string_agg(type, ' ' ORDER BY n) AS seen, (SELECT string_agg(type, ' ' ORDER BY global_position) FROM events WHERE category = 'edge') AS log FROM edge_seen;
-- A savepoint undone, and its version given again.
SELECT append_event('edge-a', 'Third', '{"then": "undo"}');
SELECT projection_state('edge')->'types' AS types, (SELECT string_agg(type, ' ' ORDER BY n) FROM edge_seen WHERE n > 5) AS seen;
SELECT * FROM verify_projection('edge');
-- Without an end.
SELECT append_event('edge-a', 'Fourth', '{"then": "for ever"}');
SELECT projection_state('edge')->'n' AS n, stream_version('edge-a');

-- From a position that is still to come; a time that is.
SELECT append_event('earlier-1', 'Noted');
SELECT last_position() + 2 AS start \gset
SELECT create_projection('edge late', handler => 'edge_count', mode => 'inline', categories => '{late}', initial_state => '{"n": 0, "types": []}',
    options => jsonb_build_object('start_from', :start));
SELECT append_event('late-1', 'Before');
SELECT last_position() <= :start AS before, projection_state('edge late') IS NULL AS nothing;
SELECT disable_projection('edge late');
SELECT enable_projection('edge late');
DO $$
DECLARE
    start bigint = (SELECT (options->>'start_from')::bigint FROM chronicle_data.projection WHERE name = 'edge late');
BEGIN
    WHILE last_position() < start LOOP
        PERFORM append_event('late-1', 'Filler');
    END LOOP;
END $$;
SELECT append_event('late-1', 'Counts');
SELECT append_event('late-1', 'Counts');
SELECT wait_for_projection('edge late', timeout => '60s');
SELECT (projection_state('edge late')->>'n')::bigint - (SELECT count(*) FROM events WHERE category = 'late' AND global_position > :start) AS difference,
       projection_state('edge late')->'types' @> '["Before"]' AS too_early;
SELECT * FROM verify_projection('edge late');
SELECT create_projection('edge later', handler => 'edge_note', options => '{"start_from": "2999-01-01"}');
SELECT create_projection('edge path', handler => 'edge_count', partition_by => '$.data ? (@.k == $x)');
SELECT create_projection('edge path', handler => 'edge_count', partition_by => '$x.y');

-- A session that acts for replication.
SET session_replication_role = replica;
SELECT append_event('edge-a', 'Replicated');
RESET session_replication_role;
SELECT projection_state('edge')->'types'->>-1 AS last;

-- Waiting: for what is not there yet; for what nobody appends.
SELECT wait_for_projection('edge', last_position() + 1000000, timeout => '50ms') AS beyond, wait_for_projection('edge', last_position()) AS there,
       wait_for_projection('edge') AS own, wait_for_projection('edge', 0) AS beginning;
SELECT create_projection('edge async', handler => 'edge_note', categories => '{edge}');
SELECT wait_for_projection('edge async', last_position() + 1000000, timeout => '50ms') AS beyond, wait_for_projection('edge async', last_position()) AS there;
SELECT drop_projection('edge async'), drop_projection('edge notes');

-- Constraints that wait for the end of the transaction cannot; a worker checks them at once.
CREATE TABLE edge_parent (id int PRIMARY KEY);
CREATE TABLE edge_child (id int CONSTRAINT parents REFERENCES edge_parent DEFERRABLE INITIALLY DEFERRED);
INSERT INTO edge_parent VALUES (1);
CREATE FUNCTION edge_adopt(event chronicle.event) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.edge_child VALUES ((event.data->>'id')::int) $$;
SELECT append_event('child-1', 'x', '{"id": 1}'), append_event('child-1', 'x', '{"id": 2}');
SELECT create_projection('edge children', handler => 'edge_adopt', categories => '{child}', options => '{"on_error": "park", "max_retries": 0}');
SELECT wait_for_projection('edge children', timeout => '60s');
SELECT (SELECT array_agg(id) FROM edge_child) AS children, error FROM projection_failures WHERE projection = 'edge children';
SELECT drop_projection('edge children');
SELECT create_projection('edge children', handler => 'edge_adopt', mode => 'inline', categories => '{orphan}');
DO $$
DECLARE
    said text;
BEGIN
    PERFORM append_event('orphan-1', 'x', '{"id": 1}');
EXCEPTION WHEN SQLSTATE 'CH010' THEN
    GET STACKED DIAGNOSTICS said = PG_EXCEPTION_HINT;
    RAISE WARNING '% %', sqlerrm, said;
END $$;
CREATE OR REPLACE FUNCTION edge_adopt(event chronicle.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    SET CONSTRAINTS public.parents IMMEDIATE;
    INSERT INTO public.edge_child VALUES ((event.data->>'id')::int);
END $$;
SELECT append_event('orphan-1', 'x', '{"id": 1}');
SELECT count(*) FROM edge_child;

-- A target that is not there. A handler that appends, projected again: what it appended is in the log.
SELECT create_projection('edge target', statement => 'SELECT 1 FROM new_events', options => '{"target": "edge_nowhere"}');
CREATE FUNCTION edge_answer(event chronicle.event) RETURNS void LANGUAGE sql AS $$ SELECT append_event('answer-1', 'Answered') $$;
SELECT append_event('ask-1', 'Asked'), append_event('ask-1', 'Asked');
SELECT create_projection('edge answers', handler => 'edge_answer', categories => '{ask}', options => '{"reset": "SELECT 1", "max_retries": 0}');
SELECT wait_for_projection('edge answers', timeout => '60s');
SELECT stream_version('answer-1');
SELECT reset_projection('edge answers');
DO $$ BEGIN FOR i IN 1..600 LOOP EXIT WHEN (SELECT status FROM projections WHERE name = 'edge answers') = 'faulted'; PERFORM pg_sleep(0.1); END LOOP; END $$;
SELECT last_error, stream_version('answer-1') FROM projections WHERE name = 'edge answers';
-- One that appends only for new events goes on.
CREATE OR REPLACE FUNCTION edge_answer(event chronicle.event) RETURNS void LANGUAGE sql AS $$ SELECT append_event('answer-1', 'Answered') WHERE event.type = 'Asked again' $$;
SELECT append_event('ask-1', 'Asked again'), enable_projection('edge answers');
SELECT wait_for_projection('edge answers', timeout => '60s');
SELECT stream_version('answer-1');

-- Partitions by all kinds of paths; those over the data alone are looked up in it.
SELECT create_projection('edge by ' || path, handler => 'edge_count', mode => 'inline', categories => '{path}', partition_by => path)
FROM unnest(ARRAY['$.data.k', '$.data', '$.data.list[1]', '$.data ? (@.k == "a$b").list[*] ? (@ > 1)', '$.data.k ? ($.version == 1)', '$.data.list.size() + $.version', '$.dat', '$.data.none',
    '$.metadata.m.n', 'strict $.data.list[9]', '$.data.list.type()', '$.stream', '$.data."odd \"$ key"']) AS path;
SELECT append_events('path-1', '[{"type": "T", "data": {"k": "a$b", "list": [1, 2], "odd \"$ key": true}, "metadata": {"m": {"n": 1.50}}}]');
SELECT projection, partition FROM projection_states WHERE projection LIKE 'edge by%' ORDER BY projection;

DO $$ BEGIN PERFORM drop_projection(name) FROM projections WHERE name LIKE 'edge%'; END $$;
DROP TABLE edge_seen, edge_child, edge_parent;
DROP FUNCTION edge_count, edge_note, edge_adopt, edge_answer;
