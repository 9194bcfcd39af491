-- append_events, append_event_arrays, append_streams: several events, several streams, retries of whole calls.
SET search_path = public, chronicle;
\set VERBOSITY default

-- Several events of one stream.
SELECT append_events('batch_o-1', '[{"type": "A"}, {"type": "B", "data": {"x": 1}, "metadata": {"correlation_id": "c"}}]');
SELECT version, type, data, correlation_id FROM read_stream('batch_o-1');
-- A check alone: the answer is the current version, and it holds until the commit.
SELECT append_events('batch_o-1', '[]', 2), append_events('batch_o-none', '[]', 0), append_events('batch_o-none', '[]');
SELECT append_events('batch_o-1', '[]', 7);
SELECT append_events('batch_o-1', '[]', -1), append_events('batch_o-none', '[]', -1);
SELECT stream_version('batch_o-none');

-- Malformed elements are named by their path, and leave nothing behind.
SELECT append_events('batch_o-1', '{"type": "A"}');
SELECT append_events('batch_o-1', '"A"');
SELECT append_events('batch_o-1', '[1]');
SELECT append_events('batch_o-1', '[{"type": "A"}, {"data": {}}]');
SELECT append_events('batch_o-1', '[{"type": 1}]');
SELECT append_events('batch_o-1', '[{"type": "A", "payload": {}}]');
SELECT append_events('batch_o-1', '[{"type": "A", "event_id": "nonsense"}]');
SELECT append_events('batch_o-1', NULL);
SELECT stream_version('batch_o-1');

-- A retry repeats the whole call.
\set ids '[{"type": "C", "event_id": "00000000-0000-4000-8000-0000000000c1"}, {"type": "D", "event_id": "00000000-0000-4000-8000-0000000000d1"}]'
SELECT append_events('batch_o-1', :'ids', 2);
SELECT append_events('batch_o-1', '[{"type": "later"}]');
SELECT append_events('batch_o-1', :'ids', 2) AS first_answer, append_events('batch_o-1', :'ids', 99) AS other_expectation;
-- A part of it, another order, another type, other data, another stream, a new id among them.
SELECT append_events('batch_o-1', '[{"type": "D", "event_id": "00000000-0000-4000-8000-0000000000d1"}, {"type": "C", "event_id": "00000000-0000-4000-8000-0000000000c1"}]');
SELECT append_events('batch_o-1', '[{"type": "X", "event_id": "00000000-0000-4000-8000-0000000000c1"}]');
SELECT append_events('batch_o-1', '[{"type": "C", "data": {"other": 1}, "event_id": "00000000-0000-4000-8000-0000000000c1"}]');
SELECT append_events('batch_o-2', '[{"type": "C", "event_id": "00000000-0000-4000-8000-0000000000c1"}]');
SELECT append_events('batch_o-1', '[{"type": "C", "event_id": "00000000-0000-4000-8000-0000000000c1"}, {"type": "D", "event_id": "00000000-0000-4000-8000-0000000000d2"}]');
SELECT append_events('batch_o-1', '[{"type": "C", "event_id": "00000000-0000-4000-8000-0000000000e1"}, {"type": "D", "event_id": "00000000-0000-4000-8000-0000000000e1"}]');
-- New events in front of the first one of a stream: none was ever there.
SELECT append_event('batch_o-4', 'F', event_id => '00000000-0000-4000-8000-0000000000f9');
SELECT append_events('batch_o-4', '[{"type": "new"}, {"type": "F", "event_id": "00000000-0000-4000-8000-0000000000f9"}]');
SELECT append_event_arrays('batch_o-4', '{new,new,F}', NULL, event_ids => '{NULL,NULL,00000000-0000-4000-8000-0000000000f9}');
SELECT version, type FROM read_stream('batch_o-4');
-- Metadata is not compared.
SELECT append_events('batch_o-1', '[{"type": "C", "metadata": {"try": 2}, "event_id": "00000000-0000-4000-8000-0000000000c1"}, {"type": "D", "event_id": "00000000-0000-4000-8000-0000000000d1"}]');
-- An id that chronicle made is an id like others.
DO $$
DECLARE made uuid := (SELECT event_id FROM read_stream('batch_o-1', 1, 1));
BEGIN
    RAISE NOTICE 'again: %', append_event('batch_o-1', 'A', event_id => made);
    PERFORM append_event('batch_o-3', 'A', event_id => made);
EXCEPTION WHEN SQLSTATE 'CH003' THEN
    RAISE NOTICE 'elsewhere: %', SQLSTATE;
END $$;
SELECT stream_version('batch_o-1'), stream_version('batch_o-2'), stream_version('batch_o-3');

