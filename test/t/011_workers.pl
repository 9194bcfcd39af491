# Who the workers are, and that a node runs as its workflow's owner and nobody more.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = new_node('workers');
my $nologin_connects = $node->safe_psql($db, "SELECT current_setting('server_version_num')::int >= 170000") eq 't';

$node->safe_psql($db, <<'SQL');
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
CREATE ROLE friend LOGIN;
CREATE ROLE idler NOLOGIN;
CREATE ROLE going LOGIN;
CREATE ROLE outsider LOGIN;
GRANT friend TO alice;
SELECT chronicle.grant_access(r, 'operator') FROM unnest('{alice,bob,idler,going,outsider}'::regrole[]) AS r;
GRANT CREATE ON SCHEMA public TO PUBLIC;
CREATE TABLE who (node text, session_name text, current_name text, role text);
GRANT INSERT, SELECT ON who TO PUBLIC;
SQL

sub who_sql { return "INSERT INTO public.who SELECT '$_[0]', session_user, current_user, current_setting('role')" }
sub who { return $node->safe_psql($db, "SELECT session_name, current_name, role FROM who WHERE node = '$_[0]'") }

# Runs a workflow of one role; a test that it completes.
sub completes {
    my ($id, $role, $nodes, $edges, $what) = @_;
    make_workflow($node, $db, $id, $nodes, $edges, $role);
    return run_ends($node, $db, start_run($node, $db, $id), 'completed', $what);
}

# --- who is there (a second executor may have been started while the first one was just taking the node) ---

wait_for($node, $db, "SELECT role, count(*) FROM chronicle.workers WHERE database = '$db' OR role = 'launcher' GROUP BY role ORDER BY role",
    "launcher|1\nscheduler|1", 'a launcher and a scheduler of the database stand ready');
make_workflow($node, $db, 'long', [ [ 'sleeper', long_sql() ] ], [], 'alice');
my $long = start_run($node, $db, 'long');
my $pid = executor_of($node, $db, $db, 'sleeper');
is( $node->safe_psql($db, "SELECT role, owner, state, current_execution, nodes_run FROM chronicle.workers WHERE pid = $pid"),
    "executor|alice|busy|$long|0", 'view workers shows the executor at work');
is($node->safe_psql($db, "SELECT backend_type, datname, usename, state FROM pg_stat_activity WHERE pid = $pid"),
    "chronicle executor|$db|alice|active", 'pg_stat_activity shows it as a connection of the owner');
is( $node->safe_psql($db, "SELECT DISTINCT w.role, a.backend_type FROM chronicle.workers w JOIN pg_stat_activity a USING (pid) ORDER BY 1"),
    "executor|chronicle executor\nlauncher|chronicle launcher\nscheduler|chronicle scheduler", 'each worker is a process of its kind');
is(sql_as($node, $db, 'bob', 'SELECT count(*) FROM chronicle.workers'), '0', 'another role sees none of them');
is(sql_as($node, $db, 'alice', "SELECT bool_and(role = 'executor' AND owner = 'alice'), bool_or(pid = $pid) FROM chronicle.workers"), 't|t', 'the owner sees its own');

# --- identity ---

completes('identity', 'bob', [ [ 'who', who_sql('who') ] ], [], 'a run of an ordinary role completes');
is(who('who'), 'bob|bob|none', 'session_user and current_user of a node are the owner');

