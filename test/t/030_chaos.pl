# Runs of every shape while workers and the server are killed at random: in the end every run is over, every effect is there
# exactly once, nothing is left in a queue, and what the views show is what the events tell.
#
# CHRONICLE_CHAOS_KILLS: how many kills (default 8; a release is tested with 100).
# crash-expected
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $kills = $ENV{CHRONICLE_CHAOS_KILLS} // 8;
my $seed = $ENV{CHRONICLE_CHAOS_SEED} // time;
srand($seed);
note "CHRONICLE_CHAOS_SEED=$seed";
$ChronicleTest::deadline = 180;

my $node = new_node('chaos', conf => "restart_after_crash = on\nmax_connections = 60\nchronicle.worker_processes = 6\ndeadlock_timeout = 100ms\n");
$node->safe_psql($db, <<'SQL');
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
SELECT chronicle.grant_access(r, 'operator') FROM unnest('{alice,bob}'::regrole[]) AS r;
CREATE TABLE effect (run uuid, node text, item text DEFAULT '', at timestamptz DEFAULT clock_timestamp());
CREATE TABLE started (run uuid PRIMARY KEY, shape text, expected text);
CREATE SEQUENCE tries;
GRANT ALL ON effect, started, tries TO alice, bob;
CREATE FUNCTION as_child(context jsonb) RETURNS jsonb LANGUAGE sql AS $$
    INSERT INTO effect (run, node, item) VALUES ((context ->> 'execution_id')::uuid, 'function', context -> 'input' ->> 'n');
    SELECT context -> 'input' $$;
SQL

# --- the shapes ---

# A node that leaves one effect; `first`: a select list to begin with (sleep, fail).
sub effect_node {
    my ($id, %more) = @_;
    my $first = delete $more{first} // '1';
    my $item = delete $more{item} // "''";
    return {
        id => $id,
        nodeType => 'sql.query',
        config => {
            sql => "INSERT INTO effect (run, node, item) SELECT :run::uuid, '$id', $item FROM (SELECT $first AS x OFFSET 0) AS f WHERE x IS NOT NULL RETURNING node, 1 AS x",
            parameters => { run => { '$' => '$.execution_id' } }
        },
        %more
    };
}
my $true = JSON::PP::true;
my %undo = map { $_ => { nodeType => 'sql.query', config => effect_node("undo_$_")->{config}, retry => { max_attempts => 50, initial_interval => '5ms' } } } qw(a b c);
my $flaky = "10 / (CASE WHEN nextval('tries') % 3 = 0 THEN 1 ELSE 0 END)";
my $slow = work_sql(0.04);
my @wide = map { "w$_" } 1 .. 50;

