-- Aggregates with a PL/pgSQL apply function and with the ready-made merge patch; and what they are compared with.
CREATE EXTENSION chronicle;
CREATE SCHEMA bench;
SET synchronous_commit = off;
CREATE FUNCTION bench.apply_account(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN jsonb_build_object('balance', (state -> 'balance')::numeric + (e.data -> 'amount')::numeric, 'version', e.version);
END $$;
CREATE FUNCTION bench.apply_last(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN e.data;
END $$;
SELECT chronicle.create_aggregate('account', 'bench.apply_account', '{"balance": 0}', snapshot_every => 100);
