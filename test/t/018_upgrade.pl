# pg_upgrade of a cluster with chronicle in it (to the same major version: what PostgreSQL itself changes is not ours).
# The servers that pg_upgrade starts preload the library, and nothing of ours runs in them; then events, states,
# projections and a run that was queued go on.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $old = new_node('old', conf => "chronicle.workers = off\n");
$old->safe_psql($db, <<'SQL');
SET search_path = public, chronicle;
CREATE TABLE effect (n int);
CREATE FUNCTION total(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE sql IMMUTABLE
    RETURN jsonb_build_object('sum', (state ->> 'sum')::int + (event.data ->> 'n')::int);
SELECT create_aggregate('acc', 'public.total', '{"sum": 0}', snapshot_every => 10);
SELECT create_projection('totals', handler => 'public.total', initial_state => '{"sum": 0}', categories => '{acc}', partition_by => 'stream');
SELECT register_event_type('Deposited', '{"required": ["n"]}');
SELECT append_event('acc-' || i % 3, 'Deposited', jsonb_build_object('n', i)) FROM generate_series(1, 90) AS i;
SELECT set_stream_retention('acc-2', max_count => 5);
SELECT create_workflow('{"id": "w", "nodes": [{"id": "a", "nodeType": "sql.query", "config": {"sql": "INSERT INTO public.effect VALUES (1)"}}]}');
SELECT execute_workflow('w');
SQL
my $seen = q{SET search_path = public, chronicle; SELECT * FROM read_all(max_count => 1000); SELECT * FROM streams ORDER BY 1;
    SELECT aggregate_state('acc-' || n) FROM generate_series(0, 2) AS n; SELECT stream, version FROM snapshots ORDER BY 1, 2;
    SELECT execution_id, workflow_id, queued_at FROM executions};
my $before = $old->safe_psql($db, $seen);
my $last = $old->safe_psql($db, 'SELECT max(global_position) FROM chronicle.events');
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init;
$new->append_conf('postgresql.conf', "shared_preload_libraries = 'chronicle'\nmax_worker_processes = 32\n");

my $bindir = $old->config_data('--bindir');
chdir $new->basedir or die "chdir: $!"; # pg_upgrade writes where it is
command_ok(
    [ 'pg_upgrade', '--retain', '--no-sync', '-b', $bindir, '-B', $bindir, '-d', $old->data_dir, '-D', $new->data_dir,
        '-p', $old->port, '-P', $new->port, '-s', $new->host, '-U', 'postgres' ],
    'pg_upgrade');
my @logs = (glob($new->data_dir . '/pg_upgrade_output.d/*/log/pg_upgrade_server*.log'), glob($new->basedir . '/pg_upgrade_server*.log'));
cmp_ok(scalar(@logs), '>', 0, 'the servers that it started have logs');
is(scalar(grep { slurp_file($_) =~ /chronicle (?:launcher|scheduler|executor)/ } @logs), 0, 'no process of ours ran meanwhile');

$new->start;
is($new->safe_psql($db, $seen), $before, 'the same events, streams, states, snapshots and runs');
wait_for($new, $db, q{SELECT string_agg(status, ' ') FROM chronicle.executions}, 'completed', 'the run that was queued is done');
is($new->safe_psql($db, 'SELECT count(*) FROM effect'), 1, '… once');
wait_for($new, $db, q{SELECT bool_and(chronicle.projection_state('totals', s) = chronicle.aggregate_state(s)) FROM unnest('{acc-0,acc-1}'::text[]) AS s},
    't', 'the projection goes on');
is($new->safe_psql($db, q{SELECT chronicle.append_event('acc-0', 'Deposited', '{"n": 1}', expected_version => 30)}), 31, 'versions go on');
cmp_ok($new->safe_psql($db, 'SELECT max(global_position) FROM chronicle.events'), '>', $last, 'so do positions');
fails_with($new, $db, q{SELECT chronicle.append_event('acc-0', 'Deposited')}, 'CH004', 'n', 'types are checked');
done_testing();
