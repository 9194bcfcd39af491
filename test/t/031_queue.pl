# The queue: what comes first, that claims cost the same beside a session that keeps an old snapshot, that what waits costs
# nothing, and that the end of one of many children costs what that of a single one does.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = new_node('queue', conf => "chronicle.worker_processes = 1\n");

# --- the order: one executor, which is busy while the others queue up ---

$node->safe_psql($db, 'CREATE TABLE effect (n serial, what text)');
make_workflow($node, $db, $_, [ [ 'only', "INSERT INTO effect (what) VALUES ('$_')" ] ], []) for qw(fresh urgent);
make_workflow($node, $db, 'waited', [ { id => 'wait', nodeType => 'wait.signal', config => { name => 'go' } } ], []);
make_workflow($node, $db, 'busy', [ [ 'holds', 'SELECT pg_advisory_lock_shared(1)' ] ], []);
my $waited = start_run($node, $db, 'waited');
wait_for($node, $db, "SELECT status FROM chronicle.executions WHERE execution_id = '$waited'", 'waiting', 'a run waits for its signal');
my $holder = $node->background_psql($db);
$holder->query_safe('SELECT pg_advisory_lock(1)');
start_run($node, $db, 'busy');
executor_of($node, $db, $db, 'holds');
$node->safe_psql($db, "SELECT chronicle.execute_workflow('fresh') FROM generate_series(1, 3)");
$node->safe_psql($db, "SELECT chronicle.execute_workflow('urgent', priority => 5)");
$node->safe_psql($db, "SELECT chronicle.signal_execution('$waited', 'go')");
$node->safe_psql($db, "SELECT chronicle.execute_workflow('fresh', priority => -5)");
$holder->query_safe('SELECT pg_advisory_unlock(1)');
wait_for($node, $db, 'SELECT count(*) FROM chronicle.executions WHERE ended_at IS NULL', '0', 'all runs are over');
is($node->safe_psql($db, "SELECT string_agg(workflow_id, ' ' ORDER BY global_position) FROM chronicle.execution_history WHERE type = 'NodeExecutionCompleted' AND node_id IN ('only', 'wait')"),
    'urgent waited fresh fresh fresh fresh', 'higher priority first, in it what is ready again, then the oldest');

# --- an old snapshot: nobody may remove what is dead, and nobody may have to walk over it ---

$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$holder->query_safe('SELECT count(*) FROM effect');
my $read = "SELECT idx_scan, idx_tup_read FROM pg_stat_all_indexes WHERE indexrelname = 'node_task_ready'";
$node->safe_psql($db, 'SELECT pg_stat_reset_single_table_counters(\'chronicle_data.node_task_ready\'::regclass)');
for my $priority (0, 0, 3, 0, -5) {
    $node->safe_psql($db, "SELECT chronicle.execute_workflow('fresh', priority => $priority) FROM generate_series(1, 300)");
    wait_for($node, $db, 'SELECT count(*) FROM chronicle.executions WHERE ended_at IS NULL', '0', "300 runs of priority $priority are over");
}
$node->poll_query_until($db, "SELECT idx_scan >= 1500 FROM ($read) AS s") or die 'no statistics';
my ($scans, $tuples) = split /\|/, $node->safe_psql($db, $read);
note "$scans scans, $tuples entries";
cmp_ok($tuples / $scans, '<', 20, 'a walk over the queue meets few dead entries');
cmp_ok($node->safe_psql($db, "SELECT count(*) FROM effect WHERE what = 'fresh'"), '==', 1504, 'and every run has had its effect once');
$holder->quit;

# --- what waits for its time: a look of the scheduler meets what is due, not what waits, nor what is dead ---

make_workflow($node, $db, 'later', [ { id => 'wait', nodeType => 'wait.timer', config => { for => '1 day' } } ], []);
$node->safe_psql($db, "SELECT chronicle.execute_workflow('later') FROM generate_series(1, 300)");
wait_for($node, $db, "SELECT count(*) FROM chronicle.executions WHERE status = 'waiting'", '300', '300 runs wait for a timer');
my $due = "SELECT t.seq_scan, i.idx_scan, i.idx_tup_read FROM pg_stat_all_tables AS t JOIN pg_stat_all_indexes AS i USING (relid) WHERE indexrelname = 'node_task_due'";
my @before = split /\|/, $node->safe_psql($db, $due);
wait_until(sub { $node->reload; (split /\|/, $node->safe_psql($db, $due))[1] > $before[1] + 40 }, 'the scheduler does not look');
my @after = split /\|/, $node->safe_psql($db, $due);
is($after[0] - $before[0], 0, 'no look walks over the table');
cmp_ok($after[2] - $before[2], '<', 3 * ($after[1] - $before[1]) + 300, '… nor over all that waits');

