-- What the contract says of workflows, as an ordinary role with a name that needs quotes: NULL for an argument that has a default,
-- errors of every function, sizes and depths.
SET search_path = public, chronicle;
CREATE ROLE "regress Op's ""Flow"""; CREATE ROLE "regress Other";
SELECT grant_access('"regress Op''s ""Flow"""', 'operator'), grant_access('"regress Other"', 'operator');
CREATE SCHEMA "Regress Flow" AUTHORIZATION "regress Op's ""Flow""";
SET ROLE "regress Op's ""Flow""";
SET search_path = "Regress Flow", chronicle;
CREATE PROCEDURE contract_run(id text, nodes jsonb, edges text DEFAULT '', input jsonb DEFAULT '{}', INOUT run uuid DEFAULT NULL, INOUT status text DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM create_workflow(jsonb_build_object('id', 'contract_' || id,
        'nodes', (SELECT jsonb_agg(jsonb_build_object('id', n -> 0, 'nodeType', n -> 1, 'config', n -> 2) || coalesce(n -> 3, '{}')) FROM jsonb_array_elements(nodes) AS n),
        'edges', (SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('source', split_part(split_part(e, ':', 1), '>', 1), 'target', split_part(split_part(e, ':', 1), '>', 2), 'condition', nullif(substr(e, strpos(e, ':') + 1), e)))), '[]')
                    FROM regexp_split_to_table(edges, ' ') AS e WHERE e <> '')));
    run := execute_workflow('contract_' || id, input);
    COMMIT;
    status := wait_for_execution(run, '60 s');
END $$;
CREATE PROCEDURE contract_until(query text) LANGUAGE plpgsql AS $$
DECLARE so boolean;
BEGIN
    FOR i IN 1 .. 3000 LOOP
        EXECUTE query INTO so;
        EXIT WHEN so;
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
    IF so IS NOT TRUE THEN RAISE 'not so: %', query; END IF;
END $$;

-- 1. An explicit NULL means the default.
SELECT version FROM create_workflow('{"id": "contract_Null", "nodes": [{"id": "w", "nodeType": "wait.signal", "config": {"name": "go"}}, {"id": "t", "nodeType": "task.external", "config": {"queue": "Contract \"Q\""}, "retry": {"max_attempts": 2, "initial_interval": 0}}]}');
SELECT execute_workflow('contract_Null', NULL, NULL, NULL, NULL, NULL, NULL) AS run \gset
SELECT input, idempotency_key, workflow_version, priority, metadata, queued_at <= clock_timestamp() AS now FROM executions WHERE execution_id = :'run';
CALL contract_until(format('SELECT EXISTS (SELECT FROM chronicle.tasks WHERE execution_id = %L)', :'run'));
SELECT task_id AS task, attempt, input, deadline - clock_timestamp() BETWEEN interval '20 s' AND interval '30 s' AS half_a_minute FROM claim_tasks('Contract "Q"', 'Worker ''1''', NULL, NULL, NULL) \gset
SELECT :attempt AS attempt, :'input' AS input, :'half_a_minute' AS half_a_minute;
SELECT heartbeat_task(:task, :attempt, NULL);
SELECT worker, deadline - clock_timestamp() BETWEEN interval '20 s' AND interval '30 s' AS half_a_minute FROM tasks WHERE task_id = :task;
SELECT fail_task(:task, :attempt, 'not "yet"', NULL);
CALL contract_until(format('SELECT EXISTS (SELECT FROM chronicle.tasks WHERE execution_id = %L AND attempt = 2)', :'run'));
SELECT task_id AS task, attempt FROM claim_tasks('Contract "Q"', 'Worker ''1''') \gset
\set mine :task
SELECT complete_task(:task, :attempt, NULL);
SELECT signal_execution(:'run', 'go', NULL);
SELECT wait_for_execution(:'run', NULL);
SELECT node_id, status, attempts, output FROM node_executions WHERE execution_id = :'run' ORDER BY 1;
SELECT schedule_workflow('contract_Null', '0 0 1 1 *', NULL, NULL, NULL, NULL, NULL) AS schedule, create_trigger('contract_Null', '{contract}', NULL, NULL) AS trigger \gset
SELECT cron, every, timezone, input, overlap, catch_up FROM schedules WHERE schedule_id = :schedule;
SELECT types, filter FROM triggers WHERE trigger_id = :trigger;
SELECT unschedule_workflow(:schedule), drop_trigger(:trigger);
SELECT workflow_definition('contract_Null', NULL) ->> 'id' AS newest, timeline_json('contract_Null', NULL) ->> 'executionId' = :'run' AS newest_run;
SELECT fork_execution(:'run', 'w', NULL) AS fork \gset
SELECT input FROM executions WHERE execution_id = :'fork';
SELECT cancel_execution(:'fork', NULL);
SELECT retry_execution(:'fork', NULL);
SELECT cancel_execution(:'fork');
SELECT data -> 'reason' AS reason FROM execution_history WHERE execution_id = :'fork' AND type = 'WorkflowCancelled' ORDER BY version;

