# examples/package_history: rotated logs, an import that goes on where it was, and the promise of the demo: whatever is
# killed in the middle of the workflow, the report is that of an undisturbed run.
# crash-expected
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $example = "$FindBin::RealBin/../../examples/package_history";
my $db = 'postgres';
my $node = new_node('examples');
$node->safe_psql($db, "ALTER DATABASE $db SET search_path = public, chronicle");
$node->safe_psql($db, "\\i $example/schema.sql");

sub value { return $node->safe_psql($db, $_[0]) }

# --- the log ---

# A directory with these files of the log; compressed where the name says so.
sub log_directory {
    my (%files) = @_;
    my $directory = PostgreSQL::Test::Utils::tempdir();
    for my $name (keys %files) {
        my $plain = "$directory/$name" =~ s/\.gz$//r;
        append_to_file($plain, $files{$name});
        system_or_bail('gzip', $plain) if $name =~ /\.gz$/;
    }
    return $directory;
}

sub import_log {
    my ($directory) = @_;
    value(<<"SQL");
TRUNCATE package_history.log_line RESTART IDENTITY;
\\copy package_history.log_line (file, file_line, line) from program '"$example/read-log" "$directory"'
CALL package_history.import_log();
SQL
    return value("SELECT count(*) FROM events WHERE category = 'package'");
}

my @lines = map { "$_\n" } split /\n/, slurp_file("$FindBin::RealBin/../data/dpkg.log");
my $rotated = log_directory(
    'dpkg.log.10.gz' => join('', @lines[ 0 .. 19 ]),
    'dpkg.log.2.gz' => join('', @lines[ 20 .. 39 ]),
    'dpkg.log.1' => join('', @lines[ 40 .. 57 ]),
    'dpkg.log' => join('', @lines[ 58 .. $#lines ]),
    'dpkg.log.old' => "2020-01-01 00:00:00 install not-ours:all <none> 1\n");
my ($read) = run_command([ "$example/read-log", $rotated ]);
is(join('', map { (split /\t/)[2] . "\n" } split /\n/, $read), join('', @lines), 'rotated files are read, oldest first');
like($read, qr/^dpkg\.log\.1\t1\t/m, 'lines are numbered in their file');

is(import_log(log_directory('dpkg.log' => join('', @lines[ 0 .. 29 ]))), 27, 'an import that got half of the log');
is(import_log($rotated), 60, 'the whole log, in other files: what was missing is added');
is(import_log($rotated), 60, 'once more: nothing is added');
is( value("SELECT string_agg(data ->> 'status', ' ' ORDER BY version) FROM read_stream('package-libc6:i386') WHERE data ? 'status'"),
    'half-installed unpacked half-configured installed installed half-configured half-installed config-files config-files '
      . 'not-installed',
    'the events of a package are in the order of the log, equal lines included');
is(value("SELECT metadata FROM read_stream('package-nano:amd64') WHERE version = 20"), '{"file": "dpkg.log.1", "line": 16}',
    'an event says where it was read');

# --- the workflow ---

my $definition = slurp_file("$example/workflow.json");
value("SELECT * FROM create_workflow(\$json\$$definition\$json\$)");

sub checksum { return value('SELECT checksum FROM package_history.report_checksum') }

# A wrong row that only a new report removes.
sub spoil_report { value("UPDATE package_history.package_state SET status = 'spoilt'") }

# While this session lives, a run stops in node write_states.
sub hold_runs {
    my %holder = (in => '', out => '', timeout => IPC::Run::timer($ChronicleTest::deadline));
    $holder{process} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db) ],
        '<', \$holder{in}, '>', \$holder{out}, '2>', '/dev/null', $holder{timeout});
    $holder{in} = "BEGIN; LOCK TABLE package_history.package_state IN SHARE MODE; SELECT 'held by ' || pg_backend_pid();\n";
    $holder{process}->pump until $holder{out} =~ /held by (\d+)\n/;
    $holder{backend} = $1;
    return \%holder;
}

sub release_runs {
    my ($holder) = @_;
    $holder->{in} = "\\q\n";
    $holder->{process}->finish;
}

# The executor that has begun with write_states, and its start is committed.
sub executor_held {
    my ($run) = @_;
    wait_for($node, $db, "SELECT count(*) FROM execution_history WHERE execution_id = '$run' AND type = 'NodeExecutionStarted' AND node_id = 'write_states'",
        '1', 'write_states is running');
    return executor_of($node, $db, $db, 'write_states');
}

sub run_was_whole {
    my ($run, $what) = @_;
    run_ends($node, $db, $run, 'completed', "$what: the run is completed");
    my $events = "FROM execution_history WHERE execution_id = '$run' AND type";
    is(value("SELECT count(*), count(DISTINCT node_id) $events = 'NodeExecutionCompleted'"), '10|10', "$what: each node is completed once");
    is(value("SELECT count(*) $events = 'NodeExecutionStarted' AND node_id = 'write_states'"), 1, "$what: one start, whoever went on with the attempt");
}

run_was_whole(start_run($node, $db, 'package-history'), 'undisturbed');
is(value("SELECT status, version FROM package_history.package_state WHERE package = 'nano:amd64'"), 'config-files|7.2-1+deb12u1',
    'the state is folded from the events');
my $report = checksum();
spoil_report();
isnt(checksum(), $report, 'another report has another checksum');

my $holder = hold_runs();
my $run = start_run($node, $db, 'package-history');
my $executor = executor_held($run);
kill 'TERM', $executor;
wait_for($node, $db, "SELECT pid <> $executor FROM workers WHERE current_node = 'write_states'", 't', 'SIGTERM: another executor takes the node up');
release_runs($holder);
run_was_whole($run, 'SIGTERM');
is(checksum(), $report, 'SIGTERM: the same report');

# The killed server's children take a moment to notice; until then no other one may use the data directory.
sub start_after_kill {
    my $end = time + $ChronicleTest::deadline;
    until ($node->start(fail_ok => 1)) {
        die 'the server does not start after kill -9' if time > $end;
        $node->{_pid} = undef; # read from the old pid file when it could not start
    }
}

spoil_report();
$holder = hold_runs();
$run = start_run($node, $db, 'package-history');
$executor = executor_held($run);
# Stopped, the session cannot go first: the executor would find the lock free, and finish the run before it misses its server.
kill 'STOP', $holder->{backend};
$node->kill9;
kill 'KILL', $executor;
kill 'KILL', $holder->{backend};
$holder->{process}->kill_kill;
start_after_kill();
run_was_whole($run, 'kill -9');
is(checksum(), $report, 'kill -9: the same report');
is(value("SELECT count(*) FROM events WHERE category = 'package'"), 60, 'kill -9: the same events');

$node->stop;
done_testing();
