\set s random(1, 1000)
SELECT id, stream, version, type, data, metadata, created_at
FROM bench.plain WHERE stream = 'account-' || :s AND version >= 1 ORDER BY version LIMIT 100;
