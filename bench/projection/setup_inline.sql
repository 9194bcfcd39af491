-- The same upsert twice: by an inline projection of one category, and by hand beside appends to the other.
SELECT chronicle.create_projection('sums', mode => 'inline', categories => '{account}', statement => $$
    INSERT INTO bench.sums AS s SELECT stream, count(*), sum((data ->> 'amount')::numeric) FROM new_events GROUP BY stream
    ON CONFLICT (key) DO UPDATE SET n = s.n + excluded.n, amount = s.amount + excluded.amount $$);
SET chronicle.max_streams_per_transaction = 3000;
SELECT count(chronicle.append_event(kind || '-' || s, 'deposited', :'data')) FROM unnest(ARRAY['account', 'plain']) AS kind, generate_series(1, 1000) AS s;
INSERT INTO bench.sums_at_once SELECT replace(key, 'account', 'plain'), n, amount FROM bench.sums;
