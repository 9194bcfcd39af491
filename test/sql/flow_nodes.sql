-- Every node type, its config and what it leaves: parameters, input and ancestors as relations, values between nodes.
SET search_path = public, chronicle;
-- Stores a workflow, runs it and waits. Nodes: [id, type, config, more keys]; edges: 'a>b b>c'.
CREATE PROCEDURE nodes_run(id text, nodes jsonb, edges text DEFAULT '', input jsonb DEFAULT '{}', INOUT run uuid DEFAULT NULL, INOUT status text DEFAULT NULL)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM create_workflow(jsonb_build_object('id', 'nodes_' || id,
        'nodes', (SELECT jsonb_agg(jsonb_build_object('id', n -> 0, 'nodeType', n -> 1, 'config', n -> 2) || coalesce(n -> 3, '{}')) FROM jsonb_array_elements(nodes) AS n),
        'edges', (SELECT coalesce(jsonb_agg(jsonb_build_object('source', split_part(e, '>', 1), 'target', split_part(e, '>', 2))), '[]')
                    FROM regexp_split_to_table(edges, ' ') AS e WHERE e <> '')));
    run := execute_workflow('nodes_' || id, input);
    COMMIT;
    status := wait_for_execution(run);
END $$;
\set show 'SELECT node_id, status, records_processed AS records, output, sqlstate, error FROM node_executions WHERE execution_id = :''run'' ORDER BY node_id;'

-- 1. sql.query: rows, no rows, effects.
CREATE TABLE nodes_table (id int PRIMARY KEY, name text, price numeric(10, 2));
CALL nodes_run('sql', '[["rows", "sql.query", {"sql": "SELECT n, n * 1.5 AS x FROM generate_series(1, 3) AS n"}],
    ["none", "sql.query", {"sql": "SELECT 1 AS a WHERE false"}], ["no_columns", "sql.query", {"sql": "SELECT FROM generate_series(1, 2)"}],
    ["insert", "sql.query", {"sql": "INSERT INTO nodes_table VALUES (1, ''a'', 1), (2, ''b'', 2)"}],
    ["returning", "sql.query", {"sql": "INSERT INTO nodes_table VALUES (3, ''c'', 3) RETURNING id, name"}],
    ["with", "sql.query", {"sql": "WITH moved AS (INSERT INTO nodes_table VALUES (4, ''d'', 4) RETURNING id) SELECT id AS moved FROM moved;  -- the end"}],
    ["create", "sql.query", {"sql": "CREATE TABLE nodes_made AS SELECT 1 AS a"}],
    ["do", "sql.query", {"sql": "DO $d$ BEGIN INSERT INTO nodes_table VALUES (5, ''e;f'', 5); END $d$"}],
    ["values", "sql.query", {"sql": "VALUES (1, ''x''), (2, ''y'')"}], ["explain", "sql.query", {"sql": "EXPLAIN (COSTS off) SELECT 1"}]]') \gset
:show
SELECT * FROM nodes_table ORDER BY id;
SELECT * FROM nodes_made;
-- What a node cannot be: nothing, two statements, transaction control, COPY to the client, a mistake.
CALL nodes_run('not_sql', '[["empty", "sql.query", {"sql": "-- nothing"}, {"on_failure": "continue"}], ["two", "sql.query", {"sql": "SELECT 1; SELECT 2"}, {"on_failure": "continue"}],
    ["commit", "sql.query", {"sql": "COMMIT"}, {"on_failure": "continue"}], ["savepoint", "sql.query", {"sql": "SAVEPOINT a"}, {"on_failure": "continue"}],
    ["copy", "sql.query", {"sql": "COPY nodes_table TO STDOUT"}, {"on_failure": "continue"}], ["vacuum", "sql.query", {"sql": "VACUUM nodes_table"}, {"on_failure": "continue"}],
    ["syntax", "sql.query", {"sql": "SELEC 1"}, {"on_failure": "continue"}], ["table", "sql.query", {"sql": "SELECT * FROM nodes_no_table"}, {"on_failure": "continue"}]]') \gset