make_workflow($node, $db, 'steal', [ [ 'steal', 'SET SESSION AUTHORIZATION postgres' ] ], [], 'bob');
my $run = start_run($node, $db, 'steal');
run_ends($node, $db, $run, 'failed', 'SET SESSION AUTHORIZATION to somebody else fails');
is($node->safe_psql($db, "SELECT sqlstate FROM chronicle.execution_failures WHERE execution_id = '$run'"), '42501', 'for lack of the right');
make_workflow($node, $db, 'steal_role', [ [ 'steal', 'SET ROLE alice' ] ], [], 'bob');
run_ends($node, $db, start_run($node, $db, 'steal_role'), 'failed', 'SET ROLE to a role that is not its own fails');
make_workflow($node, $db, 'reset', [ [ 'a', 'RESET ROLE' ], [ 'b', 'RESET SESSION AUTHORIZATION' ], [ 'who', who_sql('reset') ] ], [ 'a>b', 'b>who' ], 'bob');
run_ends($node, $db, start_run($node, $db, 'reset'), 'completed', 'RESET ROLE and RESET SESSION AUTHORIZATION do');
is(who('reset'), 'bob|bob|none', '… and lead back to the owner');
$node->safe_psql($db, "SELECT pg_terminate_backend($pid)"); # alice's only executor, so that what follows needs a new one
completes('set_role', 'alice', [ [ 'change', 'SET ROLE friend' ], [ 'who', who_sql('after') ] ], ['change>who'], 'SET ROLE to a role that is its own works');
is(who('after'), 'alice|alice|none', '… and ends with the node');

# A superuser's node may become anybody; the next one is the owner again.
completes('super', undef, [ [ 'change', 'SET SESSION AUTHORIZATION bob' ], [ 'who', who_sql('super') ] ], ['change>who'], "a superuser's node changes its session's user");
is(who('super'), 'postgres|postgres|none', '… and that ends with the node');

# --- an owner that cannot log in ---

completes('idle', 'idler', [ [ 'who', who_sql('idle') ] ], [], 'a run of a role without LOGIN completes');
is((split /\|/, who('idle'))[1], 'idler', 'current_user is the owner');
make_workflow($node, $db, 'idle_steals', [ [ 'steal', 'SET ROLE postgres' ] ], [], 'idler');
run_ends($node, $db, start_run($node, $db, 'idle_steals'), 'failed', 'its nodes do not become the superuser');
make_workflow($node, $db, 'idle_temp', [ [ 't', 'CREATE TEMP TABLE t (a int)' ] ], [], 'idler');
$run = start_run($node, $db, 'idle_temp');
if ($nologin_connects) {
    run_ends($node, $db, $run, 'completed', 'it is a connection of its own: temporary tables work');
    is(who('idle'), 'idler|idler|none', 'session_user is the owner, too');
} else {
    run_ends($node, $db, $run, 'failed', 'it runs in a security-restricted operation: temporary tables do not work');
    like($node->safe_psql($db, "SELECT error FROM chronicle.execution_failures WHERE execution_id = '$run'"), qr/security-restricted operation/, '… and the failure says so');
}

# --- a name that is another role's by now: who was connected as the former one runs nothing of it ---

my $keeper = $node->background_psql($db);
$keeper->query_safe('SELECT pg_advisory_lock(1)');
$node->safe_psql($db, "CREATE ROLE chief LOGIN SUPERUSER; SELECT chronicle.grant_access('chief', 'operator')");
make_workflow($node, $db, 'before', [ [ 'held', 'SELECT pg_advisory_xact_lock(1)' ] ], [], 'chief');
my $before = start_run($node, $db, 'before');
my $former = executor_of($node, $db, $db, 'held');
my $scheduler = $node->safe_psql($db, "SELECT pid FROM chronicle.workers WHERE role = 'scheduler' AND database = '$db'");
kill 'STOP', $scheduler; # it would start an executor of the new role
$node->safe_psql($db, "ALTER ROLE chief RENAME TO former; CREATE ROLE chief LOGIN; SELECT chronicle.grant_access('chief', 'operator')");
make_workflow($node, $db, 'after', [ [ 'who', who_sql('chief') ] ], [], 'chief');
my $after = start_run($node, $db, 'after');
$keeper->query_safe('SELECT pg_advisory_unlock(1)');
$keeper->quit;
wait_for($node, $db, "SELECT count(*) FROM pg_stat_activity WHERE pid = $former AND NOT EXISTS (SELECT FROM chronicle.executions WHERE execution_id = '$after' AND ended_at IS NOT NULL)",
    '0', 'the executor of a role that was renamed leaves when it sees nodes of the role that has its name now');
