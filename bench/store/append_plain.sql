\set s random(1, 1000)
\set n :n + 1
\set version :n * 64 + :client_id
INSERT INTO bench.plain (stream, version, type, data) VALUES ('account-' || :s, :version, 'deposited', :data);
