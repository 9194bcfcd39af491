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

sub processed {
    return $node->safe_psql($db, 'SELECT sum(events_processed) FROM chronicle_data.projection_progress');
}

my @followers = qw(sums states one_state seen);
my $fresh = "SELECT stream, count(*), sum((data->>'amount')::bigint) FROM chronicle.events WHERE category = 'sale' GROUP BY stream";
my %differences = (
    (map { $_ => "SELECT count(*) FROM ((TABLE kept.$_ EXCEPT $fresh) UNION ALL ($fresh EXCEPT TABLE kept.$_)) AS d" } qw(sums inline_sums)),
    states => "SELECT count(*) FROM ($fresh) AS f (stream, n, amount) FULL JOIN (SELECT * FROM chronicle.projection_states WHERE projection = 'states') AS s ON s.partition = f.stream
                WHERE s.state IS DISTINCT FROM jsonb_build_object('n', f.n, 'amount', f.amount)",
    one_state => "SELECT count(*) FROM (SELECT sum(n), sum(amount) FROM ($fresh) AS f (stream, n, amount)) AS f (n, amount)
                   WHERE chronicle.projection_state('one_state') IS DISTINCT FROM jsonb_build_object('n', f.n, 'amount', f.amount)",
    seen => "SELECT count(*) FROM kept.seen AS s FULL JOIN (SELECT global_position FROM chronicle.events WHERE category = 'sale') AS e ON e.global_position = s.position
              WHERE s.position IS NULL OR e.global_position IS NULL",
);

my ($killed, $equal, $events) = (0, 0, 0);
for my $round (1 .. $rounds) {
    my $output = '';
    my $load = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-T', 300, '-f', $script, $node->connstr($db) ], '<', \undef, '>', \$output, '2>&1');
    my $before = processed();
    wait_until(sub { processed() > $before }, "nothing is projected in round $round");
    $round % 2 ? kill_executor($node, $db, 'keeper') : kill_server($node);
    $killed++;
    $load->finish; # it has lost its connections
    wait_until(sub { $node->safe_psql($db, "SELECT bool_and(chronicle.wait_for_projection(name, timeout => '10s')) FROM unnest('{@{[join ',', @followers]}}'::text[]) AS name") eq 't' },
        "projections do not come to the end in round $round");
    my %found = map { $_ => $node->safe_psql($db, $differences{$_}) } sort keys %differences;
    my @wrong = grep { $found{$_} ne '0' } sort keys %found;
    $equal++ unless @wrong;
    diag("round $round: $_: $found{$_} differences") for @wrong;
    $events = $node->safe_psql($db, "SELECT count(*) FROM chronicle.events WHERE category = 'sale'");
}
is($killed, $rounds, "$rounds times a worker or the server was killed while projections followed the load");
is($equal, $rounds, 'and each time everything that is projected was equal to a fresh computation over the events');
note("$events events");
is($node->safe_psql($db, "SELECT count(*) FROM chronicle.verify_projection('states')"), 0, 'verify_projection finds no difference');
is($node->safe_psql($db, "SELECT count(*) FROM chronicle.projection_failures"), 0, 'no event is held to be at fault');
is($node->safe_psql($db, "SELECT string_agg(DISTINCT status, ',') FROM chronicle.projections"), 'running', 'all projections run');

done_testing();
