# Several databases of one server, and statements that need a database, or the extension, for themselves.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('databases', conf => 'chronicle.worker_processes = 6');

# How a statement ends that must not wait for workers for ever; '' when it worked.
sub error_of {
    my ($database, $sql) = @_;
    my $errors = '';
    $node->psql($database, $sql, stderr => \$errors, timeout => $ChronicleTest::deadline, on_error_stop => 1);
    return $errors;
}

# --- several at once ---

for my $database (qw(one two three)) {
    new_database($node, $database);
    $node->safe_psql($database, 'CREATE TABLE effect (id int)');
    make_workflow($node, $database, 'flow',
        [ [ 'a', 'SELECT 1' ], [ 'b', 'SELECT 2' ], [ 'c', 'INSERT INTO effect VALUES (1)' ] ], [ 'a>c', 'b>c' ]);
    make_workflow($node, $database, 'long', [ [ 'sleeper', long_sql() ] ]);
}
my %run = map { $_ => start_run($node, $_, 'flow') } qw(one two three);
for my $database (qw(one two three)) {
    run_ends($node, $database, $run{$database}, 'completed', "a run in database $database completes");
    is($node->safe_psql($database, 'SELECT count(*) FROM effect'), '1', '… with its effects there, once');
}
$node->safe_psql('postgres', 'CREATE DATABASE plain');
wait_for($node, 'postgres', "SELECT string_agg(database, ' ' ORDER BY database) FROM chronicle.workers WHERE role = 'scheduler'",
    'one postgres three two', 'each database with chronicle has a scheduler, one without has none');

# --- DROP DATABASE ---

start_run($node, 'three', 'long');
executor_of($node, 'postgres', 'three', 'sleeper');
is(error_of('postgres', 'DROP DATABASE three'), '', 'DROP DATABASE works while a node runs there');
wait_for($node, 'postgres', "SELECT count(*) FROM chronicle.workers WHERE database = 'three' OR database IS NULL AND role <> 'launcher'", '0', 'none of its workers is left');

# A statement that fails gives the workers back.
my $run = start_run($node, 'two', 'long');
executor_of($node, 'postgres', 'two', 'sleeper');
like(error_of('postgres', "SELECT 1;\nBEGIN;\nDROP DATABASE two;"), qr/cannot run inside a transaction block/, 'a DROP DATABASE that fails');
executor_of($node, 'postgres', 'two', 'sleeper');
is($node->safe_psql('two', "SELECT attempts FROM chronicle.node_executions WHERE execution_id = '$run'"), '1', '… interrupts a node, but it runs again and lost no attempt');
is($node->safe_psql('two', "SELECT losses FROM chronicle_data.node_task WHERE execution_id = '$run'"), '0', '… and does not count as lost');

# --- RENAME ---

is(error_of('postgres', 'ALTER DATABASE two RENAME TO zwei'), '', 'ALTER DATABASE RENAME works while a node runs there');
executor_of($node, 'postgres', 'zwei', 'sleeper');
run_ends($node, 'zwei', start_run($node, 'zwei', 'flow'), 'completed', 'under its new name runs complete');

# --- CREATE DATABASE … TEMPLATE ---

is(error_of('postgres', 'CREATE DATABASE copy TEMPLATE zwei'), '', 'CREATE DATABASE … TEMPLATE works while a node runs there');
executor_of($node, 'postgres', 'zwei', 'sleeper');
pass('the node of the original runs again');
executor_of($node, 'postgres', 'copy', 'sleeper');
pass("so does the copy's");
run_ends($node, 'copy', start_run($node, 'copy', 'flow'), 'completed', 'new runs in the copy complete');
is($node->safe_psql('copy', 'SELECT count(*) FROM effect'), '3', '… with effects in the copy');
is($node->safe_psql('zwei', 'SELECT count(*) FROM effect'), '2', '… and not in the original');

# The default template belongs to whoever makes a database: no worker stands in its way.
$node->safe_psql('template1', 'CREATE EXTENSION chronicle');
make_workflow($node, 'template1', 'flow', [ [ 'a', 'SELECT 1' ] ]);
my $waiting = start_run($node, 'template1', 'flow');
is(error_of('postgres', 'CREATE DATABASE child'), '', 'CREATE DATABASE works when template1 has chronicle');
run_ends($node, 'child', $waiting, 'completed', 'a run that waited in the template runs in the new database');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE datname = 'template1'"), '0', 'template1 has none');