SELECT :'status' AS status;
:show

-- 2. Parameters: bound, never pasted; what stands in strings, names, comments and dollar quotes is left alone.
CALL nodes_run('parameters', '[["types", "sql.query", {"sql": "SELECT :i + 1 AS i, :big + 1 AS big, :d * 2 AS d, :s || ''!'' AS s, :b AND true AS b, :o ->> ''k'' AS o, :n::text IS NULL AS n, pg_typeof(:i) AS type",
      "parameters": {"i": 41, "big": 4000000000, "d": 0.1, "s": "it''s \"quoted\" \\\\ :i $1 {x}", "b": true, "o": {"k": "v"}, "n": null}}],
    ["inferred", "sql.query", {"sql": "SELECT * FROM nodes_table WHERE name = :name AND id < :id AND price > :price", "parameters": {"name": "c", "id": "4", "price": "2.50"}}],
    ["lists", "sql.query", {"sql": "SELECT array_agg(id ORDER BY id) AS ids FROM nodes_table WHERE id IN (:ids) OR name in ( :names )", "parameters": {"ids": [1, 2, 99], "names": ["e;f", "with \"quotes\", {braces} and \\\\"]}}],
    ["not_lists", "sql.query", {"sql": "SELECT array_agg(id ORDER BY id) AS ids FROM nodes_table WHERE id NOT IN (:ids) AND NOT id IN (:more)", "parameters": {"ids": [1, 2], "more": [5]}}],
    ["empty_list", "sql.query", {"sql": "SELECT count(*) AS none, (SELECT count(*) FROM nodes_table WHERE id NOT IN (:ids)) AS \"all\" FROM nodes_table WHERE id IN (:ids)", "parameters": {"ids": []}}],
    ["one", "sql.query", {"sql": "SELECT id FROM nodes_table WHERE id IN (:one) OR id IN (1, :one) ORDER BY id", "parameters": {"one": 3}}],
    ["untouched", "sql.query", {"sql": "SELECT '':a'' AS s, E''it\\'':a'' AS e, $$:a$$ AS d, $q$ :a $q$ AS q, 1 AS \":a\", /* :a */ :a AS a -- :a", "parameters": {"a": "A"}}],
    ["casts", "sql.query", {"sql": "SELECT :a::int AS a, ''7''::int AS b, (ARRAY[1,2,3,4])[2:3] AS slice, (ARRAY[1,2,3,4])[:lo:hi] AS bound, (ARRAY[1,2,3,4])[1 : two] AS spaced, \"hi\" FROM (SELECT 3 AS hi, 2 AS two) AS x", "parameters": {"a": "5", "lo": 1, "two": 4}}],
    ["undeclared", "sql.query", {"sql": "SELECT (ARRAY[10,20,30])[x:y] AS slice FROM (SELECT 1 AS x, 2 AS y) AS s"}],
    ["same_twice", "sql.query", {"sql": "SELECT :a AS x, :A AS y, :a || :a AS z", "parameters": {"a": "low", "A": "high"}}],
    ["keywords", "sql.query", {"sql": "SELECT :user AS u, :select AS s, :Order AS o", "parameters": {"user": "u", "select": "s", "Order": "o"}}],
    ["run_input", "sql.query", {"sql": "SELECT :input ->> ''who'' AS who, (:input -> ''n'')::int + 1 AS n"}],
    ["own_input", "sql.query", {"sql": "SELECT :input AS mine", "parameters": {"input": "declared"}}]]', '', '{"who": "ann", "n": 1}') \gset
:show
-- A value that does not fit its place is an error of the node, not of the engine.
CALL nodes_run('bad_parameters', '[["text", "sql.query", {"sql": "SELECT id FROM nodes_table WHERE id = :id", "parameters": {"id": "x; DROP TABLE nodes_table"}}, {"on_failure": "continue"}],
    ["missing", "sql.query", {"sql": "SELECT :nobody"}, {"on_failure": "continue"}],
    ["unknown", "sql.query", {"sql": "SELECT unnest(:list)", "parameters": {"list": [1]}}, {"on_failure": "continue"}]]') \gset
