-- The seam between C++ and PostgreSQL: every exception becomes an error with a proper SQLSTATE, every error keeps all its
-- fields on its way through C++ frames, and every destructor runs. The functions are those of the testing-only module.
CREATE OR REPLACE FUNCTION seam_throw(kind text) RETURNS void LANGUAGE c AS '$libdir/chronicle_testing';
CREATE OR REPLACE FUNCTION seam_throw_in_callback(kind text) RETURNS void LANGUAGE c AS '$libdir/chronicle_testing';
CREATE OR REPLACE FUNCTION seam_throw_without_memory(kind text, allocations bigint) RETURNS void
    LANGUAGE c AS '$libdir/chronicle_testing';
CREATE OR REPLACE FUNCTION seam_memory_is_back() RETURNS void LANGUAGE c AS '$libdir/chronicle_testing';
CREATE OR REPLACE FUNCTION seam_run(sql text) RETURNS bigint LANGUAGE c AS '$libdir/chronicle_testing';
CREATE OR REPLACE FUNCTION seam_error_in_catch(second text) RETURNS void LANGUAGE c AS '$libdir/chronicle_testing';
CREATE OR REPLACE FUNCTION seam_attempt(sql text) RETURNS jsonb LANGUAGE c AS '$libdir/chronicle_testing';
CREATE OR REPLACE FUNCTION seam_attempt_throw(kind text) RETURNS text LANGUAGE c AS '$libdir/chronicle_testing';
CREATE OR REPLACE FUNCTION seam_alive() RETURNS bigint LANGUAGE c AS '$libdir/chronicle_testing';
CREATE OR REPLACE FUNCTION seam_sqlstate_text(sqlstate text) RETURNS text LANGUAGE c AS '$libdir/chronicle_testing';

