\set s random(1, 1000)
SELECT global_position, stream, version, type, data, metadata, recorded_at
FROM chronicle.read_stream('account-' || :s, 1, 100);
