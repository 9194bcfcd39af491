# Executors remember the state of the runs that they work on. Two of them take turns at one run: whoever works on it next has to
# see what the other one, or a caller, has done to it since.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = new_node('run_state', conf => "chronicle.worker_processes = 2\n");
$node->safe_psql($db, <<'SQL');
CREATE SEQUENCE tries;
SELECT chronicle.create_workflow('{"id": "gate", "nodes": [{"id": "gate", "nodeType": "sql.query", "own_transaction": true, "config": {"sql": "SELECT pg_advisory_xact_lock_shared((:input ->> ''number'')::int)"}}]}');
SQL

# --- who is free ---

my (%gate, $gates); # pid: the gate at which it stands
my $keeper = $node->background_psql($db); # a gate is shut while this session has its lock

# Both stand at gates.
sub occupy {
    while (keys %gate < 2) {
        my $number = ++$gates;
        $keeper->query_safe("SELECT pg_advisory_lock($number)");
        my $run = $node->safe_psql($db, "SELECT chronicle.execute_workflow('gate', '{\"number\": $number}')");
        my $at_it = "FROM chronicle.workers WHERE current_execution = '$run' AND role = 'executor'";
        wait_for($node, $db, "SELECT count(*) $at_it", '1', "gate $number: somebody stands at it");
        $gate{ $node->safe_psql($db, "SELECT pid $at_it") } = $number;
    }
    return;
}

# Only this one is free.
sub free_only {
    my ($pid) = @_;
    occupy();
    my $number = delete $gate{$pid};
    $keeper->query_safe("SELECT pg_advisory_unlock($number)");
    wait_for($node, $db, "SELECT count(*) FROM chronicle.executions WHERE workflow_id = 'gate' AND status = 'completed' AND (input ->> 'number')::int = $number", '1', "gate $number: it has passed");
    return;
}

# --- the run ---

sub sql { my ($id, $sql, %more) = @_; return { id => $id, nodeType => 'sql.query', config => { sql => $sql }, %more }; }
sub signal { my ($id) = @_; return { id => $id, nodeType => 'wait.signal', config => { name => $id } }; }
my @edges;

sub edge { my ($source, $target, $condition) = @_; push @edges, { source => $source, target => $target, defined $condition ? (condition => $condition) : () }; return; }

my @nodes = (
    (map { signal("s$_") } 1 .. 8),
    sql('choose', 'SELECT 1 AS x'), sql('yes', 'SELECT 1'), sql('no', 'SELECT 1'), sql('after_no', 'SELECT 1'), signal('late'), sql('chosen', 'SELECT pg_backend_pid() AS pid'),
    { id => 'far', nodeType => 'wait.timer', config => { for => '1h' } }, sql('after_far', 'SELECT 1'), sql('any', 'SELECT 1', join => 'any'), sql('decided', 'SELECT pg_backend_pid() AS pid'),
    sql('bad', 'SELECT 1 / 0', on_failure => 'continue'), sql('after_bad', 'SELECT 1'), sql('went_on', 'SELECT pg_backend_pid() AS pid'),
    sql('shaky', q{SELECT 1 / (nextval('tries') - 1)::int AS x, pg_backend_pid() AS pid}, retry => { max_attempts => 2, initial_interval => '1h', max_interval => '1h' }), sql('beside', 'SELECT pg_backend_pid() AS pid')
);
edge('s1', 'choose'), edge('choose', 'yes', '$.x == 1'), edge('choose', 'no', '$.x == 2'), edge('no', 'after_no'), edge('yes', 'late');
edge($_, 'chosen') for qw(s2 yes after_no);
edge('far', 'after_far'), edge('after_far', 'any'), edge('s3', 'any');
edge($_, 'decided') for qw(s4 any);
edge('s5', 'bad'), edge('bad', 'after_bad');
edge($_, 'went_on') for qw(s6 after_bad);
edge('s7', 'shaky'), edge('s8', 'beside');
my $json = JSON::PP->new->canonical->encode({ id => 'turns', nodes => \@nodes, edges => \@edges });
$node->safe_psql($db, "SELECT chronicle.create_workflow(\$json\$$json\$json\$)");

occupy();
my ($one, $other) = sort keys %gate;
my $run;
my $status = sub { return $node->safe_psql($db, "SELECT string_agg(node_id || ' ' || status, ', ' ORDER BY node_id) FROM chronicle.node_executions WHERE execution_id = '$run' AND node_id IN (" . join(', ', map { "'$_'" } @_) . ')'); };
my $signal = sub { my ($name) = @_; return $node->safe_psql($db, "SELECT chronicle.signal_execution('$run', '$name')"); };
my $until = sub {
    my ($id, $wanted, $what) = @_;
    return wait_for($node, $db, "SELECT status FROM chronicle.node_executions WHERE execution_id = '$run' AND node_id = '$id'", $wanted, $what);
};
my $ran_in = sub { my ($id, $pid, $what) = @_; return is($node->safe_psql($db, "SELECT output #>> '{0,pid}' FROM chronicle.node_executions WHERE execution_id = '$run' AND node_id = '$id'"), $pid, $what); };

