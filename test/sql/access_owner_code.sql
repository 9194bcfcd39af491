-- The code of an owner, run in somebody else's session, sees nothing that the session made: no temporary table takes the
-- place of the owner's, whatever the caller's search_path is.
SET search_path = public, chronicle;
CREATE ROLE regress_code_owner;
CREATE ROLE regress_code_caller;
SELECT grant_access('regress_code_owner', 'operator'), grant_category('regress_code_caller', 'coded', 'append');
CREATE SCHEMA coded AUTHORIZATION regress_code_owner;
GRANT USAGE ON SCHEMA coded TO PUBLIC;
SET SESSION AUTHORIZATION regress_code_owner;
SET search_path = coded, chronicle;
CREATE TABLE totals (n int);
CREATE TABLE loot (session_role text, running_as text);
CREATE FUNCTION note(event chronicle.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO totals VALUES (1); END $$;
CREATE FUNCTION check_data(data jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO totals VALUES (10); RETURN NULL; END $$;
CREATE FUNCTION apply(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN INSERT INTO totals VALUES (100); RETURN '{}'; END $$;
SELECT create_projection('coded_handler', handler => 'note', mode => 'inline', categories => '{coded}');
SELECT create_projection('coded_statement', statement => 'INSERT INTO totals SELECT 1000 FROM new_events', mode => 'inline', categories => '{coded}');
SELECT register_event_type('Coded', validator => 'check_data');
SELECT create_aggregate('coded', 'apply', snapshot_every => 10);

SET SESSION AUTHORIZATION regress_code_caller;
SET search_path = pg_temp, chronicle;
CREATE TEMPORARY TABLE totals (n int);
GRANT ALL ON totals TO PUBLIC;
CREATE FUNCTION pg_temp.steal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO coded.loot VALUES (session_user, current_user); RETURN NEW; END $$;
CREATE TRIGGER steal BEFORE INSERT ON totals FOR EACH ROW EXECUTE FUNCTION pg_temp.steal();
SELECT append_event('coded-1', 'Coded') FROM generate_series(1, 10);
SELECT count(*) AS mine FROM pg_temp.totals;
RESET SESSION AUTHORIZATION;
SELECT n, count(*) FROM coded.totals GROUP BY n ORDER BY n;
TABLE coded.loot;

-- Nor when the owner's own path named the temporary schema.
SET SESSION AUTHORIZATION regress_code_owner;
SET search_path = pg_temp, coded, chronicle;
SELECT create_projection('coded_handler', handler => 'note', mode => 'inline', categories => '{coded}', replace => true);
SET SESSION AUTHORIZATION regress_code_caller;
SELECT append_event('coded-1', 'Coded');
RESET SESSION AUTHORIZATION;
TABLE coded.loot;

SET search_path = public, chronicle;
SELECT drop_projection('coded_handler'), drop_projection('coded_statement'), drop_aggregate('coded');
SELECT register_event_type('Coded');
SELECT revoke_access('regress_code_owner', 'reader'), revoke_category('regress_code_caller', 'coded', 'append');
DROP TABLE pg_temp.totals CASCADE;
SET client_min_messages = warning;
DROP SCHEMA coded CASCADE;
DROP OWNED BY regress_code_owner, regress_code_caller;
DROP ROLE regress_code_owner, regress_code_caller;
