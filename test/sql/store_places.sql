-- Where rows of streams were seen (src/store/stream.cpp): a row that has moved is found at its new place, also when another stream's row
-- lies at the old one by now. Deletions move rows within their page, pruning frees the places, new streams come to lie there. In a
-- database of its own, where no snapshot of others keeps the old rows.
\set VERBOSITY terse
SELECT current_database() AS back \gset
CREATE DATABASE regress_places;
ALTER DATABASE regress_places SET chronicle.workers = off;
\c regress_places
SET client_min_messages = error;
CREATE EXTENSION chronicle;
RESET client_min_messages;
SET search_path = public, chronicle;
DO $$
DECLARE
    last bigint[] := array_fill(0::bigint, ARRAY[40]);
    k int;
    wrong record;
BEGIN
    FOR i IN 1 .. 1000 LOOP
        k := i::bigint * 2654435761 % 4294967296 / 107374183 + 1; -- in no regular order
        last[k] := append_event('old-' || k, 'T', expected_version => 0);
        COMMIT;
        last[k] := append_event('old-' || k, 'T', expected_version => last[k]);
        COMMIT;
        IF delete_stream('old-' || k, last[k]) <> last[k] THEN
            RAISE EXCEPTION 'another stream was deleted than old-%', k;
        END IF;
        COMMIT;
        IF i % 10 = 0 THEN
            PERFORM append_event('new-' || i, 'T', expected_version => 0);
            COMMIT;
        END IF;
        IF i % 25 = 0 THEN
            SELECT * INTO wrong
              FROM (SELECT stream, version, type FROM read_all(max_count => 100000, include_system => true)) AS r
              FULL JOIN (SELECT stream, version, type FROM events) AS e USING (stream, version, type)
             WHERE r IS NULL OR e IS NULL;
            IF FOUND THEN
                RAISE EXCEPTION 'after % rounds: %', i, wrong;
            END IF;
            COMMIT;
        END IF;
    END LOOP;
    RAISE NOTICE '% events in % streams', (SELECT sum(n) FROM unnest(last) AS n), cardinality(last);
END $$;
SELECT count(*), sum(version), sum(event_count) FROM streams WHERE category = 'new';
\c :back
DROP DATABASE regress_places;
