-- Triggers: appended events that start workflows.
SET search_path = public, chronicle;
CREATE FUNCTION trigger_raised(statement text, OUT code text, OUT message text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    code := 'none';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
END $$;
CREATE PROCEDURE trigger_until_over() LANGUAGE plpgsql AS $$
DECLARE until timestamptz := clock_timestamp() + interval '60s';
BEGIN
    WHILE EXISTS (SELECT FROM executions WHERE workflow_id LIKE 'trigger%' AND ended_at IS NULL) LOOP
        IF clock_timestamp() > until THEN RAISE 'runs are not over'; END IF;
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
\set started 'SELECT workflow_id, input ->> ''stream'' AS stream, input ->> ''version'' AS version, input ->> ''type'' AS type, input -> ''data'' AS data FROM executions WHERE workflow_id LIKE ''trigger%'' ORDER BY (input ->> ''global_position'')::bigint, workflow_id;'
CREATE TABLE trigger_seen (stream text, version bigint);
SELECT version FROM create_workflow('{"id": "trigger_all", "nodes": [{"id": "a", "nodeType": "sql.query",
    "config": {"sql": "INSERT INTO trigger_seen VALUES (:stream, :version) RETURNING *", "parameters": {"stream": {"$": "$.input.stream"}, "version": {"$": "$.input.version"}}}}]}');
SELECT version FROM create_workflow('{"id": "trigger_paid", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}');

-- 1. Without a trigger nothing; with one, each event that is appended from then on.
SELECT append_event('order-1', 'Opened');
SELECT create_trigger('trigger_all', categories => '{order}') AS id \gset
SELECT workflow_id, categories, types, filter, created_by = session_user AS by_me FROM triggers WHERE trigger_id = :id;
SELECT append_event('order-1', 'Paid', '{"total": 5}');
SELECT append_event('invoice-1', 'Opened');
SELECT append_events('order-2', '[{"type": "Opened"}, {"type": "Paid", "data": {"total": 50}}]');
SELECT count(*) FROM append_streams('[{"stream": "order-3", "events": [{"type": "Opened"}]}, {"stream": "invoice-2", "events": [{"type": "Opened"}]}, {"stream": "order-4", "events": [{"type": "Opened"}]}]');
CALL trigger_until_over();
:started
SELECT * FROM trigger_seen ORDER BY stream, version;
SELECT DISTINCT status, started_by = session_user AS by_owner, metadata ->> 'triggerId' = :'id' AS by_trigger FROM executions WHERE workflow_id = 'trigger_all';
SELECT count(*) FROM execution_history AS h JOIN events AS e ON e.global_position = (h.data ->> 'globalPosition')::bigint
 WHERE h.workflow_id = 'trigger_all' AND h.type = 'WorkflowQueued' AND h.data ->> 'triggerId' = :'id' AND e.category = 'order';

-- 2. It is part of the appender's transaction: a retry, a failed append, a rollback start nothing.
SELECT append_event('order-5', 'Opened', event_id => '00000000-0000-0000-0000-000000000005');
SELECT append_event('order-5', 'Opened', event_id => '00000000-0000-0000-0000-000000000005');
SELECT o.code FROM trigger_raised($$SELECT append_event('order-5', 'Paid', expected_version => 7)$$) AS o;
BEGIN;
SELECT append_event('order-6', 'Opened');
SAVEPOINT s;
SELECT append_event('order-6', 'Paid');
ROLLBACK TO s;
SELECT count(*) FROM executions WHERE workflow_id = 'trigger_all' AND input ->> 'stream' = 'order-6';
COMMIT;
BEGIN;
SELECT append_event('order-7', 'Opened');
ROLLBACK;
SELECT input ->> 'stream' AS stream, count(*) FROM executions WHERE workflow_id = 'trigger_all' AND input ->> 'stream' IN ('order-5', 'order-6', 'order-7') GROUP BY 1 ORDER BY 1;

-- 3. System events never match; types and filters do.
SELECT delete_stream('order-1');
SELECT create_trigger('trigger_paid', filter => '$.data.total > $x');
SELECT create_trigger('trigger_paid', types => '{Paid,Refunded}', filter => '$.data.total > 10') AS paid \gset
SELECT append_event('order-9', 'Paid', '{"total": 10}'), append_event('order-9', 'Paid', '{"total": 11}'), append_event('order-9', 'Opened', '{"total": 12}'),
       append_event('invoice-9', 'Refunded', '{"total": 13}'), append_event('invoice-9', 'Paid', '{"total": "many"}');