:show
SELECT count(*) FROM nodes_table;

-- 3. input, and every finished ancestor by its node id.
CALL nodes_run('relations', '[["a", "sql.query", {"sql": "SELECT n FROM generate_series(1, 3) AS n"}], ["b", "sql.query", {"sql": "SELECT n + 10 AS n FROM input"}],
    ["c", "sql.query", {"sql": "SELECT sum(a.n) AS a, sum(b.n) AS b FROM a, b"}],
    ["d-1", "sql.query", {"sql": "WITH x AS (SELECT * FROM input) SELECT x.a, (SELECT max(n) FROM b) AS max, (SELECT count(*) FROM a WHERE n IN (SELECT n - 10 FROM b)) AS same FROM x"}],
    ["Upper", "sql.query", {"sql": "SELECT max FROM \"d-1\""}], ["last", "sql.query", {"sql": "SELECT * FROM \"Upper\" UNION ALL SELECT sum(n) FROM a"}],
    ["made", "sql.query", {"sql": "CREATE TABLE nodes_of_input AS SELECT * FROM input"}]]', 'a>b b>c c>d-1 d-1>Upper Upper>last last>made') \gset
:show
SELECT * FROM nodes_of_input ORDER BY 1;
-- A node id hides a table of that name, for the statement itself; with its schema it is the table.
CREATE TABLE nodes_shadow (x text);
INSERT INTO nodes_shadow VALUES ('the table');
CALL nodes_run('shadow', '[["nodes_shadow", "sql.query", {"sql": "SELECT ''the node'' AS x"}], ["read", "sql.query", {"sql": "SELECT a.x AS a, b.x AS b FROM nodes_shadow AS a, public.nodes_shadow AS b"}]]', 'nodes_shadow>read') \gset
:show
-- Not an ancestor, not finished, or without rows: no such relation. Functions do not see them.
CREATE FUNCTION nodes_count() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM input); END $$;
CALL nodes_run('no_relation', '[["a", "sql.query", {"sql": "SELECT 1 AS n"}], ["other", "sql.query", {"sql": "SELECT 2 AS n"}],
    ["stranger", "sql.query", {"sql": "SELECT * FROM other"}, {"on_failure": "continue"}], ["descendant", "sql.query", {"sql": "SELECT * FROM stranger"}, {"on_failure": "continue"}],
    ["source", "sql.query", {"sql": "SELECT * FROM input"}, {"on_failure": "continue"}], ["effect", "sql.query", {"sql": "DELETE FROM nodes_table WHERE false"}],
    ["no_rows", "sql.query", {"sql": "SELECT * FROM input"}, {"on_failure": "continue"}], ["function", "sql.query", {"sql": "SELECT nodes_count()"}, {"on_failure": "continue"}]]',
    'a>stranger stranger>descendant effect>no_rows a>function') \gset
:show
-- Several upstreams with the same columns are one input, in the order of the edges; with different ones there is none (42804).
CALL nodes_run('union', '[["a", "sql.query", {"sql": "SELECT 1 AS n, ''a'' AS t"}], ["b", "sql.query", {"sql": "SELECT n, ''b'' AS t FROM generate_series(2, 3) AS n"}], ["c", "sql.query", {"sql": "SELECT 9 AS n, ''c'' AS t WHERE false"}],
    ["all", "sql.query", {"sql": "SELECT n, t FROM input"}], ["both", "sql.query", {"sql": "SELECT count(*) FROM input AS x JOIN input AS y USING (n)"}]]', 'a>all b>all c>all b>both a>both') \gset
