-- A snapshot never changes an answer: 10,000 random histories of appends, snapshots, deletions, truncations, removed rows, undone work
-- and replaced functions, against a model that knows every state. In a database of its own, whose scheduler does not scavenge: here it is
-- a step of a history.
SELECT current_database() AS back \gset
CREATE DATABASE regress_state_property TEMPLATE template0 ENCODING 'UTF8';
ALTER DATABASE regress_state_property SET chronicle.scavenge_interval = -1;
\c regress_state_property
SET client_min_messages = warning;
CREATE EXTENSION chronicle;
RESET client_min_messages;
SET search_path = public, chronicle;
CREATE FUNCTION apply_model(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN jsonb_build_object('sum', (state -> 'sum')::int * 31 % 100003 + (e.data -> 'n')::int, 'count', (state -> 'count')::int + 1, 'last', e.version);
END $$;
SELECT create_aggregate('model', 'apply_model', '{"sum": 0, "count": 0, "last": 0}', snapshot_every => 10);
CREATE TABLE wrong (seed int, stream text, at bigint, got text, wanted text);

-- One history. The model: the state at each version since the last deletion, where retention cuts, and up to where it has removed.
CREATE FUNCTION history(seed int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name text = 'model-' || seed;
    states jsonb[] = '{}';     -- at version - deleted
    deleted bigint = 0;        -- the last version at the last deletion
    last bigint = 0;
    kept jsonb;
    keep_count bigint;
    keep_from bigint;
    removed bigint = 0;
    state jsonb;
    n int;
    at bigint;
    cut bigint;
    numbers int[];
BEGIN
    FOR step IN 1 .. 3 + (random() * 7)::int LOOP
        CASE (random() * 20)::int
        WHEN 0 THEN
            IF random() < 0.5 THEN
                deleted = delete_stream(name);
                states = '{}';
            END IF;
        WHEN 1, 2 THEN PERFORM take_snapshot(name);
        WHEN 3 THEN PERFORM drop_snapshots(name);
        WHEN 4, 8 THEN
            keep_count = CASE WHEN random() < 0.7 THEN 1 + (random() * 30)::int END;
            keep_from = CASE WHEN random() < 0.3 THEN 1 + (random() * (last + 20))::int END; -- also beyond the end
            PERFORM set_stream_retention(name, max_count => keep_count, truncate_before => keep_from);
        WHEN 6, 7 THEN
            PERFORM scavenge();
            removed = GREATEST(removed, last - keep_count, CASE WHEN keep_from > last THEN last ELSE keep_from - 1 END);
        WHEN 5 THEN -- undone, with the snapshot that it took
            BEGIN
                PERFORM append_event_arrays(name, array_fill('T'::text, ARRAY[12]), array_fill('{"n": 5}'::jsonb, ARRAY[12]));
                RAISE EXCEPTION 'undone';
            EXCEPTION WHEN raise_exception THEN NULL;
            END;
        ELSE
            numbers = ARRAY(SELECT (random() * 1000)::int FROM generate_series(1, 1 + (random() * random() * 30)::int));
            last = append_event_arrays(name, array_fill('T'::text, ARRAY[cardinality(numbers)]),
                                       ARRAY(SELECT jsonb_build_object('n', i) FROM unnest(numbers) WITH ORDINALITY AS t (i, o) ORDER BY o));
            state = COALESCE(states[cardinality(states)], '{"sum": 0, "count": 0, "last": 0}');
            FOREACH n IN ARRAY numbers LOOP
                at = deleted + cardinality(states) + 1;
                state = jsonb_build_object('sum', (state -> 'sum')::int * 31 % 100003 + n, 'count', (state -> 'count')::int + 1, 'last', at);
                states = states || state;
            END LOOP;
        END CASE;
        -- Now, with its version; at a random version; at one that may have been cut off.
        cut = GREATEST(last - keep_count, CASE WHEN keep_from > last THEN last ELSE keep_from - 1 END, deleted, removed);
        state = COALESCE(states[cardinality(states)], '{"sum": 0, "count": 0, "last": 0}');
        SELECT l.state INTO kept FROM load_aggregate(name) AS l WHERE l.version = deleted + cardinality(states);
        IF kept IS DISTINCT FROM state THEN
            INSERT INTO wrong VALUES (seed, name, NULL, kept, state);
        END IF;
        at = (random() * (last + 1))::int;
        state = CASE WHEN at <= deleted OR states = '{}' THEN '{"sum": 0, "count": 0, "last": 0}' ELSE states[LEAST(at - deleted, cardinality(states))] END;
        BEGIN
            kept = aggregate_state(name, at);
            IF at < cut AND cut > deleted OR kept IS DISTINCT FROM state THEN
                INSERT INTO wrong VALUES (seed, name, at, kept, CASE WHEN at < cut AND cut > deleted THEN '22023' ELSE state::text END);
            END IF;
        EXCEPTION WHEN invalid_parameter_value THEN
            IF at >= cut OR cut = deleted THEN
                INSERT INTO wrong VALUES (seed, name, at, sqlerrm, state);
            END IF;
        END;
    END LOOP;
    -- Step by step, from the cut on; and since when.
    SELECT jsonb_build_array(count(*), min(r.version), max(r.version), (array_agg(r.state_after ORDER BY r.version DESC))[1]) INTO kept FROM replay(name) AS r;
    state = jsonb_build_array(last - cut, CASE WHEN last > cut THEN cut + 1 END, CASE WHEN last > cut THEN last END, CASE WHEN last > cut THEN states[last - deleted] END);
    IF kept IS DISTINCT FROM state THEN
        INSERT INTO wrong VALUES (seed, name, -1, kept, state);
    END IF;
    at = cut + 1 + (random() * (last - cut - 1))::int;
    IF last > cut AND find_first_version(name, format('$.last >= %s', at)::jsonpath) IS DISTINCT FROM at THEN
        INSERT INTO wrong VALUES (seed, name, -2, find_first_version(name, format('$.last >= %s', at)::jsonpath), at);
    END IF;
    IF keep_count IS NOT NULL OR keep_from IS NOT NULL THEN
        PERFORM set_stream_retention(name); -- a step of scavenge() looks at every stream that has one
    END IF;
END $$;
CREATE PROCEDURE histories(first int, last int) LANGUAGE plpgsql AS $$
BEGIN
    FOR seed IN first .. last LOOP
        PERFORM setseed(seed / 10000.0);
        PERFORM history(seed);
        IF seed % 100 = 0 THEN
            COMMIT;
        END IF;
    END LOOP;
END $$;
SET synchronous_commit = off;
CALL histories(1, 5000);
SELECT count(*) > 1000 AS many_snapshots FROM snapshots WHERE stream LIKE 'model-%';
SELECT count(*) > 300 AS many_bases FROM chronicle_data.snapshot WHERE base;
-- With another function that makes the same states no old snapshot counts, and nothing else changes.
CREATE OR REPLACE FUNCTION apply_model(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql
    RETURN jsonb_build_object('sum', (state -> 'sum')::int * 31 % 100003 + (e.data -> 'n')::int, 'count', (state -> 'count')::int + 1, 'last', e.version);
CALL histories(5001, 10000);
SELECT * FROM wrong LIMIT 10;
SELECT count(*) > 9000 AS many_histories FROM chronicle.streams WHERE category = 'model';
SELECT drop_aggregate('model');
\c :back
DROP DATABASE regress_state_property;
