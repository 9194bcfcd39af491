-- A projection to wait for, which runs.
SELECT chronicle.create_projection('latency', categories => '{latency}', statement => $$
    INSERT INTO bench.sums AS s SELECT stream, count(*), sum((data ->> 'amount')::numeric) FROM new_events GROUP BY stream
    ON CONFLICT (key) DO UPDATE SET n = s.n + excluded.n, amount = s.amount + excluded.amount $$);
SELECT chronicle.append_event('latency-1', 'noted', '{"amount": 1}');
SELECT chronicle.wait_for_projection('latency');
