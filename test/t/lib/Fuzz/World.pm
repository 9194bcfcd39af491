# What the calls meet: roles of every level, functions, tables, streams, projections, workflows; and what there is to call.
package Fuzz::World;

use strict;
use warnings FATAL => 'all';

use Fuzz::Values;
use JSON::PP;

my $encoder = JSON::PP->new->canonical->allow_nonref->ascii;

sub sql_node { my ($id, $sql, %more) = @_; return { id => $id, nodeType => 'sql.query', config => { sql => $sql }, %more } }

# Answers what there is to call, as JSON: { functions, views }.
sub catalog_sql {
    return <<'SQL';
SET search_path = pg_catalog;
SELECT jsonb_build_object(
    'functions', (SELECT jsonb_agg(jsonb_build_object('name', p.oid::regproc::text, 'set', p.proretset, 'void', p.prorettype = 'void'::regtype, 'arguments', COALESCE((
        SELECT jsonb_agg(jsonb_build_array(a.name, format_type(a.type, NULL), a.n > p.pronargs - p.pronargdefaults) ORDER BY a.n)
          FROM unnest(p.proargnames[1:p.pronargs], p.proargtypes::oid[]) WITH ORDINALITY AS a (name, type, n)), '[]')) ORDER BY p.oid::regproc::text COLLATE "C")
        FROM pg_proc AS p
       WHERE p.pronamespace = 'chronicle'::regnamespace
          OR p.pronamespace = 'chronicle_data'::regnamespace AND p.prorettype <> 'trigger'::regtype AND has_function_privilege('public', p.oid, 'EXECUTE')
             AND 'chronicle.events'::regtype <> ALL (p.proargtypes)),
    'views', (SELECT jsonb_object_agg(c.relname, (SELECT jsonb_agg(attname ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0))
        FROM pg_class AS c WHERE c.relnamespace = 'chronicle'::regnamespace AND c.relkind = 'v'))
SQL
}

# The roles, functions and tables that the calls name, and fuzz.restore(), which makes whatever a call has removed again.
sub objects_sql {
    my $workflows = join "\n", map { "PERFORM fuzz.caught('SELECT chronicle.create_workflow(' || quote_literal('" . ($encoder->encode($_) =~ s/'/''/gr) . "') || '::jsonb)');" } (
        { id => 'quick', nodes => [ sql_node('a', 'SELECT 1 AS x'), sql_node('b', 'SELECT x + 1 AS x FROM input') ], edges => [ { source => 'a', target => 'b' } ] },
        { id => 'fails', nodes => [ sql_node('a', 'SELECT 1 AS x'), sql_node('b', 'SELECT 1 / 0') ], edges => [ { source => 'a', target => 'b' } ] },
        { id => 'waits', nodes => [ { id => 'wait', nodeType => 'wait.signal', config => { name => 'go' } } ] },
        { id => 'timer', nodes => [ { id => 'wait', nodeType => 'wait.timer', config => { for => '200ms' } } ] },
        { id => 'task', nodes => [ { id => 'task', nodeType => 'task.external', config => { queue => 'q' } }, sql_node('b', 'SELECT 1') ], edges => [ { source => 'task', target => 'b' } ] },
        { id => 'calls', nodes => [ { id => 'a', nodeType => 'workflow.call', config => { workflow => 'quick' } } ] },
        { id => 'maps', nodes => [ { id => 'a', nodeType => 'map.each', config => { items => { '$' => '$.input' }, workflow => 'quick' } } ] },
        { id => 'saga', nodes => [ sql_node('a', 'SELECT 1', compensate => { nodeType => 'sql.query', config => { sql => 'SELECT 2' } }), sql_node('b', 'SELECT 1 / 0', on_failure => 'compensate') ], edges => [ { source => 'a', target => 'b' } ] },
        { id => 'limited', concurrency => { limit => 1, key => '$.input.x' }, nodes => [ sql_node('a', 'SELECT pg_sleep(0.01)') ] },
        { id => 'slow', nodes => [ sql_node('a', 'SELECT pg_sleep(0.1)'), sql_node('b', 'SELECT 1') ], edges => [ { source => 'a', target => 'b' } ] },
        { id => 'off', nodes => [ sql_node('a', 'SELECT 1') ] },
        { id => 'retries', nodes => [ sql_node('a', 'SELECT 1 / 0', retry => { max_attempts => 3, initial_interval => '10ms' }) ] },
        { id => 'any', nodes => [ sql_node('a', 'SELECT 1'), sql_node('b', 'SELECT pg_sleep(5)'), sql_node('c', 'SELECT 1', join => 'any') ], edges => [ { source => 'a', target => 'c' }, { source => 'b', target => 'c' } ] },
    );
    return <<"SQL";
CREATE SCHEMA fuzz;
GRANT USAGE ON SCHEMA fuzz TO PUBLIC;
@{[ map { "CREATE ROLE $_ LOGIN;" } @roles ]}
CREATE TABLE fuzz.seen (x bigint);
CREATE TABLE fuzz.totals (category text PRIMARY KEY, n bigint);
CREATE TABLE fuzz.written (category text PRIMARY KEY, n int CHECK (n > 0));
GRANT ALL ON fuzz.seen, fuzz.totals, fuzz.written TO PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA fuzz GRANT ALL ON TABLES TO PUBLIC;
CREATE FUNCTION fuzz.apply(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql AS \$\$ SELECT jsonb_build_object('count', COALESCE((state ->> 'count')::int, 0) + 1) \$\$;
CREATE FUNCTION fuzz.apply_raise(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS \$\$ BEGIN IF e.version % 5 = 0 THEN RAISE 'apply' USING DETAIL = 'd', HINT = 'h'; END IF; RETURN state; END \$\$;
CREATE FUNCTION fuzz.apply_null(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
CREATE FUNCTION fuzz.decide(state jsonb, command text, payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
BEGIN
    IF command = 'reject' THEN RAISE 'no'; ELSIF command = 'bad' THEN RETURN payload; ELSIF command = 'nothing' THEN RETURN NULL; END IF;
    RETURN jsonb_build_array(jsonb_build_object('type', 'Added', 'data', payload));
END \$\$;
CREATE FUNCTION fuzz.decide_raise(state jsonb, command text, payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$ BEGIN RETURN 1 / 0; END \$\$;
CREATE FUNCTION fuzz.decide_bad(state jsonb, command text, payload jsonb) RETURNS jsonb LANGUAGE sql AS \$\$ SELECT to_jsonb(chronicle.append_event('acc-1', 'Added')) \$\$;
CREATE FUNCTION fuzz.validate(data jsonb) RETURNS text LANGUAGE sql AS \$\$ SELECT CASE WHEN data ? 'x' THEN NULL ELSE 'x is missing' END \$\$;
CREATE FUNCTION fuzz.validate_raise(data jsonb) RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN RETURN 1 / 0; END \$\$;
CREATE FUNCTION fuzz.up(data jsonb) RETURNS jsonb LANGUAGE sql AS \$\$ SELECT jsonb_build_object('up', data) \$\$;
CREATE FUNCTION fuzz.up_raise(data jsonb) RETURNS jsonb LANGUAGE sql AS \$\$ SELECT to_jsonb(1 / (data IS NULL)::int) \$\$;
CREATE FUNCTION fuzz.on_event(e chronicle.event) RETURNS void LANGUAGE sql AS 'INSERT INTO fuzz.seen VALUES (e.global_position)';
CREATE FUNCTION fuzz.on_event_raise(e chronicle.event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN IF e.global_position % 7 = 0 THEN RAISE 'handler'; END IF; END \$\$;
CREATE FUNCTION fuzz.on_event_append(e chronicle.event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN IF e.category <> 'fresh' THEN PERFORM chronicle.append_event('fresh-1', 'Made'); END IF; END \$\$;
CREATE FUNCTION fuzz.on_state(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql AS \$\$ SELECT jsonb_build_object('n', COALESCE((state ->> 'n')::int, 0) + 1) \$\$;
CREATE FUNCTION fuzz.on_state_raise(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS \$\$ BEGIN IF e.version % 6 = 0 THEN RAISE 'handler'; END IF; RETURN state; END \$\$;
CREATE FUNCTION fuzz.call(context jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT context';
CREATE FUNCTION fuzz.call_raise(context jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$ BEGIN RAISE 'call' USING ERRCODE = 'ABCDE'; END \$\$;
CREATE FUNCTION fuzz.trigger() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN RETURN COALESCE(NEW, OLD); END \$\$;
CREATE FUNCTION fuzz.trigger_raise() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN RAISE 'trigger'; END \$\$;
CREATE FUNCTION fuzz.set_of(data jsonb) RETURNS SETOF jsonb LANGUAGE sql AS 'SELECT data';
CREATE PROCEDURE fuzz.procedure(data jsonb) LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION fuzz.nth_run(n int) RETURNS uuid LANGUAGE sql SECURITY DEFINER AS 'SELECT COALESCE((SELECT execution_id FROM chronicle_data.execution ORDER BY queued_at DESC OFFSET n % 40 LIMIT 1), gen_random_uuid())';
CREATE FUNCTION fuzz.nth_task(n int) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT COALESCE((SELECT task_id FROM chronicle_data.task ORDER BY task_id DESC OFFSET n LIMIT 1), n)';
-- Runs a statement and catches its error.
CREATE FUNCTION fuzz.caught(statement text) RETURNS text LANGUAGE plpgsql AS \$\$
DECLARE state text; message text; detail text; hint text; context text;
BEGIN
    EXECUTE statement;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
    RAISE WARNING USING MESSAGE = format('caught %s: %s', state, message), DETAIL = COALESCE(detail, ''), HINT = COALESCE(hint, '');
    RETURN state;
END \$\$;
CREATE FUNCTION fuzz.restore() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS \$\$
DECLARE s text;
BEGIN
    FOREACH s IN ARRAY ARRAY['reader', 'writer', 'operator', 'admin'] LOOP
        PERFORM fuzz.caught(format('SELECT chronicle.grant_access(%L, %L)', 'fuzz_' || s, s));
    END LOOP;
    PERFORM fuzz.caught('SELECT chronicle.grant_category(''fuzz_category'', c, p) FROM unnest(''{cart,acc}''::text[]) AS c, unnest(''{read,append}''::text[]) AS p');
    PERFORM fuzz.caught('SELECT chronicle.create_aggregate(''acc'', ''fuzz.apply'', decide => ''fuzz.decide'', snapshot_every => 10, replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.create_aggregate(''patch'', ''chronicle.apply_merge_patch'', replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.create_aggregate(''json'', ''chronicle.apply_json_patch'', replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.create_aggregate(''bad'', ''fuzz.apply_raise'', decide => ''fuzz.decide_raise'', snapshot_every => 10, replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.register_event_type(''Typed'', ''{"required": ["x"]}'', validator => ''fuzz.validate'')');
    PERFORM fuzz.caught('SELECT chronicle.register_event_type(''Up'', version => 2)');
    PERFORM fuzz.caught('SELECT chronicle.register_upcaster(''Up'', 1, ''fuzz.up'')');
    PERFORM fuzz.caught('SELECT chronicle.create_projection(''p_state'', handler => ''fuzz.on_state'', partition_by => ''category'', replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.create_projection(''p_table'', handler => ''fuzz.on_event'', options => ''{"reset": "DELETE FROM fuzz.seen"}'', replace => true)');
    PERFORM fuzz.caught('SET LOCAL search_path = fuzz, public; SELECT chronicle.create_projection(''p_statement'', statement => ''INSERT INTO totals AS t SELECT category, count(*) FROM new_events GROUP BY category ON CONFLICT (category) DO UPDATE SET n = t.n + EXCLUDED.n'', options => ''{"target": "totals"}'', replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.create_projection(''p_inline'', handler => ''fuzz.on_state'', partition_by => ''stream'', mode => ''inline'', categories => ''{cart}'', replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.create_projection(''p_inline_table'', handler => ''fuzz.on_event'', mode => ''inline'', categories => ''{order}'', replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.create_projection(''p_raise'', handler => ''fuzz.on_event_raise'', mode => ''inline'', categories => ''{bad}'', replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.create_projection(''p_park'', handler => ''fuzz.on_state_raise'', options => ''{"on_error": "park", "max_retries": 1, "retry_delay": "1 ms"}'', replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.create_projection(''p_off'', handler => ''fuzz.on_event_append'', categories => ''{cart}'', replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.append_event(s, ''Added'', jsonb_build_object(''x'', i)) FROM unnest(''{cart-1,cart-2,order-1,acc-1,acc-2,patch-1,bad-1,gone-1,typed-1,solo}''::text[]) AS s, generate_series(1, 3) AS i');
    PERFORM fuzz.caught('SELECT chronicle.set_category_retention(c) FROM unnest(''{cart,order,acc,bad}''::text[]) AS c');
    PERFORM fuzz.caught('SELECT chronicle.delete_stream(''gone-1'')');
    PERFORM fuzz.caught('SELECT chronicle.tombstone_stream(''dead-1'')');
    $workflows
    PERFORM fuzz.caught('SELECT chronicle.disable_workflow(''off'')');
END \$\$;
SELECT fuzz.restore();
SQL
}

# After objects_sql: the workflows, projections and aggregates belong to `owner`, and there is one of each thing that calls can be about
# (fuzz.known(NAME) is its id). By psql, for the runs are waited for.
sub known_sql {
    my ($class, $owner) = @_;
    return <<"SQL";
CREATE TABLE fuzz.known (name text PRIMARY KEY, value text);
CREATE FUNCTION fuzz.known(name text) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT value FROM fuzz.known AS k WHERE k.name = known.name';
SELECT chronicle.set_owner('workflow', workflow_id, '$owner') FROM chronicle.workflows;
SELECT chronicle.set_owner('projection', name, '$owner') FROM chronicle.projections;
SELECT chronicle.set_owner('aggregate', category, '$owner') FROM chronicle.aggregates;
SELECT chronicle.append_event('acc-1', 'Added', jsonb_build_object('x', i)) FROM generate_series(1, 30) AS i;
SELECT chronicle.execute_command('acc-1', 'add', '{"x": 1}', '00000000-0000-0000-0000-000000000001');
SELECT chronicle.register_event_type('Fresh', version => 2);
SELECT chronicle.disable_projection('p_off');
SET SESSION AUTHORIZATION $owner;
INSERT INTO fuzz.known VALUES ('completed', chronicle.execute_workflow('quick')), ('before', chronicle.execute_workflow('quick')), ('failed', chronicle.execute_workflow('fails')),
    ('waiting', chronicle.execute_workflow('waits')), ('paused', chronicle.execute_workflow('waits')), ('task 1', chronicle.execute_workflow('task')), ('task 2', chronicle.execute_workflow('task')),
    ('trigger', chronicle.create_trigger('quick', types => '{Never}')), ('schedule', chronicle.schedule_workflow('quick', every => interval '90000 days')), ('paused schedule', chronicle.schedule_workflow('quick', cron => '0 0 29 2 *'));
SELECT chronicle.wait_for_execution(value::uuid, '60 s') FROM fuzz.known WHERE name IN ('completed', 'before', 'failed');
SELECT chronicle.pause_execution(fuzz.known('paused')::uuid), chronicle.pause_schedule(fuzz.known('paused schedule')::bigint);
INSERT INTO fuzz.known SELECT 'claimed', task_id FROM chronicle.claim_tasks('q', 'w', lease => '1 day', wait => '60 s');
BEGIN;
SELECT task_id FROM chronicle.claim_tasks('q', 'w', wait => '60 s');
ROLLBACK;
SELECT chronicle.wait_for_projection(name, timeout => '60 s') FROM chronicle.projections WHERE mode = 'async' AND status = 'running';
RESET SESSION AUTHORIZATION;
SQL
}

1;