$node->safe_psql('postgres', 'ALTER DATABASE child IS_TEMPLATE true');
wait_for($node, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE datname = 'child'", '0', 'a database that becomes a template loses its workers');
$node->safe_psql('postgres', 'ALTER DATABASE child IS_TEMPLATE false');
run_ends($node, 'child', start_run($node, 'child', 'flow'), 'completed', 'and has them again when it is none any more');

# --- the same statements of a node, about the database that it is in: it would end its own worker, and begin again, for ever ---

my %refused = ('DROP EXTENSION chronicle CASCADE' => '0A000', 'ALTER DATABASE one RENAME TO eins' => '0A000', 'CREATE DATABASE eins TEMPLATE one' => '25001', 'DROP DATABASE one' => '25001', 'ALTER DATABASE one SET TABLESPACE pg_default' => '25001');
for my $sql (sort keys %refused) {
    make_workflow($node, 'one', 'refused', [ [ 'n', $sql ] ]);
    my $refused = start_run($node, 'one', 'refused');
    run_ends($node, 'one', $refused, 'failed', "a node with $sql fails");
    is($node->safe_psql('one', "SELECT attempts, sqlstate FROM chronicle.node_executions WHERE execution_id = '$refused'"), "1|$refused{$sql}", '… at once, with the reason');
}
run_ends($node, 'one', start_run($node, 'one', 'flow'), 'completed', 'the others go on');

# --- DROP EXTENSION, CREATE EXTENSION ---

is(error_of('copy', 'DROP EXTENSION chronicle'), '', 'DROP EXTENSION works while a node runs');
wait_for($node, 'postgres', "SELECT count(*) FROM chronicle.workers WHERE database = 'copy'", '0', 'no worker is left in that database');
$node->safe_psql('copy', 'CREATE EXTENSION chronicle');
make_workflow($node, 'copy', 'flow', [ [ 'a', 'INSERT INTO effect VALUES (2)' ] ]);
run_ends($node, 'copy', start_run($node, 'copy', 'flow'), 'completed', 'after CREATE EXTENSION runs complete again');

# Dropping it is undone beside a reader with an older snapshot: it still stands before what it does not see.
my ($writer, $reader) = map { $node->background_psql('copy') } 1, 2;
$writer->query_safe("BEGIN; SELECT chronicle.append_event('undone-1', 'T');");
$node->safe_psql('copy', "SELECT chronicle.append_event('undone-2', 'T')");
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1;');
$writer->query_safe('COMMIT');
$writer->quit;
$node->safe_psql('copy', "BEGIN; DROP EXTENSION chronicle; CREATE EXTENSION chronicle; SELECT chronicle.append_event('other-1', 'T'); ROLLBACK");
is($reader->query_safe("SELECT count(*) FROM chronicle.read_category('undone');"), '0', 'a reader with an older snapshot reads nothing beyond an open append');
is($reader->query_safe("COMMIT; SELECT string_agg(stream, ' ' ORDER BY global_position) FROM chronicle.read_category('undone');"),
    'undone-1 undone-2', '… and all of it then');
$reader->quit;

start_run($node, 'zwei', 'flow');
$node->safe_psql('zwei', 'BEGIN; DROP EXTENSION chronicle; ROLLBACK');
executor_of($node, 'postgres', 'zwei', 'sleeper');
run_ends($node, 'zwei', start_run($node, 'zwei', 'flow'), 'completed', 'a DROP EXTENSION that is rolled back leaves everything at work');

my $since = -s $node->logfile;
$node->safe_psql('plain', 'BEGIN; CREATE EXTENSION chronicle; ROLLBACK');
$node->safe_psql('plain', 'BEGIN; CREATE EXTENSION chronicle; SAVEPOINT s; ROLLBACK TO s; ROLLBACK');
$node->safe_psql('plain', 'CREATE EXTENSION chronicle');
make_workflow($node, 'plain', 'flow', [ [ 'a', 'SELECT 1' ] ]);
run_ends($node, 'plain', start_run($node, 'plain', 'flow'), 'completed', 'CREATE EXTENSION after two that were rolled back: runs complete');
unlike(slurp_file($node->logfile, $since), qr/ERROR|FATAL|WARNING/, 'none of that is an error in the log');

$node->safe_psql('plain', 'DROP EXTENSION chronicle');
wait_for($node, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE datname = 'plain'", '0', 'a database without the extension keeps no process');

$node->stop;
done_testing();