-- 2. Errors: each has its own SQLSTATE; DETAIL is JSON or nothing; never an internal error. So is what is not yours, or is over.
CREATE FUNCTION contract_raised(statement text, OUT code text, OUT message text, OUT detail text) LANGUAGE plpgsql AS $$
DECLARE words text;
BEGIN
    EXECUTE statement;
    code := 'none';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, words = PG_EXCEPTION_DETAIL;
    message := regexp_replace(regexp_replace(message, '[0-9a-f-]{36}', '…'), '(schedule|trigger|task) \d+', '\1 …');
    detail := CASE WHEN words <> '' THEN (SELECT string_agg(k, ', ' ORDER BY k) FROM jsonb_object_keys(CASE jsonb_typeof(words::jsonb) WHEN 'array' THEN words::jsonb -> 0 ELSE words::jsonb END) AS k) END;
END $$;
SET ROLE NONE;
SELECT version FROM create_workflow('{"id": "contract_other", "nodes": [{"id": "w", "nodeType": "wait.signal", "config": {"name": "go"}}, {"id": "t", "nodeType": "task.external", "config": {"queue": "contract_other"}}]}');
SELECT execute_workflow('contract_other') AS others, schedule_workflow('contract_other', every => '1 day') AS schedule, create_trigger('contract_other', '{contract_other}') AS trigger \gset
CALL "Regress Flow".contract_until(format('SELECT EXISTS (SELECT FROM chronicle.tasks WHERE execution_id = %L)', :'others'));
SELECT task_id AS task FROM tasks WHERE execution_id = :'others' \gset
SET ROLE "regress Op's ""Flow""";
\set none '00000000-0000-0000-0000-000000000000'
SELECT replace(replace(s, '%1$L', '<over>'), '%2$L', '<another''s>') AS statement, o.* FROM unnest(ARRAY[
    'create_workflow(NULL)', 'create_workflow(''{"id": "contract_other", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}'')', 'create_workflow(''{"id": "x y"}'')',
    'validate_workflow(NULL)', 'drop_workflow(NULL)', 'drop_workflow(''contract_none'')', 'drop_workflow(''contract_other'')', 'drop_workflow(''contract_other'', true)', 'enable_workflow(NULL)', 'enable_workflow(''contract_none'')', 'enable_workflow(''contract_other'')',
    'disable_workflow(NULL)', 'disable_workflow(''contract_none'')', 'disable_workflow(''contract_other'')', 'workflow_definition(NULL)', 'workflow_definition(''contract_other'')', 'workflow_definition(''contract_Null'', 2)',
    'execute_workflow(NULL)', 'execute_workflow(''contract_none'')', 'execute_workflow(''contract_other'')', 'execute_workflow(''contract_Null'', version => 2)',
    'wait_for_execution(NULL)', 'wait_for_execution(%3$L)', 'wait_for_execution(%2$L)', 'wait_for_execution(%1$L, ''-1 s'')', 'wait_for_execution(%1$L, ''61 s'')',
    'execution_result(NULL)', 'execution_result(%3$L)', 'execution_result(%2$L)', 'execution_detail(%2$L)', 'cancel_execution(NULL)', 'cancel_execution(%3$L)', 'cancel_execution(%2$L)',
    'pause_execution(NULL)', 'pause_execution(%1$L)', 'pause_execution(%2$L)', 'resume_execution(NULL)', 'resume_execution(%1$L)', 'resume_execution(%2$L)',
    'retry_execution(NULL)', 'retry_execution(%1$L)', 'retry_execution(%2$L)', 'fork_execution(%1$L, ''none'')', 'fork_execution(%1$L, NULL)', 'fork_execution(%2$L, ''w'')',
    'signal_execution(NULL, ''go'')', 'signal_execution(%1$L, ''go'')', 'signal_execution(%2$L, ''go'')', 'signal_execution(%1$L, NULL)',
    'schedule_workflow(''contract_other'', every => ''1 h'')', 'unschedule_workflow(%4$s)', 'pause_schedule(%4$s)', 'resume_schedule(%4$s)', 'create_trigger(''contract_other'')', 'drop_trigger(%5$s)',
    'claim_tasks(''q'', ''w'', 0)', 'claim_tasks(''q'', ''w'', lease => ''0'')', 'claim_tasks(''q'', ''w'', wait => ''61 s'')', 'complete_task(%6$s, 1)', 'fail_task(%6$s, 1, ''x'')', 'heartbeat_task(%6$s, 1)', 'complete_task(0, 1)',
    'complete_task(%7$s, 2)', 'fail_task(%7$s, 2, ''x'')', 'heartbeat_task(%7$s, 2)', 'history_json(''contract_other'')', 'status_json(''contract_other'')', 'timeline_json(''contract_other'')', 'timeline_json(''contract_Null'', %2$L)']) WITH ORDINALITY AS t (s, number),
    contract_raised('SELECT ' || format(s, :'run', :'others', :'none', :'schedule', :'trigger', :'task', :'mine')) AS o ORDER BY number;
