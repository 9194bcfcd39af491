# Projections under concurrent appenders, when what they need is gone, with handlers that append, kill, hang or end the transaction;
# dumped and restored; and rare ones, which read the log once.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = new_node('projections');

sub as_keeper { return sql_as($node, $db, 'keeper', "SET search_path = kept, chronicle;\n$_[0]") }

sub status_of { return $node->safe_psql($db, "SELECT status FROM chronicle.projections WHERE name = '$_[0]'") }

sub is_faulted {
    my ($name, $pattern, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    wait_for($node, $db, "SELECT status FROM chronicle.projections WHERE name = '$name'", 'faulted', "$what: faulted");
    like($node->safe_psql($db, "SELECT last_error FROM chronicle.projections WHERE name = '$name'"), $pattern, "$what: it says so");
}

sub reaches_the_end {
    my ($name, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    wait_for($node, $db, "SELECT chronicle.wait_for_projection('$name', timeout => '30s')", 't', $what);
}

$node->safe_psql($db, <<'SQL');
CREATE ROLE keeper LOGIN;
SELECT chronicle.grant_access('keeper', 'operator');
CREATE SCHEMA kept AUTHORIZATION keeper;
SQL
as_keeper(<<'SQL');
CREATE TABLE sums (key text PRIMARY KEY, n bigint, amount bigint);
CREATE TABLE handled (LIKE sums INCLUDING ALL);
CREATE FUNCTION total(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN RETURN jsonb_build_object('n', (state->>'n')::bigint + 1, 'amount', (state->>'amount')::bigint + (event.data->>'amount')::bigint); END $$;
CREATE FUNCTION handle(event chronicle.event) RETURNS void LANGUAGE sql AS $$
INSERT INTO kept.handled AS h VALUES ('all', 1, (event.data->>'amount')::bigint)
ON CONFLICT (key) DO UPDATE SET n = h.n + excluded.n, amount = h.amount + excluded.amount $$;
SQL

# --- 16 appenders, one partition ---

as_keeper(<<'SQL');
SELECT create_projection('hot state', mode => 'inline', handler => 'total', initial_state => '{"n": 0, "amount": 0}', categories => '{hot}');
SELECT create_projection('inline handler', mode => 'inline', handler => 'handle', categories => '{hot}');
SELECT create_projection('inline statement', mode => 'inline', categories => '{hot}', statement => $$
    INSERT INTO sums AS s SELECT 'all', count(*), sum((data->>'amount')::bigint) FROM new_events
    ON CONFLICT (key) DO UPDATE SET n = s.n + excluded.n, amount = s.amount + excluded.amount $$);
SQL
my $script = PostgreSQL::Test::Utils::tempdir() . '/hot.sql';
append_to_file($script, <<'SQL');
\set stream random(1, 100)
\set amount random(1, 1000)
SELECT chronicle.append_event('hot-' || :stream, 'sold', jsonb_build_object('amount', :amount::int));
SQL
command_ok([ 'pgbench', '-n', '-c', 16, '-j', 4, '-t', 100, '-f', $script, $node->connstr($db) ], '16 appenders, all of one partition');
my $events = $node->safe_psql($db, "SELECT count(*), sum((data->>'amount')::bigint) FROM chronicle.events WHERE category = 'hot'");
like($events, qr/^1600\|/, '1600 events');
is($node->safe_psql($db, "SELECT state->>'n', state->>'amount' FROM chronicle.projection_states WHERE projection = 'hot state'"), $events, 'inline state: exact');
is($node->safe_psql($db, 'SELECT n, amount FROM kept.handled'), $events, 'inline handler: exact');
is($node->safe_psql($db, 'SELECT n, amount FROM kept.sums'), $events, 'inline statement: exact');

# --- created, disabled and enabled under a load: it goes live, and counts each event once ---

my $steady = PostgreSQL::Test::Utils::tempdir() . '/steady.sql';
append_to_file($steady, <<'SQL');
\set stream random(1, 10)
\set amount random(1, 1000)
SELECT chronicle.append_event('steady-' || :stream, 'sold', jsonb_build_object('amount', :amount::int));
SQL
my $load = IPC::Run::start([ 'pgbench', '-n', '-c', 8, '-T', 300, '-f', $steady, $node->connstr($db) ], '<', \undef, '>', \my $loaded, '2>&1');
wait_for($node, $db, "SELECT count(*) > 100 FROM chronicle.events WHERE category = 'steady'", 't', 'there are events, and more come');
as_keeper(<<'SQL');
CREATE TABLE steady_sums (LIKE sums INCLUDING ALL);
SELECT create_projection(mode || ' state', mode => mode, handler => 'total', partition_by => 'stream', initial_state => '{"n": 0, "amount": 0}', categories => '{steady}') FROM unnest('{inline,async}'::text[]) AS mode;
SELECT create_projection('steady statement', mode => 'inline', categories => '{steady}', statement => $$
    INSERT INTO steady_sums AS s SELECT stream, count(*), sum((data->>'amount')::bigint) FROM new_events GROUP BY 1
    ON CONFLICT (key) DO UPDATE SET n = s.n + excluded.n, amount = s.amount + excluded.amount $$);
SQL
my @steady = ('inline state', 'async state', 'steady statement');
my $as_names = join ', ', map { "'$_'" } @steady;
for my $round (0 .. 5) {
    as_keeper("SELECT ${_}_projection(name) FROM projections WHERE name IN ($as_names)") for $round ? qw(disable enable) : ();
    wait_for($node, $db, "SELECT count(*) FROM chronicle.projections WHERE name IN ($as_names) AND status = 'running'", 3,
        $round ? "disabled and enabled, round $round: live again" : 'created under a load, they go live');
}
$load->signal('INT');
$load->finish;
reaches_the_end('async state', 'the async one comes to the end');
my $counted = "SELECT stream, count(*), sum((data->>'amount')::bigint) FROM chronicle.events WHERE category = 'steady' GROUP BY 1 ORDER BY 1";
for my $name ('inline state', 'async state') {
    is($node->safe_psql($db, "SELECT partition, state->>'n', state->>'amount' FROM chronicle.projection_states WHERE projection = '$name' ORDER BY 1"),
        $node->safe_psql($db, $counted), "$name: exact");
}
is($node->safe_psql($db, 'SELECT key, n, amount FROM kept.steady_sums ORDER BY 1'), $node->safe_psql($db, $counted), 'inline statement: exact');
as_keeper("SELECT drop_projection(name) FROM projections WHERE name IN ($as_names)");

# --- something is missing ---

$node->safe_psql($db, 'CREATE ROLE leaver LOGIN; GRANT USAGE ON SCHEMA kept TO leaver');
$node->safe_psql($db, "SELECT chronicle.grant_access('leaver', 'operator')");
sql_as($node, $db, 'leaver', "SELECT chronicle.create_projection('of nobody', handler => 'kept.total', initial_state => '{\"n\": 0, \"amount\": 0}', categories => '{gone}')");
as_keeper(<<'SQL');
CREATE TABLE dropped (n bigint);
CREATE FUNCTION dropped_handler(event chronicle.event) RETURNS void LANGUAGE sql AS '';
SELECT create_projection('without table', categories => '{gone}', options => '{"retry_delay": "1h"}', statement => 'INSERT INTO dropped SELECT count(*) FROM new_events');
SELECT create_projection('without function', categories => '{gone}', options => '{"retry_delay": "1h"}', handler => 'dropped_handler');
SELECT create_projection('stays', categories => '{gone}', handler => 'total', initial_state => '{"n": 0, "amount": 0}');
DROP TABLE dropped;
DROP FUNCTION dropped_handler;
SQL
# At once: a worker in between would find it without rights, which is another fault.
$node->safe_psql($db, "BEGIN; SELECT chronicle.revoke_access('leaver', 'reader'); REVOKE ALL ON SCHEMA kept FROM leaver; DROP ROLE leaver; COMMIT");
$node->safe_psql($db, "SELECT chronicle.append_event('gone-1', 'x', '{\"amount\": 5}')");
is_faulted('without table', qr/relation "dropped" does not exist/, 'a dropped table');
is_faulted('without function', qr/function "kept.dropped_handler" .*does not exist/, 'a dropped function');
is_faulted('of nobody', qr/role "leaver", does not exist/, 'a dropped owner');
reaches_the_end('stays', 'another projection of the same events goes on');
as_keeper('CREATE TABLE dropped (n bigint)');
as_keeper("SELECT enable_projection('without table')");
reaches_the_end('without table', 'enabled when the table is there again');
is($node->safe_psql($db, 'SELECT n FROM kept.dropped'), 1, 'it has its event');

# --- an async handler that appends: exactly once, also when its worker is killed in between ---

as_keeper(<<'SQL');
CREATE FUNCTION answer(event chronicle.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN PERFORM chronicle.append_event('answer-' || event.stream, 'Answered', jsonb_build_object('to', event.global_position)); END $$;
SELECT create_projection('answers', categories => '{question}', handler => 'answer', options => '{"batch_size": 10}');
SQL
my $questions = PostgreSQL::Test::Utils::tempdir() . '/questions.sql';
append_to_file($questions, "\\set stream random(1, 20)\nSELECT chronicle.append_event('question-' || :stream, 'Asked');\n");
for my $round (1 .. 3) {
    command_ok([ 'pgbench', '-n', '-c', 4, '-t', 250, '-f', $questions, $node->connstr($db) ], "questions, round $round");
    $node->safe_psql($db, "SELECT pg_terminate_backend(pid) FROM chronicle.workers WHERE role = 'executor' AND owner = 'keeper'");
}
reaches_the_end('answers', 'all questions are handled');
is( $node->safe_psql($db, "SELECT count(*), count(DISTINCT data->>'to') FROM chronicle.events WHERE category = 'answer'"),
    '3000|3000', 'each question is answered once');
is( $node->safe_psql($db, "SELECT count(*) FROM chronicle.events q FULL JOIN chronicle.events a ON a.data->>'to' = q.global_position::text AND a.category = 'answer'
                           WHERE q.category = 'question' AND (a.type IS NULL OR a.stream <> 'answer-' || q.stream)"), 0, 'and each answer is the one to its question');

# --- handlers that kill, hang, or end the transaction are faults, and stop nobody else ---

as_keeper(<<'SQL');
CREATE FUNCTION dies(event chronicle.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN IF event.type = 'poison' THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(600); END IF; END $$; -- # not a wait: it does not get there
CREATE FUNCTION hangs(event chronicle.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WHILE event.type = 'poison' LOOP
        BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; -- # not a wait: it is killed
    END LOOP;
END $$;
CREATE FUNCTION swallows(event chronicle.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN IF event.type = 'poison' THEN PERFORM pg_sleep(600); END IF; EXCEPTION WHEN query_canceled THEN NULL; END $$; -- # not a wait: it is cancelled
CREATE FUNCTION ends(event chronicle.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN IF event.type = 'poison' THEN ROLLBACK; END IF; END $$;
SELECT create_projection(name, categories => '{bad}', handler => name, options => '{"max_retries": 1, "retry_delay": "10ms", "timeout": "300ms"}')
FROM unnest(ARRAY['dies', 'hangs', 'swallows', 'ends']) AS name;
SELECT create_projection('after all', categories => '{bad}', handler => 'total', initial_state => '{"n": 0, "amount": 0}');
SELECT append_events('bad-1', '[{"type": "good", "data": {"amount": 1}}, {"type": "good", "data": {"amount": 1}}, {"type": "poison", "data": {"amount": 1}}, {"type": "good", "data": {"amount": 1}}]');
SQL
is_faulted('dies', qr/the worker died 3 times while it handled this event/, 'a handler that kills its worker');
is_faulted('hangs', qr/the worker died 3 times while it handled this event|timed out/, 'a handler that cannot be cancelled');
is_faulted('swallows', qr/timed out/, 'a handler that swallows its cancel');
is_faulted('ends', qr/invalid transaction termination/, 'a handler that ends the transaction');
is( $node->safe_psql($db, "SELECT string_agg(DISTINCT sqlstate, ' ' ORDER BY sqlstate) FROM chronicle.projection_failures WHERE projection IN ('dies', 'ends')"),
    '2D000 57P02', 'with their SQLSTATEs');
is( $node->safe_psql($db, "SELECT count(DISTINCT f.global_position), min(e.type) FROM chronicle.projection_failures f JOIN chronicle.events e USING (global_position)
                           WHERE projection IN ('dies', 'hangs', 'swallows', 'ends')"), '1|poison', 'at the event that does it');
reaches_the_end('after all', 'another projection of the owner goes on');

# --- rare ones: what does not match is looked at once, or not at all ---

$node->safe_psql($db, "SELECT chronicle.append_event_arrays('noise-1', array_fill('noise'::text, ARRAY[10000]), array_fill('{}'::jsonb, ARRAY[10000]))");
as_keeper("SELECT disable_projection(name) FROM projections WHERE name <> 'answers'");
sub read_by_workers {
    my ($name, $filter) = @_;
    as_keeper("SELECT create_projection('$name', handler => 'total', $filter)");
    my $progress_of = "FROM chronicle_data.projection_progress JOIN chronicle_data.projection AS p USING (projection_id) WHERE p.name = '$name'";
    my $end = $node->safe_psql($db, 'SELECT chronicle.safe_position()');
    wait_for($node, $db, "SELECT position >= $end $progress_of", 't', "$name: it has caught up");
    my $read = sub {
        # Workers that end tell what they have read.
        $node->safe_psql('postgres', 'ALTER SYSTEM SET chronicle.workers = off');
        $node->reload;
        wait_for($node, $db, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chronicle executor'", 0, "$name: the workers have ended");
        return $node->safe_psql($db, "SELECT coalesce(sum(idx_tup_fetch), 0) FROM pg_stat_all_tables WHERE relid = 'chronicle_data.event'::regclass");
    };
    my $before = $read->();
    $node->safe_psql('postgres', 'ALTER SYSTEM RESET chronicle.workers');
    $node->reload;
    for (1 .. 30) {
        my $position = $node->safe_psql($db, "SELECT chronicle.append_event('noise-1', 'noise'); SELECT chronicle.last_position()");
        $position =~ s/.*\n//s;
        wait_for($node, $db, "SELECT position >= $position $progress_of", 't', "$name: its position passes what does not match") if $_ == 30;
    }
    my $after = $read->();
    $node->safe_psql('postgres', 'ALTER SYSTEM RESET chronicle.workers');
    $node->reload;
    as_keeper("SELECT drop_projection('$name')");
    note("$name: " . ($after - $before) . ' rows');
    return $after - $before;
}
my $by_type = read_by_workers('rare type', "types => '{rare}'");
cmp_ok($by_type, '<', 1000, 'a rare type: the log is not scanned');
my $by_regex = read_by_workers('rare name', "stream_regex => '^rare'");
cmp_ok($by_regex, '>=', 30, 'a rare name: what is appended is looked at');
cmp_ok($by_regex, '<', 3000, 'and what was there before is not looked at again');

# --- dump and restore: states and positions survive, and it goes on ---

as_keeper("SELECT enable_projection(name) FROM projections WHERE status = 'disabled' AND name IN ('hot state', 'inline statement', 'inline handler', 'stays', 'after all')");
reaches_the_end($_, "$_ runs again") for ('hot state', 'inline statement', 'stays', 'after all');
wait_for($node, $db, "SELECT count(*) FROM chronicle.projections WHERE mode = 'inline' AND status = 'running'", 3, 'inline ones are live');
as_keeper(<<'SQL');
CREATE FUNCTION picky(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN IF event.type = 'poison' THEN RAISE EXCEPTION 'picky'; END IF; RETURN to_jsonb(state::int + 1); END $$;
SELECT create_projection('parks', categories => '{bad}', handler => 'picky', initial_state => '0', partition_by => 'stream', options => '{"max_retries": 0, "on_error": "park"}');
SQL
reaches_the_end('parks', 'one parks an event, and those behind it');
my $failures = "SELECT projection, global_position, attempts, error, sqlstate, parked_at FROM chronicle.projection_failures WHERE projection = 'parks' ORDER BY 2";
is(scalar(split /\n/, $node->safe_psql($db, $failures)), 2, 'two are parked');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr($db) ], 'a dump');
$node->safe_psql($db, 'CREATE DATABASE copy');
command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('copy'), $dump ], 'restored');
my $kept = "SELECT p.name, p.status, p.events_processed, s.state FROM chronicle.projections p LEFT JOIN chronicle.projection_states s ON s.projection = p.name ORDER BY p.name, s.partition";
is($node->safe_psql('copy', $kept), $node->safe_psql($db, $kept), 'status, numbers and states are those of the original');
is($node->safe_psql('copy', $failures), $node->safe_psql($db, $failures), 'so are parked events');
$node->safe_psql('copy', "SELECT chronicle.create_projection('one more', statement => 'SELECT 1 FROM new_events', options => '{\"start_from\": \"end\"}')");
is($node->safe_psql('copy', 'SELECT count(*) FROM chronicle_data.projection_progress JOIN chronicle_data.projection USING (projection_id)'),
    $node->safe_psql($db, 'SELECT count(*) + 1 FROM chronicle_data.projection'), 'a new one has a number of its own');
$node->safe_psql('copy', "SELECT chronicle.append_event('hot-1', 'sold', '{\"amount\": 7}'), chronicle.append_event('gone-1', 'x', '{\"amount\": 7}')");
wait_for($node, 'copy', "SELECT chronicle.wait_for_projection('stays', timeout => '30s')", 't', 'the copy goes on');
is($node->safe_psql('copy', "SELECT state FROM chronicle.projection_states WHERE projection = 'stays'"), '{"n": 2, "amount": 12}', 'from where it was');
my $sums = join '|', map { $_->[0] + $_->[1] } ([ (split /\|/, $events)[0], 1 ], [ (split /\|/, $events)[1], 7 ]);
is($node->safe_psql('copy', 'SELECT n, amount FROM kept.sums'), $sums, 'the inline statement too');
is($node->safe_psql('copy', "SELECT state->>'n', state->>'amount' FROM chronicle.projection_states WHERE projection = 'hot state'"), $sums, 'and the inline state');
is($node->safe_psql('copy', "SELECT count(*) FROM chronicle.verify_projection('hot state')"), 0, 'verify_projection finds no difference');

done_testing();