CALL trigger_until_over();
SELECT input ->> 'stream' AS stream, input ->> 'version' AS version FROM executions WHERE workflow_id = 'trigger_paid' ORDER BY 1, 2;
SELECT count(*) FROM executions WHERE input ->> 'type' LIKE '$%' OR input ->> 'category' = 'workflow';
-- In the transaction that makes it, too; and gone when it is dropped.
BEGIN;
SELECT create_trigger('trigger_paid', categories => '{fresh}') AS fresh \gset
SELECT append_event('fresh-1', 'Opened');
COMMIT;
SELECT drop_trigger(:fresh), drop_trigger(:paid);
SELECT append_event('fresh-1', 'Opened');
SELECT count(*) FROM executions WHERE workflow_id = 'trigger_paid' AND input ->> 'stream' = 'fresh-1';
-- A disabled workflow is not started.
UPDATE chronicle_data.workflow SET enabled = false WHERE workflow_id = 'trigger_all';
SELECT append_event('order-10', 'Opened');
UPDATE chronicle_data.workflow SET enabled = true WHERE workflow_id = 'trigger_all';
SELECT count(*) FROM executions WHERE input ->> 'stream' = 'order-10';
-- One that was made or dropped in what is undone has not been.
BEGIN;
SAVEPOINT s;
SELECT count(create_trigger('trigger_paid', '{undone}')), count(append_event('undone-1', 'Opened'));
ROLLBACK TO s;
SELECT append_event('undone-1', 'Paid');
COMMIT;
SELECT count(*) FROM executions WHERE input ->> 'stream' = 'undone-1';
SELECT create_trigger('trigger_paid', '{undone}') AS undone \gset
BEGIN;
SELECT drop_trigger(:undone), append_event('undone-1', 'Dropped');
ROLLBACK;
SELECT append_event('undone-1', 'Kept');
SELECT input ->> 'type' AS type FROM executions WHERE input ->> 'stream' = 'undone-1';
SELECT drop_trigger(:undone);
-- A run that appends may start others: that ends when nothing matches any more.
SELECT version FROM create_workflow('{"id": "trigger_chain", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT chronicle.append_event(''chain-'' || (:n + 1), ''Next'', jsonb_build_object(''n'', :n + 1))", "parameters": {"n": {"$": "$.input.data.n"}}}}]}');
SELECT create_trigger('trigger_chain', categories => '{chain}', filter => '$.data.n < 3') AS chain \gset
SELECT append_event('chain-0', 'Next', '{"n": 0}');
CALL trigger_until_over();
SELECT stream FROM events WHERE category = 'chain' ORDER BY global_position;
SELECT drop_trigger(:chain), drop_trigger(:id);
SELECT count(*) FROM triggers;

-- 4. Rights: the run is the owner's, whoever appends; it is not started for what the owner may not read.
CREATE ROLE trigger_owner; CREATE ROLE trigger_writer; CREATE ROLE trigger_stranger;
SELECT grant_access('trigger_owner', 'operator'), grant_access('trigger_writer', 'writer'), grant_access('trigger_stranger', 'operator');
SET ROLE trigger_owner;
SELECT version FROM create_workflow('{"id": "trigger_owned", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT current_user"}}]}');
SELECT create_trigger('trigger_owned', categories => '{secret}') AS id \gset
SET ROLE trigger_writer;
SELECT append_event('secret-1', 'Told');
SELECT count(*) AS seen_by_the_writer FROM executions;
SET ROLE trigger_stranger;
SELECT count(*) FROM triggers;
SELECT o.code FROM trigger_raised(format('SELECT drop_trigger(%s)', :id)) AS o;
SELECT o.code FROM trigger_raised($$SELECT create_trigger('trigger_owned')$$) AS o;
RESET ROLE;
CALL trigger_until_over();
SELECT status, started_by, result #>> '{a,0,current_user}' AS ran_as, input #>> '{actor}' = session_user AS told_by FROM executions WHERE workflow_id = 'trigger_owned';
SELECT revoke_access('trigger_owner', 'reader');
SELECT append_event('secret-1', 'Told');
SELECT count(*) FROM executions WHERE workflow_id = 'trigger_owned';
SELECT o.code, o.message, o.hint FROM unnest(ARRAY['{secret}', NULL]) AS c, trigger_raised(format('SELECT create_trigger(''trigger_owned'', %L)', c)) AS o;
SELECT grant_category('trigger_owner', 'secret', 'read');
SELECT append_event('secret-1', 'Told');
SELECT count(*) FROM executions WHERE workflow_id = 'trigger_owned';
SELECT create_trigger('trigger_owned', '{secret}') > 0 AS created;
-- Why one starts nothing can be seen, also when the owner is gone.
SELECT disable_workflow('trigger_owned');
SELECT DISTINCT fault FROM triggers WHERE workflow_id = 'trigger_owned';
SELECT enable_workflow('trigger_owned'), revoke_category('trigger_owner', 'secret', 'read');
SET ROLE trigger_owner;
SELECT DISTINCT fault FROM triggers WHERE workflow_id = 'trigger_owned';
SET ROLE trigger_stranger;
SELECT chronicle_data.trigger_fault('trigger_owned', '{secret}') AS tells_strangers;
RESET ROLE;
SELECT grant_category('trigger_owner', 'secret', 'read');
SELECT count(*), count(fault) AS faults FROM triggers WHERE workflow_id = 'trigger_owned';
CREATE ROLE trigger_gone;
SELECT grant_access('trigger_gone', 'operator');
SET ROLE trigger_gone;
SELECT version FROM create_workflow('{"id": "trigger_gone", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}');
SELECT create_trigger('trigger_gone') > 0 AS created;
RESET ROLE;
DROP ROLE trigger_gone;
SELECT categories, fault FROM triggers WHERE workflow_id = 'trigger_gone';
SELECT append_event('gone-1', 'Told');
SELECT count(*) FROM executions WHERE workflow_id = 'trigger_gone';