SELECT s AS claimed FROM claim_tasks('contract_other', 'w') AS s;

-- 3. Between data nodes rows have no size limit; a value, a reference and a condition see at most chronicle.max_output_bytes (16 MB), and
-- what they cannot see fails with 54000. Views show the first rows.
CREATE FUNCTION contract_long(context jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(repeat('x', 17000000)) $$;
CALL contract_run('size', '[["rows", "sql.query", {"sql": "SELECT n, repeat(''x'', 1000000) AS x FROM generate_series(1, 17) AS n"}], ["passed", "sql.query", {"sql": "SELECT count(*) AS n, sum(length(x)) AS sum FROM input"}],
    ["own", "sql.query", {"sql": "SELECT count(*) AS n FROM input"}, {"own_transaction": true}], ["referred", "sql.query", {"sql": "SELECT :n AS n", "parameters": {"n": {"$": "$.nodes.rows[16].n"}}}, {"on_failure": "continue"}],
    ["judged", "sql.query", {"sql": "SELECT n, repeat(''x'', 1000000) AS x FROM generate_series(1, 17) AS n"}, {"on_failure": "continue"}], ["after", "sql.query", {"sql": "SELECT 1 AS x"}],
    ["value", "function.call", {"function": "contract_long"}, {"on_failure": "continue"}]]', 'rows>passed rows>own rows>referred judged>after:$.n==17') \gset
SELECT :'status' AS status;
SELECT node_id, status, sqlstate, error, CASE WHEN node_id IN ('passed', 'own') THEN output END AS output FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
CALL contract_run('shown', '[["rows", "sql.query", {"sql": "SELECT n FROM generate_series(1, 1001) AS n"}], ["all", "sql.query", {"sql": "SELECT :n AS n, count(*) FROM input", "parameters": {"n": {"$": "$.nodes.rows[1000].n"}}}], ["last", "sql.query", {"sql": "SELECT n FROM generate_series(1, 1001) AS n"}]]', 'rows>all:$.n==1001') \gset
SELECT node_id, status, records_processed, output_truncated, jsonb_array_length(output) AS shown FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
SELECT k AS terminal, jsonb_array_length(v) AS rows FROM jsonb_each(execution_result(:'run')) AS r (k, v) ORDER BY 1;

-- 4. Children of children: a hundred, and no more.
SELECT version FROM create_workflow('{"id": "contract_deep", "nodes": [{"id": "call", "nodeType": "workflow.call", "config": {"workflow": "contract_deep"}}]}');
SELECT execute_workflow('contract_deep') AS run \gset
CALL contract_until(format('SELECT status = ''failed'' FROM chronicle.executions WHERE execution_id = %L', :'run'));
SELECT count(*), count(*) FILTER (WHERE status = 'failed') AS failed FROM executions WHERE workflow_id = 'contract_deep';
SELECT sqlstate, error FROM node_executions WHERE workflow_id = 'contract_deep' AND execution_id = (SELECT execution_id FROM executions WHERE workflow_id = 'contract_deep' ORDER BY queued_at DESC, execution_id DESC LIMIT 1);

RESET ROLE;
SET search_path = public, chronicle;
SELECT cancel_execution(:'others');
SELECT unschedule_workflow(:schedule), drop_trigger(:trigger);
SET client_min_messages = warning;
DROP SCHEMA "Regress Flow" CASCADE;
RESET client_min_messages;
SELECT revoke_access('"regress Op''s ""Flow"""', 'reader'), revoke_access('"regress Other"', 'reader');
DROP ROLE "regress Op's ""Flow""", "regress Other";
