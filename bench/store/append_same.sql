\set s random(1, 1000)
\set n :n + 1
\set version :n * 64 + :client_id
INSERT INTO bench.same (stream_id, version, data) VALUES (:s, :version, :data);
