-- create_workflow and validate_workflow: what is taken, what is refused with all its faults, versions, owners.
SET search_path = public, chronicle;
CREATE FUNCTION definition_raised(query text, OUT code text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE query;
    code := 'none';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END $$;
-- Creates and validates; both must agree. Shows the code and the faults.
CREATE FUNCTION definition_checked(definition jsonb) RETURNS TABLE (code text, path text, problem text) LANGUAGE plpgsql AS $$
DECLARE
    raised record;
    faults jsonb;
BEGIN
    SELECT * INTO raised FROM definition_raised(format('SELECT chronicle.create_workflow(%L)', definition));
    SELECT jsonb_agg(jsonb_build_object('path', v.path, 'problem', v.problem) ORDER BY number) INTO faults
      FROM chronicle.validate_workflow(definition) WITH ORDINALITY AS v (path, problem, number);
    IF raised.code = 'CH030' AND raised.detail::jsonb IS DISTINCT FROM faults THEN
        RAISE EXCEPTION 'create says %, validate says %', raised.detail, faults;
    END IF;
    RETURN QUERY SELECT CASE f.number WHEN 1 THEN raised.code END, f.fault ->> 'path', f.fault ->> 'problem'
                   FROM jsonb_array_elements(coalesce(faults, '[{}]')) WITH ORDINALITY AS f (fault, number);
END $$;

-- 1. The smallest one, and one with everything that this version runs.
SELECT * FROM create_workflow('{"id": "definition_small", "nodes": [{"id": "n", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}');
SELECT workflow_id, version, version_label, name, description, tags, nodes, edges, enabled, owner = current_user AS mine, executions,
       last_status, next_run_at FROM workflows WHERE workflow_id = 'definition_small';
SELECT * FROM create_workflow('{"id": "definition_full", "name": "Everything", "description": "all keys", "version": "1.0", "author": "me",
    "tags": ["a", "b"], "unknown key": {"kept": true}, "metadata": {"schedule": {"enabled": false}},
    "nodes": [{"id": "read", "type": "source", "nodeType": "sql.query", "label": "Read", "position": {"x": 1, "y": 2},
               "config": {"sql": "SELECT :a::int AS a", "parameters": {"a": {"$": "$.input.a"}}, "batchSize": "100", "timeout": "5s"},
               "retry": {"max_attempts": 3, "initial_interval": "1s", "backoff": 2, "max_interval": "1min", "jitter": 0.1, "non_retryable": ["23505", "22"]},
               "timeout": "30s", "priority": -1, "own_transaction": true, "on_failure": "continue", "join": "all"},
              {"id": "numbers", "nodeType": "sequence.numbers", "config": {"start": "1", "end": 10, "step": 1, "fields": {"n": "sequence", "s": "random_string(5)"}}},
              {"id": "list", "nodeType": "memory.collection", "config": {"data": [{"a": 1}]}},
              {"id": "keep", "type": "transform", "nodeType": "filter.condition", "config": {"condition": "a > 0"}},
              {"id": "store", "type": "sink", "nodeType": "table.write", "config": {"table": "some_table", "mode": "upsert", "keys": ["a"]}},
              {"id": "print", "nodeType": "console.log", "config": {"limit": 10, "format": "json", "pretty": true}}],
    "edges": [{"id": "e1", "source": "read", "target": "keep", "condition": "$.a > 0"}, {"from": "keep", "to": "store"}, {"source": "list", "target": "print"}]}');
SELECT version_label, name, description, tags, nodes, edges, definition ? 'unknown key' AS kept FROM workflows WHERE workflow_id = 'definition_full';
-- As a React-Flow editor exports it: layout, camelCase, no edge ids, the node type in data.
SELECT * FROM create_workflow('{"id": "definition_editor", "viewport": {"x": 0, "y": 0, "zoom": 1},
    "nodes": [{"id": "a", "type": "custom", "position": {"x": 0, "y": 0}, "width": 100, "selected": true,
               "data": {"label": "A", "nodeType": "sql.query", "config": {"sql": "SELECT 1 AS x"}}},
              {"id": "b", "type": "sql.query", "position": {"x": 0, "y": 100}, "config": {"sql": "SELECT * FROM input"}}],
    "edges": [{"id": "xy", "source": "a", "target": "b", "type": "smoothstep", "animated": true, "data": {"condition": "$.x == 1"}}]}');
SELECT workflow_definition('definition_editor') -> 'nodes' -> 0 -> 'data' AS as_given;

-- 2. Refused, with all faults at once, each at its place.
SELECT * FROM definition_checked('[]');
SELECT * FROM definition_checked('{}');
SELECT * FROM definition_checked('{"id": "definition x", "nodes": []}');
SELECT * FROM definition_checked('{"id": 5, "nodes": "none"}');
SELECT * FROM definition_checked('{"id": "definition_bad", "name": 1, "tags": "x", "timeout": "soon", "metadata": [],
    "nodes": [{"nodeType": "sql.query"}, {"id": "input", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}},
              {"id": "1st", "nodeType": "sql.query", "config": {"sql": ""}}, {"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1", "sqll": 1}},
              {"id": "a", "nodeType": "sql.qery", "config": {}}, {"id": "b"}, "c", {"id": "d", "nodeType": "kafka.consumer"},
              {"id": "e", "nodeType": "filter", "config": {"condition": 5}}, {"id": "f", "nodeType": "sequence.numbers", "config": {"step": 0, "fields": {"x": "random_thing(1)"}}},
              {"id": "g", "nodeType": "memory.collection", "config": {"data": {"not": "an array"}}}, {"id": "h", "nodeType": "table.write", "config": {"mode": "append"}},
              {"id": "i", "nodeType": "console.log", "config": {"limit": -1, "format": "xml", "pretty": "maybe"}},
              {"id": "j", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}, "retry": {"max_attempts": 0, "non_retryable": ["235"], "jitter": 2, "initial_interval": "x"},
               "timeout": -1, "priority": "high", "own_transaction": "no", "on_failure": "ignore", "join": "some"}],
    "edges": [{"source": "a"}, {"source": "a", "target": "none"}, {"source": "d", "target": "d"}, {"source": "b", "target": "d"}, {"source": "b", "target": "d"},
              {"id": "x", "source": "d", "target": "e"}, {"id": "x", "source": "e", "target": "b"}, 7]}');