my %shape = (
    linear => { nodes => [ map { effect_node("n$_") } 1 .. 6 ], edges => [ map { "n$_>n" . ($_ + 1) } 1 .. 5 ], effects => 6 },
    fan_out => { nodes => [ map { effect_node($_) } 'start', @wide, 'join' ], edges => [ map { ("start>$_", "$_>join") } @wide ], effects => 52 },
    slow => {
        nodes => [ map { effect_node("n$_", first => $slow, own_transaction => $true) } 1 .. 4 ],
        edges => [ 'n1>n2', 'n1>n3', 'n2>n4', 'n3>n4' ],
        effects => 4
    },
    conditions => {
        nodes => [ map { effect_node($_) } qw(a yes no after_no join) ],
        edges => [ [ 'a>yes', '$.x == 1' ], [ 'a>no', '$.x == 2' ], 'yes>join', 'no>after_no', 'after_no>join' ],
        effects => 3
    },
    any => {
        nodes => [ effect_node('quick'), effect_node('never', first => work_sql(600)), effect_node('first', join => 'any') ],
        edges => [ 'quick>first', 'never>first' ],
        effects => 2
    },
    retries => {
        nodes => [ effect_node('a'), effect_node('flaky', first => $flaky, retry => { max_attempts => 200, initial_interval => '5ms', max_interval => '50ms' }), effect_node('b') ],
        edges => [ 'a>flaky', 'flaky>b' ],
        effects => 3
    },
    goes_on => { nodes => [ effect_node('bad', first => '1 / 0', on_failure => 'continue'), effect_node('b') ], edges => ['bad>b'], effects => 1 },
    fails => { nodes => [ effect_node('a'), effect_node('bad', first => '1 / 0'), effect_node('c') ], edges => [ 'a>bad', 'bad>c' ], effects => 1, status => 'failed' },
    timer => { nodes => [ effect_node('a'), { id => 'wait', nodeType => 'wait.timer', config => { for => '100ms' } }, effect_node('b') ], edges => [ 'a>wait', 'wait>b' ], effects => 2 },
    signal => { nodes => [ effect_node('a'), { id => 'wait', nodeType => 'wait.signal', config => { name => 'go' } }, effect_node('b') ], edges => [ 'a>wait', 'wait>b' ], effects => 2 },
    child => { nodes => [effect_node('only')], effects => 1 },
    call => { nodes => [ effect_node('a'), { id => 'call', nodeType => 'workflow.call', config => { workflow => 'child' } }, effect_node('b') ], edges => [ 'a>call', 'call>b' ], effects => 2 },
    map => {
        nodes => [ effect_node('a'), { id => 'map', nodeType => 'map.each', config => { items => [ 1 .. 8 ], workflow => 'child' } }, effect_node('b') ],
        edges => [ 'a>map', 'map>b' ],
        effects => 2
    },
    compensated => {
        nodes => [ (map { effect_node($_, compensate => $undo{$_}) } qw(a b c)), effect_node('bad', first => '1 / 0', on_failure => 'compensate') ],
        edges => [ 'a>b', 'b>c', 'c>bad' ],
        effects => 6,
        status => 'failed'
    },
    limited => { nodes => [ effect_node('a', first => $slow), effect_node('b', own_transaction => $true) ], edges => ['a>b'], effects => 2, more => { concurrency => { limit => 2 } } },
    overdue => { nodes => [ effect_node('a'), effect_node('never', first => work_sql(600)) ], edges => ['a>never'], effects => undef, status => 'failed', more => { timeout => '300ms' } },
);

