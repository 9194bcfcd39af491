-- What projections of the bench write: counts and sums by key, a counter, states.
CREATE EXTENSION chronicle;
CREATE SCHEMA bench;
SET synchronous_commit = off;
CREATE TABLE bench.sums (key text PRIMARY KEY, n bigint NOT NULL, amount numeric NOT NULL);
CREATE TABLE bench.sums_at_once (LIKE bench.sums INCLUDING ALL);
CREATE TABLE bench.pinged (n bigint NOT NULL);
INSERT INTO bench.pinged VALUES (0);

-- A state kind's handler.
CREATE FUNCTION bench.total(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN jsonb_build_object('n', (state -> 'n')::bigint + 1, 'amount', (state -> 'amount')::numeric + (e.data -> 'amount')::numeric);
END $$;

-- The bare calls, and the calls with the events that they are for.
CREATE FUNCTION bench.bare_calls(calls bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    e chronicle.event = ROW(1, 'account-1', 1, 'deposited', '{"amount": 125.50}', '{}', NULL, now(), 'account', 1, NULL, NULL, 'postgres');
    state jsonb = '{"n": 0, "amount": 0}';
BEGIN
    FOR i IN 1 .. calls LOOP
        state = bench.total(state, e);
    END LOOP;
    RETURN state;
END $$;
CREATE FUNCTION bench.calls_over_events(calls bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    e chronicle.event;
    state jsonb = '{"n": 0, "amount": 0}';
BEGIN
    FOR e IN SELECT * FROM chronicle.read_category('account', max_count => calls) LOOP
        state = bench.total(state, e);
    END LOOP;
    RETURN state;
END $$;