:show
CALL nodes_run('union_bad', '[["a", "sql.query", {"sql": "SELECT 1 AS n"}], ["name", "sql.query", {"sql": "SELECT 1 AS m"}], ["type", "sql.query", {"sql": "SELECT 1::bigint AS n"}], ["count", "sql.query", {"sql": "SELECT 1 AS n, 2 AS o"}],
    ["by_name", "sql.query", {"sql": "SELECT * FROM input"}, {"on_failure": "continue"}], ["by_type", "sql.query", {"sql": "SELECT * FROM input"}, {"on_failure": "continue"}],
    ["by_count", "sql.query", {"sql": "SELECT * FROM input"}, {"on_failure": "continue"}], ["not_asked", "sql.query", {"sql": "SELECT a.n, name.m FROM a, name"}]]',
    'a>by_name name>by_name a>by_type type>by_type a>by_count count>by_count a>not_asked name>not_asked') \gset
:show
-- Columns that differ in their modifier only: values stay as they are, also on their way to a node in another transaction.
CALL nodes_run('union_modifiers', '[["a", "sql.query", {"sql": "SELECT 1.25::numeric(5, 2) AS n, ''abc''::varchar(3) AS t"}], ["b", "sql.query", {"sql": "SELECT 123.4567::numeric(10, 4) AS n, ''longer''::varchar(10) AS t"}],
    ["all", "sql.query", {"sql": "SELECT n, t FROM input"}], ["next", "sql.query", {"sql": "SELECT * FROM input"}, {"own_transaction": true}]]', 'a>all b>all all>next') \gset
:show

-- 4. filter: an SQL condition; NULL is not true.
CALL nodes_run('filter', '[["rows", "memory.collection", {"data": [{"n": 1, "t": "a"}, {"n": 2, "t": null}, {"n": 3, "t": "c -- x"}]}],
    ["greater", "filter", {"condition": "n > 1"}], ["both", "filter.condition", {"condition": "n > 1 AND t LIKE ''c%'' -- a comment"}], ["nothing", "filter", {"condition": "t = ''none''"}],
    ["subquery", "filter", {"condition": "n = (SELECT max(n) FROM input)"}], ["wrong", "filter", {"condition": "m > 1"}, {"on_failure": "continue"}], ["no_boolean", "filter", {"condition": "n"}, {"on_failure": "continue"}]]', 'rows>greater rows>both rows>nothing rows>subquery rows>wrong rows>no_boolean') \gset
:show

-- 5. table.write: by column name; insert, upsert by primary key or given keys, replace.
CREATE TABLE nodes_target (id int PRIMARY KEY, "Name" text UNIQUE, price numeric(10, 2) DEFAULT 7, at timestamptz DEFAULT '2026-01-01 00:00+00');
CREATE TABLE nodes_plain (name text, id bigint);
INSERT INTO nodes_target VALUES (1, 'one', 1), (2, 'two', 2);
INSERT INTO nodes_plain VALUES ('old', 0);
CALL nodes_run('write', '[["rows", "sql.query", {"sql": "SELECT ''three'' AS \"Name\", 3 AS id"}], ["insert", "table.write", {"table": "nodes_target"}]]', 'rows>insert') \gset
:show
CALL nodes_run('write', '[["rows", "sql.query", {"sql": "VALUES (2, ''zwei''), (4, ''vier'')"}], ["named", "sql.query", {"sql": "SELECT column1 AS id, column2 AS \"Name\" FROM input"}], ["upsert", "table.write", {"table": "public.nodes_target", "mode": "upsert"}]]', 'rows>named named>upsert') \gset
:show
CALL nodes_run('write', '[["rows", "sql.query", {"sql": "SELECT 9 AS id, ''one'' AS \"Name\", 1.5 AS price"}], ["upsert", "table.write", {"table": "nodes_target", "mode": "upsert", "keys": ["Name"]}]]', 'rows>upsert') \gset
:show
CALL nodes_run('write', '[["rows", "sql.query", {"sql": "SELECT 2 AS id"}], ["upsert", "table.write", {"table": "nodes_target", "mode": "upsert"}]]', 'rows>upsert') \gset
:show
SELECT * FROM nodes_target ORDER BY id;
CALL nodes_run('write', '[["rows", "sql.query", {"sql": "SELECT n AS id, ''new'' || n AS name FROM generate_series(1, 3) AS n"}], ["replace", "table.write", {"table": "nodes_plain", "mode": "replace"}]]', 'rows>replace') \gset
:show
SELECT * FROM nodes_plain ORDER BY id;
-- Two upstreams, no rows at all, and what fails leaves nothing behind: not even the emptied table.
CALL nodes_run('write_two', '[["a", "sql.query", {"sql": "SELECT 10 AS id"}], ["b", "sql.query", {"sql": "SELECT 11 AS id"}], ["none", "sql.query", {"sql": "SELECT 12 AS id WHERE false"}],
    ["insert", "table.write", {"table": "nodes_plain"}], ["nothing", "table.write", {"table": "nodes_plain"}]]', 'a>insert b>insert none>nothing') \gset
