-- Streams of 1,000, 100,000 and 1 million events and 50 more, with the last snapshot 50 events before the end.
SELECT format('SELECT chronicle.append_event_arrays(%L, array_fill(%L::text, ARRAY[1000]), array_fill(%L::jsonb, ARRAY[1000]))', 'account-' || n, 'deposited', :'data')
FROM unnest(ARRAY[1000, 100000, 1000000]) AS n, generate_series(1, n / 1000) \gexec
SELECT chronicle.append_event_arrays('account-' || n, array_fill('deposited'::text, ARRAY[50]), array_fill(:'data'::jsonb, ARRAY[50]))
FROM unnest(ARRAY[1000, 100000, 1000000]) AS n;
CREATE TABLE bench.kept (stream text PRIMARY KEY, state jsonb NOT NULL);
INSERT INTO bench.kept SELECT DISTINCT ON (stream) stream, state FROM chronicle.snapshots ORDER BY stream, version DESC;
INSERT INTO bench.kept SELECT 'other-' || n, '{}' FROM generate_series(1, 10000) AS n;
CREATE FUNCTION bench.kept_and_50_calls(name text) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    e chronicle.event = ROW(1, name, 1, 'deposited', '{"amount": 125.50}', '{}', NULL, now(), 'account', 1, NULL, NULL, 'postgres');
    s jsonb;
BEGIN
    SELECT state INTO s FROM bench.kept WHERE stream = name;
    FOR i IN 1 .. 50 LOOP
        s = bench.apply_account(s, e);
    END LOOP;
    RETURN s;
END $$;
VACUUM (ANALYZE) bench.kept;
VACUUM (ANALYZE) chronicle_data.event;
VACUUM (ANALYZE) chronicle_data.snapshot;