-- 5. Errors.
SELECT a AS arguments, o.code, o.message
  FROM unnest(ARRAY[$$'none'$$, 'NULL', $$'trigger_all', '{a-b}'$$, $$'trigger_all', '{workflow}'$$, $$'trigger_all', '{$system}'$$, $$'trigger_all', '{""}'$$, $$'trigger_all', '{NULL}'$$,
                    $$'trigger_all', NULL, '{$stream-deleted}'$$, $$'trigger_all', NULL, '{NULL}'$$, $$'trigger_all', NULL, '{workflow-x}', '$.a == 1 && $'$$, $$'trigger_all', '{}'$$, $$'trigger_all', NULL, '{}'$$]) AS a,
       trigger_raised('SELECT create_trigger(' || a || ')') AS o;
SELECT o.code, o.message FROM unnest(ARRAY['0', 'NULL']) AS id, trigger_raised(format('SELECT drop_trigger(%s)', id)) AS o ORDER BY 1;
SELECT o.code FROM trigger_raised('INSERT INTO chronicle_data.event SELECT * FROM chronicle_data.event LIMIT 0') AS o;

-- 6. What the store takes without a trigger it takes with one: numbers beyond a double, deep nesting, and as many as one likes in one
-- transaction (a run takes no lock). A node that cannot read its input fails, and nothing else.
SELECT version FROM create_workflow('{"id": "trigger_any", "nodes": [{"id": "blind", "nodeType": "sql.query", "config": {"sql": "SELECT 1 AS x"}},
    {"id": "reads", "nodeType": "sql.query", "config": {"sql": "SELECT :input AS x"}, "on_failure": "continue"},
    {"id": "refers", "nodeType": "sql.query", "config": {"sql": "SELECT :type AS x", "parameters": {"type": {"$": "$.input.type"}}}}], "concurrency": {"limit": 5, "key": "$.input.data"}}');
SELECT create_trigger('trigger_any', '{any}') AS any \gset
SELECT append_event('any-1', 'Big', '{"x": 1e400}'), append_event('any-1', 'Deep', (repeat('[', 3000) || repeat(']', 3000))::jsonb), append_event('any-1', 'Plain');
CALL trigger_until_over();
SELECT e.input ->> 'type' AS type, n.node_id, n.status, n.sqlstate, n.error AS error FROM executions AS e JOIN node_executions AS n USING (execution_id) WHERE e.workflow_id = 'trigger_any' ORDER BY 1, 2;
SELECT e.input #>> '{data,x}' = (1e400)::numeric::text AS as_it_was FROM executions AS e WHERE e.workflow_id = 'trigger_any' AND e.input ->> 'type' = 'Big';
BEGIN;
SELECT count(append_event('any-2', 'Many')), count(execute_workflow('trigger_all')), count(fork_execution(e.execution_id, 'blind')) FROM executions AS e CROSS JOIN generate_series(1, 10) WHERE e.workflow_id = 'trigger_any' AND e.input ->> 'type' = 'Plain';
SELECT objsubid, count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'userlock' GROUP BY 1 ORDER BY 1;
ROLLBACK;

SELECT drop_trigger(trigger_id) FROM triggers;
SELECT revoke_category('trigger_owner', 'secret', 'read'), revoke_access('trigger_writer', 'writer'), revoke_access('trigger_stranger', 'operator');
DROP ROLE trigger_owner; DROP ROLE trigger_writer; DROP ROLE trigger_stranger;
DROP TABLE trigger_seen;
DROP FUNCTION trigger_raised;
DROP PROCEDURE trigger_until_over;
