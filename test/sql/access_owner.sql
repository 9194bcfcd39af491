-- set_owner: what belongs to a role is given to another one. In a database of its own, whose workers it makes work.
SELECT current_database() AS back \gset
CREATE DATABASE regress_set_owner TEMPLATE template0 ENCODING 'UTF8';
\c regress_set_owner
SET client_min_messages = warning;
CREATE EXTENSION chronicle;
RESET client_min_messages;
ALTER DATABASE regress_set_owner SET search_path = public, chronicle;
\c
CREATE ROLE regress_given LOGIN;
CREATE ROLE regress_taker LOGIN;
CREATE ROLE regress_own_admin LOGIN;
SELECT grant_access('regress_given', 'operator'), grant_access('regress_taker', 'operator'), grant_access('regress_own_admin', 'admin');
GRANT CREATE ON SCHEMA public TO regress_given;

SET SESSION AUTHORIZATION regress_given;
CREATE FUNCTION who(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(current_user) $$;
SELECT create_workflow('{"id": "w", "nodes": [{"id": "one", "nodeType": "sql.query", "config": {"sql": "SELECT current_user AS me"}}]}');
SELECT create_projection('p', handler => 'who', categories => '{own}');
SELECT create_projection('inlined', handler => 'who', categories => '{own}', mode => 'inline');
SELECT create_aggregate('own', 'who');
SELECT append_event('own-1', 'A');
SELECT execute_workflow('w') AS run \gset
SELECT wait_for_execution(:'run', '60s'), wait_for_projection('p', timeout => '60s'), wait_for_projection('inlined', timeout => '60s');
SELECT execution_result(:'run'), projection_state('p'), projection_state('inlined'), aggregate_state('own-1');

-- Who may: not somebody else, nor the owner without being the new one, nor an admin who is not; and not to everybody.
SELECT set_owner('workflow', 'w', 'regress_taker');
SET SESSION AUTHORIZATION regress_taker;
SELECT set_owner('workflow', 'w', 'regress_taker');
SELECT set_owner('projection', 'p', 'regress_taker');
SELECT set_owner('aggregate', 'own', 'regress_taker');
SET SESSION AUTHORIZATION regress_own_admin;
SELECT set_owner('projection', 'p', 'regress_taker');
RESET SESSION AUTHORIZATION;
SELECT set_owner('aggregate', 'own', 'pg_monitor');
-- What is not there.
SELECT set_owner('table', 'w', 'regress_taker');
SELECT set_owner('workflow', 'none', 'regress_taker');
SELECT set_owner('projection', 'none', 'regress_taker');
SELECT set_owner('aggregate', 'none', 'regress_taker');
SELECT set_owner('workflow', 'w', 'regress_nobody');
SELECT set_owner(NULL, 'w', 'regress_taker');
SELECT set_owner('workflow', NULL, 'regress_taker');
SELECT set_owner('workflow', 'w', NULL);

-- Given: an admin who is a member. Undone with its transaction; twice is once.
GRANT regress_taker TO regress_own_admin;
SET SESSION AUTHORIZATION regress_own_admin;
BEGIN;
SELECT set_owner('workflow', 'w', 'regress_taker');
SELECT owner FROM workflows;
ROLLBACK;
SELECT owner FROM workflows;
SELECT set_owner('workflow', 'w', 'regress_taker'), set_owner('projection', 'p', 'regress_taker'),
       set_owner('projection', 'inlined', 'regress_taker'), set_owner('aggregate', 'own', 'regress_taker');
SELECT set_owner('workflow', 'w', 'regress_taker');
SELECT 'workflow' AS kind, owner FROM workflows UNION ALL SELECT name, owner FROM projections UNION ALL SELECT 'aggregate', owner FROM aggregates ORDER BY 1;

-- The code runs as the new owner; a run of before stays the former one's, a fork of it is the new one's.
SET SESSION AUTHORIZATION regress_taker;
SELECT append_event('own-1', 'B');
SELECT execute_workflow('w') AS later \gset
SELECT wait_for_execution(:'later', '60s'), wait_for_projection('p', timeout => '60s');
SELECT execution_result(:'later'), projection_state('p'), projection_state('inlined'), aggregate_state('own-1');
SELECT count(*) FROM executions WHERE execution_id = :'run';
SET SESSION AUTHORIZATION regress_given;
SELECT execution_result(:'run');
SELECT execute_workflow('w');
SELECT fork_execution(:'run', 'one');
SET SESSION AUTHORIZATION regress_own_admin;
SELECT fork_execution(:'run', 'one') AS fork \gset
SELECT wait_for_execution(:'fork', '60s');
SELECT execution_result(:'fork');

-- An owner that is gone.
RESET SESSION AUTHORIZATION;
ALTER ROLE regress_taker RENAME TO regress_renamed;
SELECT append_event('own-2', 'C');
SELECT disable_projection('inlined');
SELECT append_event('own-2', 'C');
SELECT set_owner('projection', 'inlined', 'regress_given'), set_owner('projection', 'p', 'regress_given'), set_owner('workflow', 'w', 'regress_given'),
       set_owner('aggregate', 'own', 'regress_given');
SELECT enable_projection('inlined'), enable_projection('p');
SELECT wait_for_projection('p', timeout => '60s'), wait_for_projection('inlined', timeout => '60s');
SELECT projection_state('p'), projection_state('inlined'), aggregate_state('own-2');

\c :back
DROP DATABASE regress_set_owner;
DROP ROLE regress_given, regress_renamed, regress_own_admin;
