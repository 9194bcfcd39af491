# Random SQL over everything that chronicle offers (lib/ChronicleFuzz.pm), from several sessions at once, as roles of every level, beside
# workers and cancellations: whatever is given, no statement ends in an internal error, none hangs, and nothing is left behind.
#
# CHRONICLE_FUZZ_SEED, CHRONICLE_FUZZ_CALLS (lines of all sessions), CHRONICLE_FUZZ_SESSIONS: for longer runs, and to repeat one.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleFuzz;
use ChronicleTest;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{CHRONICLE_FUZZ_SEED} // 1;
my $sessions = $ENV{CHRONICLE_FUZZ_SESSIONS} // 4;
my $lines = int(($ENV{CHRONICLE_FUZZ_CALLS} // 6000) / $sessions);
my $hangs = 180; # seconds; nothing that is called here takes one, on a quiet machine
my $db = 'postgres';
my $directory = PostgreSQL::Test::Utils::tempdir;
note "CHRONICLE_FUZZ_SEED=$seed";

my $node = new_node('fuzz', conf => <<'CONF');
deadlock_timeout = 100ms
chronicle.scavenge_interval = 1
log_line_prefix = '%m [%p] %b %e '
log_min_messages = warning
log_min_error_statement = panic
CONF
$node->safe_psql($db, "ALTER DATABASE $db SET search_path = public, chronicle");
$node->safe_psql($db, "SET client_min_messages = error;\n" . ChronicleFuzz->set_up_sql, extra_params => [ '-o', '/dev/null' ]);
my $catalog = decode_json($node->safe_psql($db, ChronicleFuzz->catalog_sql));

# A script of so many lines for psql.
sub script {
    my ($name, $own_seed, $count) = @_;
    my $fuzz = ChronicleFuzz->new(seed => $own_seed, calm => $own_seed % 2, %$catalog);
    my @script = ('\set VERBOSITY verbose', map { $fuzz->line } 2 .. $count);
    open my $file, '>', "$directory/$name.sql" or die;
    print $file map { "$_\n" } @script;
    close $file;
    return \@script;
}

# Starts psql with a script; what it reports comes into $run->{errors}.
sub start {
    my ($name, $script) = @_;
    my %run = (script => $script, output => '', errors => '');
    local $ENV{PGAPPNAME} = 'fuzz';
    local $ENV{PGOPTIONS} = "-c statement_timeout=${hangs}s -c lock_timeout=${hangs}s";
    $run{psql} = IPC::Run::start([ 'psql', '-X', '-q', '-o', '/dev/null', '-d', $node->connstr($db), '-f', "$directory/$name.sql" ],
        '<', \undef, '>', \$run{output}, '2>', \$run{errors});
    return \%run;
}

# Waits for it, and says what no caller should see.
sub judge {
    my ($run) = @_;
    $run->{psql}->finish;
    my %told;
    for my $error (ChronicleFuzz->errors($run->{errors})) {
        my $statement = $run->{script}[ $error->{line} - 1 ];
        my $fault = ChronicleFuzz->fault($error, $statement) // next;
        my ($role) = grep { /^(?:RE)?SET SESSION AUTH/ } reverse @{ $run->{script} }[ 0 .. $error->{line} - 1 ];
        next if $told{"$fault $error->{message}"}++;
        diag("$fault, line $error->{line}: $error->{sqlstate} $error->{message}\n" . join('', map { $error->{$_} ? "  $_: $error->{$_}\n" : () } qw(detail hint context query location)) . ($role // '') . "\n$statement");
    }
    return scalar keys %told;
}

# --- several sessions, and one that cancels them ---

my %script = map { $_ => script("session_$_", $seed * 1000 + $_, $lines) } 1 .. $sessions;
my @runs = map { start("session_$_", $script{$_}) } 1 .. $sessions;
my $cancels = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE application_name = 'fuzz' AND random() < 0.3";
my ($canceller_in, $canceller_out) = ("$cancels \\watch 0.05\n", '');
my $canceller = IPC::Run::start([ 'psql', '-X', '-q', '-o', '/dev/null', '-d', $node->connstr($db) ], '<', \$canceller_in, '>', \$canceller_out, '2>&1');
my $faults = 0;
$faults += judge($_) for @runs;
$canceller->kill_kill;
is($faults, 0, "$sessions sessions of $lines lines each: no error but those that a caller can do something about");
isnt(scalar(grep { $_->{errors} =~ /ERROR:  CH\d\d\d/ } @runs), 0, 'there were errors');

# --- what is left ---

# A test: the query has no row, as soon as workers are idle.
sub has_none {
    my ($query, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return wait_for($node, $db, "SELECT count(*) FROM ($query) AS x", '0', $what) || diag $node->safe_psql($db, $query);
}

$node->safe_psql($db, $_) for ('SELECT count(chronicle.unschedule_workflow(schedule_id)) FROM chronicle.schedules', 'SELECT count(chronicle.drop_trigger(trigger_id)) FROM chronicle.triggers');
# Runs start others until they are told.
my $cancel_all = 'SELECT count(chronicle.cancel_execution(execution_id)) FROM chronicle.executions WHERE ended_at IS NULL';
wait_until(sub { $node->safe_psql($db, $cancel_all) eq '0' }, 'runs do not end');
has_none("SELECT * FROM chronicle_data.$_", "nothing is left in $_") for qw(node_task concurrency_slot);
has_none(q(SELECT * FROM pg_locks WHERE locktype IN ('advisory', 'userlock') AND pid IN (SELECT pid FROM pg_stat_activity WHERE application_name = 'fuzz')), 'no lock is held');
has_none(<<'SQL', 'versions are contiguous');
SELECT s.name, s.removed, count(*), min(e.version), max(e.version) FROM chronicle_data.stream AS s JOIN chronicle_data.event AS e USING (stream_id)
 GROUP BY s.stream_id HAVING min(e.version) <> s.removed + 1 OR count(*) <> max(e.version) - s.removed
SQL
has_none(<<'SQL', 'the last numbers in memory are those of the table');
SELECT s.name, chronicle.stream_version(s.name), e.last, s.removed FROM chronicle_data.stream AS s LEFT JOIN (SELECT stream_id, max(version) AS last FROM chronicle_data.event GROUP BY stream_id) AS e USING (stream_id)
 WHERE s.name NOT LIKE '$%' AND COALESCE(chronicle.stream_version(s.name), 0) <> COALESCE(e.last, s.removed)
SQL
has_none(<<'SQL', 'the safe position is at the end');
SELECT e.global_position FROM (SELECT max(global_position) AS global_position FROM (SELECT global_position FROM chronicle_data.event UNION ALL SELECT global_position FROM chronicle_data.workflow_event) AS a) AS e
 WHERE e.global_position > chronicle.safe_position()
SQL
has_none(<<'SQL', 'no row is of something that is gone');
SELECT 'snapshot', stream_id::text FROM chronicle_data.snapshot WHERE stream_id NOT IN (SELECT stream_id FROM chronicle_data.stream)
UNION ALL SELECT 'event', stream_id::text FROM chronicle_data.event WHERE stream_id NOT IN (SELECT stream_id FROM chronicle_data.stream)
UNION ALL SELECT 'kind', kind_id::text FROM chronicle_data.event WHERE kind_id NOT IN (SELECT kind_id FROM chronicle_data.event_kind)
UNION ALL SELECT 'state', projection_id::text FROM chronicle_data.projection_state WHERE projection_id NOT IN (SELECT projection_id FROM chronicle_data.projection)
UNION ALL SELECT 'run event', execution_id::text FROM chronicle_data.workflow_event WHERE execution_id NOT IN (SELECT execution_id FROM chronicle_data.execution)
SQL
has_none(<<'SQL', 'every async projection goes on, or says why not');
SELECT name, status, lag_events, last_error FROM chronicle.projections WHERE mode = 'async' AND status NOT IN ('disabled', 'faulted') AND (status <> 'running' OR lag_events > 0) AND last_error IS NULL
SQL
# What nodes and handlers raised stands in views, and is an error of theirs.
is($node->safe_psql($db, "SELECT node_id, sqlstate, error FROM chronicle.execution_failures WHERE sqlstate ~ '^(XX|38000)'"), '', 'no node failed for an internal error');

# --- the same calls again and again take no memory ---

my $memory = "SELECT sum(total_bytes) FROM pg_backend_memory_contexts";
my @calls = grep { /^SELECT/ && !/fuzz\.restore/ } @{ script('memory', $seed * 1000, 400) };
open my $file, '>', "$directory/memory.sql" or die;
print $file "\\o $directory/memory.out\n";
# The first rounds fill caches.
for my $round (1 .. 6) {
    print $file map { "BEGIN;\n$_\nROLLBACK;\n" } @calls;
    print $file "\\echo $round\n\\pset tuples_only\n\\o\n$memory;\n\\o $directory/memory.out\n\\pset tuples_only\n";
}
close $file;
my $bytes = '';
IPC::Run::run([ 'psql', '-X', '-q', '-A', '-d', $node->connstr($db), '-f', "$directory/memory.sql" ], '<', \undef, '>', \$bytes, '2>', \my $ignored);
my @bytes = grep { /^\d{4,}$/ } split /\n/, $bytes;
is(scalar @bytes, 6, 'memory was looked at');
# Caches still grow a little; 5 kB for each call would be too much.
cmp_ok($bytes[5] - $bytes[3], '<', 2 * 5_000 * @calls, 'failed and undone calls leave no memory behind') or diag("@bytes");
note("bytes after each round: @bytes");

# --- the log ---

my $log = slurp_file($node->logfile);
my @bad = grep { /PANIC|terminated by signal|TRAP:| (?:XX\w{3}|38000) |leak|own a lock|was not closed|invalid memory alloc|cache lookup failed|could not open relation/ } split /\n/, $log;
is(scalar @bad, 0, 'the log of the server has no internal error') or diag(join "\n", @bad[ 0 .. ($#bad < 20 ? $#bad : 20) ]);

$node->stop;
done_testing();
