\set after random(0, 80000)
SELECT id, stream, version, type, data, metadata, created_at
FROM bench.plain WHERE id > :after ORDER BY id LIMIT 10000;
