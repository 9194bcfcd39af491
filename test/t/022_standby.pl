# A hot standby reads the same log: in order, without gaps, up to its end; and goes on as a primary after its promotion.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/lib';
use ChronicleTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "shared_preload_libraries = 'chronicle'\nmax_worker_processes = 32\n");
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION chronicle');
$primary->safe_psql('postgres', "SELECT chronicle.append_event('cart-' || g, 'Added') FROM generate_series(1, 100) g");

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my $log = "SELECT string_agg(stream, ' ' ORDER BY global_position) FROM chronicle.read_all(100)";

# The log falls idle: the standby reaches its end all the same.
wait_for($standby, 'postgres', "SELECT count(*) FROM chronicle.read_all(max_count => 1000)", '100',
    'a standby reaches the end of an idle log');
wait_for($primary, 'postgres', "SELECT chronicle.safe_position() >= 100", 't', 'as the primary does');

# An open transaction holds readers of the standby back, too: what commits after it is not shown before it.
my $open = $primary->background_psql('postgres');
$open->query_safe("BEGIN; SELECT chronicle.append_event('open-1', 'Added');");
$primary->safe_psql('postgres', "SELECT chronicle.append_event('late-1', 'Added')");
$primary->safe_psql('postgres', "SELECT chronicle.append_event('late-2', 'Added')");
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is($standby->safe_psql('postgres', $log), '', 'nothing above an open append is shown');
is($standby->safe_psql('postgres', "SELECT count(*) FROM chronicle.events WHERE category = 'late'"),
    '2', 'although it is there');
$open->query_safe('COMMIT');
$open->quit;
wait_for($standby, 'postgres', $log, 'open-1 late-1 late-2', 'after its commit everything comes, in order');

# What is written on the standby is refused, and says so.
my (undef, undef, $refused) = $standby->psql('postgres', "SELECT chronicle.append_event('x-1', 'X')");
like($refused, qr/read-only transaction|during recovery/, 'a standby takes no append');

# Promotion: positions go on above all that anybody saw, and the work that was queued is done.
make_workflow($primary, 'postgres', 'after_promotion', [ [ 'a', 'SELECT 1 AS one' ] ]);
$primary->safe_psql('postgres', "ALTER SYSTEM SET chronicle.workers = off");
$primary->reload;
wait_for($primary, 'postgres', "SELECT count(*) FROM chronicle.workers WHERE role = 'scheduler'", '0', 'the primary rests');
my $run = start_run($primary, 'postgres', 'after_promotion');
my $seen = $primary->safe_psql('postgres', "SELECT max(global_position) FROM chronicle.events");
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$primary->stop('immediate');
$standby->promote;
my $next = $standby->safe_psql('postgres',
    "SELECT chronicle.append_event('new-1', 'Added'); SELECT chronicle.last_position()");
$next =~ s/.*\n//s;
cmp_ok($next, '>', $seen, 'positions go on above every one given before');
wait_for($standby, 'postgres', $log, 'open-1 late-1 late-2 new-1', 'the log goes on');
$standby->safe_psql('postgres', 'SELECT 1');
wait_for($standby, 'postgres', "SELECT status FROM chronicle.executions WHERE execution_id = '$run'", 'completed',
    'what was queued is done by the new primary');

done_testing();
