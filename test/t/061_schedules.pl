# Schedules when processes are killed: each time fires once; a clock's missed times are one run, or none.
# crash-expected
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = new_node('schedules', conf => "restart_after_crash = on\n");
make_workflow($node, $db, 'tick', [ [ 'n', 'INSERT INTO public.tick DEFAULT VALUES' ] ]);
$node->safe_psql($db, 'CREATE TABLE tick (at timestamptz DEFAULT clock_timestamp())');

sub ticks { return "SELECT count(*) FROM chronicle.executions WHERE workflow_id = 'tick' AND status = 'completed'" }

# --- a dense schedule, the scheduler and the server killed in the midst of it ---

my $id = $node->safe_psql($db, "SELECT chronicle.schedule_workflow('tick', every => '100 ms', overlap => 'allow')");
for my $round (1 .. 4) {
    my $before = $node->safe_psql($db, ticks());
    wait_for($node, $db, 'SELECT (' . ticks() . ") >= $before + 5", 't', "round $round: runs start");
    kill_process($node, sub { $node->safe_psql($db, "SELECT pid FROM chronicle.workers WHERE role = 'scheduler'") });
}
my $before = $node->safe_psql($db, ticks());
wait_for($node, $db, 'SELECT (' . ticks() . ") >= $before + 5", 't', 'runs start after the last crash');
$node->safe_psql($db, "SELECT chronicle.unschedule_workflow($id)");
wait_for($node, $db, "SELECT count(*) FROM chronicle.executions WHERE status <> 'completed'", '0', 'all runs complete');
is($node->safe_psql($db, "SELECT count(*) - count(DISTINCT metadata ->> 'scheduledFor') FROM chronicle.executions WHERE workflow_id = 'tick'"), '0', 'no time fired twice');
is($node->safe_psql($db, "SELECT (SELECT count(*) FROM tick) - (SELECT count(*) FROM chronicle.executions WHERE workflow_id = 'tick')"), '0', 'each run had its effect once');
is($node->safe_psql($db, <<'SQL'), '0', 'no time fired before it was there');
SELECT count(*) FROM chronicle.executions WHERE workflow_id = 'tick' AND queued_at < (metadata ->> 'scheduledFor')::timestamptz
SQL
is($node->safe_psql($db, <<'SQL'), '0', 'all times are multiples of the interval');
SELECT count(*) FROM (SELECT extract(epoch FROM (metadata ->> 'scheduledFor')::timestamptz - first_value((metadata ->> 'scheduledFor')::timestamptz) OVER (ORDER BY queued_at)) AS distance
                        FROM chronicle.executions WHERE workflow_id = 'tick') AS t WHERE mod((distance * 1000)::numeric, 100) <> 0
SQL

is($node->safe_psql($db, <<'SQL'), '0', 'one start and one end for each attempt, also of those whose worker was lost');
SELECT count(*) FROM (
    SELECT execution_id, node_id, data ->> 'attempt' FROM chronicle.execution_history WHERE node_id IS NOT NULL GROUP BY 1, 2, 3
    HAVING count(*) FILTER (WHERE type = 'NodeExecutionStarted') <> 1 OR count(*) FILTER (WHERE type = 'NodeExecutionCompleted') <> 1) AS attempt
SQL

# --- a lost attempt begins again as itself ---

make_workflow($node, $db, 'long', [ [ 'long', long_sql() ] ]);
my $long = start_run($node, $db, 'long');
my $since = -s $node->logfile;
kill('KILL', executor_of($node, $db, $db, 'long'));
wait_for_message($node, qr/database system is ready to accept connections/, $since, 'an executor is killed: the server comes back');
executor_of($node, $db, $db, 'long');
is($node->safe_psql($db, "SELECT status, attempts FROM chronicle.node_executions WHERE execution_id = '$long'"), 'running|1', 'the node runs again, as the first attempt');
$node->safe_psql($db, "SELECT chronicle.cancel_execution('$long')");
is($node->safe_psql($db, "SELECT string_agg(type, ' ' ORDER BY version) FROM chronicle.execution_history WHERE execution_id = '$long' AND node_id IS NOT NULL"),
    'NodeExecutionStarted NodeExecutionCancelled', '… and has one start and one end');

# --- down for hours: made up as asked. (The rows are set back, as if the server had been down.) ---

$node->safe_psql($db, 'SELECT chronicle.cancel_execution(execution_id) FROM chronicle.executions WHERE ended_at IS NULL');
make_workflow($node, $db, 'hourly', [ [ 'n', 'SELECT 1' ] ]);
my $quiet = $node->safe_psql($db, "SELECT chronicle.schedule_workflow('hourly', every => '1 h')");
my $eager = $node->safe_psql($db, "SELECT chronicle.schedule_workflow('hourly', every => '1 h', catch_up => true, input => '{\"eager\": 1}')");
my $cron = $node->safe_psql($db, "SELECT chronicle.schedule_workflow('hourly', cron => '17 3 29 2 *', catch_up => true, input => '{\"cron\": 1}')");
$node->safe_psql($db, "ALTER DATABASE $db SET chronicle.workers = off");
wait_for($node, $db, "SELECT count(*) FROM chronicle.workers WHERE role <> 'launcher'", '0', 'the workers are gone');
$node->safe_psql($db, <<"SQL");
UPDATE chronicle_data.schedule SET created_at = created_at - interval '10 h 30 min', next_run_at = created_at - interval '9 h 30 min' WHERE schedule_id IN ($quiet, $eager);
UPDATE chronicle_data.schedule SET next_run_at = clock_timestamp() - interval '3 days' WHERE schedule_id = $cron;
SQL
$node->safe_psql($db, "ALTER DATABASE $db RESET chronicle.workers");
wait_for($node, $db, 'SELECT count(*) FROM chronicle.schedules WHERE next_run_at > clock_timestamp()', '3', 'all schedules have a next time');
wait_for($node, $db, "SELECT count(*) FROM chronicle.executions WHERE workflow_id = 'hourly' AND status = 'completed'", '2', 'two made up for what they missed');
is($node->safe_psql($db, "SELECT string_agg(input::text, ' ' ORDER BY input::text) FROM chronicle.executions WHERE workflow_id = 'hourly'"),
    '{"cron": 1} {"eager": 1}', '… those that catch up, once each');

# --- it survives dump and restore, quietly when workers are off ---

my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $db ], 'dump');
$node->safe_psql($db, 'CREATE DATABASE copy; ALTER DATABASE copy SET chronicle.workers = off');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', 'copy', '-f', $dump ], 'restore');
my $all = 'SELECT string_agg(s::text, chr(10) ORDER BY schedule_id) FROM chronicle.schedules AS s';
is($node->safe_psql('copy', $all), $node->safe_psql($db, $all), 'schedules are the same in the copy');
isnt($node->safe_psql('copy', "SELECT chronicle.schedule_workflow('hourly', every => '1 h')"), $quiet, '… and new ones have other ids');

$node->stop;
done_testing();
