-- Enabling, disabling and dropping workflows.
SET search_path = public, chronicle;
CREATE FUNCTION manage_raised(statement text, OUT code text, OUT message text, OUT detail text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    code := 'none';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
END $$;
CREATE FUNCTION manage_definition(sql text) RETURNS jsonb LANGUAGE sql AS
$$ SELECT jsonb_build_object('id', 'manage', 'nodes', jsonb_build_array(jsonb_build_object('id', 'n', 'nodeType', 'sql.query', 'config', jsonb_build_object('sql', sql)))) $$;
SELECT version FROM create_workflow(manage_definition('SELECT pg_advisory_xact_lock_shared(5001)'));

-- 1. Disabled: nothing new begins, what exists goes on.
SELECT pg_advisory_lock(5001);
SELECT execute_workflow('manage') AS run \gset
SELECT disable_workflow('manage');
SELECT disable_workflow('manage');
SELECT enabled FROM workflows WHERE workflow_id = 'manage';
SELECT * FROM manage_raised('SELECT execute_workflow(''manage'')');
-- 2. Runs that are not over keep it from being dropped.
SELECT * FROM manage_raised('SELECT drop_workflow(''manage'')') WHERE code = '55006';
SELECT pg_advisory_unlock(5001);
SELECT wait_for_execution(:'run');
SELECT enable_workflow('manage');
SELECT execute_workflow('manage') AS run \gset
SELECT wait_for_execution(:'run');
SELECT schedule_workflow('manage', every => '1 day') IS NOT NULL AS scheduled, create_trigger('manage', '{manage}') IS NOT NULL AS triggered;

-- 3. Dropped: its runs are still shown; the id can be used again, and versions are counted on, and the old ones are not its own.
SELECT drop_workflow('manage');
SELECT count(*) FROM workflows WHERE workflow_id = 'manage';
SELECT count(*) FROM schedules WHERE workflow_id = 'manage';
SELECT count(*) FROM triggers WHERE workflow_id = 'manage';
SELECT append_event('manage-1', 'Happened');
SELECT workflow_id, status FROM executions WHERE workflow_id = 'manage';
SELECT node_id, status FROM node_executions WHERE workflow_id = 'manage';
SELECT * FROM manage_raised('SELECT execute_workflow(''manage'')');
SELECT version FROM create_workflow(manage_definition('SELECT 2'));
SELECT version FROM create_workflow(manage_definition('SELECT 2'));
SELECT version FROM create_workflow(manage_definition('SELECT 3'));
SELECT version, definition #>> '{nodes,0,config,sql}' AS sql FROM workflow_versions WHERE workflow_id = 'manage' ORDER BY 1;
SELECT * FROM manage_raised('SELECT execute_workflow(''manage'', version => 1)');
SELECT execute_workflow('manage', version => 2) AS run \gset
SELECT wait_for_execution(:'run');

-- 4. Errors.
SELECT what, o.code, o.message FROM unnest('{enable,disable,drop}'::text[]) AS what, manage_raised(format('SELECT %s_workflow(''manage_none'')', what)) AS o;
SELECT what, o.code, o.message FROM unnest('{enable,disable,drop}'::text[]) AS what, manage_raised(format('SELECT %s_workflow(NULL)', what)) AS o;
SELECT drop_workflow('manage_none', if_exists => true);
CREATE ROLE manage_other;
SELECT grant_access('manage_other', 'operator');
GRANT CREATE ON SCHEMA public TO manage_other;
SET ROLE manage_other;
SELECT what, o.code, o.message FROM unnest('{enable,disable,drop}'::text[]) AS what, manage_raised(format('SELECT %s_workflow(''manage'')', what)) AS o;
SELECT * FROM manage_raised('SELECT drop_workflow(''manage'', true)');
SELECT workflow_id, version FROM create_workflow(jsonb_set(manage_definition('SELECT 1'), '{id}', '"manage_own"'));
SELECT disable_workflow('manage_own'), enable_workflow('manage_own'), drop_workflow('manage_own');
RESET ROLE;
SELECT revoke_access('manage_other', 'operator');
REVOKE CREATE ON SCHEMA public FROM manage_other;
DROP ROLE manage_other;

-- The idempotency keys of a dropped workflow are not those of the next one of its id.
SELECT workflow_id, version FROM create_workflow(jsonb_set(manage_definition('SELECT 1'), '{id}', '"manage_keys"'));
SELECT execute_workflow('manage_keys', idempotency_key => 'k') AS run \gset
SELECT wait_for_execution(:'run');
SELECT drop_workflow('manage_keys');
SELECT workflow_id FROM create_workflow(jsonb_set(manage_definition('SELECT 1'), '{id}', '"manage_keys"'));
SELECT execute_workflow('manage_keys', idempotency_key => 'k') <> :'run' AS another;