:show
CALL nodes_run('write_fails', '[["rows", "sql.query", {"sql": "SELECT 1 AS id UNION ALL SELECT 1"}], ["more", "sql.query", {"sql": "SELECT 5 AS id, ''x'' AS other"}], ["text", "sql.query", {"sql": "SELECT ''x'' AS id"}],
    ["duplicate", "table.write", {"table": "nodes_target"}, {"on_failure": "continue"}], ["replace", "table.write", {"table": "nodes_plain", "mode": "replace"}, {"on_failure": "continue"}],
    ["column", "table.write", {"table": "nodes_plain"}, {"on_failure": "continue"}], ["type", "table.write", {"table": "nodes_plain"}, {"on_failure": "continue"}],
    ["no_table", "table.write", {"table": "nodes_none"}, {"on_failure": "continue"}], ["no_name", "table.write", {"table": "a.b.c.d"}, {"on_failure": "continue"}],
    ["no_key", "table.write", {"table": "nodes_plain", "mode": "upsert"}, {"on_failure": "continue"}], ["wrong_key", "table.write", {"table": "nodes_target", "mode": "upsert", "keys": ["price"]}, {"on_failure": "continue"}],
    ["injection", "table.write", {"table": "nodes_plain; DROP TABLE nodes_plain"}, {"on_failure": "continue"}]]',
    'rows>duplicate text>replace more>column text>type rows>no_table rows>no_name rows>no_key rows>wrong_key rows>injection') \gset
:show
SELECT count(*) AS target, (SELECT count(*) FROM nodes_plain) AS plain FROM nodes_target;