free_only($one);
$run = start_run($node, $db, 'turns');
wait_for($node, $db, "SELECT count(*) FROM chronicle.node_executions WHERE execution_id = '$run' AND status = 'waiting'", '9', 'one: nine nodes wait');

free_only($other);
$signal->('s1');
$until->('late', 'waiting', 'the other: a choice is made, and a node begins to wait');
is($status->(qw(yes no after_no)), 'after_no skipped, no skipped, yes completed', '… one branch is skipped');

free_only($one);
$signal->('s2');
$until->('chosen', 'completed', 'one: what needed both branches runs');
$ran_in->('chosen', $one, '… there');
wait_for($node, $db, "SELECT status FROM chronicle.executions WHERE execution_id = '$run'", 'waiting', '… and the run waits');

free_only($other);
$signal->('s3');
$until->('any', 'completed', 'the other: the first of two is enough');
is($status->(qw(far after_far)), 'after_far cancelled, far cancelled', '… what nobody needs is cancelled');
$signal->('s5');
$until->('after_bad', 'completed', '… a failure that goes on');

free_only($one);
$signal->('s4');
$until->('decided', 'completed', 'one: what comes after the first of two runs');
$ran_in->('decided', $one, '… there');
$signal->('s6');
$until->('went_on', 'completed', '… and after the failure');
$ran_in->('went_on', $one, '… there');

free_only($other);
$signal->('s7');
$until->('shaky', 'retrying', 'the other: an attempt fails');

free_only($one);
$signal->('s8');
$until->('beside', 'completed', 'one: something runs beside it');
$signal->('late');
$until->('late', 'completed', '… the last wait ends');
$node->safe_psql($db, "UPDATE chronicle_data.node_task SET due_at = clock_timestamp() WHERE execution_id = '$run'");
$node->safe_psql($db, q{SELECT chronicle.execute_workflow('gate', '{"number": 0}', run_at => clock_timestamp())}); # makes the scheduler look
run_ends($node, $db, $run, 'completed', '… the failed attempt is repeated, and it knows that all is over');
$ran_in->('shaky', $one, '… there');
is($node->safe_psql($db, "SELECT status, count(*), max(attempts) FROM chronicle.node_executions WHERE execution_id = '$run' GROUP BY 1 ORDER BY 1"),
    "cancelled|2|1\ncompleted|18|2\nfailed|1|1\nskipped|2|0", 'each node has ended as it should');

# --- a caller cancels the run, and retries it: of what was remembered nothing holds ---

$json = JSON::PP->new->canonical->encode({ id => 'again', nodes => [ signal('s1'), signal('s2'), sql('end', 'SELECT pg_backend_pid() AS pid') ], edges => [ { source => 's1', target => 'end' }, { source => 's2', target => 'end' } ] });
$node->safe_psql($db, "SELECT chronicle.create_workflow(\$json\$$json\$json\$)");
free_only($one);
$run = start_run($node, $db, 'again');
wait_for($node, $db, "SELECT count(*) FROM chronicle.node_executions WHERE execution_id = '$run' AND status = 'waiting'", '2', 'another run: two nodes wait');
$signal->('s1');
$until->('s1', 'completed', '… one of them no more');
$node->safe_psql($db, "SELECT chronicle.cancel_execution('$run')");
$node->safe_psql($db, "SELECT chronicle.retry_execution('$run')");
$until->('s2', 'waiting', 'cancelled and retried: what was cancelled waits again');
$signal->('s2');
run_ends($node, $db, $run, 'completed', '… and the run comes to its end');
$ran_in->('end', $one, '… in the process that remembered it');

# --- a retry budget counts on over crashes of the server ---

$keeper->query_safe('SELECT pg_advisory_unlock_all()');
$keeper->quit;
$json = JSON::PP->new->canonical->encode({ id => 'budget', nodes => [ sql('bad', 'SELECT 1 / 0', retry => { max_attempts => 3, initial_interval => '1h', max_interval => '1h' }) ] });
$node->safe_psql($db, "SELECT chronicle.create_workflow(\$json\$$json\$json\$)");
$run = start_run($node, $db, 'budget');
for my $attempt (1, 2) {
    wait_for($node, $db, "SELECT status, attempts FROM chronicle.node_executions WHERE execution_id = '$run'", "retrying|$attempt", "attempt $attempt has failed, another one is to come");
    $node->stop('immediate');
    $node->start;
    is($node->safe_psql($db, "SELECT status, attempts FROM chronicle.node_executions WHERE execution_id = '$run'"), "retrying|$attempt", '… also after a crash');
    $node->safe_psql($db, "UPDATE chronicle_data.node_task SET due_at = clock_timestamp() WHERE execution_id = '$run'");
    $node->safe_psql($db, q{SELECT chronicle.execute_workflow('gate', '{"number": 0}', run_at => clock_timestamp())});
}
run_ends($node, $db, $run, 'failed', 'after the third the run has failed');
is($node->safe_psql($db, "SELECT type, count(*), max((data ->> 'attempt')::int) FROM chronicle.execution_history WHERE execution_id = '$run' AND node_id = 'bad' GROUP BY 1 ORDER BY 1"),
    "NodeExecutionFailed|3|3\nNodeExecutionRetryScheduled|2|2\nNodeExecutionStarted|3|3", 'three attempts, each started once and ended once');

$node->stop;
done_testing();
