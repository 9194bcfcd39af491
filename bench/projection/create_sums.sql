-- Counts and sums by account, by a worker.
SELECT chronicle.create_projection('sums', categories => '{account}', options => '{"target": "bench.sums"}', statement => $$
    INSERT INTO bench.sums AS s SELECT data ->> 'account', count(*), sum((data ->> 'amount')::numeric) FROM new_events GROUP BY 1
    ON CONFLICT (key) DO UPDATE SET n = s.n + excluded.n, amount = s.amount + excluded.amount $$);
