-- 1,000 streams of each kind, with 1 to 100 events, so that one append in a hundred passes a multiple.
SET chronicle.max_streams_per_transaction = 3000;
SELECT count(chronicle.append_event_arrays(kind || '-' || s, array_fill('deposited'::text, ARRAY[s % 100 + 1]), array_fill(:'data'::jsonb, ARRAY[s % 100 + 1])))
FROM unnest(ARRAY['account', 'plain']) AS kind, generate_series(1, 1000) AS s;
