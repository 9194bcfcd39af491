# Nodes that wait survive the server: kill -9 of everything, restarts, a downtime in which they come due. Each wait ends
# once, and what nodes after it write is there once.
# crash-expected
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = new_node('waits');
$node->append_conf('postgresql.conf', "restart_after_crash = on\n");
$node->reload;

sub ask { return $node->safe_psql($db, $_[0]) }

# A test: a node of a run is in this state, within the deadline.
sub node_is {
    my ($run, $node_id, $status, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return wait_for($node, $db, "SELECT status FROM chronicle.node_executions WHERE execution_id = '$run' AND node_id = '$node_id'", $status, $what);
}

# Whatever is there is killed at once; the server comes back with empty shared memory.
sub crash {
    my ($down) = @_;
    my $since = time;
    my $pid = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
    $node->kill9;
    until_so(sub { !kill(0, $pid) && time - $since >= ($down // 0) });
    until_so(sub { $node->start(fail_ok => 1) }); # its backends notice and end a moment later
    return;
}

sub until_so {
    my ($condition) = @_;
    my $late = time + $ChronicleTest::deadline;
    until ($condition->()) {
        die 'not in time' if time > $late;
        select undef, undef, undef, 0.05;
    }
    return;
}

ask('CREATE TABLE written (what text)');

sub writes { return [ $_[0], "INSERT INTO written VALUES ('$_[1]')" ] }
sub control { my ($id, $type, %config) = @_; return { id => $id, nodeType => $type, config => \%config } }

make_workflow($node, $db, 'timer', [ control('t', 'wait.timer', for => '4s'), writes('w', 'timer') ], ['t>w']);
make_workflow($node, $db, 'past', [ control('t', 'wait.timer', for => '3s'), writes('w', 'past') ], ['t>w']);
make_workflow($node, $db, 'signal', [ control('s', 'wait.signal', name => 'go'), writes('w', 'signal') ], ['s>w']);
make_workflow($node, $db, 'early', [ control('t', 'wait.signal', name => 'start'), control('s', 'wait.signal', name => 'go'), writes('w', 'early') ], [ 't>s', 's>w' ]);
make_workflow($node, $db, 'task', [ control('t', 'task.external', queue => 'q'), writes('w', 'task') ], ['t>w']);
make_workflow($node, $db, 'expires', [ { %{ control('t', 'task.external', queue => 'e') }, retry => { max_attempts => 2, initial_interval => 0 } }, writes('w', 'expires') ], ['t>w']);
make_workflow($node, $db, 'parent', [ control('c', 'workflow.call', workflow => 'signal'), writes('w', 'parent') ], ['c>w']);
make_workflow($node, $db, 'map', [ control('m', 'map.each', workflow => 'timer', items => [ 1, 2, 3 ], max_concurrency => 2), writes('w', 'map') ], ['m>w']);

my %run = map { $_ => start_run($node, $db, $_) } qw(timer past signal early task expires parent map);
node_is($run{$_->[0]}, $_->[1], 'waiting', "$_->[0] waits")
  for [qw(timer t)], [qw(past t)], [qw(signal s)], [qw(early t)], [qw(task t)], [qw(expires t)], [qw(parent c)], [qw(map m)];
ask("SELECT chronicle.signal_execution('$run{early}', 'go', '1')");
my $task = ask("SELECT task_id FROM chronicle.claim_tasks('q', 'w', lease => '1 hour')");
my $short = ask("SELECT task_id FROM chronicle.claim_tasks('e', 'w', lease => '1 ms')");
wait_for($node, $db, "SELECT attempt FROM chronicle.tasks WHERE task_id = $short", '2', 'a lease that ends is noticed');
$short = ask("SELECT task_id FROM chronicle.claim_tasks('e', 'w', lease => '300 ms')");
my ($child) = ask("SELECT execution_id FROM chronicle.executions WHERE parent_execution_id = '$run{parent}'");
node_is($child, 's', 'waiting', 'the child waits');

# Down for longer than the timer and the lease last; what comes due meanwhile fires once it is up.
crash(4);
run_ends($node, $db, $run{past}, 'completed', 'a timer that came due while the server was down fires');
run_ends($node, $db, $run{timer}, 'completed', 'a timer that had begun before it fires');
run_ends($node, $db, $run{expires}, 'failed', 'a lease that ended while the server was down ends its attempt');

ask("SELECT chronicle.signal_execution('$run{signal}', 'go')");
crash();
run_ends($node, $db, $run{signal}, 'completed', 'a signal that was committed before a crash is there after it');
ask("SELECT chronicle.signal_execution('$run{early}', 'start')");
run_ends($node, $db, $run{early}, 'completed', 'a signal that was sent before its wait, and before crashes, is taken');
ask("SELECT chronicle.complete_task($task, 1)");
crash();
run_ends($node, $db, $run{task}, 'completed', 'a lease of a program outside lasts over crashes');
ask("SELECT chronicle.signal_execution('$child', 'go')");
crash();
run_ends($node, $db, $run{parent}, 'completed', "the end of a child reaches its parent over a crash");
run_ends($node, $db, $run{map}, 'completed', 'a map goes on over crashes');

# A crash at any moment of a map that is under way.
make_workflow($node, $db, 'quick', [ [ 'q', "INSERT INTO written VALUES ('item ' || (:input::jsonb #>> '{}'))" ] ]);
make_workflow($node, $db, 'wide', [ control('m', 'map.each', workflow => 'quick', items => { '$' => '$.input' }) ]);
my $wide = ask("SELECT chronicle.execute_workflow('wide', (SELECT jsonb_agg(i) FROM generate_series(1, 60) AS i))");
for my $enough (1, 20, 45) {
    wait_for($node, $db, "SELECT count(*) >= $enough FROM written WHERE what LIKE 'item %'", 't', "$enough items are done: crash");
    crash();
}
run_ends($node, $db, $wide, 'completed', 'the map completes');
is(ask("SELECT count(*), count(DISTINCT what) FROM written WHERE what LIKE 'item %'"), '60|60', 'each item was done once');

is(ask("SELECT string_agg(what || ' ' || count, ', ' ORDER BY what) FROM (SELECT what, count(*) FROM written WHERE what NOT LIKE 'item %' GROUP BY what) AS w"),
    'early 1, map 1, parent 1, past 1, signal 2, task 1, timer 4', 'what follows a wait is done once');
is(ask("SELECT count(*) FROM chronicle.execution_history WHERE type = 'TimerFired'"), '5', 'each timer fired once');
is(ask('SELECT (SELECT count(*) FROM chronicle_data.node_task), (SELECT count(*) FROM chronicle_data.awaited_child), (SELECT count(*) FROM chronicle_data.map_item)'), '0|0|0', 'nothing is left over');

$node->stop;
done_testing();
