BEGIN;
UPDATE bench.counter SET version = version + 1 WHERE stream_id = 1 RETURNING version \gset
INSERT INTO bench.same (stream_id, version, data) VALUES (1, :version, :data);
COMMIT;