SELECT * FROM definition_checked('{"id": "definition_cycle", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}},
    {"id": "b", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}, {"id": "c", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}],
    "edges": [{"source": "a", "target": "b"}, {"source": "b", "target": "c"}, {"source": "c", "target": "a"}]}');
-- A condition must be a jsonpath (its parser's words differ between versions of PostgreSQL).
SELECT code, path, left(problem, 11) AS problem FROM definition_checked('{"id": "definition_condition", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}},
    {"id": "b", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}, {"id": "c", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}],
    "edges": [{"source": "a", "target": "b", "condition": "$.x >"}, {"source": "b", "target": "c", "condition": "no path"}]}');
-- What is quoted of a long text ends with a whole character.
WITH long (texts) AS (SELECT array_agg(repeat('x', n) || repeat('€', 100)) FROM generate_series(0, 2) AS n)
SELECT code, path, problem FROM long, unnest(texts) AS t, definition_checked(jsonb_build_object('id', 'definition_cut', 'timeout', t, 'nodes', jsonb_build_array(
    jsonb_build_object('id', t, 'nodeType', t), jsonb_build_object('id', t, 'nodeType', 'sequence.numbers', 'config', jsonb_build_object('start', 1, 'end', 2, 'fields', jsonb_build_object('a', t, 'b', format('random_choice([%s])', t)))),
    '{"id": "a", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}'::jsonb), 'edges', jsonb_build_array(jsonb_build_object('source', t || 'y', 'target', 'a'))));
-- What the client gets: the first fault in the message, all in DETAIL.
SELECT create_workflow('{"id": "definition_bad", "nodes": []}');
SELECT create_workflow('{"id": "definition_bad", "nodes": [{"id": "a", "nodeType": "shell"}, {"id": "b", "nodeType": "nothing like it"}]}');
SELECT code, message FROM definition_raised('SELECT create_workflow(NULL)');
SELECT code, message FROM definition_raised('SELECT validate_workflow(NULL)');
-- More than 10,000 nodes.
SELECT * FROM definition_checked((SELECT jsonb_build_object('id', 'definition_many', 'nodes',
    jsonb_agg(jsonb_build_object('id', 'n' || n, 'nodeType', 'sql.query', 'config', '{"sql": "SELECT 1"}'::jsonb))) FROM generate_series(1, 10001) AS n));
SELECT count(*) FROM workflows WHERE workflow_id IN ('definition_bad', 'definition_cycle', 'definition_condition', 'definition_many');

-- 3. What this version does not run is refused by name, not ignored.
SELECT what, o.code, o.message
  FROM (VALUES (6, 'materialize', '{}', '{"config": {"sql": "SELECT 1", "materialize": true}}'),
               (7, 'secret', '{}', '{"config": {"sql": "SELECT :a", "parameters": {"a": {"$secret": "x"}}}}'),
               (8, 'nothing special', '{"timeout": 0, "metadata": {"schedule": {"enabled": false}}}', '{"join": "all", "on_failure": "fail"}'))
           AS t (number, what, document, node),
       definition_raised(format('SELECT create_workflow(%L)', '{"id": "definition_refused"}'::jsonb || document::jsonb
           || jsonb_build_object('nodes', jsonb_build_array('{"id": "n", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}'::jsonb || node::jsonb)))) AS o
 ORDER BY number;
SELECT what, o.code, o.message
  FROM (VALUES (3, 'unknown version', 'version => 7'),
               (4, 'version 0', 'version => 0')) AS t (number, what, argument),
       definition_raised(format('SELECT execute_workflow(''definition_small'', %s)', argument)) AS o
 ORDER BY number;