-- 6. console.log: text and JSON, how many, and what it hands on.
CALL nodes_run('log', '[["rows", "sql.query", {"sql": "SELECT n, CASE n WHEN 2 THEN NULL ELSE ''it''''s '' || n END AS t, ARRAY[n] AS a, jsonb_build_object(''k'', n) AS j FROM generate_series(1, 3) AS n"}],
    ["a_text", "console.log", {}], ["b_json", "console.log", {"format": "json", "limit": "2"}], ["c_pretty", "console.log", {"format": "json", "pretty": true, "limit": 1}], ["d_none", "console.log", {"limit": 0}],
    ["after", "sql.query", {"sql": "SELECT count(*) FROM input"}]]', 'rows>a_text rows>b_json rows>c_pretty rows>d_none b_json>after') \gset
SELECT node_id, status, records_processed AS records FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
SELECT node_id, seq, level, message FROM execution_logs WHERE execution_id = :'run' ORDER BY node_id, seq;
SELECT output FROM node_executions WHERE execution_id = :'run' AND node_id = 'after';

-- 7. sequence.numbers: ranges, steps, fields.
CALL nodes_run('sequence', '[["up", "sequence.numbers", {"start": 1, "end": 7, "step": 3}], ["down", "sequence.numbers", {"start": "5", "end": "1", "step": "-2"}], ["none", "sequence.numbers", {"start": 5, "end": 1}],
    ["one", "sequence.numbers", {"start": 9223372036854775807, "end": 9223372036854775807}], ["default", "sequence.numbers", {}],
    ["fields", "sequence.numbers", {"start": 1, "end": 50, "fields": {"id": "sequence", "name": "random_string(8)", "age": "random_int(18, 20)", "score": "random_double(0.5, 1)", "color": "random_choice([''red'', ''green''])",
        "kind": "constant(''x'')", "number": "constant(1.5)", "flag": "constant(true)", "nothing": "constant(null)"}}],
    ["checked", "sql.query", {"sql": "SELECT count(*), count(DISTINCT id) AS ids, bool_and(length(name) = 8) AS names, bool_and(age BETWEEN 18 AND 20) AS ages, bool_and(score >= 0.5 AND score <= 1) AS scores, bool_and(color IN (''red'', ''green'')) AS colors, min(kind) AS kind, min(number) AS number, bool_and(flag) AS flag, count(nothing) AS nothing FROM input"}],
    ["typed", "sql.query", {"sql": "SELECT string_agg(DISTINCT concat_ws('' '', pg_typeof(id), pg_typeof(name), pg_typeof(age), pg_typeof(score), pg_typeof(color), pg_typeof(kind), pg_typeof(number), pg_typeof(flag), pg_typeof(nothing)), '','') AS types FROM fields"}]]', 'fields>checked checked>typed') \gset
SELECT node_id, status, records_processed AS records, CASE WHEN node_id NOT IN ('default', 'fields') THEN output END AS output FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
-- Nobody makes 2^63 rows: the node can be told how long, and ends.
CALL nodes_run('sequence_long', '[["long", "sequence.numbers", {"start": 1, "end": 9223372036854775807}, {"timeout": "50ms"}]]') \gset
SELECT :'status' AS status, sqlstate FROM node_executions WHERE execution_id = :'run';

-- 8. memory.collection: types follow from the values.
CALL nodes_run('collection', '[["objects", "memory.collection", {"data": [{"i": 1, "n": 1.50, "b": true, "t": "x", "j": {"k": [1]}, "mixed": 1, "only_first": "y", "Upper case": 1}, {"i": 20000000000, "n": 2, "b": null, "t": null, "j": [], "mixed": "1"}]}],
    ["scalars", "memory.collection", {"data": [1, 2, 3]}], ["texts", "memory.collection", {"data": ["a", null, "c"]}], ["decimals", "memory.collection", {"data": [1, 2.5, 1e2]}], ["anything", "memory.collection", {"data": [1, "a", [true], {"k": null}]}],
    ["empty", "memory.collection", {"data": []}], ["nulls", "memory.collection", {"data": [null, null]}], ["empty_objects", "memory.collection", {"data": [{}, {}]}],
    ["types", "sql.query", {"sql": "SELECT DISTINCT pg_typeof(i) AS i, pg_typeof(n) AS n, pg_typeof(b) AS b, pg_typeof(t) AS t, pg_typeof(j) AS j, pg_typeof(mixed) AS mixed, pg_typeof(\"Upper case\") AS u FROM objects"}],
    ["more_types", "sql.query", {"sql": "SELECT (SELECT pg_typeof(value) FROM scalars LIMIT 1) AS scalars, (SELECT pg_typeof(value) FROM texts LIMIT 1) AS texts, (SELECT pg_typeof(value) FROM decimals LIMIT 1) AS decimals, (SELECT pg_typeof(value) FROM anything LIMIT 1) AS anything"}]]',
    'objects>types scalars>more_types texts>more_types decimals>more_types anything>more_types') \gset
:show

-- 9. Values keep their types and themselves between nodes, in one transaction and across several.
CREATE TYPE nodes_mood AS ENUM ('sad', 'ok', 'very "happy"');
CREATE TYPE nodes_pair AS (a int, b text);
CREATE DOMAIN nodes_positive AS int CHECK (VALUE > 0);
CREATE TABLE nodes_values (id int, n numeric, n2 numeric(8, 3), f float8, f4 float4, big bigint, small smallint, b boolean, t text, v varchar(5), c char(4), bin bytea, mood nodes_mood, ints int[], texts text[], deep int[][],
    pair nodes_pair, pairs nodes_pair[], pos nodes_positive, d date, ti time, ts timestamp, tz timestamptz, i interval, u uuid, j json, jb jsonb, m money, ip inet, r int4range, mr int4multirange, bits bit(4), p point, x xml, tsv tsvector, o oid, path jsonpath, nam name, ch "char");
INSERT INTO nodes_values VALUES
    (1, 'NaN', 12345.678, 'infinity', 'NaN', 9223372036854775807, -32768, true, E'tab\t newline\n quote'' back\\ ünï', 'abc', 'ab', '\x00ff5c27', 'very "happy"', '{1,NULL,3}', ARRAY['a"b', '', NULL, 'NULL', '{x}'], '[0:1][2:3]={{1,2},{3,4}}',
     ROW(1, 'a,"b'), ARRAY[ROW(1, NULL), NULL]::nodes_pair[], 7, 'infinity', '24:00', '-infinity', 'infinity', '-1 year 2 mons -3 days 04:05:06.789', '00000000-0000-0000-0000-000000000001', '{"a" : 1, "a": null}', '{"z": null, "a": [1.10, "x"]}', '$1,234.56', '10.0.0.1/8', '[1,5)', '{[1,3),[7,9)}', '1010', '(1.5,-2)', '<a>1</a>', 'fat:2 cat:1A', 4294967295, '$.a[*] ? (@ > 1)', 'a name', 'x'),
    (2, 1e131, -0.001, '-infinity', 1.17549435e-38, -9223372036854775808, 32767, false, '', '', '', '', 'sad', '{}', '{}', NULL,
     ROW(NULL, NULL), '{}', NULL, '4713-01-01 BC', '00:00:00.000001', '0001-01-01 BC', '2026-03-29 01:30:00.123456+00', '0', NULL, 'null', 'null', '-$0.01', '::1', 'empty', '{}', '0000', NULL, NULL, '', 0, NULL, '', ''),
    (3, 0.1::numeric + 0.2::numeric, NULL, 0.1::float8 + 0.2::float8, 16777217, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CALL nodes_run('values', '[["read", "sql.query", {"sql": "SELECT * FROM nodes_values"}, {"own_transaction": true}], ["here", "sql.query", {"sql": "SELECT * FROM input"}], ["there", "sql.query", {"sql": "SELECT * FROM input"}, {"own_transaction": true}],
    ["again", "sql.query", {"sql": "SELECT * FROM input"}, {"own_transaction": true}],
    ["compare", "sql.query", {"sql": "SELECT (SELECT count(*) FROM input AS got JOIN nodes_values AS v ON got.id = v.id WHERE row_to_json(got.*)::text = row_to_json(v.*)::text AND (got.*)::text = (v.*)::text) AS same_text, (SELECT count(*) FROM input AS got JOIN nodes_values AS v ON got.id = v.id WHERE got.f IS NOT DISTINCT FROM v.f AND got.n IS NOT DISTINCT FROM v.n AND got.tz IS NOT DISTINCT FROM v.tz AND got.bin IS NOT DISTINCT FROM v.bin AND got.deep IS NOT DISTINCT FROM v.deep AND got.pair IS NOT DISTINCT FROM v.pair) AS same_values"}, {"own_transaction": true}],
    ["kinds", "sql.query", {"sql": "SELECT count(*) AS different FROM (SELECT jsonb_each_text(jsonb_build_object(''n2'', pg_typeof(got.n2), ''mood'', pg_typeof(got.mood), ''pairs'', pg_typeof(got.pairs), ''pos'', pg_typeof(got.pos), ''c'', pg_typeof(got.c), ''j'', pg_typeof(got.j), ''mr'', pg_typeof(got.mr))) AS kind FROM input AS got EXCEPT SELECT jsonb_each_text(jsonb_build_object(''n2'', pg_typeof(got.n2), ''mood'', pg_typeof(got.mood), ''pairs'', pg_typeof(got.pairs), ''pos'', pg_typeof(got.pos), ''c'', pg_typeof(got.c), ''j'', pg_typeof(got.j), ''mr'', pg_typeof(got.mr))) FROM nodes_values AS got) AS d"}, {"own_transaction": true}]]',
    'read>here here>there there>again again>compare again>kinds') \gset
SELECT node_id, status, attempts, records_processed AS records, CASE WHEN node_id IN ('compare', 'kinds') THEN output END AS output, error FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
-- Output as JSON: what JSON has no word for is its text.
SELECT jsonb_pretty(output -> 0) FROM node_executions WHERE execution_id = :'run' AND node_id = 'again';
-- The owner's settings do not change what is read back.
CREATE ROLE regress_nodes_settings LOGIN;
SELECT grant_access('regress_nodes_settings', 'operator');
GRANT SELECT ON nodes_values TO regress_nodes_settings;
ALTER ROLE regress_nodes_settings SET datestyle = 'SQL, DMY';
ALTER ROLE regress_nodes_settings SET intervalstyle = 'sql_standard';
ALTER ROLE regress_nodes_settings SET extra_float_digits = -15;
ALTER ROLE regress_nodes_settings SET bytea_output = 'escape';
ALTER ROLE regress_nodes_settings SET timezone = 'Pacific/Auckland';
SET ROLE regress_nodes_settings;
SELECT version > 0 AS created FROM create_workflow('{"id": "nodes_settings", "nodes": [{"id": "read", "nodeType": "sql.query", "own_transaction": true, "config": {"sql": "SELECT id, d, ts, tz, i, f, f4, bin, m FROM nodes_values"}},
    {"id": "next", "nodeType": "sql.query", "own_transaction": true, "config": {"sql": "SELECT count(*) AS same, current_setting(''datestyle'') AS style FROM input AS i JOIN nodes_values AS v USING (id) WHERE ROW(i.d, i.ts, i.tz, i.i, i.f, i.f4, i.bin, i.m) IS NOT DISTINCT FROM ROW(v.d, v.ts, v.tz, v.i, v.f, v.f4, v.bin, v.m)"}}],
    "edges": [{"source": "read", "target": "next"}]}');
SELECT execute_workflow('nodes_settings') AS run \gset
SELECT wait_for_execution(:'run');
RESET ROLE;
SELECT output, error FROM node_executions WHERE execution_id = :'run' AND node_id = 'next';

-- Many rows: more than one chunk, more than work_mem, more than a view shows.
CALL nodes_run('many', '[["make", "sql.query", {"sql": "SELECT n, md5(n::text) AS t, repeat(''x'', 200) AS pad FROM generate_series(1, 30000) AS n"}, {"own_transaction": true}],
    ["check", "sql.query", {"sql": "SELECT count(*), count(*) FILTER (WHERE t = md5(n::text)) AS right, bool_and(n = number) AS in_order FROM (SELECT *, row_number() OVER () AS number FROM input) AS i"}, {"own_transaction": true}]]', 'make>check') \gset
SELECT node_id, status, records_processed AS records, jsonb_array_length(output) AS shown, output_truncated, CASE node_id WHEN 'check' THEN output END AS output FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;

SELECT revoke_access('regress_nodes_settings', 'reader');
DROP TABLE nodes_values, nodes_table, nodes_made, nodes_of_input, nodes_shadow, nodes_target, nodes_plain;
DROP OWNED BY regress_nodes_settings;
DROP ROLE regress_nodes_settings;
DROP PROCEDURE nodes_run;
DROP FUNCTION nodes_count;
DROP TYPE nodes_mood, nodes_pair;
DROP DOMAIN nodes_positive;
