-- The seam: statement_timeout and cancel end what PostgreSQL does for C++, and what C++ does by itself; what comes next works.
CREATE OR REPLACE FUNCTION seam_sleep(seconds double precision) RETURNS void LANGUAGE c AS '$libdir/chronicle_testing';
CREATE OR REPLACE FUNCTION seam_spin(cancel boolean) RETURNS void LANGUAGE c AS '$libdir/chronicle_testing';
CREATE OR REPLACE FUNCTION seam_wait(milliseconds int) RETURNS boolean LANGUAGE c AS '$libdir/chronicle_testing';
CREATE OR REPLACE FUNCTION seam_run(sql text) RETURNS bigint LANGUAGE c AS '$libdir/chronicle_testing';
CREATE OR REPLACE FUNCTION seam_attempt(sql text) RETURNS jsonb LANGUAGE c AS '$libdir/chronicle_testing';
CREATE OR REPLACE FUNCTION seam_subtransactions(count int, good text, bad text) RETURNS jsonb LANGUAGE c AS '$libdir/chronicle_testing';
CREATE OR REPLACE FUNCTION seam_alive() RETURNS bigint LANGUAGE c AS '$libdir/chronicle_testing';
\set VERBOSITY sqlstate

SET statement_timeout = '30ms';
SELECT seam_sleep(600);
SELECT 'goes on' AS session;
SELECT seam_spin(false);
SELECT 'goes on' AS session;
SELECT seam_wait(-1);
SELECT 'goes on' AS session;
SELECT seam_run('SELECT seam_run(''SELECT seam_sleep(600)'')');
SELECT 'goes on' AS session;
RESET statement_timeout;

-- A cancel: asked for inside, so that it surely comes while the C++ loop runs.
SELECT seam_spin(true);
SELECT seam_run('SELECT seam_spin(true)');
SELECT 'goes on' AS session, seam_alive();

-- Inside an EXCEPTION block that swallows it, and again right after it.
CREATE FUNCTION seam_cancelled(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE query;
    RETURN 'not cancelled';
EXCEPTION WHEN query_canceled THEN
    RETURN 'cancelled';
END $$;
SELECT seam_cancelled('SELECT seam_spin(true)') AS first, seam_cancelled('SELECT seam_spin(true)') AS second,
       seam_cancelled('SELECT seam_run(''SELECT seam_spin(true)'')') AS third;

-- In a savepoint of C++: it is an error like others there, and whoever comes next can be cancelled too.
SELECT seam_attempt('SELECT seam_spin(true)') - 'context' - 'message' AS attempt;
BEGIN;
SELECT seam_attempt('SELECT seam_spin(true)') - 'context' - 'message' AS attempt;
SELECT 'the transaction goes on' AS session;
SELECT seam_spin(true);
ROLLBACK;
-- After 300 savepoints, 150 of them undone, 75 by a cancel.
SELECT seam_subtransactions(300, 'SELECT 1', 'SELECT seam_spin(true)') -> 'failed' AS failed;
SELECT seam_subtransactions(300, 'SELECT 1', 'SELECT seam_spin(true)') -> 'changed' AS changed;
SELECT seam_spin(true);
SET statement_timeout = '30ms';
SELECT seam_spin(false);
RESET statement_timeout;
SELECT 'goes on' AS session, seam_alive();

-- A wait that ends by itself.
SELECT seam_wait(0) IS NOT NULL AS returned, seam_wait(10) IS NOT NULL AS again;