-- What an EXCEPTION block sees: all fields that PL/pgSQL can read. Empty ones are left out.
CREATE FUNCTION seam_fields(query text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    code text; message text; detail text; hint text; context text;
    schema_name text; table_name text; column_name text; type_name text; constraint_name text;
BEGIN
    EXECUTE query;
    RETURN '{"sqlstate": "no error"}';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT, schema_name = SCHEMA_NAME, table_name = TABLE_NAME,
        column_name = COLUMN_NAME, type_name = PG_DATATYPE_NAME, constraint_name = CONSTRAINT_NAME;
    RETURN (SELECT jsonb_object_agg(key, value)
              FROM jsonb_each(jsonb_build_object('sqlstate', code, 'message', message, 'detail', detail, 'hint', hint,
                       'context', split_part(context, E'\nPL/pgSQL function seam_fields', 1), 'schema', schema_name,
                       'table', table_name, 'column', column_name, 'type', type_name, 'constraint', constraint_name))
             WHERE value <> '""');
END $$;

-- 1. C++ exceptions of every type.
CREATE TABLE seam_kind (number int GENERATED ALWAYS AS IDENTITY, kind text);
INSERT INTO seam_kind (kind) VALUES ('runtime_error'), ('bad_alloc'), ('length_error'), ('out_of_range'), ('invalid_argument'),
    ('own exception'), ('int'), ('own type'), ('chronicle'), ('server'), ('nothing');
SELECT kind, f ->> 'sqlstate' AS sqlstate, f ->> 'message' AS message, f ->> 'detail' AS detail, f ->> 'hint' AS hint
  FROM seam_kind, seam_fields(format('SELECT seam_throw(%L)', kind)) AS f ORDER BY number;
-- The door that hooks and callbacks use gives the same.
SELECT kind FROM seam_kind
 WHERE seam_fields(format('SELECT seam_throw(%L)', kind)) - 'context'
       IS DISTINCT FROM seam_fields(format('SELECT seam_throw_in_callback(%L)', kind)) - 'context';
SELECT seam_alive();
-- As a client gets it.
\set VERBOSITY sqlstate
SELECT seam_throw('int');
SELECT seam_throw('bad_alloc');
SELECT seam_throw('chronicle');
\set VERBOSITY default
SELECT seam_throw('chronicle');
SELECT seam_throw('server');
-- Without any memory for its description too: 53200, and the server lives.
\set VERBOSITY sqlstate
SELECT seam_throw_without_memory('int', 0);
SELECT seam_throw_without_memory('runtime_error', 1);
SELECT seam_throw_without_memory('server', 0);
SELECT seam_throw_without_memory('server', 1);
SELECT seam_memory_is_back();
\set VERBOSITY default
SELECT seam_alive();
-- A savepoint of ours that an exception leaves is undone; std::exception becomes the savepoint's error.
SELECT seam_attempt_throw('runtime_error');
SELECT seam_attempt_throw('nothing');
SELECT seam_attempt_throw('int');
SELECT seam_alive(), 'no failed transaction' AS session;

-- 2. Errors of PostgreSQL keep every field through C++ frames.
CREATE SCHEMA seam_schema;
CREATE DOMAIN seam_schema.percent AS int CONSTRAINT at_most_100 CHECK (VALUE <= 100);
CREATE TABLE seam_schema.account (
    id int CONSTRAINT account_id_key UNIQUE, owner text NOT NULL, share seam_schema.percent,
    CONSTRAINT owner_is_short CHECK (length(owner) < 10));
INSERT INTO seam_schema.account VALUES (1, 'anna', 5);
CREATE FUNCTION seam_raise(text DEFAULT 'CH123') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'refused %', 'at the door' USING ERRCODE = $1, DETAIL = '{"stream": "cart-1"}', HINT = 'Come again.',
        SCHEMA = 'a schema', TABLE = 'a table', COLUMN = 'a column', DATATYPE = 'a type', CONSTRAINT = 'a constraint';
END $$;
CREATE TABLE seam_statement (number int GENERATED ALWAYS AS IDENTITY, query text);
INSERT INTO seam_statement (query) VALUES
    ('SELECT seam_raise()'),
    ($$INSERT INTO seam_schema.account VALUES (1, 'bert', 5)$$),
    ('INSERT INTO seam_schema.account VALUES (2, NULL, 5)'),
    ($$INSERT INTO seam_schema.account VALUES (3, 'bartholomew', 5)$$),
    ($$INSERT INTO seam_schema.account VALUES (4, 'carl', 101)$$),
    ('SELECT 1 / 0'),
    ('SELECT no_such_column FROM seam_schema.account'),
    ('SELECT count(*) FROM no_such_table'),
    ('SELECT ''{"a": '' :: jsonb'),
    ('SELEC 1');
\pset format unaligned
SELECT jsonb_pretty(seam_fields(format('SELECT seam_run(%L)', query))) AS fields FROM seam_statement ORDER BY number;
\pset format aligned
-- C++ changes nothing: without it the fields are the same, and CONTEXT and position of the query come on top.
SELECT number, seam_fields(query) - 'context' = seam_fields(format('SELECT seam_run(%L)', query)) - 'context' AS same
  FROM seam_statement ORDER BY number;
SELECT seam_alive();
-- The line and the position of the error's own query reach the client.
SELECT seam_run('SELECT no_such_column FROM seam_schema.account');
SELECT seam_run('SELECT seam_raise()');

-- 3. EXCEPTION blocks catch by condition name and by code.
CREATE FUNCTION seam_which(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE name text;
BEGIN
    PERFORM seam_run(query);
    RETURN 'nothing';
EXCEPTION
    WHEN unique_violation THEN
        GET STACKED DIAGNOSTICS name = CONSTRAINT_NAME;
        RETURN 'unique_violation of ' || name;
    WHEN check_violation THEN
        GET STACKED DIAGNOSTICS name = CONSTRAINT_NAME;
        RETURN 'check_violation of ' || name;
    WHEN SQLSTATE 'CH123' THEN RETURN 'CH123: ' || sqlerrm;
    WHEN SQLSTATE 'CH001' THEN RETURN 'CH001: ' || sqlerrm;
    WHEN external_routine_exception THEN RETURN 'external routine: ' || sqlerrm;
    WHEN OTHERS THEN RETURN 'other: ' || sqlstate;
END $$;
SELECT number, seam_which(query) FROM seam_statement ORDER BY number;
SELECT seam_which('SELECT seam_throw(''chronicle'')'), seam_which('SELECT seam_throw(''int'')'), seam_which('SELECT 1');
-- Nothing of what failed stayed.
SELECT * FROM seam_schema.account;

-- 4. Into C++ again and again: C++ → SPI → SQL → C++ …, the error passes all of them.
CREATE FUNCTION seam_nest(query text, depth int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN CASE depth WHEN 0 THEN query ELSE format('SELECT seam_run(%L)', seam_nest(query, depth - 1)) END;
END $$;
CREATE FUNCTION seam_down(depth int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF depth = 0 THEN
        PERFORM seam_throw('chronicle');
    END IF;
    PERFORM seam_run(format('SELECT seam_down(%s)', depth - 1));
END $$;
\pset format unaligned
SELECT jsonb_pretty(seam_fields(seam_nest('SELECT seam_throw(''int'')', 3)) - 'hint') AS four_times;
SELECT jsonb_pretty(seam_fields('SELECT seam_down(2)')) AS through_plpgsql;
\pset format aligned
SELECT seam_fields(seam_nest('SELECT seam_raise()', 2)) - 'context' = seam_fields('SELECT seam_raise()') - 'context' AS same;
-- Caught half-way, and the way goes on.
CREATE FUNCTION seam_caught(query text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    PERFORM seam_run(query);
    RETURN 1;
EXCEPTION WHEN OTHERS THEN
    INSERT INTO seam_schema.account VALUES (10 + (SELECT count(*) FROM seam_schema.account), 'caught ' || left(sqlstate, 2), 1);
    RETURN 0;
END $$;
SELECT seam_run('SELECT seam_caught(''SELECT seam_throw(''''int'''')'')'), seam_run('SELECT seam_caught(''SELECT 1/0'')');
SELECT * FROM seam_schema.account;
SELECT seam_alive();

-- 5. An error inside a catch block replaces the first; rethrown, it is the first.
SELECT second, f ->> 'sqlstate' AS sqlstate, f ->> 'message' AS message
  FROM unnest(ARRAY['rethrow', 'chronicle', 'server', 'runtime_error', 'int', 'nothing']) AS second,
       seam_fields(format('SELECT seam_error_in_catch(%L)', second)) AS f;
SELECT seam_alive();

-- 6. What C++ reads of an error it caught, with the savepoint undone and everything around as it was.
SELECT jsonb_pretty(seam_attempt('SELECT seam_raise()'));
SELECT seam_attempt('INSERT INTO seam_schema.account VALUES (1, ''dora'', 1)') - 'context' AS taken;
SELECT seam_attempt('INSERT INTO seam_schema.account VALUES (5, ''emil'', 1)') AS kept;
SELECT code, seam_attempt(format('SELECT seam_raise(%L)', code)) ->> 'transient' AS transient
  FROM unnest(ARRAY['40001', '40P01', '55P03', '57014', '23505', 'CH001']) AS code;
SELECT * FROM seam_schema.account ORDER BY id;
SELECT code FROM unnest(ARRAY['00000', 'CH001', 'P0001', '40P01', 'ZZZZZ', '57P03']) AS code
 WHERE seam_sqlstate_text(code) <> code;

-- A value that an error quotes may be of any length: message and hint keep their beginning and end, DETAIL stays JSON.
DO $$
DECLARE
    message text; detail text;
BEGIN
    PERFORM chronicle.drop_aggregate('"' || repeat('ä"', 300000));
EXCEPTION WHEN undefined_object THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    RAISE NOTICE '% … %, % bytes; %, % bytes', left(message, 15), right(message, 20), octet_length(message), right(detail::jsonb ->> 'category', 3),
        octet_length(detail);
END $$;

DROP SCHEMA seam_schema CASCADE;
DROP TABLE seam_kind, seam_statement;
