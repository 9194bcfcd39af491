-- Far behind, batches grow (unless batch_size is given), and an event that fails in a large one is found.
SET search_path = public, chronicle;
SET client_min_messages = warning;
CREATE TABLE batch_sums (key text PRIMARY KEY, n bigint);
CREATE TABLE batch_seen (position bigint PRIMARY KEY);
CREATE FUNCTION batch_note(event chronicle.event) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.batch_seen VALUES (event.global_position / (event.type <> 'poison')::int) $$;
CREATE FUNCTION batch_count(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('n', (state->>'n')::int + 1 / (event.type <> 'poison')::int) $$;
CREATE FUNCTION batch_taken(projection text) RETURNS bigint LANGUAGE sql AS
$$ SELECT batches FROM chronicle_data.projection_progress JOIN chronicle_data.projection p USING (projection_id) WHERE p.name = projection $$;
SELECT append_event_arrays('batch-1', array_fill('x'::text, ARRAY[10000]), array_fill('{"k": 1}'::jsonb, ARRAY[10000])),
       append_event_arrays('batch-2', array_fill('x'::text, ARRAY[10000]), array_fill('{"k": 2}'::jsonb, ARRAY[10000]));
SELECT create_projection('batch ' || size, categories => '{batch}', handler => 'batch_count', initial_state => '{"n": 0}', options => size::jsonb)
FROM unnest(ARRAY['{}', '{"batch_size": 500}']) AS size;
SELECT name, wait_for_projection(name, timeout => '60s') FROM projections WHERE name LIKE 'batch%' ORDER BY 1;
SELECT projection, state FROM projection_states WHERE projection LIKE 'batch%' ORDER BY 1;
-- 20000 events: 40 batches of 500; or of 500, 1000, 2000 … (those that take 100 ms do not grow further).
SELECT batch_taken('batch {}') < 30 AS grown, batch_taken('batch {"batch_size": 500}') >= 40 AS as_given;

-- One event that fails, in the middle of large batches: alone it is parked, all the others count once.
SELECT append_event('batch-3', 'poison'), append_event_arrays('batch-4', array_fill('x'::text, ARRAY[5000]), array_fill('{"k": 4}'::jsonb, ARRAY[5000]));
SELECT create_projection('batch parks', categories => '{batch}', handler => 'batch_count', initial_state => '{"n": 0}', partition_by => 'stream',
    options => '{"on_error": "park", "max_retries": 0}');
SELECT create_projection('batch notes', categories => '{batch}', handler => 'batch_note', options => '{"on_error": "park", "max_retries": 0}');
SELECT create_projection('batch sums', categories => '{batch}', options => '{"on_error": "park", "max_retries": 0}', statement => $$
    INSERT INTO public.batch_sums AS s SELECT stream, sum(1 / (type <> 'poison')::int) FROM new_events GROUP BY 1 ON CONFLICT (key) DO UPDATE SET n = s.n + excluded.n $$);
SELECT name, wait_for_projection(name, timeout => '60s') FROM projections WHERE name IN ('batch parks', 'batch notes', 'batch sums') ORDER BY 1;
SELECT partition, state FROM projection_states WHERE projection = 'batch parks' ORDER BY 1;
SELECT count(*) FROM batch_seen;
SELECT * FROM batch_sums ORDER BY 1;
SELECT f.projection, e.stream, f.attempts, f.error FROM projection_failures f JOIN events e USING (global_position) WHERE f.parked_at IS NOT NULL AND e.category = 'batch' ORDER BY 1;
DO $$ BEGIN PERFORM drop_projection(name) FROM projections WHERE name LIKE 'batch%'; END $$;
DROP TABLE batch_sums, batch_seen;
DROP FUNCTION batch_note, batch_count, batch_taken;
