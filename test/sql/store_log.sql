-- read_all, read_category, stream_version: one log in order, filters alone and combined.
SET search_path = public, chronicle;
SELECT safe_position() AS start \gset
SELECT append_events('log_cart-1', '[{"type": "Added", "data": {"sku": "a", "qty": 1}}, {"type": "Added", "data": {"sku": "b", "qty": 5, "gift": true}}]');
SELECT append_event('log_user-1', 'Registered', '{"name": "Ann"}', '{"tenant": "t1"}');
SELECT append_events('log_cart-2', '[{"type": "Added", "data": {"sku": "c", "qty": 9}}, {"type": "CheckedOut", "data": {"gift": false}}]');
SELECT append_event('log_plain', 'Added');

SELECT stream, version, type FROM read_all(:start);
SELECT stream, version, type FROM read_all(:start, 2);
SELECT stream, version, type FROM read_all(NULL, 3, backwards => true);
SELECT stream, version FROM read_all((SELECT max(global_position) FROM read_stream('log_cart-2')), backwards => true, max_count => 2);
-- From the last position seen: every event once.
WITH RECURSIVE pages AS (
    SELECT :start::bigint AS last, 0 AS page, 0::bigint AS events
    UNION ALL
    SELECT (SELECT max(global_position) FROM read_all(p.last, 2)), p.page + 1, (SELECT count(*) FROM read_all(p.last, 2))
      FROM pages p WHERE EXISTS (SELECT FROM read_all(p.last, 2)))
SELECT max(page) AS pages, sum(events) AS events FROM pages;

-- Filters.
SELECT stream, version, type FROM read_all(:start, categories => ARRAY['log_cart']);
SELECT stream, version, type FROM read_all(:start, types => ARRAY['CheckedOut', 'Registered']);
SELECT stream, version, type FROM read_all(:start, categories => ARRAY['log_cart', 'log_user'], types => ARRAY['Added', 'Registered']);
SELECT stream, version, type FROM read_all(:start, stream_regex => '^log_.*-1$');
SELECT stream, version, type FROM read_all(:start, type_regex => '^(Check|Reg)');
SELECT count(*) FROM read_all(:start, categories => ARRAY['nothing']);
SELECT count(*) FROM read_all(:start, types => '{}');
-- A predicate must be true; any other path must find something, also a false; errors are false.
SELECT stream, version FROM read_all(:start, filter => '$.data.qty > 4');
SELECT stream, version FROM read_all(:start, filter => '$.data.gift');
SELECT stream, version FROM read_all(:start, filter => 'strict $.data.none.deeper');
SELECT count(*), count(*) FILTER (WHERE (data ->> 'qty')::int > 4) AS more FROM read_all(:start, filter => '($.data.qty > 4).type()');
SELECT count(*) FROM read_all(:start, filter => '($.data.qty > 4) ? (@ == true)');
SELECT stream, version FROM read_all(:start, filter => '$.data.qty > $least');
SELECT stream, version FROM read_all(:start, categories => '{log_cart, log_cart-1}');
SELECT stream, version FROM read_all(:start, categories => '{""}');
-- No category at all: no row, whether runs are asked for or not.
SELECT stream, version FROM read_all(:start, categories => '{}');
SELECT stream, version FROM read_all(:start, categories => '{}', include_system => true);
SELECT stream, version FROM read_all(:start, filter => '$.metadata.tenant == "t1" && $.category == "log_user"');
SELECT stream, version FROM read_all(:start, filter => '$.type like_regex "^Check" || $.version == 2', categories => ARRAY['log_cart']);
SELECT count(*) FROM read_all(:start, since => now() + interval '1 hour');
-- Both ends are included.
SELECT global_position AS exact, recorded_at AS exactly FROM read_all(:start, 1) \gset
SELECT count(*) FROM read_all(:start, since => :'exactly', until => :'exactly') WHERE global_position = :exact;
SELECT count(*) FROM read_all(:start, since => :'exactly'::timestamptz + interval '1 us') WHERE global_position = :exact;
SELECT count(*) FROM read_all(:start, until => :'exactly'::timestamptz - interval '1 us') WHERE global_position = :exact;
SELECT count(*) FROM read_all(:start, until => now() + interval '1 hour', since => now() - interval '1 hour');

-- Categories, and the members of a group: each stream with one member.
SELECT stream, version, type FROM read_category('log_cart', :start);
SELECT stream, version, type FROM read_category('log_plain', :start, 1);
SELECT count(*) AS members, sum(n) AS events FROM (
    SELECT m, (SELECT count(*) FROM read_category('log_cart', :start, 1000, 3, m)) AS n FROM generate_series(0, 2) m) g;
SELECT stream, count(DISTINCT m) AS members FROM generate_series(0, 2) m, read_category('log_cart', :start, 1000, 3, m) GROUP BY 1 ORDER BY 1;

-- Nothing above the safe position, also not one's own events.
BEGIN;
SELECT append_event('log_cart-1', 'Open');
SELECT count(*) FROM read_all(:start, types => ARRAY['Open']);
SAVEPOINT s;
SELECT append_event('log_cart-3', 'Undone');
ROLLBACK TO s;
COMMIT;
SELECT stream, version FROM read_all(:start, types => ARRAY['Open', 'Undone']);

-- The events of runs only for those who ask.
SELECT count(*) FROM read_all(:start, 100000) WHERE category = 'workflow';
SELECT DISTINCT category FROM read_all(NULL, 100000, categories => ARRAY['workflow']) WHERE category <> 'workflow';

-- An explicit NULL means the default.
SELECT append_event_arrays('log_many-1', array_fill('T'::text, ARRAY[1001]), NULL);
SELECT count(*) FROM read_category('log_many', NULL, NULL, NULL, NULL);
SELECT count(*) FROM read_all(NULL, NULL, '{log_many}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

-- Errors.
SELECT read_category('log_cart', NULL, 0);
SELECT read_all(max_count => -1);
SELECT read_all(max_count => 0);
SELECT read_all(-1);
SELECT read_all(stream_regex => '(');
SELECT read_all(type_regex => '*');
SELECT read_all(categories => ARRAY[NULL]);
SELECT read_category(NULL);
SELECT read_category('log_cart-1');
SELECT read_category('log_cart', NULL, 10, 3, 3);
SELECT read_category('log_cart', NULL, 10, 3);
SELECT stream_version('log_cart-1'), stream_version('log_none');
SELECT stream_version(NULL);
