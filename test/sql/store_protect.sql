-- Events are for ever, also for a superuser and the owner of the tables.
SET search_path = public, chronicle;
SELECT append_event('protect-1', 'A');
UPDATE chronicle_data.event SET data = '{}';
DELETE FROM chronicle_data.event;
TRUNCATE chronicle_data.event;
UPDATE chronicle_data.workflow_event SET type = 'x';
DELETE FROM chronicle_data.workflow_event;
TRUNCATE chronicle_data.workflow_event CASCADE;
DO $$ BEGIN DELETE FROM chronicle_data.event; EXCEPTION WHEN insufficient_privilege THEN RAISE NOTICE '%', SQLSTATE; END $$;
-- Through the view neither.
DELETE FROM events WHERE stream = 'protect-1';
UPDATE events SET type = 'x' WHERE stream = 'protect-1';
INSERT INTO events (stream, type) VALUES ('protect-1', 'A');
SELECT version, type FROM read_stream('protect-1');
