-- Access levels: what each level may do and see, groups, quoted names, revoking; and that nothing else opens a door.
SET search_path = public, chronicle;
CREATE ROLE regress_access_none;
CREATE ROLE regress_access_reader;
CREATE ROLE regress_access_writer;
CREATE ROLE regress_access_operator;
CREATE ROLE regress_access_admin;
CREATE ROLE "regress_access odd ""name'";
CREATE FUNCTION access_raised(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE query;
    RETURN 'yes';
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate;
END $$;
CREATE FUNCTION access_as(role text, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    answer := access_raised(query);
    RESET ROLE;
    RETURN answer;
END $$;
SELECT count(append_event('access_a-' || n, 'T')) FROM generate_series(1, 3) AS n;

-- 1. Granting: by admins only, up to their own level, to roles that exist.
SELECT access_as('regress_access_none', 'SELECT grant_access(''regress_access_none'', ''reader'')') AS by_nobody;
SELECT grant_access(('regress_access_' || level)::regrole, level) FROM unnest(ARRAY['reader', 'writer', 'operator', 'admin']) AS level;
SELECT grant_access('"regress_access odd ""name''"', 'writer');
SELECT role, access_as(role, 'SELECT grant_access(''regress_access_none'', ''reader'')') AS may_grant,
       access_as(role, 'SELECT revoke_access(''regress_access_none'', ''reader'')') AS may_revoke
  FROM unnest(ARRAY['regress_access_reader', 'regress_access_writer', 'regress_access_operator', 'regress_access_admin']) AS role;
SELECT query, access_raised(query)
  FROM unnest(ARRAY['SELECT grant_access(''regress_access_none'', ''owner'')', 'SELECT grant_access(''regress_access_none'', ''Reader'')',
                    'SELECT grant_access(''regress_access_none'', '''')', 'SELECT grant_access(NULL, ''reader'')',
                    'SELECT grant_access(''regress_access_none'', NULL)', 'SELECT grant_access(''regress_no_role'', ''reader'')',
                    'SELECT grant_access(''99999''::regrole, ''reader'')', 'SELECT grant_access(''-'', ''reader'')',
                    'SELECT revoke_access(''regress_access_none'', ''nothing'')', 'SELECT revoke_access(NULL, ''reader'')',
                    'SELECT revoke_access(''regress_access_none'', ''admin'')']) AS query;

-- 2. What each level may do.
CREATE TABLE access_action (number int GENERATED ALWAYS AS IDENTITY, what text, query text);
INSERT INTO access_action (what, query) VALUES
    ('read a stream', 'SELECT * FROM read_stream(''access_a-1'')'),
    ('read the log', 'SELECT * FROM read_all(0, 1)'),
    ('read a category', 'SELECT * FROM read_category(''access_a'', 0, 1)'),
    ('read an absent stream', 'SELECT * FROM read_stream(''access_none'')'),
    ('version of a stream', 'SELECT stream_version(''access_a-1'')'),
    ('append', 'SELECT append_event(''access_a-1'', ''T'')'),
    ('check alone', 'SELECT append_events(''access_a-1'', ''[]'', -1)'),
    ('append to several', 'SELECT append_streams(''[{"stream": "access_a-1", "events": [{"type": "T"}]}]'')'),
    ('append arrays', 'SELECT append_event_arrays(''access_a-1'', ''{T}'', ''{"{}"}'')'),
    ('create a workflow', 'SELECT create_workflow(jsonb_build_object(''id'', ''access_'' || current_user, ''nodes'', ''[{"id": "n", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]''::jsonb))'),
    ('validate one', 'SELECT * FROM validate_workflow(''{}'')'),
    ('ask for the mark', 'SELECT safe_position(), last_position()'),
    ('grant', 'SELECT grant_access(''regress_access_admin'', ''reader'')');
SELECT what, access_as('regress_access_none', query) AS none, access_as('regress_access_reader', query) AS reader,
       access_as('regress_access_writer', query) AS writer, access_as('regress_access_operator', query) AS operator,
       access_as('regress_access_admin', query) AS admin, access_as('regress_access odd "name''', query) AS odd_writer
  FROM access_action ORDER BY number;
-- The refusal says who can help, with a statement that works as it stands.
SET ROLE regress_access_reader;
SELECT append_event('access_a-1', 'T');
RESET ROLE;
SET ROLE "regress_access odd ""name'";
SELECT create_workflow('{}');
RESET ROLE;
SET ROLE regress_access_none;
SELECT * FROM read_stream('access_a-1');
RESET ROLE;

-- 3. What each level sees: events by reader, of runs by the rights on the run.
SELECT role, access_as(role, 'SELECT 1 / count(*) FROM events WHERE category = ''access_a''') AS events,
       access_as(role, 'SELECT 1 / count(*) FROM workflows WHERE workflow_id = ''access_regress_access_operator''') AS workflow_of_operator
  FROM unnest(ARRAY['regress_access_none', 'regress_access_reader', 'regress_access_writer', 'regress_access_operator',
                    'regress_access_admin']) AS role;

-- 4. Groups: the highest level of any role whose privileges one has; NOINHERIT needs SET ROLE, as everywhere.
CREATE ROLE regress_access_member IN ROLE regress_access_reader, regress_access_writer;
CREATE ROLE regress_access_nested IN ROLE regress_access_member;
CREATE ROLE regress_access_aloof NOINHERIT IN ROLE regress_access_writer;
SELECT role, access_as(role, 'SELECT append_event(''access_a-1'', ''T'')') AS append
  FROM unnest(ARRAY['regress_access_member', 'regress_access_nested', 'regress_access_aloof']) AS role;
-- Seen at once in the same session: memberships and grants, taken and given, and undone.
SET ROLE regress_access_member;
SELECT access_raised('SELECT append_event(''access_a-1'', ''T'')');
RESET ROLE;
REVOKE regress_access_writer FROM regress_access_member;
SET ROLE regress_access_member;
SELECT access_raised('SELECT append_event(''access_a-1'', ''T'')') AS append, access_raised('SELECT * FROM read_stream(''access_a-1'')') AS read;
RESET ROLE;
BEGIN;
SELECT grant_access('regress_access_member', 'writer');
SELECT access_as('regress_access_member', 'SELECT append_event(''access_a-1'', ''T'')') AS granted;
ROLLBACK;
SELECT access_as('regress_access_member', 'SELECT append_event(''access_a-1'', ''T'')') AS undone;

-- 5. Revoking takes the level and those above it; it leaves the level below. Granting a lower level lowers nothing.
SELECT revoke_access('regress_access_operator', 'operator');
SELECT what, access_as('regress_access_operator', query) AS writer_now FROM access_action WHERE what IN ('append', 'create a workflow') ORDER BY 1;
SELECT grant_access('regress_access_operator', 'reader');
SELECT access_as('regress_access_operator', 'SELECT append_event(''access_a-1'', ''T'')') AS still_writer;
SELECT revoke_access('regress_access_operator', 'admin');
SELECT access_as('regress_access_operator', 'SELECT append_event(''access_a-1'', ''T'')') AS still_writer;
SELECT revoke_access('regress_access_operator', 'reader');
SELECT access_as('regress_access_operator', 'SELECT * FROM read_stream(''access_a-1'')') AS nothing_left;

-- 6. SECURITY DEFINER: the function's owner counts, and only inside.
CREATE FUNCTION access_append() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = chronicle, pg_temp
    RETURN chronicle.append_event('access_definer-1', 'T');
ALTER FUNCTION access_append() OWNER TO regress_access_writer;
SELECT access_as('regress_access_none', 'SELECT access_append()') AS inside, access_as('regress_access_none', 'SELECT append_event(''access_a-1'', ''T'')') AS outside;
-- The engine's own statements run as its owner, and never leave that behind, nor find what the caller put into their way.
SET ROLE regress_access_writer;
CREATE TEMP TABLE access_level (role text, level text);
INSERT INTO access_level VALUES ('regress_access_writer', 'admin');
SET search_path = pg_temp, chronicle;
SELECT append_event('access_a-1', 'T') > 0 AS appended, current_user AS me, current_setting('search_path') AS search_path;
SELECT public.access_raised('SELECT chronicle.grant_access(''regress_access_writer'', ''admin'')');
RESET ROLE;
SET search_path = public, chronicle;

-- 7. No door beside: nobody but the owner touches a table or a sequence of ours, and of the internal functions only those
-- that views and casts need are everybody's.
SELECT relname, privilege
  FROM pg_class AS c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
 WHERE relnamespace = 'chronicle_data'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
   AND has_table_privilege('regress_access_admin', c.oid, privilege);
SELECT relname, privilege FROM pg_class AS c, unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) AS privilege
 WHERE relnamespace = 'chronicle_data'::regnamespace AND relkind = 'S' AND has_sequence_privilege('regress_access_admin', c.oid, privilege);
SELECT relname, privilege FROM pg_class AS c, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
 WHERE relnamespace = 'chronicle'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND has_table_privilege('regress_access_admin', c.oid, privilege);
SELECT has_schema_privilege('regress_access_admin', 'chronicle', 'CREATE') AS create_api,
       has_schema_privilege('regress_access_admin', 'chronicle_data', 'CREATE') AS create_internal;
SELECT query, access_as('regress_access_admin', query)
  FROM unnest(ARRAY['SELECT * FROM chronicle_data.event', 'INSERT INTO chronicle_data.access_level VALUES (''x'', ''admin'')',
                    'DELETE FROM chronicle_data.event', 'UPDATE chronicle_data.workflow SET owner = ''x''', 'TRUNCATE chronicle_data.event',
                    'SELECT nextval(''chronicle_data.position_seq'')', 'SELECT setval(''chronicle_data.position_seq'', 1)', 'CREATE TABLE chronicle.x ()']) AS query;
-- Security definers of ours: none runs what a caller hands in.
SELECT proname FROM pg_proc WHERE pronamespace IN ('chronicle'::regnamespace, 'chronicle_data'::regnamespace) AND prosecdef ORDER BY 1;
-- Every view that shows rows of tables is a barrier; these two show what a function of ours gives.
SELECT relname FROM pg_class
 WHERE relnamespace = 'chronicle'::regnamespace AND relkind = 'v' AND NOT coalesce('security_barrier=true' = ANY (reloptions), false) ORDER BY 1;

DROP TABLE access_action;
DROP FUNCTION access_append, access_as, access_raised;
SELECT count(revoke_access(oid::regrole, 'reader')) FROM pg_roles WHERE rolname LIKE 'regress\_access%';
DROP OWNED BY regress_access_writer;
DROP ROLE regress_access_none, regress_access_reader, regress_access_writer, regress_access_operator, regress_access_admin,
    "regress_access odd ""name'", regress_access_member, regress_access_nested, regress_access_aloof;

-- An admin looks after what others own, but nothing that it defines runs as another role.
CREATE ROLE regress_own;
CREATE ROLE regress_adm;
SELECT grant_access('regress_own', 'operator'), grant_access('regress_adm', 'admin');
GRANT CREATE ON SCHEMA public TO regress_own, regress_adm;
SET ROLE regress_own;
CREATE FUNCTION own_apply(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE sql IMMUTABLE RETURN state;
SELECT create_aggregate('owned', 'own_apply');
SELECT * FROM create_workflow('{"id": "owned", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT current_user"}}]}');
SELECT create_projection('owned', statement => 'SELECT 1 FROM new_events', options => '{"start_from": "end"}');
SET ROLE regress_adm;
SELECT create_projection('owned', statement => 'SELECT 2 FROM new_events', options => '{"start_from": "end"}', replace => true);
CREATE FUNCTION adm_apply(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE sql IMMUTABLE RETURN state;
SELECT create_aggregate('owned', 'adm_apply', replace => true);
SELECT * FROM create_workflow('{"id": "owned", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT session_user"}}]}');
SELECT drop_aggregate('owned'), drop_workflow('owned'), drop_projection('owned');
RESET ROLE;
DROP FUNCTION own_apply, adm_apply;
REVOKE CREATE ON SCHEMA public FROM regress_own, regress_adm;
SELECT revoke_access('regress_own', 'reader'), revoke_access('regress_adm', 'reader');
DROP ROLE regress_own, regress_adm;
