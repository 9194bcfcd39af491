-- The same by one statement.
INSERT INTO bench.sums_at_once SELECT data ->> 'account', count(*), sum((data ->> 'amount')::numeric) FROM chronicle.events WHERE category = 'account' GROUP BY 1;
