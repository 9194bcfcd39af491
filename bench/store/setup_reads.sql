-- 99 more events for each of the 1,000 streams, in turns, so that a stream's events lie far apart; the same in `plain`.
SELECT count(chronicle.append_event('account-' || s, 'deposited', :'data'))
FROM generate_series(2, 100) v, generate_series(1, 1000) s;
TRUNCATE bench.plain;
INSERT INTO bench.plain (id, stream, version, type, data, metadata, created_at)
SELECT global_position, stream, version, type, data, metadata, recorded_at
FROM chronicle.read_all(max_count => 1000000);
VACUUM (ANALYZE) bench.plain;
VACUUM (ANALYZE) chronicle_data.event;
