-- Concurrency limits: so many runs of a workflow, or of a key, at once; the others wait, whatever happens to those before them.
SET search_path = public, chronicle;
CREATE PROCEDURE limit_until(query text, INOUT reached boolean DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 1..3000 LOOP
        COMMIT;
        EXECUTE query INTO reached;
        EXIT WHEN reached;
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
CREATE TABLE limit_effect (number bigint GENERATED ALWAYS AS IDENTITY, who text);
CREATE FUNCTION limit_workflow(id text, concurrency jsonb, more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
    SELECT workflow_id FROM create_workflow(jsonb_build_object('id', 'limit_' || id, 'concurrency', concurrency, 'nodes', jsonb_build_array(
        jsonb_build_object('id', 'work', 'nodeType', 'sql.query', 'config', '{"sql": "INSERT INTO limit_effect (who) VALUES (:input ->> ''who'')"}'::jsonb),
        jsonb_build_object('id', 'gate', 'nodeType', 'sql.query', 'own_transaction', true, 'config', '{"sql": "SELECT pg_advisory_xact_lock_shared(5000)"}'::jsonb)),
        'edges', '[{"from": "work", "to": "gate"}]'::jsonb) || more) $$;
\set status 'SELECT input ->> ''who'' AS who, status, (SELECT string_agg(node_id || '' '' || n.status, '', '' ORDER BY node_id) FROM node_executions AS n WHERE n.execution_id = e.execution_id) AS nodes FROM executions AS e WHERE workflow_id = :''workflow'' ORDER BY queued_at;'
\set left 'SELECT (SELECT count(*) FROM chronicle_data.concurrency_slot) AS slots, (SELECT count(*) FROM chronicle_data.node_task) AS nodes;'

-- 1. Two at once, in their order; a full limit waits.
SELECT limit_workflow('two', '{"limit": 2}') AS workflow \gset
SELECT pg_advisory_lock(5000);
SELECT count(execute_workflow('limit_two', jsonb_build_object('who', n))) FROM generate_series(1, 5) AS n;
CALL limit_until('SELECT count(*) = 2 FROM node_executions WHERE workflow_id = ''limit_two'' AND node_id = ''gate'' AND status = ''running''');
:status
-- Cancelled while it waits, and while it has its slot.
SELECT bool_and(cancel_execution(execution_id)) FROM executions WHERE workflow_id = 'limit_two' AND input ->> 'who' IN ('1', '3');
CALL limit_until('SELECT count(*) = 2 FROM node_executions WHERE workflow_id = ''limit_two'' AND node_id = ''gate'' AND status = ''running''');
:status
SELECT pg_advisory_unlock(5000);
CALL limit_until('SELECT count(*) = 3 FROM executions WHERE workflow_id = ''limit_two'' AND status = ''completed''');
:status
SELECT who FROM limit_effect ORDER BY who;
:left

-- 2. By key: each value has its own slots; one's backlog does not hold up another's. A key that finds nothing is one, too.
SELECT limit_workflow('key', '{"limit": 1, "key": "$.input.customer"}') AS workflow \gset
TRUNCATE limit_effect;
SELECT pg_advisory_lock(5000);
SELECT count(execute_workflow('limit_key', jsonb_build_object('who', 'a' || n, 'customer', 'a'))) FROM generate_series(1, 20) AS n;
SELECT count(execute_workflow('limit_key', input::jsonb)) FROM unnest('{"{\"who\": \"b1\", \"customer\": \"b\"}", "{\"who\": \"b2\", \"customer\": \"b\"}", "{\"who\": \"n1\"}", "{\"who\": \"n2\", \"customer\": null}", "{\"who\": \"o\", \"customer\": {\"id\": [1]}}"}'::text[]) AS input;
CALL limit_until('SELECT count(*) = 4 FROM node_executions WHERE workflow_id = ''limit_key'' AND node_id = ''gate'' AND status = ''running''');
SELECT string_agg(input ->> 'who', ', ' ORDER BY queued_at) AS at_work FROM executions WHERE workflow_id = 'limit_key' AND status = 'running';
SELECT pg_advisory_unlock(5000);
CALL limit_until('SELECT count(*) = 25 FROM executions WHERE workflow_id = ''limit_key'' AND status = ''completed''');
-- At no time had two of one key their slot.
SELECT count(*) AS overlaps FROM executions AS a JOIN executions AS b ON a.workflow_id = b.workflow_id AND a.execution_id < b.execution_id
   AND a.input ->> 'customer' IS NOT DISTINCT FROM b.input ->> 'customer' AND tstzrange(a.started_at, a.ended_at) && tstzrange(b.started_at, b.ended_at) WHERE a.workflow_id = 'limit_key';
SELECT string_agg(who, ' ' ORDER BY number) AS in_order FROM limit_effect WHERE who LIKE 'a%';
:left

-- 3. Higher priority first; a run that fails, and one that times out, gives its slot back; a key may be long; a limit without a number is 1.
SELECT limit_workflow('order', '{"key": "$.input.key"}', '{"timeout": "1h"}') AS workflow \gset
TRUNCATE limit_effect;
SELECT pg_advisory_lock(5000);
SELECT count(execute_workflow('limit_order', jsonb_build_object('who', n, 'key', repeat('k', 5000)), priority => n % 3)) FROM generate_series(1, 6) AS n;
CALL limit_until('SELECT count(*) = 1 FROM node_executions WHERE workflow_id = ''limit_order'' AND node_id = ''gate'' AND status = ''running''');
SELECT pg_advisory_unlock(5000);
CALL limit_until('SELECT count(*) = 6 FROM executions WHERE workflow_id = ''limit_order'' AND status = ''completed''');
SELECT string_agg(who, ' ' ORDER BY number) AS in_order FROM limit_effect;
SELECT create_workflow('{"id": "limit_bad", "concurrency": {"limit": 1}, "timeout": "200ms", "nodes": [{"id": "bad", "nodeType": "sql.query", "config": {"sql": "SELECT 1 / (:input ->> ''x'')::int, pg_sleep(600)"}}]}');
SELECT count(execute_workflow('limit_bad', jsonb_build_object('x', n % 2))) FROM generate_series(1, 4) AS n;
CALL limit_until('SELECT count(*) = 4 FROM executions WHERE workflow_id = ''limit_bad'' AND status = ''failed''');
SELECT input ->> 'x' AS x, error FROM executions WHERE workflow_id = 'limit_bad' ORDER BY queued_at;
:left

-- 4. Paused while it waits: others pass it. run_at asks for a slot when its time has come.
SELECT limit_workflow('pause', '{"limit": 1}') AS workflow \gset
TRUNCATE limit_effect;
SELECT pg_advisory_lock(5000);
SELECT execute_workflow('limit_pause', '{"who": "first"}') AS first \gset
CALL limit_until('SELECT count(*) = 1 FROM node_executions WHERE workflow_id = ''limit_pause'' AND node_id = ''gate'' AND status = ''running''');
SELECT execute_workflow('limit_pause', '{"who": "second"}') AS second \gset
SELECT execute_workflow('limit_pause', '{"who": "at"}', run_at => clock_timestamp() + interval '10 ms') AS at \gset
SELECT pause_execution(:'second');
CALL limit_until('SELECT count(*) = 3 FROM chronicle_data.concurrency_slot');
:status
SELECT pg_advisory_unlock(5000);
CALL limit_until('SELECT count(*) = 2 FROM executions WHERE workflow_id = ''limit_pause'' AND status = ''completed''');
:status
SELECT resume_execution(:'second');
CALL limit_until('SELECT count(*) = 3 FROM executions WHERE workflow_id = ''limit_pause'' AND status = ''completed''');
:left
-- Paused while it has its slot: it keeps it.
SELECT pg_advisory_lock(5000);
SELECT execute_workflow('limit_pause', '{"who": "first"}') AS first \gset
CALL limit_until('SELECT count(*) = 1 FROM node_executions WHERE workflow_id = ''limit_pause'' AND node_id = ''gate'' AND status = ''running''');
SELECT pause_execution(:'first');
SELECT execute_workflow('limit_pause', '{"who": "second"}') AS second \gset
CALL limit_until('SELECT NOT EXISTS (SELECT FROM chronicle_data.concurrency_bell)');
SELECT execution_id = :'first' AS first, held FROM chronicle_data.concurrency_slot ORDER BY queue_number;
SELECT cancel_execution(:'first'), pg_advisory_unlock(5000);
SELECT wait_for_execution(:'second');
:left

-- 5. Children: those of their parent's workflow and key need no slot, or the parent would wait for ever; others have their own limit.
SELECT create_workflow('{"id": "limit_tree", "concurrency": {"limit": 1, "key": "$.input.key"}, "nodes": [{"id": "map", "nodeType": "map.each", "config": {"items": {"$": "$.input.items"}, "workflow": "limit_tree"}}]}');
SELECT execute_workflow('limit_tree', '{"key": "k", "items": [{"key": "k", "items": [{"key": "k", "items": []}, {"key": "other", "items": []}]}, {"key": "other", "items": []}, {"key": "other", "items": []}, {"key": "k", "items": []}]}') AS run \gset
SELECT wait_for_execution(:'run');
SELECT input ->> 'key' AS key, status, count(*) FROM executions WHERE workflow_id = 'limit_tree' GROUP BY 1, 2 ORDER BY 1;
SELECT count(*) AS overlaps FROM executions AS a JOIN executions AS b ON a.execution_id < b.execution_id AND a.workflow_id = 'limit_tree' AND b.workflow_id = 'limit_tree'
   AND a.input ->> 'key' = 'other' AND b.input ->> 'key' = 'other' AND tstzrange(a.started_at, a.ended_at) && tstzrange(b.started_at, b.ended_at);
:left

-- 6. Faults.
SELECT path, problem FROM validate_workflow('{"id": "limit_faults", "concurrency": {"limit": 0, "key": "$..["}, "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}') ORDER BY 1;
SELECT path, problem FROM validate_workflow('{"id": "limit_faults", "concurrency": 3, "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}') ORDER BY 1;
