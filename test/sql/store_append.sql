-- append_event: versions, expected versions, retries, names and limits, what an event carries.
\c -
SET search_path = public, chronicle;
-- What a statement raises: code, message, detail, hint.
CREATE FUNCTION append_raised(query text) RETURNS TABLE (code text, message text, detail text, hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE query;
    code := 'none';
    RETURN NEXT;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT;
    RETURN NEXT;
END $$;

-- 1. Versions count 1, 2, 3 … in each stream; an explicit NULL means the default.
SELECT last_position() AS none_yet;
SELECT append_event('append_cart-1', 'Opened');
SELECT append_event('append_cart-1', 'Added', '{"sku": "a"}'), append_event('append_cart-2', 'Opened'),
       append_event('append_cart-1', 'Added', '{"sku": "b"}', '{"by": "test"}');
SELECT append_event('append_cart-1', 'Closed', NULL, NULL, NULL, NULL);
SELECT append_event(stream => 'append_cart-1', type => 'Reopened', expected_version => 4);
SELECT stream, version, type, data, metadata FROM read_stream('append_cart-1');
SELECT last_position() = (SELECT max(global_position) FROM read_stream('append_cart-1')) AS is_the_last;
SELECT append_event('append_cart-3', 'T') FROM generate_series(1, 5);
SELECT count(*), min(version), max(version), bool_and(global_position > coalesce(before, 0)) AS rising
  FROM (SELECT *, lag(global_position) OVER (ORDER BY version) AS before FROM read_stream('append_cart-3')) AS e;

-- 2. expected_version: NULL, 0, n, -1, on a stream that is absent and on one at version 5.
SELECT stream, expected, o.code, o.message
  FROM (VALUES (1, 'append_none-', 'NULL'), (2, 'append_none-', '0'), (3, 'append_none-', '1'), (4, 'append_none-', '-1'),
               (5, 'append_cart-3', 'NULL'), (6, 'append_cart-3', '0'), (7, 'append_cart-3', '4'), (8, 'append_cart-3', '6'),
               (9, 'append_cart-3', '-1'), (10, 'append_none-', '-2'), (11, 'append_none-', '9223372036854775807'),
               (12, 'append_none-', '-9223372036854775808'))
           AS t (number, stream, expected),
       LATERAL append_raised(format('SELECT append_event(%L, ''T'', expected_version => %s)',
                                     CASE stream WHEN 'append_none-' THEN stream || number ELSE stream END, expected)) AS o
 ORDER BY number;
SELECT append_event('append_cart-3', 'T', expected_version => 8), append_event('append_cart-3', 'T', expected_version => 9);
SELECT stream_version('append_none-1'), stream_version('append_none-2'), stream_version('append_none-3'), stream_version('append_none-4');
-- CH001 to the client, and its DETAIL as JSON.
SELECT append_event('append_cart-3', 'T', expected_version => 3);
SELECT o.code, o.detail::jsonb
  FROM (VALUES (1, 'SELECT append_event(''append_cart-3'', ''T'', expected_version => 3)'),
               (2, 'SELECT append_event(''append_absent-1'', ''T'', expected_version => -1)'),
               (3, 'SELECT append_event(''append_"quoted"-1'', ''T'', expected_version => 5)')) AS t (number, query),
       LATERAL append_raised(query) AS o
 ORDER BY number;

-- 3. The id of a retry: the answer of the first time, nothing stored; whatever happened in between.
\set id '''00000000-0000-4000-8000-00000000a001'''
SELECT append_event('append_retry-1', 'Paid', '{"sum": 10, "at": [1, 2]}', '{"try": 1}', 0, :id);
SELECT append_event('append_retry-1', 'Paid', '{"at": [1, 2], "sum": 10.0}', '{"try": 2}', 0, :id) AS again,
       append_event('append_retry-1', 'Paid', '{"sum": 10, "at": [1, 2]}', event_id => :id) AS without_expectation;
SELECT append_event('append_retry-1', 'Sent');
SELECT append_event('append_retry-1', 'Paid', '{"sum": 10, "at": [1, 2]}', '{}', 0, :id) AS after_others,
       append_event('append_retry-1', 'Paid', '{"sum": 10, "at": [1, 2]}', '{}', 77, :id) AS other_expectation;
SELECT version, type, data, metadata FROM read_stream('append_retry-1');
-- last_position() is that of the event that the answer is about.
SELECT last_position() = (SELECT global_position FROM read_stream('append_retry-1', 1, 1)) AS of_the_first;
-- The same id for anything else: CH003, and nothing is stored.
SELECT what, o.code, o.detail::jsonb - 'reason' AS detail
  FROM (VALUES (1, 'other type', 'append_retry-1', 'Refunded', '{"sum": 10, "at": [1, 2]}'),
               (2, 'other data', 'append_retry-1', 'Paid', '{"sum": 11, "at": [1, 2]}'),
               (3, 'other stream', 'append_retry-2', 'Paid', '{"sum": 10, "at": [1, 2]}'),
               (4, 'other stream that exists', 'append_cart-1', 'Paid', '{"sum": 10, "at": [1, 2]}')) AS t (number, what, stream, type, data),
       LATERAL append_raised(format('SELECT append_event(%L, %L, %L, event_id => %L)', stream, type, data, :id)) AS o
 ORDER BY number;
SELECT append_event('append_retry-1', 'Refunded', event_id => :id);
SELECT stream_version('append_retry-1'), stream_version('append_retry-2'), stream_version('append_cart-1');
-- An id that chronicle made, read back, is an id like others; ids are UUIDv7 that rise.
SELECT event_id AS made, substr(event_id::text, 15, 1) AS uuid_version FROM read_stream('append_cart-1', 1, 1) \gset
SELECT :'uuid_version' AS uuid_version, append_event('append_cart-1', 'Opened', event_id => :'made') AS retry;
SELECT o.code FROM append_raised(format('SELECT append_event(''append_cart-9'', ''Opened'', event_id => %L)', :'made')) AS o;
SELECT count(DISTINCT event_id), array_agg(version ORDER BY event_id) FROM read_stream('append_cart-3');
-- The retry works in a transaction that began before, and inside the very transaction.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT append_event('append_retry-3', 'T', event_id => '00000000-0000-4000-8000-00000000a003') AS first,
       append_event('append_retry-3', 'T', event_id => '00000000-0000-4000-8000-00000000a003') AS again;
SAVEPOINT undone;
SELECT append_event('append_retry-3', 'T', event_id => '00000000-0000-4000-8000-00000000a004');
ROLLBACK TO undone;
SELECT append_event('append_retry-3', 'T', event_id => '00000000-0000-4000-8000-00000000a004') AS not_a_retry;
COMMIT;
SELECT count(*) FROM read_stream('append_retry-3');

-- Order of checks: the tombstone, the retry, the expected version, the schema.
SELECT append_event('append_checks-1', 'append_Checked', '{"n": 1}', event_id => '00000000-0000-4000-8000-00000000a005');
SELECT register_event_type('append_Checked', '{"required": ["m"]}');
SELECT append_event('append_checks-1', 'append_Checked', '{"n": 1}', expected_version => 9, event_id => '00000000-0000-4000-8000-00000000a005') AS retry;
SELECT what, o.code
  FROM (VALUES (1, 'version, schema', 'append_event(''append_checks-1'', ''append_Checked'', ''{"n": 2}'', expected_version => 9)'),
               (2, 'schema', 'append_event(''append_checks-1'', ''append_Checked'', ''{"n": 2}'', expected_version => 1)'),
               (3, 'id, version, schema', 'append_event(''append_checks-2'', ''append_Checked'', ''{"n": 2}'', ''{}'', 9, ''00000000-0000-4000-8000-00000000a005'')'),
               (4, 'tombstone', 'tombstone_stream(''append_checks-1'')'),
               (5, 'tombstone, retry', 'append_event(''append_checks-1'', ''append_Checked'', ''{"n": 1}'', event_id => ''00000000-0000-4000-8000-00000000a005'')'),
               (6, 'tombstone, version, schema', 'append_event(''append_checks-1'', ''append_Checked'', ''{"n": 2}'', expected_version => 9)'))
           AS t (number, what, query),
       LATERAL append_raised('SELECT ' || query) AS o
 ORDER BY number;

-- 4. Names and limits.
SELECT what, o.code, left(o.message, 80) AS message, o.detail
  FROM (VALUES (1, 'longest stream', repeat('s', 1024), 'T'), (2, 'too long stream', repeat('s', 1025), 'T'),
               (3, 'too long in bytes', repeat('ä', 513), 'T'), (4, 'longest in bytes', repeat('ä', 512), 'T'),
               (5, 'empty stream', '', 'T'), (6, 'empty type', 'append_name-1', ''),
               (7, 'longest type', 'append_name-1', repeat('t', 1024)), (8, 'too long type', 'append_name-1', repeat('t', 1025)),
               (9, 'system stream', '$all', 'T'), (10, 'system type', 'append_name-1', '$stream-deleted'),
               (11, 'category workflow', 'workflow-x/1', 'T'), (12, 'workflow itself', 'workflow', 'T'),
               (13, 'a category like it', 'workflows-1', 'T'), (14, 'dollar inside', 'append_name-$', 'a$b'),
               (15, 'any characters', E'append_name-\n''"\\ \U0001F600', E'\tT ')) AS t (number, what, stream, type),
       LATERAL append_raised(format('SELECT append_event(%L, %L)', stream, type)) AS o
 ORDER BY number;
SELECT o.code, o.message
  FROM (VALUES (1, 'SELECT append_event(NULL, ''T'')'), (2, 'SELECT append_event(''append_name-1'', NULL)')) AS t (number, query),
       LATERAL append_raised(query) AS o
 ORDER BY number;
SELECT append_event(name, 'T') FROM unnest(ARRAY['append_plain', 'append_a-b-c']) AS name;
SELECT stream, category, type
  FROM unnest(ARRAY['append_plain', 'append_a-b-c', E'append_name-\n''"\\ \U0001F600']) AS name, read_stream(name, 1, 1);
-- The size of an event: data and metadata as they are stored, uncompressed; the limit is a setting.
SHOW chronicle.max_event_bytes;
SET chronicle.max_event_bytes = '2kB';
SELECT o.code, o.message, o.detail::jsonb - 'bytes' AS detail, (o.detail::jsonb ->> 'bytes')::int > 2048 AS over, o.hint
  FROM append_raised($$SELECT append_event('append_big-1', 'T', jsonb_build_object('x', repeat('x', 2100)))$$) AS o;
SELECT o.code FROM append_raised($$SELECT append_event('append_big-1', 'T', '{}', jsonb_build_object('x', repeat('x', 2100)))$$) AS o;
SELECT append_event('append_big-1', 'T', jsonb_build_object('x', repeat('x', 1900)));
RESET chronicle.max_event_bytes;
SELECT append_event('append_big-1', 'T', jsonb_build_object('x', repeat('x', 1000000)));
SELECT length(data ->> 'x') FROM read_stream('append_big-1');
-- A value that lies in a table, out of line and compressed, is copied whole.
CREATE TABLE append_source (data jsonb);
INSERT INTO append_source SELECT jsonb_object_agg('k' || n, md5(n::text)) FROM generate_series(1, 2000) AS n;
SELECT append_event('append_big-2', 'T', data, data) FROM append_source;
SELECT e.data = s.data AND e.metadata = s.data AS whole FROM read_stream('append_big-2') AS e, append_source AS s;
DROP TABLE append_source;
SELECT count(*) FROM read_stream('append_big-2') AS e, jsonb_each(e.data);
-- Data and metadata may be any JSON; metadata keys count only in an object.
SELECT append_event('append_json-1', 'T', d, d) FROM unnest(ARRAY['null', 'true', '"x"', '1.50', '[]', '[{"correlation_id": "no"}]']::jsonb[]) AS d;
SELECT data, metadata, correlation_id FROM read_stream('append_json-1');

-- 5. What an event carries: correlation and causation, actor, type version, time.
SELECT append_event('append_meta-1', 'T', '{}', m) FROM unnest(ARRAY[
    '{"correlation_id": "c-1", "causation_id": "c-0"}', '{"$correlationId": "d-1", "$causationId": "d-0"}',
    '{"correlation_id": "wins", "$correlationId": "loses"}', '{"correlation_id": 7}', '{"correlation_id": null, "$causationId": "d"}',
    '{"schema_version": 3}', '{"schema_version": "4"}']::jsonb[]) AS m;
SELECT version, correlation_id, causation_id, type_version FROM read_stream('append_meta-1');
SELECT m, o.code, o.message
  FROM unnest(ARRAY['0', '-1', '1.5', '"x"', '{}', '2147483648', '""']) WITH ORDINALITY AS t (m, number),
       LATERAL append_raised(format('SELECT append_event(''append_meta-2'', ''T'', ''{}'', ''{"schema_version": %s}'')', m)) AS o
 ORDER BY number;
SELECT stream_version('append_meta-2');
CREATE ROLE regress_append_writer;
SELECT grant_access('regress_append_writer', 'writer');
SET ROLE regress_append_writer;
SELECT append_event('append_meta-3', 'T');
RESET ROLE;
SELECT actor = session_user AS session_user, actor <> 'regress_append_writer' AS not_the_role FROM read_stream('append_meta-3');
SELECT revoke_access('regress_append_writer', 'reader');
DROP ROLE regress_append_writer;
-- recorded_at is the clock's, not the transaction's.
BEGIN;
SELECT append_event('append_time-1', 'T');
SELECT append_event('append_time-1', 'T');
SELECT min(recorded_at) >= now() AS not_before, count(DISTINCT recorded_at) AS times FROM read_stream('append_time-1');
COMMIT;

-- 6. A failed append consumes no version and no position of anybody, also when it is caught.
SELECT safe_position() AS before, append_event('append_caught-1', 'T') \gset
DO $$
DECLARE
    version bigint;
BEGIN
    FOR n IN 1..3 LOOP
        BEGIN
            version := append_event('append_caught-1', 'T', expected_version => 99);
        EXCEPTION WHEN SQLSTATE 'CH001' THEN NULL;
        END;
        BEGIN
            version := append_event('append_caught-1', 'Undone');
            RAISE EXCEPTION 'undo it';
        EXCEPTION WHEN raise_exception THEN NULL;
        END;
        BEGIN
            version := append_event('append_caught-new' || n, 'Undone');
            RAISE EXCEPTION 'undo it';
        EXCEPTION WHEN raise_exception THEN NULL;
        END;
        version := append_event('append_caught-1', 'Kept');
        RAISE NOTICE 'version %', version;
    END LOOP;
END $$;
SELECT version, type FROM read_stream('append_caught-1');
SELECT count(*) FROM events WHERE stream LIKE 'append\_caught-%';
-- A check that fails takes no position; an undone append leaves a hole.
SELECT append_event('append_caught-2', 'T') \gset
SELECT last_position() AS here \gset
SELECT o.code FROM append_raised($$SELECT append_event('append_caught-2', 'T', expected_version => 9)$$) AS o;
SELECT append_event('append_caught-2', 'T') \gset
SELECT last_position() - :here AS next_one;

-- 7. A new stream, and a new type, of a transaction that is undone: this session has seen them, and forgets them.
BEGIN;
SELECT append_event('append_forget-1', 'Forgotten'), append_event('append_forget-1', 'Forgotten'),
       (SELECT count(*) FROM read_stream('append_forget-1'));
SELECT count(*) FROM read_stream('append_forget-1');
SELECT append_event('append_forget-1', 'Forgotten');
ROLLBACK;
BEGIN;
SAVEPOINT undone;
SELECT append_event('append_forget-2', 'Also forgotten');
SELECT append_event('append_forget-2', 'Also forgotten');
ROLLBACK TO undone;
SELECT append_event('append_forget-2', 'Also forgotten');
COMMIT;
SELECT append_event('append_forget-1', 'Forgotten');
SELECT stream, version, type FROM events WHERE category = 'append_forget' ORDER BY global_position;
\c -
SET search_path = public, chronicle;
SELECT append_event('append_forget-1', 'Forgotten'), append_event('append_forget-2', 'Also forgotten');
SELECT stream, version, type FROM events WHERE category = 'append_forget' ORDER BY global_position;

-- 8. Where it is refused.
BEGIN READ ONLY;
SELECT append_event('append_caught-1', 'T');
ROLLBACK;
BEGIN;
SELECT append_event('append_caught-1', 'T');
PREPARE TRANSACTION 'append';
SELECT stream_version('append_caught-1');

-- 9. Many streams in one transaction: the limit counts those that it holds, not tries that were undone.
SHOW chronicle.max_streams_per_transaction;
SET chronicle.max_streams_per_transaction = 5;
BEGIN;
SELECT count(append_event('append_many-' || n, 'T')) FROM generate_series(1, 5) AS n;
SELECT append_event('append_many-1', 'T'), append_event('append_many-1', 'T');
SAVEPOINT sixth;
SELECT append_event('append_many-6', 'T');
ROLLBACK TO sixth;
SELECT append_event('append_many-5', 'T');
ROLLBACK;
DO $$
BEGIN
    FOR n IN 1..20 LOOP
        BEGIN
            PERFORM append_event('append_many-1', 'Undone');
            RAISE EXCEPTION 'undo it';
        EXCEPTION WHEN raise_exception THEN NULL;
        END;
    END LOOP;
    FOR n IN 1..5 LOOP
        BEGIN
            PERFORM append_event('append_many-' || n, 'Kept');
        EXCEPTION WHEN raise_exception THEN NULL;
        END;
    END LOOP;
END $$;
SELECT o.code, o.detail
  FROM append_raised($$SELECT append_event('append_more-' || n, 'T') FROM generate_series(1, 6) AS n$$) AS o;
RESET chronicle.max_streams_per_transaction;
SELECT stream, version, type FROM events WHERE category = 'append_many' ORDER BY stream;
-- Locks of streams are none of the application's advisory locks, which share one space of numbers: nothing gives them back early.
BEGIN;
SELECT append_event('append_locks-1', 'T');
SELECT pg_advisory_unlock_all();
SELECT locktype, mode, count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype IN ('advisory', 'userlock') GROUP BY 1, 2;
COMMIT;
DROP FUNCTION append_raised;
