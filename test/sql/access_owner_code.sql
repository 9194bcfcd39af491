-- The code of an owner, run in somebody else's session, sees nothing that the session made: no temporary table takes the
-- place of the owner's, whatever the caller's search_path is.
-- In a database of its own: a registered type stays.
SELECT current_database() AS back \gset
CREATE DATABASE regress_owner_code TEMPLATE template0 ENCODING 'UTF8';
\c regress_owner_code
SET client_min_messages = warning;
CREATE EXTENSION chronicle;
RESET client_min_messages;
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

-- A statement that appends, and changes projections meanwhile: its own plan is not freed under it.
SET search_path = public, chronicle;
CREATE FUNCTION nested(stream text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    IF stream LIKE '%-nested' THEN RETURN 0; END IF;
    PERFORM create_projection('other', statement => 'SELECT 1 FROM new_events', options => '{"start_from": "end"}', replace => EXISTS (SELECT FROM projections WHERE name = 'other'));
    RETURN append_event(stream || '-nested', 'E');
END $$;
SELECT create_projection('nesting', statement => 'SELECT nested(stream) FROM new_events', mode => 'inline', categories => '{nest}');
SELECT append_event('nest-' || i, 'E') FROM generate_series(1, 3) AS i;
SELECT count(*) FROM read_category('nest');

\c :back
DROP DATABASE regress_owner_code;
DROP ROLE regress_code_owner, regress_code_caller;
