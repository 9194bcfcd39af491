-- delete_stream and tombstone_stream: hidden everywhere, the numbers go on, read models can follow.
SET search_path = public, chronicle;
SELECT safe_position() AS start \gset
SELECT append_events('del_cart-1', '[{"type": "A"}, {"type": "B"}, {"type": "C"}]'), append_event('del_cart-2', 'A');
SELECT delete_stream('del_cart-1', 2);
SELECT delete_stream('del_cart-1', 3);
SELECT delete_stream('del_cart-1'), delete_stream('del_none');
-- Hidden everywhere.
SELECT count(*) FROM read_stream('del_cart-1');
SELECT stream, version FROM read_category('del_cart');
SELECT stream, version FROM read_all(:start);
SELECT stream, version FROM events WHERE category = 'del_cart' ORDER BY global_position;
SELECT stream_version('del_cart-1');
-- The deletion is a system event: for those who ask.
SELECT stream, version, type, data FROM read_all(:start, include_system => true) WHERE category <> 'del_cart';
SELECT stream, version, type, data FROM read_category('$streams', :start);
SELECT stream, version, type, data FROM read_stream('$streams-del_cart-1');
-- A deleted stream is nothing there (0) and does not exist (-1), and goes on at its next number.
SELECT append_event('del_cart-1', 'X', expected_version => -1);
SELECT append_event('del_cart-1', 'D', expected_version => 0);
SELECT append_event('del_cart-1', 'E', expected_version => 4);
SELECT version, type FROM read_stream('del_cart-1');
SELECT version, type FROM read_stream('del_cart-1', 2, 1);
SELECT version, type FROM read_stream('del_cart-1', backwards => true);
-- A retry of what is hidden answers as the first time.
SELECT append_event('del_cart-2', 'R', event_id => '00000000-0000-4000-8000-0000000de1e7');
SELECT delete_stream('del_cart-2');
SELECT append_event('del_cart-2', 'R', event_id => '00000000-0000-4000-8000-0000000de1e7');
-- Undone with its transaction.
BEGIN;
SELECT delete_stream('del_cart-1');
SELECT count(*) FROM read_stream('del_cart-1');
ROLLBACK;
SELECT count(*) FROM read_stream('del_cart-1');
-- For ever.
SELECT tombstone_stream('del_cart-1', 5), tombstone_stream('del_new');
SELECT append_event('del_cart-1', 'X');
SELECT append_event('del_cart-1', 'X', expected_version => 3);
SELECT append_events('del_new', '[]', 0);
SELECT delete_stream('del_cart-1');
SELECT tombstone_stream('del_cart-1');
SELECT count(*) FROM read_stream('del_cart-1');
SELECT stream, type, data FROM read_all(:start, types => ARRAY['$stream-tombstoned'], include_system => true);
SELECT * FROM append_streams('[{"stream": "del_cart-3", "events": [{"type": "A"}]}, {"stream": "del_cart-1", "events": [{"type": "A"}]}]');
SELECT stream_version('del_cart-3');
-- Each of a call, and before what else is wrong with it.
SELECT * FROM append_streams('[{"stream": "del_new", "events": [{"type": "A"}]}, {"stream": "del_cart-3", "expected_version": 9}, {"stream": "del_cart-1"}]');
SELECT * FROM append_streams('[{"stream": "del_cart-3", "events": [{"type": "R", "event_id": "00000000-0000-4000-8000-0000000de1e7"}]}, {"stream": "del_cart-1"}]');
-- What happened to a stream of the longest name can be read by it.
SELECT append_event('del_long-' || repeat('x', 1015), 'A'), delete_stream('del_long-' || repeat('x', 1015));
SELECT length(stream), version, type FROM read_stream('$streams-del_long-' || repeat('x', 1015));
SELECT stream_version('$streams-del_long-' || repeat('x', 1015)), stream_version('$streams-del_long-' || repeat('x', 1016));
-- Errors.
SELECT delete_stream(NULL);
SELECT delete_stream('$streams-del_cart-1');
SELECT delete_stream('workflow-x');
SELECT delete_stream('del_cart-2', -2);
