WITH counter AS (UPDATE bench.counter SET version = version + 1 WHERE stream_id = 1 RETURNING version)
INSERT INTO bench.same (stream_id, version, data) SELECT 1, version, :data FROM counter;
