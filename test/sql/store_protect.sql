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
-- Nor where PostgreSQL's own triggers rest.
SET session_replication_role = replica;
UPDATE chronicle_data.event SET data = '{}';
DELETE FROM chronicle_data.event;
TRUNCATE chronicle_data.event;
DELETE FROM chronicle_data.workflow_event;
TRUNCATE chronicle_data.workflow_event CASCADE;
RESET session_replication_role;
-- Through the view neither.
DELETE FROM events WHERE stream = 'protect-1';
UPDATE events SET type = 'x' WHERE stream = 'protect-1';
INSERT INTO events (stream, type) VALUES ('protect-1', 'A');
SELECT version, type FROM read_stream('protect-1');
-- Nor is what chronicle keeps beside them, through a view that SQL could change by itself.
DELETE FROM streams WHERE stream = 'protect-1';
UPDATE streams SET tombstoned = true WHERE stream = 'protect-1';
INSERT INTO streams (stream, category) VALUES ('protect-2', 'protect');
INSERT INTO aggregates (category) VALUES ('protect');
INSERT INTO command_log (stream) VALUES ('protect-1');
SELECT table_name FROM information_schema.views WHERE table_schema = 'chronicle' AND (is_updatable = 'YES' OR is_insertable_into = 'YES') AND is_trigger_updatable = 'NO' ORDER BY 1;