kill 'CONT', $scheduler;
run_ends($node, $db, $before, 'completed', 'what it was running has ended');
run_ends($node, $db, $after, 'completed', 'the run of the new role ends');
is(who('chief'), 'chief|chief|none', '… as the new role, and nobody more');
is($node->safe_psql($db, "SELECT attempts FROM chronicle.node_executions WHERE execution_id = '$after'"), '1', '… in one attempt');

# A role that is dropped between two nodes of its run: its executor leaves, without an error of its own in the log.
$keeper = $node->background_psql($db);
$keeper->query_safe('SELECT pg_advisory_lock(1)');
$node->safe_psql($db, "CREATE ROLE leaver LOGIN; SELECT chronicle.grant_access('leaver', 'operator')");
make_workflow($node, $db, 'leaver', [ [ 'holds', 'SELECT pg_advisory_xact_lock(1)', own_transaction => JSON::PP::true ], [ 'next', 'SELECT 1' ] ], ['holds>next'], 'leaver');
my $leaver = start_run($node, $db, 'leaver');
executor_of($node, $db, $db, 'holds');
my $since = -s $node->logfile;
$node->safe_psql($db, 'DROP ROLE leaver');
$keeper->query_safe('SELECT pg_advisory_unlock(1)');
$keeper->quit;
run_ends($node, $db, $leaver, 'failed', 'the run of a role that is dropped between its nodes fails');
is($node->safe_psql($db, "SELECT node_id, attempts, sqlstate, error FROM chronicle.node_executions WHERE execution_id = '$leaver' AND status = 'failed'"),
    'next|1|28000|the owner, role "leaver", does not exist', '… with the reason');
unlike(slurp_file($node->logfile, $since), qr/ERROR/, '… and nothing in the log');

# --- owners that nothing can run as ---

$node->safe_psql($db, "ALTER DATABASE $db SET chronicle.workers = off");
wait_for($node, $db, "SELECT count(*) FROM chronicle.workers WHERE role = 'scheduler' OR state = 'idle' AND role = 'executor'", '0', 'workers are off for a moment');
make_workflow($node, $db, 'going', [ [ 'n', 'SELECT 1' ] ], [], 'going');
make_workflow($node, $db, 'outside', [ [ 'n', 'SELECT 1' ] ], [], 'outsider');
my $going = start_run($node, $db, 'going');
my $outside = start_run($node, $db, 'outside');
my $other = start_run($node, $db, 'set_role');
$node->safe_psql($db, "DROP ROLE going; REVOKE CONNECT ON DATABASE $db FROM PUBLIC; GRANT CONNECT ON DATABASE $db TO alice, bob");
$node->safe_psql($db, "ALTER DATABASE $db RESET chronicle.workers");
run_ends($node, $db, $going, 'failed', 'the run of a dropped owner fails');
is($node->safe_psql($db, "SELECT node_id, sqlstate, error FROM chronicle.execution_failures WHERE execution_id = '$going'"),
    'n|28000|the owner, role "going", does not exist', '… with the reason');
run_ends($node, $db, $outside, 'failed', 'the run of an owner without CONNECT fails');
is($node->safe_psql($db, "SELECT node_id, sqlstate, error FROM chronicle.execution_failures WHERE execution_id = '$outside'"),
    'n|28000|the owner, role "outsider", may not connect to this database', '… with the reason');
run_ends($node, $db, $other, 'completed', 'the runs of others go on');

# A role that is dropped while an executor is connected as it.
$node->safe_psql($db, "CREATE ROLE brief LOGIN; GRANT CONNECT ON DATABASE $db TO brief; SELECT chronicle.grant_access('brief', 'operator')");
completes('brief', 'brief', [ [ 'n', 'SELECT 1' ] ], [], 'a run of one more role completes');
$node->safe_psql($db, "REVOKE CONNECT ON DATABASE $db FROM brief; DROP ROLE brief");
$run = start_run($node, $db, 'brief');
run_ends($node, $db, $run, 'failed', 'its next run fails after the role was dropped');
like($node->safe_psql($db, "SELECT error FROM chronicle.execution_failures WHERE execution_id = '$run'"), qr/"brief", does not exist/, '… with the reason');

$node->stop;
done_testing();
