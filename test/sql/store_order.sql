-- safe_position and last_position in one session: the mark belongs to the asking statement's snapshot, an open append holds
-- it back, an undone one does not. Positions are compared, not shown. What other sessions hold: test/specs.
\c -
SET search_path = public, chronicle;
SELECT safe_position() IS NOT NULL AS known, last_position() IS NULL AS none_yet;

-- Committed: the mark is at or above the last event.
SELECT append_event('order_a-1', 'T');
SELECT safe_position() >= last_position() AS safe;
SELECT safe_position() AS before \gset
SELECT append_event('order_a-1', 'T');
SELECT last_position() > :before AS rises, safe_position() > :before AS mark_rises;

-- In one statement: a function that runs after its own append is later than the statement's snapshot.
SELECT append_event('order_a-1', 'T') > 0 AS appended, safe_position() < last_position() AS not_yet_safe;

-- An open append holds the mark below it: what this transaction reads beyond it is not complete yet.
BEGIN;
SELECT safe_position() AS before \gset
SELECT append_event('order_a-1', 'T');
SELECT last_position() AS first \gset
SELECT safe_position() = :first - 1 AS just_below, safe_position() >= :before AS never_back;
SELECT append_event('order_a-2', 'T');
SELECT safe_position() = :first - 1 AS still_below_the_first, last_position() > :first AS last_is_later;
COMMIT;
SELECT safe_position() >= last_position() AS released;
BEGIN;
SELECT append_event('order_a-1', 'T');
ROLLBACK;
SELECT safe_position() >= last_position() AS released;

-- Savepoints: undone, the mark is what it was before; released, it stays until the end.
BEGIN;
SAVEPOINT one;
SELECT append_event('order_a-1', 'T');
SELECT last_position() AS one \gset
SELECT safe_position() < :one AS held;
ROLLBACK TO one;
SELECT safe_position() >= :one AS free_again;
SELECT append_event('order_a-1', 'T');
SELECT last_position() AS kept \gset
SAVEPOINT two;
SELECT append_event('order_a-1', 'T');
SAVEPOINT three;
SELECT append_event('order_a-1', 'T');
SELECT safe_position() = :kept - 1 AS the_outermost;
ROLLBACK TO three;
SELECT safe_position() = :kept - 1 AS the_outermost;
ROLLBACK TO two;
SELECT safe_position() = :kept - 1 AS the_outermost;
ROLLBACK TO one;
SELECT safe_position() >= last_position() AS all_undone;
SAVEPOINT outer_one;
SAVEPOINT inner_one;
SELECT append_event('order_a-1', 'T');
SELECT last_position() AS inner \gset
RELEASE inner_one;
SELECT safe_position() = :inner - 1 AS held_by_the_parent;
ROLLBACK TO outer_one;
SELECT safe_position() >= :inner AS undone_with_the_parent;
SAVEPOINT released;
SELECT append_event('order_a-1', 'T');
SELECT last_position() AS released \gset
RELEASE released;
SELECT safe_position() = :released - 1 AS held;
-- What was released belongs to the parent: undoing the next savepoint of that depth does not let it go.
SAVEPOINT next;
ROLLBACK TO next;
SELECT safe_position() = :released - 1 AS still_held;
SAVEPOINT deeper;
SELECT append_event('order_a-1', 'T');
ROLLBACK TO next;
SELECT safe_position() = :released - 1 AS still_held;
COMMIT;
SELECT safe_position() >= :released AS free;

-- More savepoints than are counted one by one (64): late, never wrong.
CREATE FUNCTION order_deep(depth int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM chronicle.append_event('order_deep-1', 'T', jsonb_build_object('depth', depth));
    IF depth = 100 THEN
        RETURN chronicle.safe_position() < (SELECT min(global_position) FROM chronicle.read_stream('order_deep-1'));
    END IF;
    RETURN order_deep(depth + 1);
EXCEPTION WHEN raise_exception THEN
    RETURN NULL;
END $$;
SELECT order_deep(1) AS held_below_the_first;
SELECT safe_position() >= last_position() AS free, (SELECT count(*) FROM read_stream('order_deep-1')) AS events;
CREATE FUNCTION order_deep_undone(depth int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM chronicle.append_event('order_deep-2', 'T', jsonb_build_object('depth', depth));
    IF depth < 100 THEN
        PERFORM order_deep_undone(depth + 1);
    END IF;
    RAISE EXCEPTION 'undo it';
EXCEPTION WHEN raise_exception THEN
    RETURN chronicle.safe_position() >= chronicle.last_position();
END $$;
BEGIN;
SELECT order_deep_undone(1) AS free;
SELECT safe_position() >= last_position() AS free_in_the_transaction, stream_version('order_deep-2');
COMMIT;

-- REPEATABLE READ: the mark stays with the snapshot, whatever is committed meanwhile; own appends hold it too.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT safe_position() AS mark \gset
SELECT append_event('order_a-1', 'T');
SELECT safe_position() = last_position() - 1 AS below_own, safe_position() >= :mark AS not_back;
COMMIT;

-- A position that was seen is never given again: also over a rollback, and in a session of its own.
SELECT append_event('order_a-3', 'T') \gset
SELECT last_position() AS here \gset
BEGIN;
SELECT append_event('order_a-3', 'T');
ROLLBACK;
SELECT last_position() > :here AS undone_one \gset
SELECT last_position() AS undone \gset
SELECT append_event('order_a-3', 'T');
SELECT last_position() > :undone AS above_the_undone;
\c -
SET search_path = public, chronicle;
SELECT last_position() IS NULL AS per_session;
SELECT append_event('order_a-3', 'T');
SELECT last_position() > :undone AS above;
-- In a stream, position order is version order; in the log, positions are unique.
SELECT bool_and(version > before) FROM (SELECT version, lag(version, 1, 0::bigint) OVER (ORDER BY global_position) AS before
                                          FROM events WHERE stream = 'order_a-1') AS e;
SELECT count(*) = count(DISTINCT global_position) AS unique_positions FROM events;

-- Blocks of positions: an append of more than one block is in order and complete.
SELECT safe_position() AS before \gset
SELECT append_event_arrays('order_block-1', array_fill('T'::text, ARRAY[20000]), NULL);
SELECT count(*), max(global_position) - min(global_position) >= 19999 AS rising, bool_and(global_position > :before) AS above,
       max(global_position) = last_position() AS last, max(global_position) <= safe_position() AS safe
  FROM read_stream('order_block-1');
DROP FUNCTION order_deep, order_deep_undone;
