-- 1 million events for each kind of fold, and no snapshot: chronicle folds them all. Loops are what a user would write.
SELECT chronicle.create_aggregate('last', 'bench.apply_last'), chronicle.create_aggregate('profile', 'chronicle.apply_merge_patch');
SELECT format('SELECT chronicle.append_event_arrays(%L, array_fill(%L::text, ARRAY[1000]), array_fill(%L::jsonb, ARRAY[1000]))', stream, 'deposited', :'data')
FROM unnest(ARRAY['account-1', 'last-1']) AS stream, generate_series(1, 1000) \gexec
-- Patches of a document with 20 members.
SELECT format('SELECT chronicle.append_event_arrays(%L, array_fill(%L::text, ARRAY[1000]), (SELECT array_agg(jsonb_build_object(%L || n %% 20, n, %L, n)) FROM generate_series(%s, %s) AS n))',
              'profile-1', 'changed', 'member', 'changes', n * 1000 + 1, n * 1000 + 1000)
FROM generate_series(0, 999) AS n \gexec
SELECT chronicle.drop_snapshots();
CREATE FUNCTION bench.calls_account(name text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    e chronicle.event;
    state jsonb = '{"balance": 0}';
BEGIN
    SELECT * INTO e FROM chronicle.read_stream(name, max_count => 1);
    FOR i IN 1..1000000 LOOP
        state = bench.apply_account(state, e);
    END LOOP;
    RETURN state;
END $$;
CREATE FUNCTION bench.loop_account(name text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    e chronicle.event;
    state jsonb = '{"balance": 0}';
BEGIN
    FOR e IN SELECT * FROM chronicle.read_stream(name) LOOP
        state = bench.apply_account(state, e);
    END LOOP;
    RETURN state;
END $$;
CREATE FUNCTION bench.calls_last(name text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    e chronicle.event;
    state jsonb = '{}';
BEGIN
    SELECT * INTO e FROM chronicle.read_stream(name, max_count => 1);
    FOR i IN 1..1000000 LOOP
        state = bench.apply_last(state, e);
    END LOOP;
    RETURN state;
END $$;
CREATE FUNCTION bench.loop_last(name text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    e chronicle.event;
    state jsonb = '{}';
BEGIN
    FOR e IN SELECT * FROM chronicle.read_stream(name) LOOP
        state = bench.apply_last(state, e);
    END LOOP;
    RETURN state;
END $$;
CREATE FUNCTION bench.loop_profile(name text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    e chronicle.event;
    state jsonb = '{}';
BEGIN
    FOR e IN SELECT * FROM chronicle.read_stream(name) LOOP
        state = state || e.data;
    END LOOP;
    RETURN state;
END $$;
VACUUM (ANALYZE) chronicle_data.event;
DO $$
BEGIN
    ASSERT chronicle.aggregate_state('account-1') = bench.loop_account('account-1');
    ASSERT chronicle.aggregate_state('last-1') = bench.loop_last('last-1');
    ASSERT chronicle.aggregate_state('profile-1') = bench.loop_profile('profile-1');
END $$;
