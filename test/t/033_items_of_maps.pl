# Quick items of a map share a transaction, within limits: that they do, what keeps one out, and that each item counts once
# whatever happens to the others.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $true = JSON::PP::true;
my $node = new_node('items', conf => "chronicle.worker_processes = 1\nchronicle.worker_batch = 20\n");
my $schema = <<'SQL';
CREATE TABLE effect (map text, item int, part text, xid text DEFAULT pg_current_xact_id()::text, pid int DEFAULT pg_backend_pid());
CREATE TABLE stock (id int PRIMARY KEY, taken int NOT NULL DEFAULT 0);
INSERT INTO stock SELECT generate_series(0, 9);
CREATE SEQUENCE once;
-- Whether another item of this map is in this transaction.
CREATE FUNCTION in_company(map text) RETURNS boolean LANGUAGE sql AS $$
    SELECT EXISTS (SELECT FROM effect AS e WHERE e.map = in_company.map AND xid = pg_current_xact_id()::text) $$;
CREATE FUNCTION fail(condition boolean, code text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    IF condition THEN
        RAISE 'failed' USING ERRCODE = code;
    END IF;
    RETURN 1;
END $$;
-- That this is the run that the node belongs to, which it may not cancel.
CREATE FUNCTION is_own(run uuid) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    PERFORM chronicle.cancel_execution(run);
    RAISE 'a node has cancelled its own run';
EXCEPTION
    WHEN feature_not_supported THEN RETURN 1;
END $$;
CREATE FUNCTION take(first int, second int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    UPDATE stock SET taken = taken + 1 WHERE id = first;
    UPDATE stock SET taken = taken + 1 WHERE id = second;
    RETURN 1;
END $$;
SQL
$node->safe_psql($db, $schema);

# A node of an item that does `first` and notes its transaction.
sub part {
    my ($map, $id, %more) = @_;
    my $first = delete $more{first} // '1';
    return {
        id => $id,
        nodeType => 'sql.query',
        config => {
            sql => "INSERT INTO effect (map, item, part) SELECT '$map', :item::int, '$id' FROM (SELECT ($first) AS x OFFSET 0) AS f WHERE x IS NOT NULL",
            parameters => { item => { '$' => '$.input' }, run => { '$' => '$.execution_id' } }
        },
        %more
    };
}

# Runs `count` items (0, 1, …) of a workflow of these nodes in a row. Returns the map's run.
sub start_map {
    my ($map, $count, @parts) = @_;
    make_workflow($node, $db, "${map}_item", \@parts, [ map { "$parts[$_]{id}>$parts[$_ + 1]{id}" } 0 .. $#parts - 1 ]);
    make_workflow($node, $db, $map, [ { id => 'each', nodeType => 'map.each', config => { items => [ 0 .. $count - 1 ], workflow => "${map}_item" } } ]);
    return start_run($node, $db, $map);
}

sub run_map {
    my ($map, $count, @parts) = @_;
    my $run = start_map($map, $count, @parts);
    run_ends($node, $db, $run, 'completed', "$map: completed");
    once_each($map, $count, @parts);
    return $run;
}

sub once_each {
    my ($map, $count, @parts) = @_;
    is($node->safe_psql($db, "SELECT count(*), count(DISTINCT item), min(n), max(n) FROM (SELECT item, part, count(*) AS n FROM effect WHERE map = '$map' GROUP BY 1, 2) AS e"),
        join('|', $count * @parts, $count, 1, 1), '… each item has had its effects once');
    return;
}

# How many nodes of a map the largest transaction has, and how many runs.
sub largest { return $node->safe_psql($db, "SELECT max(n), max(runs) FROM (SELECT count(*) AS n, count(DISTINCT item) AS runs FROM effect WHERE map = '$_[0]' GROUP BY xid) AS t"); }

sub max_attempts { return $node->safe_psql($db, "SELECT max(attempts) FROM chronicle.node_executions WHERE workflow_id = '$_[0]_item'"); }

# --- they share a transaction, and no more of them than the limit says ---

my $number = 0;
my ($most_nodes, $most_runs) = (0, 0);
for (1 .. 50) {
    my $map = 'plain' . ++$number;
    my $run = run_map($map, 100, part($map, 'a'), part($map, 'b'));
    is(max_attempts($map), 1, '… in its first attempt');
    my ($nodes, $runs) = split /\|/, largest($map);
    ($most_nodes, $most_runs) = ($nodes > $most_nodes ? $nodes : $most_nodes, $runs > $most_runs ? $runs : $most_runs);
    is($node->safe_psql($db, "SELECT chronicle.execution_result('$run') -> 'each' IS NOT NULL"), 't', '… and the map has its result');
    last if $most_runs > 2 && $most_nodes == 20;
}
cmp_ok($most_runs, '>', 2, 'items share a transaction');
is($most_nodes, 20, 'chronicle.worker_batch nodes at most');
is($node->safe_psql($db, q{SELECT count(*) FROM (SELECT string_agg(type, ' ' ORDER BY version) AS types, bool_and(recorded_at >= before) AS ordered
      FROM (SELECT *, lag(recorded_at, 1, recorded_at) OVER (PARTITION BY execution_id ORDER BY version) AS before
              FROM chronicle.execution_history WHERE workflow_id LIKE 'plain%_item') AS e GROUP BY execution_id) AS r
     WHERE NOT ordered OR types <> 'WorkflowQueued WorkflowStarted' || repeat(' NodeExecutionStarted NodeExecutionCompleted', 2) || ' WorkflowCompleted'}),
    0, 'each run has all of its events, in their order');

# --- what keeps an item out ---

run_map('own', 30, part('own', 'a', own_transaction => $true));
is(largest('own'), '1|1', 'own_transaction: by itself');

run_map('slow', 8, part('slow', 'a', first => work_sql(0.06)));
is(largest('slow'), '1|1', 'longer than the budget: by itself');
is(max_attempts('slow'), 1, '… and what was undone is no attempt');

run_map('company', 40, part('company', 'a', first => "fail(in_company('company'), '25001')"));
is(largest('company'), '1|1', 'failed by its company: by itself');
is(max_attempts('company'), 1, '… and that was no failure');

$node->safe_psql($db, 'CREATE SEQUENCE raised');
run_map('transient', 40, part('transient', 'a', first => "fail(in_company('transient') AND nextval('raised') > 0, '40001')"));
is(max_attempts('transient'), 1, 'a serialization failure in company is no failure');
is($node->safe_psql($db, 'SELECT last_value FROM raised'), 1, '… and costs the others their work once');

run_map('own_run', 40, part('own_run', 'a', first => "is_own(:run::uuid) + fail(in_company('own_run'), '40001')"));
is(max_attempts('own_run'), 1, 'each knows which run it belongs to, also when it is repeated without the others');

# --- an item that fails is one item ---

my $failing = start_map('failing', 40, part('failing', 'a', first => q{fail(:item::int = 30, 'P0001')}));
run_ends($node, $db, $failing, 'failed', 'an item fails: the map fails');
is($node->safe_psql($db, "SELECT error, sqlstate, detail::jsonb ->> 'index' FROM chronicle.execution_failures WHERE execution_id = '$failing'"),
    'item 30: failed|P0001|30', '… and says which');
is($node->safe_psql($db, q{SELECT count(*) FROM chronicle.executions AS e WHERE workflow_id = 'failing_item'
      AND (status = 'completed') <> EXISTS (SELECT FROM effect WHERE map = 'failing' AND item::text = e.input::text)}), 0, 'the others have had their effect, or were cancelled');

run_map('retried', 40, part('retried', 'a', first => q{fail(:item::int % 7 = 3 AND nextval('once') <= 6, 'P0001')}, retry => { max_attempts => 10, initial_interval => '1ms' }));
cmp_ok(max_attempts('retried'), '>', 1, '… some by a second attempt');

# --- somebody's open transaction has an item in its hands: the others go on, and are not done twice for that ---

$node->safe_psql($db, 'CREATE SEQUENCE tries');
my $keeper = $node->background_psql($db);
$keeper->query_safe('SELECT pg_advisory_lock(1)');
my $held = start_map('held', 60, part('held', 'a', first => "CASE WHEN :item::int = 0 THEN length(pg_advisory_xact_lock_shared(1)::text) ELSE nextval('tries') END"));
wait_for($node, $db, "SELECT count(*) >= 20 FROM chronicle.executions WHERE parent_execution_id = '$held'", 't', 'items wait behind one that is at work');
$keeper->query_safe("BEGIN; SELECT chronicle.pause_execution(execution_id) FROM chronicle.executions WHERE parent_execution_id = '$held' AND input = '5'");
$keeper->query_safe('SELECT pg_advisory_unlock(1)');
wait_for($node, $db, "SELECT count(*) FROM effect WHERE map = 'held'", '59', 'all but the one that somebody is about to pause come to their end');
cmp_ok($node->safe_psql($db, 'SELECT last_value FROM tries'), '<=', 58 + 20, '… and not again and again');
$keeper->query_safe('ROLLBACK');
$keeper->quit;
run_ends($node, $db, $held, 'completed', '… and that one, too');
once_each('held', 60, part('held', 'a'));
# --- an item is cancelled while it runs: by another in its transaction, or from outside ---

$node->safe_psql($db, <<'SQL');
CREATE EXTENSION dblink;
-- Cancels the item before this one, if it has run in this transaction.
CREATE FUNCTION cancel_last(map text, item int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM effect AS e WHERE e.map = cancel_last.map AND e.item = cancel_last.item - 1 AND xid = pg_current_xact_id()::text) THEN
        PERFORM nextval('cancels'), chronicle.cancel_execution(execution_id) FROM chronicle.executions WHERE workflow_id = map || '_item' AND input = to_jsonb(item - 1);
    END IF;
    RETURN 1;
END $$;
CREATE SEQUENCE cancels;
SQL
run_map('mutual', 40, part('mutual', 'a', first => q{cancel_last('mutual', :item::int)}));
is($node->safe_psql($db, 'SELECT is_called FROM cancels'), 't', '… though items have cancelled others of their transaction: that is undone with it');
is(max_attempts('mutual'), 1, '… and is no attempt');
is($node->safe_psql($db, "SELECT count(DISTINCT pid) FROM effect WHERE map = 'mutual'"), 1, '… nor a claim that is left lying until its executor ends');

my $port = $node->port;
my $host = $node->host;
my $elsewhere = start_map('elsewhere', 40, part('elsewhere', 'a',
    first => qq{CASE WHEN :item::int = 30 THEN (SELECT 1 FROM dblink('host=$host port=$port dbname=$db', format('SELECT chronicle.cancel_execution(execution_id)::text FROM chronicle.executions WHERE workflow_id = %L AND input = %L', 'elsewhere_item', 30)) AS d (x text)) ELSE 1 END}));
run_ends($node, $db, $elsewhere, 'failed', 'from outside, while it runs: the map fails');
is($node->safe_psql($db, q{SELECT status, (SELECT count(*) FROM effect WHERE map = 'elsewhere' AND item = 30) FROM chronicle.executions WHERE workflow_id = 'elsewhere_item' AND input = '30'}),
    'cancelled|0', '… and what it did is undone');
is($node->safe_psql($db, q{SELECT string_agg(type, ' ' ORDER BY version) FROM chronicle.execution_history AS h JOIN chronicle.executions AS e USING (execution_id) WHERE e.workflow_id = 'elsewhere_item' AND input = '30'}) =~ s/ NodeExecutionStarted| WorkflowStarted//gr,
    'WorkflowQueued NodeExecutionCancelled WorkflowCancelled', '… and not in its history');

# Cancelled and retried from outside while it runs with others: what it did before belongs to the cancelled attempt.
$node->safe_psql($db, <<'SQL');
CREATE SEQUENCE begun;
CREATE FUNCTION begin_anew(workflow text, item int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    run uuid := (SELECT execution_id FROM chronicle.executions WHERE workflow_id = workflow AND input = to_jsonb(item));
BEGIN
    PERFORM chronicle.cancel_execution(run);
    PERFORM chronicle.retry_execution(run);
    RETURN '';
END $$;
SQL
run_map('anew', 40, part('anew', 'a',
    first => qq{CASE WHEN :item::int = 30 AND nextval('begun') = 1 THEN (SELECT 1 FROM dblink('host=$host port=$port dbname=$db', 'SELECT begin_anew(''anew_item'', 30)') AS d (x text)) ELSE 1 END}));
is($node->safe_psql($db, 'SELECT last_value FROM begun'), 2, '… and begins anew after a retry');

# --- one that ends its process takes others with it, and not for ever ---

$node->safe_psql($db, 'ALTER SEQUENCE once RESTART');
run_map('deadly', 60, part('deadly', 'a', first => "CASE WHEN :item::int = 52 AND nextval('once') <= 3 THEN pg_terminate_backend(pg_backend_pid()) ELSE true END"));
is($node->safe_psql($db, 'SELECT last_value FROM once'), 4, '… though one of them has ended its executor three times');
$node->safe_psql($db, 'ALTER SEQUENCE once RESTART');
my $deadly = start_map('always_deadly', 60, part('always_deadly', 'a', first => "CASE WHEN :item::int = 52 THEN pg_terminate_backend((nextval('once') * 0 + pg_backend_pid())::int) ELSE true END"));
run_ends($node, $db, $deadly, 'failed', 'one that always does fails');
like($node->safe_psql($db, "SELECT sqlstate, error FROM chronicle.node_executions WHERE execution_id = '$deadly'"), qr/^57P02\|item 52: /, '… with 57P02');
cmp_ok($node->safe_psql($db, 'SELECT last_value FROM once'), '<=', 6, '… after it was with others once or twice, once claimed, and three times alone');

$node->stop;

# --- four executors ---

$node = new_node('items_of_four');
$node->safe_psql($db, $schema);

# Two rows, the lower one first: no two items can wait for each other. Transactions of several can, and would until one ends by a
# deadlock after a second.
run_map('stock', 400, part('stock', 'a', first => 'take(least(:item::int * 7 % 10, (:item::int * 3 + 1) % 10), greatest(:item::int * 7 % 10, (:item::int * 3 + 1) % 10))'));
is($node->safe_psql($db, 'SELECT sum(taken) FROM stock'), 800, '… as often as was asked');
is($node->safe_psql($db, "SELECT pg_stat_force_next_flush(); SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") =~ s/\s//gr, 0, '… without a deadlock');

# Cancelled at random, while they run with others.
for my $round (1 .. 10) {
    my $map = "cancelled$round";
    my $run = start_map($map, 300, part($map, 'a'), part($map, 'b'));
    for my $item (map { 29 * $_ + $round } 0 .. 9) {
        $node->psql($db, "SELECT chronicle.cancel_execution(execution_id) FROM chronicle.executions WHERE parent_execution_id = '$run' AND input = '$item' AND ended_at IS NULL");
    }
    wait_for($node, $db, 'SELECT count(*) FROM chronicle.executions WHERE ended_at IS NULL', '0', "round $round: all runs are over");
    is($node->safe_psql($db, qq{SELECT count(*) FROM chronicle.executions AS e
          LEFT JOIN (SELECT item, count(*) AS n, count(DISTINCT part) AS parts FROM effect WHERE map = '$map' GROUP BY 1) AS f ON f.item::text = e.input::text
         WHERE workflow_id = '${map}_item' AND CASE WHEN status = 'completed' THEN (n, parts) IS DISTINCT FROM (2::bigint, 2::bigint) ELSE n > 1 OR status <> 'cancelled' END}),
        0, '… what has completed has had its effects once, what was cancelled at most the first');
}

$node->stop;
done_testing();
