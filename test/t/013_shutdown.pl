# Shutdown, restart, and turning workers off and on.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = new_node('shutdown');
$node->safe_psql($db, 'CREATE ROLE alice LOGIN; CREATE ROLE idler NOLOGIN; CREATE TABLE effect (note text); GRANT ALL ON effect TO alice, idler');
$node->safe_psql($db, "SELECT chronicle.grant_access(r, 'operator') FROM unnest('{alice,idler}'::regrole[]) AS r");

# One waits in a call that can be interrupted, one computes without end, one serves a role that cannot log in.
make_workflow($node, $db, 'sleep', [ [ 'sleeping', long_sql() ] ], [], 'alice');
make_workflow($node, $db, 'loop', [ [ 'looping', 'SELECT count(*) FROM generate_series(1, 1000000000000) AS a, generate_series(1, 1000) AS b' ] ], [], 'alice');
make_workflow($node, $db, 'idle', [ [ 'idling', long_sql() ] ], [], 'idler');
make_workflow($node, $db, 'quick', [ [ 'quick', "INSERT INTO effect VALUES ('quick')" ] ], [], 'alice');
my %run = map { $_ => start_run($node, $db, $_) } qw(sleep loop idle);
my %node_of = (sleep => 'sleeping', loop => 'looping', idle => 'idling');

sub all_at_work {
    executor_of($node, $db, $db, $node_of{$_}) for keys %run;
    return 1;
}

# --- fast shutdown and restart ---

for my $round (1, 2, 3, 4) {
    all_at_work();
    {
        # Three seconds are what the workers promise; pg_ctl is the clock.
        local $ENV{PGCTLTIMEOUT} = 3;
        ok($node->stop('fast', fail_ok => 1), "fast shutdown $round is over within 3 s while nodes run");
    }
    $node->start;
}
ok(all_at_work(), 'after the restarts the nodes run again');
is( $node->safe_psql($db, 'SELECT DISTINCT attempt, losses, alone FROM chronicle_data.node_task'), '1|0|f',
    'four shutdowns cost no attempt and count as no loss');
is($node->safe_psql($db, "SELECT DISTINCT status FROM chronicle.executions"), 'running', 'their runs go on');

# --- off and on for the server ---

my $idle_or_scheduler = "SELECT count(*) FROM chronicle.workers WHERE role = 'scheduler' OR role = 'executor' AND state <> 'busy'";
$node->append_conf('postgresql.conf', 'chronicle.workers = off');
$node->reload;
wait_for($node, $db, $idle_or_scheduler, '0', 'chronicle.workers = off and a reload: the workers leave');
is($node->safe_psql($db, "SELECT count(*) FROM chronicle.workers WHERE state = 'busy'"), '3', 'those that run a node finish it first');
my $queued = start_run($node, $db, 'quick');
$node->restart;
is($node->safe_psql($db, "SELECT status FROM chronicle.executions WHERE execution_id = '$queued'"), 'pending', 'what is queued meanwhile waits, also over a restart');
is($node->safe_psql($db, $idle_or_scheduler), '0', 'no worker comes up');
$node->append_conf('postgresql.conf', 'chronicle.workers = on');
$node->reload;
run_ends($node, $db, $queued, 'completed', 'on and a reload: what was queued runs');
ok(all_at_work(), 'and what was interrupted runs again');

# --- off and on for one database ---

new_database($node, 'other');
make_workflow($node, 'other', 'quick', [ [ 'quick', 'SELECT 1' ] ]);
run_ends($node, 'other', start_run($node, 'other', 'quick'), 'completed', 'another database works');
$node->safe_psql($db, 'ALTER DATABASE other SET chronicle.workers = off');
wait_for($node, $db, "SELECT count(*) FROM chronicle.workers WHERE database = 'other'", '0', 'ALTER DATABASE … SET chronicle.workers = off: its workers leave');
$queued = start_run($node, 'other', 'quick');
run_ends($node, $db, start_run($node, $db, 'quick'), 'completed', 'those of other databases work on');
is($node->safe_psql('other', "SELECT status FROM chronicle.executions WHERE execution_id = '$queued'"), 'pending', 'its own work waits');
$node->safe_psql($db, 'ALTER DATABASE other SET chronicle.workers = on');
run_ends($node, 'other', $queued, 'completed', '… SET chronicle.workers = on: it runs');

# Only for one database, while the server says off.
$node->append_conf('postgresql.conf', 'chronicle.workers = off');
$node->reload;
wait_for($node, $db, "SELECT count(*) FROM chronicle.workers WHERE database = '$db' AND role = 'scheduler'", '0', 'off for the server again');
run_ends($node, 'other', start_run($node, 'other', 'quick'), 'completed', 'a database that says on works');

is($node->safe_psql($db, "SELECT count(*) FROM effect"), '2', 'each run had its effects once');
{
    local $ENV{PGCTLTIMEOUT} = 3;
    ok($node->stop('fast', fail_ok => 1), 'and a last shutdown in time');
}
done_testing();
