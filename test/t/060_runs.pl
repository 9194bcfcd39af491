# Runs under concurrency: one run for one idempotency key; nothing starts in a paused run; a cancel beside the end.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = new_node('runs', conf => "chronicle.worker_processes = 3\nmax_connections = 80\n");
$node->safe_psql($db, "SELECT chronicle.create_workflow('{\"id\": \"one\", \"nodes\": [{\"id\": \"n\", \"nodeType\": \"sql.query\", \"config\": {\"sql\": \"SELECT 1\"}}]}')");

# The same pgbench script by so many clients at once; the test fails when one of them does.
sub all_at_once {
    my ($clients, $transactions, $script, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $file = "$PostgreSQL::Test::Utils::tmp_check/script.sql";
    open my $handle, '>', $file or die $!;
    print $handle $script;
    close $handle;
    return $node->command_ok([ 'pgbench', '-n', '-c', $clients, '-j', 2, '-t', $transactions, '-f', $file, $db ], $what);
}

# --- 50 sessions, one key: one run, and everybody gets its id ---

$node->safe_psql($db, 'CREATE TABLE got (key text, run uuid)');
all_at_once(50, 1, "INSERT INTO got SELECT 'one', chronicle.execute_workflow('one', '{\"n\": 1}', 'one');\n", '50 sessions start a run with one key');
is($node->safe_psql($db, 'SELECT count(*), count(DISTINCT run) FROM got'), '50|1', 'all got the same run');
is($node->safe_psql($db, "SELECT count(*) FROM chronicle.executions WHERE idempotency_key = 'one'"), '1', '… and there is only one');
is($node->safe_psql($db, "SELECT count(*) FROM chronicle.execution_history WHERE type = 'WorkflowQueued'"), '1', '… queued once');

# Transactions that roll back at random leave keys free for others; in the end each key has the run that committed.
$node->safe_psql($db, 'TRUNCATE got');
all_at_once(20, 50, <<'SQL', '20 sessions share 100 keys, half of them roll back');
\set key random(1, 100)
\set undo random(0, 1)
BEGIN;
INSERT INTO got SELECT :key, chronicle.execute_workflow('one', '{}', 'shared-' || :key);
\if :undo
ROLLBACK;
\else
COMMIT;
\endif
SQL
is($node->safe_psql($db, 'SELECT count(*) FROM (SELECT key FROM got GROUP BY key HAVING count(DISTINCT run) > 1) AS k'), '0', 'one run for a key');
is($node->safe_psql($db, "SELECT count(*) FROM got LEFT JOIN chronicle.executions AS e ON e.execution_id = run AND e.idempotency_key = 'shared-' || key WHERE e.execution_id IS NULL"),
    '0', 'everybody got a run that exists, with the key');
wait_for($node, $db, "SELECT count(*) FROM chronicle.executions WHERE status <> 'completed'", '0', 'all runs complete');

# --- cancel beside everything else: a run ends once, as one thing ---

make_workflow($node, $db, 'three', [ map { [ $_, "SELECT count(*) FROM generate_series(1, 10000)", own_transaction => JSON::PP::true ] } 'a' .. 'c' ], [ 'a>b', 'b>c' ]);
$node->safe_psql($db, 'CREATE TABLE run (number serial, id uuid); CREATE TABLE cancelled (id uuid, done boolean)');
$node->safe_psql($db, <<'SQL');
-- Two transactions; a run that is over is left alone.
CREATE PROCEDURE pause_and_resume(run uuid) LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        PERFORM chronicle.pause_execution(run);
    EXCEPTION WHEN SQLSTATE 'CH031' THEN
        RETURN;
    END;
    COMMIT;
    BEGIN
        PERFORM chronicle.resume_execution(run);
    EXCEPTION WHEN SQLSTATE 'CH031' THEN
        NULL;
    END;
END $$;
SQL
$node->safe_psql($db, "INSERT INTO run (id) SELECT chronicle.execute_workflow('three') FROM generate_series(1, 400)");
all_at_once(8, 200, <<'SQL', '8 sessions pause, resume and cancel runs that run');
\set number random(1, 400)
\set what random(1, 3)
SELECT id AS run FROM run WHERE number = :number \gset
\if :what = 1
INSERT INTO cancelled SELECT ':run', chronicle.cancel_execution(':run', 'chance');
\elif :what = 2
CALL pause_and_resume(':run');
\else
SELECT count(*) FROM chronicle.node_executions WHERE execution_id = ':run';
\endif
SQL
wait_for($node, $db, 'SELECT count(*) FROM chronicle.executions WHERE ended_at IS NULL', '0', 'all runs end');
is($node->safe_psql($db, <<'SQL'), '0', 'every run has one end, which is its status');
SELECT count(*) FROM run LEFT JOIN (
    SELECT execution_id, array_agg(lower(substr(type, 9))) AS ends FROM chronicle.execution_history
     WHERE type IN ('WorkflowCompleted', 'WorkflowFailed', 'WorkflowCancelled') GROUP BY execution_id) AS h ON h.execution_id = run.id
  JOIN chronicle.executions AS e ON e.execution_id = run.id
 WHERE h.ends IS DISTINCT FROM ARRAY[e.status]
SQL
is($node->safe_psql($db, <<'SQL'), '0', 'cancel_execution was true once for each cancelled run, and for no other');
SELECT count(*) FROM run JOIN chronicle.executions AS e ON e.execution_id = run.id
 WHERE (e.status = 'cancelled')::int <> (SELECT count(*) FROM cancelled AS c WHERE c.id = run.id AND c.done)
SQL
is($node->safe_psql($db, <<'SQL'), '0', 'nothing starts in a paused run');
SELECT count(*) FROM chronicle.execution_history AS p
  JOIN LATERAL (SELECT type FROM chronicle.execution_history AS n
                 WHERE n.execution_id = p.execution_id AND n.version > p.version AND n.type IN ('NodeExecutionStarted', 'WorkflowResumed')
                 ORDER BY version LIMIT 1) AS n ON n.type = 'NodeExecutionStarted'
 WHERE p.type = 'WorkflowPaused'
SQL
cmp_ok($node->safe_psql($db, "SELECT count(*) FROM chronicle.execution_history WHERE type = 'WorkflowPaused'"), '>', 0, 'some were paused');
cmp_ok($node->safe_psql($db, "SELECT count(*) FROM chronicle.executions WHERE status = 'cancelled'"), '>', 0, 'some were cancelled');
is($node->safe_psql($db, 'SELECT count(*) FROM chronicle_data.node_task'), '0', 'nothing is left in the queue');
is($node->safe_psql($db, <<'SQL'), '0', 'one start and one end for each attempt');
SELECT count(*) FROM (
    SELECT execution_id, node_id, data ->> 'attempt' FROM chronicle.execution_history WHERE node_id IS NOT NULL AND data ->> 'attempt' <> '0'
     GROUP BY 1, 2, 3
    HAVING count(*) FILTER (WHERE type = 'NodeExecutionStarted') <> 1
        OR count(*) FILTER (WHERE type IN ('NodeExecutionCompleted', 'NodeExecutionFailed', 'NodeExecutionCancelled')) <> 1) AS attempt
SQL

# --- triggers beside appends that roll back: a run for each event that committed, and none for others ---

$node->safe_psql($db, "SELECT chronicle.create_trigger('one', categories => '{order}', filter => '\$.data.n % 2 == 0')");
all_at_once(8, 50, <<'SQL', '8 sessions append, half of them roll back');
\set stream random(1, 5)
\set n random(1, 1000)
\set undo random(0, 1)
BEGIN;
SELECT chronicle.append_event('order-' || :stream, 'Opened', jsonb_build_object('n', :n));
\if :undo
ROLLBACK;
\else
COMMIT;
\endif
SQL
is($node->safe_psql($db, <<'SQL'), '0', 'a run for each event that matches, and for no other');
SELECT count(*) FROM (SELECT global_position FROM chronicle.events WHERE category = 'order' AND (data ->> 'n')::int % 2 = 0) AS e
  FULL JOIN (SELECT (input ->> 'global_position')::bigint AS global_position FROM chronicle.executions WHERE metadata ? 'triggerId') AS r USING (global_position)
 WHERE e IS NULL OR r IS NULL
SQL
cmp_ok($node->safe_psql($db, "SELECT count(*) FROM chronicle.executions WHERE metadata ? 'triggerId'"), '>', 10, 'there are some');
wait_for($node, $db, 'SELECT count(*) FROM chronicle.executions WHERE ended_at IS NULL', '0', 'all end');

# --- limits that a role has as a client: none of them ends a node of its workflows, or makes its worker read only ---

my %limits = (statement_timeout => '100ms', lock_timeout => '1ms', idle_in_transaction_session_timeout => '100ms', default_transaction_isolation => 'serializable', default_transaction_read_only => 'on');
$limits{transaction_timeout} = '100ms' if $node->safe_psql($db, 'SHOW server_version_num') >= 170000;
$node->safe_psql($db, "CREATE ROLE limited LOGIN; SELECT chronicle.grant_access('limited', 'operator'); GRANT CREATE ON SCHEMA public TO limited; " . join(' ', map { "ALTER ROLE limited SET $_ = '$limits{$_}';" } sort keys %limits));
make_workflow($node, $db, 'slow', [ [ 'slow', 'SELECT ' . work_sql(0.4) . ' AS x' ], [ 'writes', 'CREATE TABLE written (x int)' ] ], ['slow>writes'], 'limited');
my $slow = start_run($node, $db, 'slow');
run_ends($node, $db, $slow, 'completed', 'a node that takes longer than any limit of clients: completed');
is($node->safe_psql($db, "SELECT max(attempts) FROM chronicle.node_executions WHERE execution_id = '$slow'"), '1', '… in one attempt');
is($node->safe_psql($db, 'SELECT count(*) FROM written'), '0', '… and what is written is there');

# --- chronicle.default_retry_attempts is for nodes that say nothing themselves ---

$node->append_conf('postgresql.conf', "chronicle.default_retry_attempts = 3\n");
$node->reload;
$node->safe_psql($db, "SELECT pg_terminate_backend(pid) FROM chronicle.workers WHERE role = 'executor'"); # the next ones have it
make_workflow($node, $db, 'tries', [ [ 'silent', 'SELECT 1 / 0', on_failure => 'continue', retry => { initial_interval => 0 } ], [ 'says', 'SELECT 1 / 0', on_failure => 'continue', retry => { max_attempts => 1 } ] ]);
my $tries = start_run($node, $db, 'tries');
run_ends($node, $db, $tries, 'completed', 'nodes that fail, with and without a number of attempts');
is($node->safe_psql($db, "SELECT node_id, attempts FROM chronicle.node_executions WHERE execution_id = '$tries' ORDER BY 1"), "says|1\nsilent|3", '… each has its own, or the default');

$node->stop;
done_testing();