SELECT o.code, o.message, o.hint FROM definition_raised('SELECT execute_workflow(''definition_none'')') AS o;
SELECT o.code, o.message FROM definition_raised('SELECT execute_workflow(NULL)') AS o;

-- 4. Versions: other content makes the next one; the same content, or another layout, makes none.
SELECT version FROM create_workflow('{"id": "definition_small", "nodes": [{"id": "n", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}');
SELECT version FROM create_workflow('{"nodes": [{"config": {"sql": "SELECT 1"}, "nodeType": "sql.query", "id": "n"}], "id": "definition_small"}');
SELECT version FROM create_workflow('{"id": "definition_small", "viewport": {"zoom": 2}, "nodes": [{"id": "n", "position": {"x": 5, "y": 7}, "selected": true, "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}');
SELECT version FROM create_workflow('{"id": "definition_small", "nodes": [{"id": "n", "nodeType": "sql.query", "config": {"sql": "SELECT 2"}}]}');
SELECT version FROM create_workflow('{"id": "definition_small", "nodes": [{"id": "n", "nodeType": "sql.query", "config": {"sql": "SELECT 2"}}], "description": "new"}');
-- Back to what an older version was: that is a change from the newest.
SELECT version FROM create_workflow('{"id": "definition_small", "nodes": [{"id": "n", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}');
SELECT version, definition -> 'nodes' -> 0 -> 'config' ->> 'sql' AS sql, definition ->> 'description' AS description FROM workflow_versions WHERE workflow_id = 'definition_small' ORDER BY version;
SELECT version, definition = workflow_definition('definition_small') AS newest FROM workflows WHERE workflow_id = 'definition_small';
SELECT workflow_definition('definition_small', 2) -> 'nodes' -> 0 -> 'config' ->> 'sql' AS second;
-- An undone creation leaves nothing, and its number is given again.
BEGIN;
SELECT version FROM create_workflow('{"id": "definition_small", "nodes": [{"id": "n", "nodeType": "sql.query", "config": {"sql": "SELECT 9"}}]}');
ROLLBACK;
SELECT max(version) FROM workflow_versions WHERE workflow_id = 'definition_small';

-- 5. Owners: another's workflow is not replaced and not run; a member of the owner's role, and an admin, may, and the owner stays.
CREATE ROLE regress_definition_one;
CREATE ROLE regress_definition_two;
CREATE ROLE regress_definition_member IN ROLE regress_definition_one;
CREATE ROLE regress_definition_reader;
SELECT grant_access(role::regrole, 'operator') FROM unnest(ARRAY['regress_definition_one', 'regress_definition_two']) AS role;
SELECT grant_access('regress_definition_reader', 'writer');
SET ROLE regress_definition_one;
SELECT * FROM create_workflow('{"id": "definition_owned", "nodes": [{"id": "n", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}');
SET ROLE regress_definition_two;
SELECT create_workflow('{"id": "definition_owned", "nodes": [{"id": "n", "nodeType": "sql.query", "config": {"sql": "SELECT 2"}}]}');
SELECT execute_workflow('definition_owned');
SELECT count(*) FROM workflows WHERE workflow_id = 'definition_owned';
SELECT code, message FROM definition_raised('SELECT workflow_definition(''definition_owned'')');
SET ROLE regress_definition_reader;
SELECT create_workflow('{"id": "definition_reader", "nodes": [{"id": "n", "nodeType": "sql.query", "config": {"sql": "SELECT 2"}}]}');
SET ROLE regress_definition_member;
SELECT version FROM create_workflow('{"id": "definition_owned", "nodes": [{"id": "n", "nodeType": "sql.query", "config": {"sql": "SELECT 3"}}]}');
RESET ROLE;
SELECT version FROM create_workflow('{"id": "definition_owned", "nodes": [{"id": "n", "nodeType": "sql.query", "config": {"sql": "SELECT 4"}}]}');
SELECT version, owner FROM workflows WHERE workflow_id = 'definition_owned';
SELECT version, CASE created_by WHEN current_user THEN 'me' ELSE created_by END AS created_by FROM workflow_versions WHERE workflow_id = 'definition_owned' AND version < 4 ORDER BY version;

-- 6. The registry of node types.
SELECT type, string_agg(role, ', ' ORDER BY role) AS roles, category, count(DISTINCT config_schema) AS schemas FROM node_types GROUP BY type, category ORDER BY type;
SELECT DISTINCT config_schema FROM node_types WHERE type = 'filter';

DROP FUNCTION definition_checked, definition_raised;
SELECT count(revoke_access(oid::regrole, 'reader')) FROM pg_roles WHERE rolname LIKE 'regress\_definition\_%';
DROP ROLE regress_definition_one, regress_definition_two, regress_definition_member, regress_definition_reader;