# --- many children: each end finds its own mark by the key, and nobody walks over those that ended before ---

$node->safe_psql($db, 'ALTER TABLE chronicle_data.awaited_child SET (autovacuum_enabled = off)');
my $marks = 'SELECT coalesce(sum(idx_scan), 0) AS scans, coalesce(sum(idx_tup_read), 0) AS entries FROM pg_stat_all_indexes WHERE indexrelname';
make_workflow($node, $db, 'many', [ { id => 'each', nodeType => 'map.each', config => { items => { '$' => '$.input' }, workflow => 'fresh' } } ], []);
my $many = $node->safe_psql($db, q{SELECT chronicle.execute_workflow('many', (SELECT jsonb_agg(i) FROM generate_series(1, 300) AS i))});
wait_for($node, $db, "SELECT status FROM chronicle.executions WHERE execution_id = '$many'", 'completed', 'a map of 300 children ends');
ok($node->poll_query_until($db, "SELECT scans >= 300 FROM ($marks = 'awaited_child_pkey') AS s"), 'each end of a child goes by the key');
ok($node->poll_query_until($db, "SELECT entries >= 100 FROM ($marks = 'awaited_child_told') AS s"), 'the scheduler has told what it read');
($scans, $tuples) = split /\|/, $node->safe_psql($db, "$marks = 'awaited_child_told'");
note "$scans scans, $tuples entries";
cmp_ok($tuples, '<', 20 * $scans + 3000, 'looks for ended children meet few that were seen before');

# --- statements that were planned while the queue was empty: nobody walks over what is queued later, for each node ---

$node->safe_psql($db, "ALTER TABLE chronicle_data.$_ SET (autovacuum_enabled = off)") for qw(node_task map_item);
$node->safe_psql($db, "VACUUM (ANALYZE) chronicle_data.$_") for qw(node_task awaited_child map_item);
$node->restart;
sub walk { # over whole tables, and over the items of a map
    return split /\|/, $node->safe_psql($db, q{SELECT sum(seq_scan) FILTER (WHERE relname IN ('node_task', 'awaited_child', 'map_item')),
        (SELECT idx_tup_read FROM pg_stat_all_indexes WHERE indexrelname = 'map_item_pkey'), sum(n_tup_ins) FILTER (WHERE relname = 'map_item') FROM pg_stat_all_tables});
}
for my $items (10, 300) {
    @before = walk();
    for my $run (1 .. ($items == 10 ? 8 : 1)) { # statements are planned anew until they are kept
        $many = $node->safe_psql($db, "SELECT chronicle.execute_workflow('many', (SELECT jsonb_agg(i) FROM generate_series(1, $items) AS i))");
        wait_for($node, $db, "SELECT ended_at IS NOT NULL FROM chronicle_data.execution WHERE execution_id = '$many'", 't', "a map of $items items ends");
    }
    wait_until(sub { $node->reload; @after = walk(); $after[2] >= $before[2] + $items }, 'the executors have not told what they did');
}
is($after[0] - $before[0], 0, 'no walk over a table that was empty');
cmp_ok($after[1] - $before[1], '<', 2000, 'items are met when they are started, not again');

# --- an index that is made anew while processes know the old one ---

$node->safe_psql($db, "REINDEX TABLE CONCURRENTLY chronicle_data.$_") for qw(node_task awaited_child);
$many = $node->safe_psql($db, q{SELECT chronicle.execute_workflow('many', '[1, 2, 3]')});
wait_for($node, $db, "SELECT status FROM chronicle.executions WHERE execution_id = '$many'", 'completed', 'runs go on after REINDEX CONCURRENTLY');
unlike(slurp_file($node->logfile), qr/ERROR:  could not open relation/, 'and nobody looks for the indexes that are gone');

$node->stop;
done_testing();