my $json = JSON::PP->new->canonical->pretty(0);
my $owner = 0;
for my $id ('child', grep { $_ ne 'child' } sort keys %shape) {
    my $s = $shape{$id};
    my @edges = map { my ($path, $condition) = ref $_ ? @$_ : ($_); my ($from, $to) = split />/, $path; { from => $from, to => $to, condition => $condition } } @{ $s->{edges} // [] };
    my $text = $json->encode({ id => $id, nodes => $s->{nodes}, edges => \@edges, %{ $s->{more} // {} } });
    # Children are their owner's: the callers are alice's, too.
    my $role = $id =~ /child|call|map/ ? 'alice' : (qw(alice bob))[ $owner++ % 2 ];
    sql_as($node, $db, $role, "SELECT chronicle.create_workflow(\$json\$$text\$json\$)");
}

# --- load and kills ---

# A server that is going down or coming up refuses: what a start left is in table started, or nothing is.
# (A psql that is refused may be gone before it has read the statement: writing that to it then dies.)
sub try_psql {
    my ($sql, @options) = @_;
    my ($status, $output) = eval { $node->psql($db, $sql, @options) };
    return defined $status && $status == 0 ? $output // '' : undef;
}

sub try_sql { return defined try_psql($_[0], on_error_stop => 1, extra_params => [ '-q', '-o', '/dev/null' ]) }

sub start_some {
    for my $id (grep { $_ ne 'child' } sort keys %shape) {
        my $expected = $shape{$id}{status} // 'completed';
        try_sql("INSERT INTO started SELECT chronicle.execute_workflow('$id'), '$id', '$expected' FROM generate_series(1, 2)");
    }
    try_sql("SELECT chronicle.signal_execution(run, 'go', 'null') FROM started WHERE shape = 'signal' AND NOT EXISTS (SELECT FROM chronicle.executions AS e WHERE e.execution_id = run AND ended_at IS NOT NULL) AND random() < 0.7");
    # One is cancelled wherever it is.
    try_sql("UPDATE started SET expected = 'cancelled or not' WHERE run IN (SELECT run FROM started JOIN chronicle.executions ON execution_id = run AND ended_at IS NULL ORDER BY random() LIMIT 1) RETURNING chronicle.cancel_execution(run, 'chaos')");
    return;
}

sub wait_for_server {
    wait_until(sub { try_sql('SELECT true') }, 'the server does not come up again');
    return;
}

# Returns what it did.
sub kill_something {
    my $dice = rand;
    if ($dice < 0.15) {
        $node->stop('immediate');
        $node->start;
        return 'server, immediately';
    }
    if ($dice < 0.25) {
        $node->stop('fast');
        $node->start;
        return 'server, fast';
    }
    my $role = $dice < 0.8 ? "role = 'executor'" : $dice < 0.9 ? "role = 'scheduler'" : "role = 'launcher'";
    my $pid = try_psql("SELECT pid FROM chronicle.workers WHERE $role ORDER BY state <> 'busy', random() LIMIT 1");
    return 'nothing' unless defined $pid && $pid =~ /^\d+$/;
    my $signal = $dice < 0.5 ? 'KILL' : 'TERM';
    kill $signal, $pid;
    return "$role by SIG$signal";
}

for my $round (1 .. $kills) {
    start_some();
    select(undef, undef, undef, 0.05 + rand(0.6));
    note "kill $round: " . kill_something();
    wait_for_server();
}
start_some();

# --- the end ---

wait_for($node, $db, "SELECT chronicle.signal_execution(run, 'go', 'null') IS NULL FROM started WHERE shape = 'none' UNION ALL SELECT true", 't', 'the server answers');
# (Refused when one of them ends meanwhile, by an earlier signal.)
wait_until(sub { try_sql("SELECT chronicle.signal_execution(run, 'go', 'null') FROM started JOIN chronicle.executions ON execution_id = run WHERE shape = 'signal' AND ended_at IS NULL") }, 'no signal is taken');
wait_for($node, $db, 'SELECT count(*) FROM chronicle.executions WHERE ended_at IS NULL', '0', 'every run is over')
  or diag $node->safe_psql($db, 'SELECT workflow_id, e.status, node_id, t.state, t.attempt, t.losses, t.due_at FROM chronicle_data.execution AS e LEFT JOIN chronicle_data.node_task AS t USING (execution_id) WHERE ended_at IS NULL');
note $node->safe_psql($db, 'SELECT status, count(*) FROM chronicle.executions GROUP BY 1 ORDER BY 1');

# A node that was alone at three deaths of its worker is failed for that; with many kills it happens.
$node->safe_psql($db, <<'SQL');
CREATE VIEW unlucky AS SELECT DISTINCT execution_id FROM chronicle.execution_failures WHERE sqlstate = '57P02';
CREATE VIEW wrong_end AS
SELECT s.shape, s.expected, e.status, e.error, e.execution_id FROM started AS s LEFT JOIN chronicle.executions AS e ON e.execution_id = s.run
 WHERE e.status IS DISTINCT FROM s.expected AND NOT (s.expected = 'cancelled or not' AND e.status IN ('completed', 'failed', 'cancelled'))
   AND e.execution_id NOT IN (SELECT execution_id FROM unlucky)
   AND NOT EXISTS (SELECT FROM chronicle.executions AS c WHERE c.parent_execution_id = e.execution_id AND c.execution_id IN (SELECT execution_id FROM unlucky));
SQL
note 'unlucky runs: ' . $node->safe_psql($db, 'SELECT count(*) FROM unlucky');
is($node->safe_psql($db, 'SELECT shape, expected, status, error FROM wrong_end'), '', 'every run ended as its shape does');
is($node->safe_psql($db, 'SELECT run, node, item, count(*) FROM effect GROUP BY 1, 2, 3 HAVING count(*) <> 1'), '', 'no effect is there twice');
for my $id (sort keys %shape) {
    next unless defined $shape{$id}{effects};
    my $count = $shape{$id}{effects};
    is( $node->safe_psql($db, "SELECT e.execution_id, e.status, count(f.run) FROM chronicle.executions AS e LEFT JOIN effect AS f ON f.run = e.execution_id LEFT JOIN started AS s ON s.run = e.execution_id
            WHERE e.workflow_id = '$id' AND coalesce(s.expected, 'completed') IN (e.status) GROUP BY 1, 2 HAVING count(f.run) <> $count"),
        '', "$id: each of its $count effects is there");
}
is($node->safe_psql($db, "SELECT f.run, f.node FROM effect AS f LEFT JOIN chronicle.node_executions AS n ON n.execution_id = f.run AND n.node_id = regexp_replace(f.node, '^undo_', '')
        WHERE n.status IS NULL OR n.status NOT IN ('completed', 'compensated') OR f.node LIKE 'undo%' AND n.status <> 'compensated'"),
    '', 'effects are those of completed nodes, and of compensations');
for my $table (qw(node_task concurrency_slot concurrency_bell awaited_child map_item)) {
    is($node->safe_psql($db, "SELECT count(*) FROM chronicle_data.$table"), '0', "nothing is left in $table");
}

# --- events and views ---

is( $node->safe_psql($db, <<'SQL'), '', 'the status of every run is what its events tell');
SELECT e.execution_id, e.status, h.type FROM chronicle.executions AS e
  LEFT JOIN LATERAL (SELECT type FROM chronicle.execution_history AS h WHERE h.execution_id = e.execution_id ORDER BY version DESC LIMIT 1) AS h ON true
 WHERE 'Workflow' || initcap(e.status) IS DISTINCT FROM h.type
SQL
is( $node->safe_psql($db, <<'SQL'), '', 'the status of every node is what its events tell');
WITH last AS (
    SELECT DISTINCT ON (execution_id, node_id) execution_id, node_id, type FROM chronicle.execution_history
     WHERE type IN ('NodeExecutionCompleted', 'NodeExecutionFailed', 'NodeExecutionSkipped', 'NodeExecutionCancelled', 'CompensationCompleted')
     ORDER BY execution_id, node_id, version DESC)
SELECT n.execution_id, n.node_id, n.status, l.type FROM chronicle.node_executions AS n LEFT JOIN last AS l USING (execution_id, node_id)
 WHERE n.status IS DISTINCT FROM CASE l.type WHEN 'CompensationCompleted' THEN 'compensated' ELSE lower(replace(l.type, 'NodeExecution', '')) END
SQL
is( $node->safe_psql($db, <<'SQL'), '', 'every attempt has begun, and ended once');
SELECT execution_id, node_id, data -> 'attempt' AS attempt, type LIKE 'Comp%' AS compensation FROM chronicle.execution_history
 WHERE node_id IS NOT NULL AND (type LIKE 'NodeExecution%' OR type LIKE 'Compensation%') GROUP BY 1, 2, 3, 4
HAVING count(*) FILTER (WHERE type IN ('NodeExecutionCompleted', 'NodeExecutionFailed', 'CompensationCompleted', 'CompensationFailed')) > 1
    OR count(*) FILTER (WHERE type IN ('NodeExecutionCompleted', 'NodeExecutionFailed', 'CompensationCompleted', 'CompensationFailed')) = 1
   AND count(*) FILTER (WHERE type IN ('NodeExecutionStarted', 'CompensationStarted')) = 0
SQL
is($node->safe_psql($db, 'SELECT execution_id FROM chronicle.execution_history GROUP BY 1 HAVING max(version) <> count(*) OR min(version) <> 1'), '', 'the events of a run are numbered without holes');
is($node->safe_psql($db, 'SELECT node_id, max(attempts) FROM chronicle.node_executions GROUP BY 1 HAVING max(attempts) > 200'), '', 'no node had more attempts than it may');
my $log = slurp_file($node->logfile);
unlike($log, qr/deadlock detected/, 'no deadlock came up');
unlike($log, qr/ERROR:.*(XX000|cache lookup failed)|PANIC|TRAP/, 'no internal error');

$node->stop;
done_testing();
