-- Commands: decide on the newest state and append, in one transaction.
\set VERBOSITY default
\set SHOW_CONTEXT never
SET search_path = public, chronicle;

CREATE FUNCTION account_apply(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN CASE event.type
        WHEN 'Opened' THEN state || '{"open": true}'
        WHEN 'Deposited' THEN jsonb_set(state, '{balance}', to_jsonb((state ->> 'balance')::int + (event.data ->> 'amount')::int))
        WHEN 'Withdrawn' THEN jsonb_set(state, '{balance}', to_jsonb((state ->> 'balance')::int - (event.data ->> 'amount')::int))
        ELSE state END;
END $$;
CREATE TABLE decided (command text);
CREATE FUNCTION account_decide(state jsonb, command text, payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO decided VALUES (command);
    CASE command
    WHEN 'Open' THEN
        IF state ? 'open' THEN RETURN '[]'; END IF;
        RETURN jsonb_build_array(jsonb_build_object('type', 'Opened'));
    WHEN 'Deposit' THEN
        RETURN jsonb_build_array(jsonb_build_object('type', 'Deposited', 'data', payload, 'metadata', '{"own": 1, "source": "decide"}'::jsonb));
    WHEN 'Withdraw' THEN
        IF (state ->> 'balance')::int < (payload ->> 'amount')::int THEN
            RAISE 'Only % left', state ->> 'balance';
        END IF;
        RETURN jsonb_build_array(jsonb_build_object('type', 'Withdrawn', 'data', payload),
                                 jsonb_build_object('type', 'Noted'));
    WHEN 'Freeze' THEN RAISE 'frozen by %', current_user USING ERRCODE = 'CH005';
    WHEN 'Nothing' THEN RETURN NULL;
    WHEN 'Number' THEN RETURN '7';
    WHEN 'Typeless' THEN RETURN '[{"data": {}}]';
    WHEN 'Append' THEN PERFORM append_event('account-1', 'Opened'); RETURN payload;
    WHEN 'Delete' THEN PERFORM delete_stream('account-1'); RETURN payload;
    WHEN 'Again' THEN PERFORM execute_command('account-1', 'Deposit', '{"amount": 1}'); RETURN payload;
    WHEN 'Elsewhere' THEN PERFORM append_event('account-9', 'Opened'); RETURN payload;
    WHEN 'Divide' THEN RETURN to_jsonb(1 / 0);
    WHEN 'Escape' THEN EXECUTE 'SET ROLE postgres'; RETURN '[]';
    END CASE;
END $$;

-- before there is an aggregate, and without decide
SELECT execute_command('account-1', 'Open');
SELECT create_aggregate('account', 'account_apply', '{"balance": 0}');
SELECT execute_command('account-1', 'Open');
SELECT create_aggregate('account', 'account_apply', '{"balance": 0}', decide => 'no_such');
SELECT create_aggregate('account', 'account_apply', '{"balance": 0}', decide => 'account_decide', replace => true);

SELECT execute_command('account-1', 'Open');
SELECT execute_command('account-1', 'Open'); -- nothing to do: the version as it is
SELECT execute_command('account-1', 'Nothing');
SELECT execute_command('account-1', 'Deposit', '{"amount": 50}', metadata => '{"source": "caller", "correlation_id": "c-1"}');
SELECT metadata, correlation_id FROM read_stream('account-1', 2);
SELECT execute_command('account-1', 'Withdraw', '{"amount": 20}');
SELECT aggregate_state('account-1');
-- several in one statement: each sees what the one before appended
SELECT execute_command('account-1', 'Withdraw', '{"amount": 20}') AS a, execute_command('account-1', 'Deposit', '{"amount": 1}') AS b;

-- rejections
SELECT execute_command('account-1', 'Withdraw', '{"amount": 2000}');
SELECT * FROM try_command('account-1', 'Withdraw', '{"amount": 2000}');
SELECT * FROM try_command('account-1', 'Withdraw', '{"amount": 1}');
SELECT execute_command('account-1', 'Freeze');
DO $$ BEGIN
    PERFORM execute_command('account-1', 'Withdraw', '{"amount": 3000}');
EXCEPTION WHEN SQLSTATE 'CH005' THEN RAISE NOTICE 'caught: %', sqlerrm;
END $$;
BEGIN; -- recorded only by who commits
SELECT * FROM try_command('account-1', 'Freeze');
ROLLBACK;
SELECT stream, command, payload, accepted, reason, first_version, last_version FROM command_log ORDER BY at;
-- what decide wrote before it rejected is gone; what it wrote for accepted ones is there
SELECT command, count(*) FROM decided GROUP BY 1 ORDER BY 1;

-- bad answers of decide, and its other errors, leave nothing
SELECT execute_command('account-1', 'Number');
SELECT execute_command('account-1', 'Typeless');
SELECT execute_command('account-1', 'Divide');
SELECT execute_command('account-1', 'Unknown');
SELECT execute_command('account-1', 'Escape');
SELECT * FROM try_command('account-1', 'Divide');
-- decide returns what is to be appended, and leaves its own stream alone
SELECT execute_command('account-1', 'Append', '[{"type": "Noted"}]');
SELECT execute_command('account-1', 'Append', '[]');
SELECT * FROM try_command('account-1', 'Append', '[{"type": "Noted"}]');
SELECT execute_command('account-1', 'Delete', '[{"type": "Noted"}]');
SELECT execute_command('account-1', 'Again', '[]');
SELECT execute_command('account-1', 'Elsewhere', '[{"type": "Noted"}]') = stream_version('account-1') AS elsewhere, stream_version('account-9');
SELECT execute_command(NULL, 'Open');
SELECT execute_command('account-1', NULL);
SELECT execute_command('account-1', '');
SELECT execute_command('', 'Open');
SELECT execute_command('$account', 'Open');
SELECT execute_command('account-1', 'Deposit', '{"amount": 1}', metadata => '[]');
SELECT stream_version('account-1');

-- one id, one answer
SELECT execute_command('account-2', 'Deposit', '{"amount": 5}', '00000000-0000-0000-0000-000000000001');
SELECT execute_command('account-2', 'Deposit', '{"amount": 7}');
SELECT execute_command('account-2', 'Deposit', '{"amount": 5.0}', '00000000-0000-0000-0000-000000000001');
SELECT * FROM try_command('account-2', 'Deposit', '{"amount": 5}', '00000000-0000-0000-0000-000000000001');
SELECT execute_command('account-2', 'Deposit', '{"amount": 6}', '00000000-0000-0000-0000-000000000001');
SELECT execute_command('account-2', 'Withdraw', '{"amount": 5}', '00000000-0000-0000-0000-000000000001');
SELECT execute_command('account-3', 'Deposit', '{"amount": 5}', '00000000-0000-0000-0000-000000000001');
SELECT aggregate_state('account-2'), stream_version('account-3');
-- a rejection is an answer too: also when it would be accepted by now
SELECT * FROM try_command('account-2', 'Withdraw', '{"amount": 100}', '00000000-0000-0000-0000-000000000002');
SELECT execute_command('account-2', 'Deposit', '{"amount": 1000}');
SELECT * FROM try_command('account-2', 'Withdraw', '{"amount": 100}', '00000000-0000-0000-0000-000000000002');
SELECT execute_command('account-2', 'Withdraw', '{"amount": 100}', '00000000-0000-0000-0000-000000000002');
-- the same while the first one was caught in this transaction
BEGIN;
SAVEPOINT s;
SELECT execute_command('account-2', 'Freeze', command_id => '00000000-0000-0000-0000-000000000003');
ROLLBACK TO s;
SELECT * FROM try_command('account-2', 'Freeze', command_id => '00000000-0000-0000-0000-000000000003');
SELECT execute_command('account-2', 'Deposit', command_id => '00000000-0000-0000-0000-000000000003');
ROLLBACK TO s;
COMMIT;
SELECT command_id, command, accepted, reason FROM command_log WHERE command_id IS NOT NULL ORDER BY command_id;

-- deleted and tombstoned streams
SELECT delete_stream('account-2');
SELECT * FROM try_command('account-2', 'Withdraw', '{"amount": 1}');
SELECT execute_command('account-2', 'Deposit', '{"amount": 1}');
SELECT tombstone_stream('account-2');
SELECT execute_command('account-2', 'Deposit', '{"amount": 1}');

-- who may, and as whom decide runs
CREATE ROLE "Regress Commander";
CREATE ROLE regress_command_owner;
SELECT grant_access('"Regress Commander"', 'writer'), grant_access('regress_command_owner', 'operator');
SET ROLE "Regress Commander";
SELECT execute_command('account-4', 'Open'); -- decide runs as the aggregate's owner, who may write its table
SELECT * FROM try_command('account-4', 'Freeze');
RESET ROLE;
SELECT revoke_access('"Regress Commander"', 'writer');
SET ROLE "Regress Commander";
SELECT execute_command('account-4', 'Open');
SELECT count(*) FROM command_log WHERE stream = 'account-4';
INSERT INTO chronicle_data.command (stream) VALUES ('x');
RESET ROLE;
SELECT revoke_access('"Regress Commander"', 'reader'), revoke_access('regress_command_owner', 'reader');
SET ROLE "Regress Commander";
SELECT execute_command('account-4', 'Open');
SELECT count(*) FROM command_log;
RESET ROLE;
DROP ROLE "Regress Commander", regress_command_owner;

-- in a read-only transaction
BEGIN READ ONLY;
SELECT execute_command('account-1', 'Open');
ROLLBACK;
SELECT drop_aggregate('account');
SELECT execute_command('account-1', 'Open');
DROP TABLE decided;
DROP FUNCTION account_apply, account_decide;
