\set s random(1, 1000)
BEGIN;
SELECT chronicle.append_event('plain-' || :s, 'deposited', :data);
INSERT INTO bench.sums_at_once AS s VALUES ('plain-' || :s, 1, (:data::jsonb ->> 'amount')::numeric)
    ON CONFLICT (key) DO UPDATE SET n = s.n + excluded.n, amount = s.amount + excluded.amount;
COMMIT;
