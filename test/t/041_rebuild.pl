# rebuild_projection under a load of appends, while workers and the server are killed: it goes on where it was, readers see the
# old rows or the new ones, and at the end verify_projection returns nothing. Cancelled, failed or dumped in the middle.
# crash-expected
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = new_node('rebuild', conf => "restart_after_crash = on\nchronicle.worker_processes = 4\n");

$node->safe_psql($db, <<'SQL');
CREATE ROLE keeper LOGIN;
SELECT chronicle.grant_access('keeper', 'operator');
CREATE SCHEMA kept AUTHORIZATION keeper;
SQL
# As the keeper.
sub sql {
    my ($sql) = @_;
    $sql =~ s/WORK\(([^)]*)\)/work_sql($1)/ge;
    return sql_as($node, $db, 'keeper', "SET search_path = kept, chronicle;\n$sql");
}
# Streams sale-f1 … sale-f200 are of the past only: their rows are set to -1, and a rebuild makes them 150 again. A row in "pace"
# makes the code slow; "deadly" ends the process at one event.
sql(<<'SQL');
CREATE TABLE pace (seconds float8);
CREATE TABLE deadly (stream text, version bigint);
CREATE TABLE sums (stream text PRIMARY KEY, n bigint, amount bigint);
CREATE TABLE inline_sums (LIKE sums INCLUDING ALL);
CREATE FUNCTION total(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM WORK(seconds / 100) FROM kept.pace;
    PERFORM pg_terminate_backend(pg_backend_pid()) FROM kept.deadly AS d WHERE d.stream = event.stream AND d.version = event.version;
    RETURN jsonb_build_object('n', (state->>'n')::bigint + 1, 'amount', (state->>'amount')::bigint + (event.data->>'amount')::bigint);
END $$;
SELECT count(append_event_arrays('sale-f' || n, array_fill('sold'::text, ARRAY[150]), array_fill('{"amount": 1}'::jsonb, ARRAY[150]))) FROM generate_series(1, 200) AS n;
DO $$
DECLARE
    text text := 'INSERT INTO %1$s AS s SELECT stream, count(*), sum((data->>''amount'')::bigint) FROM new_events, (SELECT count(WORK(seconds)) FROM pace) AS p GROUP BY 1
                  ON CONFLICT (stream) DO UPDATE SET n = s.n + excluded.n, amount = s.amount + excluded.amount';
BEGIN
    PERFORM create_projection('sums', statement => format(text, 'sums'), categories => '{sale}', options => '{"target": "sums", "batch_size": 100}');
    PERFORM create_projection('inline_sums', mode => 'inline', statement => format(text, 'inline_sums'), categories => '{sale}', options => '{"target": "inline_sums", "batch_size": 100}');
    PERFORM create_projection('states', handler => 'total', partition_by => 'stream', initial_state => '{"n": 0, "amount": 0}', categories => '{sale}', options => '{"batch_size": 100}');
    PERFORM create_projection('inline_states', mode => 'inline', handler => 'total', partition_by => 'stream', initial_state => '{"n": 0, "amount": 0}', categories => '{sale}', options => '{"batch_size": 100}');
END $$;
CREATE TABLE observed (what text, old bigint, new bigint, PRIMARY KEY (what, old, new));
SQL
my @names = qw(sums inline_sums states inline_states);
my $all = join ', ', map { "'$_'" } @names;

my $load = PostgreSQL::Test::Utils::tempdir() . '/load.sql';
append_to_file($load, <<'SQL');
\set stream random(1, 20)
\set amount random(1, 1000)
SELECT chronicle.append_event('sale-' || :stream, 'sold', jsonb_build_object('amount', :amount::int));
SQL
# What one statement sees of the rows of the past.
my $reader = PostgreSQL::Test::Utils::tempdir() . '/reader.sql';
append_to_file($reader, <<'SQL');
INSERT INTO kept.observed
SELECT what, count(*) FILTER (WHERE amount = -1), count(*) FILTER (WHERE amount = 150)
  FROM (SELECT 'sums' AS what, stream, amount FROM kept.sums UNION ALL SELECT 'inline_sums', stream, amount FROM kept.inline_sums
        UNION ALL SELECT projection, partition, (state->>'amount')::bigint FROM chronicle.projection_states) AS r
 WHERE stream LIKE 'sale-f%' GROUP BY what ON CONFLICT DO NOTHING;
SQL

sub pgbench { return IPC::Run::start([ 'pgbench', '-n', @_, $node->connstr($db) ], '<', \undef, '>', \my $output, '2>&1') }

# How far the rebuilds are; what it answers is on disk.
my $positions = 'SELECT coalesce(sum(position), 0) FROM chronicle_data.projection_rebuild_part';

sub flushed_positions {
    my $now = $node->safe_psql($db, $positions);
    $node->safe_psql($db, 'CREATE TABLE flushed (); DROP TABLE flushed');
    return $now;
}

# What a rebuild makes.
my $leftovers = <<'SQL';
SELECT (SELECT count(*) FROM pg_namespace WHERE nspname ~ '^chronicle_(rebuild|verify)') + (SELECT count(*) FROM chronicle_data.projection_rebuild_part)
     + (SELECT count(*) FROM chronicle_data.projection_state AS s LEFT JOIN chronicle_data.projection_progress AS g USING (projection_id)
         WHERE g.generation IS DISTINCT FROM s.generation)
SQL
my $differences = "SELECT count(*) FROM chronicle.projections AS p, LATERAL chronicle.verify_projection(p.name)";

sub spoil {
    sql('UPDATE sums SET amount = -1, n = 0 WHERE stream LIKE $$sale-f%$$; UPDATE inline_sums SET amount = -1, n = 0 WHERE stream LIKE $$sale-f%$$');
    $node->safe_psql($db, q(UPDATE chronicle_data.projection_state SET state = '{"n": 0, "amount": -1}' WHERE partition LIKE 'sale-f%'));
}

# --- killed in the middle ---

wait_for($node, $db, "SELECT bool_and(status = 'running' AND lag_events = 0) FROM chronicle.projections", 't', 'all are there');
spoil();
sql("INSERT INTO pace VALUES (0.3)");
sql("SELECT rebuild_projection(name) FROM projections WHERE name IN ($all)");
is($node->safe_psql($db, 'SELECT string_agg(n::text, $$ $$ ORDER BY projection_id) FROM (SELECT projection_id, count(*) AS n FROM chronicle_data.projection_rebuild_part GROUP BY 1) AS p'),
    '1 1 4 4', 'states are rebuilt in parts, in parallel');
my $begun = $node->safe_psql($db, 'SELECT string_agg(started_at::text, $$ $$ ORDER BY projection_id) FROM chronicle_data.projection_rebuild');
is($node->safe_psql($db, "SELECT string_agg(DISTINCT status, ' ') FROM chronicle.projections"), 'rebuilding', 'the view says so');

my $rounds = 6;
my $resumed = 0;
for my $round (1 .. $rounds) {
    my @running = (pgbench('-c', 2, '-T', 300, '-f', $load), pgbench('-c', 1, '-T', 300, '-f', $reader));
    my $before = $node->safe_psql($db, $positions);
    wait_until(sub { $node->safe_psql($db, $positions) > $before }, "no rebuild gets further in round $round");
    my $flushed = flushed_positions();
    $round % 2 ? kill_executor($node, $db, 'keeper', 'busy') : kill_server($node);
    $_->finish for @running; # they have lost their connections
    $resumed++ if $node->safe_psql($db, $positions) >= $flushed;
}
is($resumed, $rounds, "killed $rounds times, it goes on where it was each time");
is($node->safe_psql($db, 'SELECT string_agg(started_at::text, $$ $$ ORDER BY projection_id) FROM chronicle_data.projection_rebuild'), $begun, 'they are the same rebuilds');
is($node->safe_psql($db, "SELECT count(*) FROM chronicle.projections WHERE status = 'rebuilding' AND progress > 0 AND progress < 1 AND eta > now()"), 4,
    'the view shows how far they are, and how long they will take');

my @running = (pgbench('-c', 2, '-T', 300, '-f', $load), pgbench('-c', 1, '-T', 300, '-f', $reader));
sql('TRUNCATE pace');
wait_for($node, $db, "SELECT string_agg(DISTINCT status, ' ') FROM chronicle.projections", 'running', 'the rebuilds end under the load');
wait_for($node, $db, "SELECT count(DISTINCT what) FROM kept.observed WHERE new > 0", 4, 'a reader has seen the new rows');
$_->signal('INT'), $_->finish for @running;
is(sql("SELECT wait_for_projection('sums', timeout => '60s') AND wait_for_projection('states', timeout => '60s')"), 't', 'they follow the log');
is($node->safe_psql($db, "SELECT string_agg(what || ' ' || old || ' ' || new, ', ' ORDER BY what, new) FROM kept.observed"),
    join(', ', map { "$_ 200 0, $_ 0 200" } sort @names), 'readers saw the old rows or the new ones');
is($node->safe_psql($db, $differences), 0, 'verify_projection returns nothing');
my $fresh = "SELECT stream, count(*), sum((data->>'amount')::bigint) FROM chronicle.events WHERE category = 'sale' GROUP BY stream";
for my $table (qw(sums inline_sums)) {
    is($node->safe_psql($db, "SELECT count(*) FROM ((TABLE kept.$table EXCEPT $fresh) UNION ALL ($fresh EXCEPT TABLE kept.$table)) AS d"),
        0, "$table: equal to a fresh computation over the events");
}
is($node->safe_psql($db, "SELECT count(*) FROM chronicle.projections WHERE last_error IS NOT NULL"), 0, 'no kill is held to be an error');
wait_for($node, $db, $leftovers, 0, 'nothing is left behind');

# --- cancelled, also in a transaction that is undone ---

spoil();
sql("INSERT INTO pace VALUES (0.3)");
sql("SELECT rebuild_projection(name) FROM projections WHERE name IN ($all)");
sub in_the_middle { return wait_for($node, $db, "SELECT min(position) > 0 FROM chronicle_data.projection_rebuild_part WHERE projection_id IN (1, 3)", 't', $_[0]) }
in_the_middle('rebuilds are under way');
sql("BEGIN; SELECT cancel_rebuild(name) FROM projections WHERE name IN ($all); ROLLBACK");
my $then = $node->safe_psql($db, $positions);
wait_for($node, $db, "SELECT ($positions) > $then", 't', 'a cancel that is undone cancels nothing');

# --- dumped in the middle: the copy goes on with it ---

my $dump = $node->basedir . '/rebuild.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr($db) ], 'dumped in the middle');
sql("SELECT cancel_rebuild(name) FROM projections WHERE name IN ($all)");
is($node->safe_psql($db, $leftovers), 0, 'cancelled in the middle, nothing is left behind');
is(sql("SELECT count(*) FROM sums WHERE amount = -1") . sql("SELECT count(*) FROM projection_states WHERE projection = 'states' AND state->>'amount' = '-1'"), '200200', 'the live rows are as they were');
$node->safe_psql('template1', 'CREATE DATABASE copy');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('copy'), $dump ], 'restored');
$node->safe_psql('copy', 'TRUNCATE kept.pace');
wait_for($node, 'copy', "SELECT string_agg(DISTINCT status, ' ') FROM chronicle.projections", 'running', 'the copy goes on with the rebuilds');
is($node->safe_psql('copy', $differences), 0, '… and verify_projection returns nothing there');
wait_for($node, 'copy', $leftovers, 0, '… and nothing is left behind');
$node->safe_psql('copy', "SELECT chronicle.rebuild_projection('sums'), chronicle.disable_projection('sums')");
$node->safe_psql('copy', 'DROP EXTENSION chronicle CASCADE');
is($node->safe_psql('copy', "SELECT count(*) FROM pg_namespace WHERE nspname ~ '^chronicle'"), 0, 'DROP EXTENSION takes a rebuild along');