-- A retry of several streams is one of the whole call: what is only checked may fail by now, what is new may not stand beside it.
\set call '''[{"stream": "batch_r-1", "events": [{"type": "A", "event_id": "00000000-0000-4000-8000-0000000000f1"}, {"type": "B"}]}, {"stream": "batch_r-2", "expected_version": 0}, {"stream": "batch_r-3", "expected_version": 0, "events": [{"type": "C", "event_id": "00000000-0000-4000-8000-0000000000f2"}]}]'''
SELECT * FROM append_streams(:call);
SELECT append_event('batch_r-2', 'Meanwhile'), append_event('batch_r-3', 'Meanwhile');
SELECT * FROM append_streams(:call);
SELECT * FROM append_streams('[{"stream": "batch_r-1", "events": [{"type": "A", "event_id": "00000000-0000-4000-8000-0000000000f1"}, {"type": "B"}]}, {"stream": "batch_r-4", "events": [{"type": "C"}]}]');
SELECT * FROM append_streams('[{"stream": "batch_r-4", "expected_version": 7, "events": [{"type": "C", "event_id": "00000000-0000-4000-8000-0000000000f3"}]}, {"stream": "batch_r-3", "events": [{"type": "C", "event_id": "00000000-0000-4000-8000-0000000000f2"}]}]');
SELECT stream, version, type FROM read_all(categories => '{batch_r}');
-- A call that fails is not the session's last append.
SELECT append_event('batch_r-2', 'Last');
\set VERBOSITY sqlstate
SELECT append_event('batch_r-1', 'Other', event_id => '00000000-0000-4000-8000-0000000000f1');
SELECT append_streams('[{"stream": "batch_r-1", "events": [{"type": "A", "event_id": "00000000-0000-4000-8000-0000000000f1"}, {"type": "B"}]}, {"stream": "batch_r-2", "events": [{"type": "new"}]}]');
\set VERBOSITY default
SELECT last_position() = (SELECT global_position FROM read_stream('batch_r-2', backwards => true, max_count => 1)) AS of_the_last;
SELECT append_event('batch_r-1', 'A', event_id => '00000000-0000-4000-8000-0000000000f1');
SELECT last_position() = (SELECT global_position FROM read_stream('batch_r-1', 1, 1)) AS of_the_retry;

-- Arrays.
SELECT append_event_arrays('batch_a-1', ARRAY['A', 'B', 'C'], NULL);
SELECT append_event_arrays('batch_a-1', ARRAY['D', 'E'], ARRAY['{"n": 1}', NULL]::jsonb[], 3, ARRAY[NULL, '{"m": 1}']::jsonb[],
                           ARRAY[NULL, '00000000-0000-4000-8000-0000000000a1']::uuid[]);
SELECT version, type, data, metadata FROM read_stream('batch_a-1');
SELECT append_event_arrays('batch_a-1', '{}', '{}', 5), append_event_arrays('batch_a-1', '{}', NULL);
SELECT append_event_arrays('batch_a-1', ARRAY['A', 'B'], ARRAY['{}']::jsonb[]);
SELECT append_event_arrays('batch_a-1', ARRAY['A', NULL], NULL);
SELECT append_event_arrays('batch_a-1', ARRAY[['A'], ['B']], NULL);
SELECT append_event_arrays('batch_a-1', NULL, NULL);
-- More than one block of slots, and positions without a hole in the call.
SELECT append_event_arrays('batch_a-2', array_fill('N'::text, ARRAY[1000]), NULL);
SELECT count(*), min(version), max(version), max(global_position) - min(global_position) AS span FROM read_stream('batch_a-2');

-- Several streams: rows and positions in the order of the request.
SELECT * FROM append_streams('[
    {"stream": "batch_s-2", "events": [{"type": "x"}]},
    {"stream": "batch_s-1", "expected_version": 0, "events": [{"type": "y"}, {"type": "z"}]},
    {"stream": "batch_a-1", "expected_version": 5}]');
SELECT stream, version, type FROM read_all(categories => ARRAY['batch_s']);
-- All or nothing, and every failing check in one error.
SELECT * FROM append_streams('[
    {"stream": "batch_s-3", "events": [{"type": "x"}]},
    {"stream": "batch_s-2", "expected_version": 9, "events": [{"type": "x"}]},
    {"stream": "batch_s-1", "expected_version": 0, "events": [{"type": "y"}]}]');
SELECT stream_version('batch_s-3');
SELECT * FROM append_streams('[{"stream": "batch_s-1", "events": []}, {"stream": "batch_s-1", "events": []}]');
SELECT * FROM append_streams('[{"events": []}]');
SELECT * FROM append_streams('[{"stream": "batch_s-1", "expected_version": "x"}]');
SELECT * FROM append_streams('[{"stream": "batch_s-1", "version": 1}]');

-- Limits.
SET chronicle.max_streams_per_transaction = 2;
BEGIN;
SELECT append_event('batch_l-1', 'x'), append_event('batch_l-2', 'x'), append_event('batch_l-1', 'x');
SELECT append_event('batch_l-3', 'x');
ROLLBACK;
SELECT append_event('batch_l-3', 'x');
RESET chronicle.max_streams_per_transaction;
