# Projections when a worker or the whole server is killed under a load of appends, 20 times: every event counts exactly once, in
# the table of a statement, in states, in a handler's table, and in an inline projection.
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
my $node = new_node('projections_crash', conf => "restart_after_crash = on\nchronicle.worker_processes = 4\n");
my $rounds = 20;

$node->safe_psql($db, <<'SQL');
CREATE ROLE keeper LOGIN;
SELECT chronicle.grant_access('keeper', 'operator');
CREATE SCHEMA kept AUTHORIZATION keeper;
SQL
sql_as($node, $db, 'keeper', <<'SQL');
SET search_path = kept, chronicle;
CREATE TABLE sums (stream text PRIMARY KEY, n bigint, amount bigint);
CREATE TABLE inline_sums (LIKE sums INCLUDING ALL);
CREATE TABLE seen (position bigint PRIMARY KEY);
CREATE FUNCTION note(event chronicle.event) RETURNS void LANGUAGE sql AS $$ INSERT INTO kept.seen VALUES (event.global_position) $$;
CREATE FUNCTION total(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN RETURN jsonb_build_object('n', (state->>'n')::bigint + 1, 'amount', (state->>'amount')::bigint + (event.data->>'amount')::bigint); END $$;
SELECT create_projection('sums', statement => $$ INSERT INTO sums AS s SELECT stream, count(*), sum((data->>'amount')::bigint) FROM new_events GROUP BY 1
    ON CONFLICT (stream) DO UPDATE SET n = s.n + excluded.n, amount = s.amount + excluded.amount $$, categories => '{sale}');
SELECT create_projection('inline_sums', mode => 'inline', statement => $$ INSERT INTO inline_sums AS s SELECT stream, count(*), sum((data->>'amount')::bigint)
    FROM new_events GROUP BY 1 ON CONFLICT (stream) DO UPDATE SET n = s.n + excluded.n, amount = s.amount + excluded.amount $$, categories => '{sale}');
SELECT create_projection('states', handler => 'total', partition_by => 'stream', initial_state => '{"n": 0, "amount": 0}', categories => '{sale}');
SELECT create_projection('one_state', handler => 'total', initial_state => '{"n": 0, "amount": 0}', categories => '{sale}', options => '{"batch_size": 7}');
SELECT create_projection('seen', handler => 'note', categories => '{sale}');
SQL

my $script = PostgreSQL::Test::Utils::tempdir() . '/load.sql';
append_to_file($script, <<'SQL');
\set stream random(1, 20)
\set amount random(1, 1000)
SELECT chronicle.append_event('sale-' || :stream, 'sold', jsonb_build_object('amount', :amount::int));
SQL

sub wait_until {
    my ($condition, $otherwise) = @_;
    my $end = time + $ChronicleTest::deadline;
    while (!$condition->()) {
        die $otherwise if time > $end;
        select(undef, undef, undef, 0.02);
    }
}

sub processed {
    return $node->safe_psql($db, 'SELECT sum(events_processed) FROM chronicle_data.projection_progress');
}

sub kill_executor {
    my $pid;
    wait_until(sub { $pid = $node->safe_psql($db, "SELECT pid FROM chronicle.workers WHERE role = 'executor' AND owner = 'keeper' LIMIT 1") },
        'there is no executor');
    my $since = -s $node->logfile;
    kill('KILL', $pid) == 1 or die 'there is no such process';
    $node->wait_for_log(qr/database system is ready to accept connections/, $since);
}

sub kill_server {
    my $pid = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
    $node->kill9;
    wait_until(sub { !kill(0, $pid) }, 'the postmaster is not dead');
    wait_until(sub { $node->start(fail_ok => 1) }, 'the server does not come back');
}

my $projected = 0;
for my $round (1 .. $rounds) {
    my $output = '';
    my $load = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-T', 300, '-f', $script, $node->connstr($db) ], '<', \undef, '>', \$output, '2>&1');
    my $before = processed();
    wait_until(sub { processed() > $before }, "nothing is projected in round $round");
    $projected++;
    $round % 2 ? kill_executor() : kill_server();
    $load->finish; # it has lost its connections
}
is($projected, $rounds, "in each of $rounds rounds projections went on under the load");

my @names = qw(sums states one_state seen);
for my $name (@names) {
    wait_for($node, $db, "SELECT chronicle.wait_for_projection('$name', timeout => '30s')", 't', "projection $name comes to the end");
}
my $events = $node->safe_psql($db, "SELECT count(*), sum((data->>'amount')::bigint) FROM chronicle.events WHERE category = 'sale'");
note("events and their sum: $events");
my $fresh = "SELECT stream, count(*), sum((data->>'amount')::bigint) FROM chronicle.events WHERE category = 'sale' GROUP BY stream";
for my $table (qw(sums inline_sums)) {
    is($node->safe_psql($db, "SELECT count(*) FROM ((TABLE kept.$table EXCEPT $fresh) UNION ALL ($fresh EXCEPT TABLE kept.$table)) AS d"),
        0, "$table: equal to a fresh computation over the events");
}
is($node->safe_psql($db, "SELECT s.state->>'n', s.state->>'amount' FROM chronicle.projection_states AS s WHERE projection = 'one_state'"),
    $events, 'one state for all: the same count and sum');
is($node->safe_psql($db, "SELECT count(*), sum((state->>'n')::bigint) FROM chronicle.projection_states WHERE projection = 'states'"),
    $node->safe_psql($db, "SELECT count(DISTINCT stream), count(*) FROM chronicle.events WHERE category = 'sale'"), 'states of streams: the same count');
is($node->safe_psql($db, "SELECT count(*) FROM chronicle.verify_projection('states')"), 0, 'verify_projection finds no difference');
is($node->safe_psql($db, 'SELECT count(*) FROM kept.seen'), (split /\|/, $events)[0], 'a handler saw each event once');
is($node->safe_psql($db, "SELECT count(*) FROM chronicle.projection_failures"), 0, 'no event is held to be at fault');
is($node->safe_psql($db, "SELECT string_agg(DISTINCT status, ',') FROM chronicle.projections"), 'running', 'all projections run');

done_testing();