# --- an event that kills: three times, then the rebuild has failed ---

sql("TRUNCATE pace; INSERT INTO deadly VALUES ('sale-f7', 50); SELECT rebuild_projection('states')");
wait_for($node, $db, "SELECT sqlstate FROM chronicle.projection_failures WHERE projection = 'states'", '57P02', 'an event that kills ends the rebuild');
is($node->safe_psql($db, "SELECT status FROM chronicle.projections WHERE name = 'states'"), 'running', '… the live one goes on');
wait_for($node, $db, $leftovers, 0, '… and nothing is left behind');
sql("TRUNCATE deadly; SELECT rebuild_projection(name) FROM projections WHERE name IN ($all)");
wait_for($node, $db, "SELECT string_agg(DISTINCT status, ' ') FROM chronicle.projections", 'running', 'rebuilt');
is($node->safe_psql($db, $differences), 0, 'verify_projection returns nothing');
is($node->safe_psql($db, "SELECT count(*) FROM chronicle.projections WHERE last_error IS NOT NULL"), 0, 'the error is forgotten');

# --- the code changes in the middle: it begins anew, and everything is of the new one ---

spoil();
sql("INSERT INTO pace VALUES (0.3); SELECT rebuild_projection(name) FROM projections WHERE name IN ($all)");
wait_for($node, $db, "SELECT count(*) > 0 FROM chronicle_data.projection_state AS s JOIN chronicle_data.projection_progress AS g USING (projection_id)
                      WHERE projection_id = 3 AND s.generation > g.generation AND s.state->>'n' = '150'", 't', 'some states are there already');
my $of_former = $node->safe_psql($db, 'SELECT started_at FROM chronicle_data.projection_rebuild WHERE projection_id = 3');
my $total = $node->safe_psql($db, q(SELECT pg_get_functiondef('kept.total'::regproc)));
$total =~ s/jsonb_build_object\(/jsonb_build_object('of', 'the new one', / or die;
sql($total);
wait_for($node, $db, "SELECT started_at > '$of_former' FROM chronicle_data.projection_rebuild WHERE projection_id = 3", 't', 'after CREATE OR REPLACE FUNCTION it begins anew');
wait_for($node, $db, 'SELECT min(position) > 0 FROM chronicle_data.projection_rebuild_part WHERE projection_id IN (1, 3)', 't', '… and goes on');
$of_former = $node->safe_psql($db, 'SELECT max(started_at) FROM chronicle_data.projection_rebuild');
sql("CREATE FUNCTION upcast(data jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT data'; SELECT register_event_type('sold', version => 2), register_upcaster('sold', 1, 'upcast')");
wait_for($node, $db, "SELECT count(*) FROM chronicle_data.projection_rebuild WHERE started_at > '$of_former'", 4, 'after a new upcaster all do, those of statements, too');
sql('TRUNCATE pace');
wait_for($node, $db, "SELECT string_agg(DISTINCT status, ' ') FROM chronicle.projections", 'running', 'rebuilt');
is($node->safe_psql($db, $differences), 0, 'verify_projection returns nothing');
is($node->safe_psql($db, "SELECT count(*) FROM chronicle.projection_states WHERE projection LIKE '%states' AND NOT state ? 'of'"), 0, 'every state is of the new function');
is($node->safe_psql($db, "SELECT count(*) FROM kept.sums WHERE stream LIKE 'sale-f%' AND amount <> 150"), 0, 'every row is right again');
wait_for($node, $db, $leftovers, 0, 'nothing is left behind');

# --- disabled, reset, dropped in the middle; the owner goes ---

spoil();
sql("INSERT INTO pace VALUES (0.3)");
sql("SELECT rebuild_projection(name) FROM projections WHERE name IN ($all)");
in_the_middle('rebuilds are under way again');
sql("SELECT disable_projection('sums'), drop_projection('inline_states'), reset_projection('states')");
is($node->safe_psql($db, "SELECT string_agg(DISTINCT projection_id::text, ' ') FROM chronicle_data.projection_rebuild_part"), '1 2', 'dropped or reset, a projection is not rebuilt any more');
sql('TRUNCATE pace');
wait_for($node, $db, "SELECT string_agg(status, ' ' ORDER BY name) FROM chronicle.projections", 'running running disabled', 'a disabled one waits');
is($node->safe_psql($db, "SELECT count(*) FROM chronicle_data.projection_rebuild_part WHERE projection_id = 1"), 1, '… with its rebuild');
sql("SELECT enable_projection('sums')");
wait_for($node, $db, "SELECT string_agg(DISTINCT status, ' ') FROM chronicle.projections", 'running', '… until it is enabled');
is(sql("SELECT wait_for_projection('sums', timeout => '60s') AND wait_for_projection('states', timeout => '60s')"), 't', 'they follow the log');
is($node->safe_psql($db, $differences), 0, 'verify_projection returns nothing');
wait_for($node, $db, $leftovers, 0, 'nothing is left behind');

my $work = work_sql('seconds');
$node->safe_psql($db, <<"SQL");
CREATE ROLE leaver LOGIN;
SELECT chronicle.grant_access('leaver', 'operator');
GRANT USAGE ON SCHEMA kept TO PUBLIC;
GRANT SELECT ON kept.pace TO PUBLIC;
CREATE FUNCTION public.slow(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS \$\$ BEGIN PERFORM $work FROM kept.pace; RETURN state; END \$\$;
SQL
sql_as($node, $db, 'leaver', q(SELECT chronicle.create_projection('left', handler => 'public.slow', streams => '{sale-f1}', options => '{"batch_size": 10}')));
wait_for($node, $db, "SELECT status FROM chronicle.projections WHERE name = 'left'", 'running', 'one more');
sql('INSERT INTO pace VALUES (0.3)');
sql_as($node, $db, 'leaver', q(SELECT chronicle.rebuild_projection('left')));
$node->safe_psql($db, 'DROP ROLE leaver');
sql('TRUNCATE pace');
wait_for($node, $db, "SELECT sqlstate FROM chronicle.projection_failures WHERE projection = 'left' AND error LIKE 'the rebuild failed: %leaver%'", '42704', 'without its owner a rebuild fails');
wait_for($node, $db, $leftovers, 0, '… and nothing is left behind');
$node->safe_psql($db, "SELECT chronicle.drop_projection('left')");

# --- an open transaction that has read the live rows delays nothing ---

spoil();
my $open = $node->background_psql($db);
$open->query_safe('BEGIN; SELECT count(*) FROM kept.sums; SELECT count(*) FROM chronicle.projection_states');
sql("SELECT rebuild_projection('sums'), rebuild_projection('states')");
wait_for($node, $db, "SELECT string_agg(DISTINCT status, ' ') FROM chronicle.projections", 'running', 'rebuilt beside an open reader');
is($node->safe_psql($db, "SELECT count(*) FROM chronicle.verify_projection('sums')") . $node->safe_psql($db, "SELECT count(*) FROM chronicle.verify_projection('states')"), '00', '… and right');
$open->query_safe('COMMIT');
$open->quit;
sql("SELECT rebuild_projection('inline_sums')"); # was spoilt, too
wait_for($node, $db, "SELECT string_agg(DISTINCT status, ' ') FROM chronicle.projections", 'running', 'rebuilt');

# --- who reads a staging table delays the end, and nobody else ---

spoil();
sql("INSERT INTO pace VALUES (0.3); SELECT rebuild_projection('inline_sums')");
my $schema;
wait_until(sub { $schema = $node->safe_psql($db, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'chronicle_rebuild%'") }, 'there is no staging table');
my $holder = $node->background_psql($db);
$holder->query_safe("BEGIN; LOCK TABLE $schema.inline_sums IN ACCESS SHARE MODE");
sql('TRUNCATE pace');
wait_for($node, $db, "SELECT attempts > 1 FROM chronicle_data.projection_rebuild WHERE projection_id = 2", 't', 'the end is tried, and put off');
is(sql("SELECT append_event('sale-new', 'sold', '{\"amount\": 5}')"), 1, '… appends go on meanwhile');
$holder->query_safe('COMMIT');
$holder->quit;
wait_for($node, $db, "SELECT status FROM chronicle.projections WHERE name = 'inline_sums'", 'running', 'then it ends');
is($node->safe_psql($db, "SELECT count(*) FROM chronicle.verify_projection('inline_sums')"), 0, '… and is right');

$node->stop;
done_testing();
