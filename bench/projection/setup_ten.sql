-- Ten projections of all kinds that follow every append: five statements, three states, two handlers.
CREATE TABLE bench.sums_of (projection text, key text, n bigint NOT NULL, amount numeric NOT NULL, PRIMARY KEY (projection, key));
SELECT chronicle.create_projection('statement ' || p, categories => '{account}', statement => format($$
    INSERT INTO bench.sums_of AS s SELECT %L, stream, count(*), sum((data ->> 'amount')::numeric) FROM new_events GROUP BY stream
    ON CONFLICT (projection, key) DO UPDATE SET n = s.n + excluded.n, amount = s.amount + excluded.amount $$, p))
FROM generate_series(1, 5) AS p;
SELECT chronicle.create_projection('state ' || p, categories => '{account}', handler => 'bench.total', partition_by => 'stream',
                                   initial_state => '{"n": 0, "amount": 0}')
FROM generate_series(1, 3) AS p;
CREATE FUNCTION bench.note(e chronicle.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bench.sums AS s VALUES (e.stream, 1, (e.data -> 'amount')::numeric)
    ON CONFLICT (key) DO UPDATE SET n = s.n + excluded.n, amount = s.amount + excluded.amount;
END $$;
SELECT chronicle.create_projection('handler 1', categories => '{account}', handler => 'bench.note');
CREATE FUNCTION bench.remember(e chronicle.event) RETURNS void LANGUAGE sql AS $$
    INSERT INTO bench.sums_at_once AS s VALUES (e.stream, 1, (e.data -> 'amount')::numeric)
    ON CONFLICT (key) DO UPDATE SET n = s.n + excluded.n, amount = s.amount + excluded.amount $$;
SELECT chronicle.create_projection('handler 2', categories => '{account}', handler => 'bench.remember');
