-- What the server remembers of streams (src/store/head.cpp) never changes an answer: undone savepoints, undone
-- transactions, deletions and other sessions in between.
\set VERBOSITY terse
\set ON_ERROR_STOP 0
SET search_path = public, chronicle;
-- The stream is known to this session and to the server from the third append on.
SELECT append_event('heads-1', 'A'), append_event('heads-1', 'A'), append_event('heads-1', 'A');
-- An undone savepoint gives its numbers back, in the transaction and after it.
BEGIN;
SELECT append_event('heads-1', 'B');
SAVEPOINT one;
SELECT append_event('heads-1', 'undone'), append_event('heads-1', 'undone');
SAVEPOINT two;
SELECT append_event('heads-1', 'undone');
ROLLBACK TO two;
SELECT append_event('heads-1', 'undone');
ROLLBACK TO one;
SELECT append_event('heads-1', 'B');
SAVEPOINT three;
SELECT append_event('heads-1', 'B');
RELEASE three;
COMMIT;
SELECT append_event('heads-1', 'C', expected_version => 6);
-- So does an undone transaction.
BEGIN;
SELECT append_event('heads-1', 'undone');
ROLLBACK;
SELECT append_event('heads-1', 'C', expected_version => 7);
-- The savepoint is undone, the transaction goes on without another append to the stream.
BEGIN;
SELECT append_event('heads-1', 'D');
SAVEPOINT one;
SELECT append_event('heads-1', 'undone');
ROLLBACK TO one;
COMMIT;
SELECT append_event('heads-1', 'D', expected_version => 9);
-- Deleted: 0 is expected from here on, unless the deletion is undone.
BEGIN;
SELECT append_event('heads-1', 'E');
SAVEPOINT one;
SELECT delete_stream('heads-1');
SELECT append_event('heads-1', 'undone', expected_version => 0);
ROLLBACK TO one;
SELECT append_event('heads-1', 'E', expected_version => 11);
COMMIT;
SELECT append_event('heads-1', 'no', expected_version => 0);
SELECT delete_stream('heads-1');
SELECT append_event('heads-1', 'no', expected_version => -1);
SELECT append_event('heads-1', 'F', expected_version => 0);
SELECT append_event('heads-1', 'no', expected_version => 0);
SELECT append_event('heads-1', 'F', expected_version => -1);
-- Tombstoned: for ever, also when an append of the same transaction was first.
BEGIN;
SELECT append_event('heads-1', 'G');
SELECT tombstone_stream('heads-1');
COMMIT;
SELECT append_event('heads-1', 'no');
-- More streams in one transaction than it remembers.
SELECT count(append_event('heads2-' || n, 'A')) FROM generate_series(1, 200) AS n;
SELECT count(append_event('heads2-' || n, 'A')) FROM generate_series(1, 200) AS n;
SELECT DISTINCT append_event('heads2-' || n, 'A', expected_version => 2) FROM generate_series(1, 200) AS n;
-- What scavenge removes changes no number.
SELECT count(delete_stream('heads2-' || n)) FROM generate_series(1, 3) AS n;
SELECT events > 0 AS removed FROM scavenge();
SELECT append_event('heads2-1', 'A', expected_version => 0), append_event('heads2-1', 'A', expected_version => 4);
-- An extension that is made anew starts anew.
CREATE DATABASE regress_heads;
SELECT current_database() AS back \gset
\c regress_heads
SET client_min_messages = error;
CREATE EXTENSION chronicle;
SELECT chronicle.append_event('heads-1', 'A'), chronicle.append_event('heads-1', 'A');
SELECT chronicle.append_event('heads-1', 'A');
BEGIN;
DROP EXTENSION chronicle CASCADE;
CREATE EXTENSION chronicle;
SELECT chronicle.append_event('heads-1', 'A');
ROLLBACK;
SELECT chronicle.append_event('heads-1', 'A');
DROP EXTENSION chronicle CASCADE;
CREATE EXTENSION chronicle;
SELECT chronicle.append_event('heads-1', 'A');
SELECT chronicle.append_event('heads-1', 'A');
\c :back
DROP DATABASE regress_heads;
