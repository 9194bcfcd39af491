-- The seam: what savepoints and the other scopes of C++ leave when they end well, and when an error ends them.
CREATE OR REPLACE FUNCTION seam_subtransactions(count int, good text, bad text) RETURNS jsonb LANGUAGE c AS '$libdir/chronicle_testing';
CREATE OR REPLACE FUNCTION seam_scopes(sql text) RETURNS jsonb LANGUAGE c AS '$libdir/chronicle_testing';
CREATE OR REPLACE FUNCTION seam_scopes_fail() RETURNS void LANGUAGE c AS '$libdir/chronicle_testing';

-- 1. 3,000 savepoints, half of them undone (by errors of SQL and of C++ in turn). What grows is less than 20 bytes each:
-- a leak of the smallest block would be more.
CREATE TABLE seam_row (n int PRIMARY KEY);
INSERT INTO seam_row VALUES (1);
CREATE FUNCTION seam_leaks(good text, bad text) RETURNS jsonb LANGUAGE sql
BEGIN ATOMIC
    SELECT r - 'server memory grown' - 'heap grown'
           || CASE WHEN (r ->> 'server memory grown')::bigint > 50000
                   THEN jsonb_build_object('server memory', r -> 'server memory grown') ELSE '{}' END
           || CASE WHEN (r ->> 'heap grown')::bigint > 50000
                   THEN jsonb_build_object('heap', r -> 'heap grown') ELSE '{}' END
      FROM seam_subtransactions(3000, good, bad) AS r;
END;
BEGIN;
SELECT seam_leaks('SELECT count(*) FROM seam_row', 'INSERT INTO seam_row VALUES (1)');
SELECT count(*) AS locks FROM pg_locks WHERE pid = pg_backend_pid() AND relation IN ('seam_row'::regclass, 'seam_row_pkey'::regclass);
SELECT seam_leaks('SELECT count(*) FROM seam_row', 'INSERT INTO seam_row VALUES (1)');
SELECT count(*) AS locks FROM pg_locks WHERE pid = pg_backend_pid() AND relation IN ('seam_row'::regclass, 'seam_row_pkey'::regclass);
-- Undone savepoints keep no transaction id locked.
SELECT count(*) < 5 AS few FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'transactionid';
COMMIT;
SELECT seam_leaks('SELECT 1', 'SELECT 1/0');
-- The good ones stay, the bad ones leave nothing.
BEGIN;
SELECT seam_subtransactions(40, 'INSERT INTO seam_row SELECT max(n) + 1 FROM seam_row', 'INSERT INTO seam_row VALUES (-1), (1)')
       -> 'failed' AS failed;
SELECT min(n), max(n), count(*) FROM seam_row;
ROLLBACK;
SELECT count(*) FROM seam_row;

-- 2. Every kind of scope, nested: inside it is changed, afterwards it is not; with and without an error.
SELECT current_user = session_user AS same_user, current_setting('work_mem') AS work_mem;
SELECT seam_scopes('SELECT 1');
SELECT seam_scopes('SELECT 1/0');
SELECT seam_scopes('SELECT set_config(''work_mem'', ''99MB'', false)');
SELECT seam_scopes('SET ROLE pg_monitor');
SELECT current_user = session_user AS same_user, current_setting('work_mem') AS work_mem;
-- The locks of an undone savepoint are free, those of a good one last until the end of the transaction.
BEGIN;
SELECT seam_scopes('SELECT 1/0') ->> 'error' AS error;
SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'userlock';
SELECT seam_scopes('SELECT 1') ->> 'error' AS error;
SELECT locktype, mode, objsubid FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'userlock';
-- They are not advisory locks.
SELECT pg_advisory_unlock_all();
SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'userlock';
COMMIT;
SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'userlock';

-- 3. An exception leaves all scopes and an open savepoint: PostgreSQL's own clean-up does the rest, without a warning.
SELECT seam_scopes_fail();
SELECT current_user = session_user AS same_user, current_setting('work_mem') AS work_mem;
BEGIN;
INSERT INTO seam_row VALUES (2);
SAVEPOINT before;
SELECT seam_scopes_fail();
ROLLBACK TO before;
SELECT current_user = session_user AS same_user, current_setting('work_mem') AS work_mem;
DO $$
BEGIN
    INSERT INTO seam_row VALUES (3);
    BEGIN
        INSERT INTO seam_row VALUES (4);
        PERFORM seam_scopes_fail();
    EXCEPTION WHEN external_routine_exception THEN
        INSERT INTO seam_row VALUES (5);
    END;
END $$;
COMMIT;
SELECT array_agg(n ORDER BY n) FROM seam_row;
DROP TABLE seam_row;
