\set after random(0, 80000)
SELECT global_position, stream, version, type, data, metadata, recorded_at FROM chronicle.read_all(:after, 10000);
