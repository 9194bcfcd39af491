-- chronicle.command_retention: old commands leave the log, and their ids with them. Times are set back, not waited for.
SET search_path = public, chronicle;
CREATE FUNCTION command_retention_apply(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('n', event.version) $$;
CREATE FUNCTION command_retention_decide(state jsonb, command text, payload jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '[{"type": "Done"}]'::jsonb $$;
SELECT create_aggregate('comret', 'command_retention_apply', decide => 'command_retention_decide');
SELECT execute_command('comret-1', 'do', command_id => '00000000-0000-7000-8000-00000000c001'), execute_command('comret-1', 'do'), execute_command('comret-1', 'do', command_id => '00000000-0000-7000-8000-00000000c002');
SELECT 'ALTER DATABASE ' || quote_ident(current_database()) || ' SET chronicle.command_retention = ''20d''' AS shorter, 'ALTER DATABASE ' || quote_ident(current_database()) || ' RESET chronicle.command_retention' AS default \gset
UPDATE chronicle_data.command SET at = at - interval '21 days' WHERE stream = 'comret-1' AND last_version < 3;
SHOW chronicle.command_retention;
-- For ever: the id is known.
SELECT execute_command('comret-1', 'do', command_id => '00000000-0000-7000-8000-00000000c001');
:shorter;
DO $$
BEGIN
    FOR i IN 1 .. 3000 LOOP
        EXIT WHEN (SELECT count(*) = 1 FROM chronicle.command_log WHERE stream = 'comret-1');
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
SELECT command_id, last_version FROM command_log WHERE stream = 'comret-1';
-- One that is kept is answered as before; one that is not is a new command.
SELECT execute_command('comret-1', 'do', command_id => '00000000-0000-7000-8000-00000000c002') AS kept, execute_command('comret-1', 'do', command_id => '00000000-0000-7000-8000-00000000c001') AS anew;
:default;
SELECT drop_aggregate('comret');
DROP FUNCTION command_retention_apply, command_retention_decide;
