# SQL over everything that chronicle offers: whatever is given, no statement ends in an internal error, none hangs, no memory is lost, and nothing
# is left behind. First every parameter of every function is given every hostile value once (lib/Fuzz/Sweep.pm); meanwhile another session
# repeats calls and looks at its memory. Then come calls by chance, from several sessions at once, as roles of every level, beside workers and
# cancellations (lib/Fuzz/Random.pm).
#
# CHRONICLE_FUZZ_SEED, CHRONICLE_FUZZ_CALLS (lines of all sessions by chance), CHRONICLE_FUZZ_SESSIONS: for longer runs, and to repeat one.
# CHRONICLE_FUZZ_ROLES: who sweeps beside the superuser, each in a database of its own, where workflows, projections and aggregates are theirs
# (fuzz_none, fuzz_reader, fuzz_writer, fuzz_operator, fuzz_admin, fuzz_category; 'all'); with CHRONICLE_FUZZ_FULL=1 all of them all values.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use Fuzz::Random;
use Fuzz::Session;
use Fuzz::Sweep;
use Fuzz::Values;
use Fuzz::World;
use JSON::PP;
use List::Util qw(min);
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{CHRONICLE_FUZZ_SEED} // 1;
my $sessions = $ENV{CHRONICLE_FUZZ_SESSIONS} // 4;
my $lines = int(($ENV{CHRONICLE_FUZZ_CALLS} // 3000) / $sessions);
my @sweepers = split ' ', $ENV{CHRONICLE_FUZZ_ROLES} // 'fuzz_operator';
@sweepers = @roles if "@sweepers" eq 'all';
my $full = $ENV{CHRONICLE_FUZZ_FULL} // 0;
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
$node->safe_psql($db, "SET client_min_messages = error;\n" . Fuzz::World->objects_sql, extra_params => [ '-o', '/dev/null' ]);
my $catalog = decode_json($node->safe_psql($db, Fuzz::World->catalog_sql));

# What the log has that nobody should see there.
sub bad_log_lines { return grep { /PANIC|terminated by signal|Failed process was running|TRAP:| (?:XX\w{3}|38000) |leak|own a lock|was not closed|invalid memory alloc|cache lookup failed|could not open relation/ } split /\n/, slurp_file($node->logfile) }

# A test: no session met a fault, and the log has none. What is wrong is told at once: nothing that comes later is to be waited for.
sub no_faults {
    my ($what, @sessions) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $faults = Fuzz::Session->finish(@sessions);
    my @bad = bad_log_lines();
    return if is($faults + @bad, 0, $what);
    $node->stop('immediate', fail_ok => 1); # it may have crashed
    @bad = bad_log_lines();
    diag(join "\n", 'the log of the server:', map { substr $_, 0, 2000 } @bad[ 0 .. ($#bad < 20 ? $#bad : 20) ]) if @bad;
    done_testing();
    exit 1;
}

# --- each hostile value once, and memory ---

# A statement about databases: whoever is still in one (autovacuum, our workers) may be asked to leave first.
sub about_databases {
    my ($sql) = @_;
    wait_until(sub { my ($status, undef, $error) = $node->psql('template1', $sql); die $error if $status != 0 && $error !~ /being accessed/; return $status == 0 }, "not done: $sql");
    return;
}

# A copy of the database, where everything belongs to a role.
sub copy_of_database {
    my ($name, $owner) = @_;
    about_databases("CREATE DATABASE $name TEMPLATE $db");
    $node->safe_psql('template1', "ALTER DATABASE $name SET search_path = public, chronicle");
    $node->safe_psql($name, "SET client_min_messages = error;\n" . Fuzz::World->known_sql($owner), extra_params => [ '-o', '/dev/null' ]);
    return;
}

sub sweep {
    my ($role) = @_;
    my (@script, %sane, %parameters, $values);
    push @script, "SET SESSION AUTHORIZATION $role;" if $role ne 'postgres';
    for my $function (@{ $catalog->{functions} }) {
        for my $call (Fuzz::Sweep->calls($function, !$full && $role ne 'postgres')) {
            push @script, "BEGIN; $call->{sql}; ROLLBACK;";
            $sane{ scalar @script } = 1 if $call->{what} eq 'sane' && $function->{name} !~ /\.unknown_/ && $role =~ /postgres|admin/;
            next if $call->{what} eq 'sane';
            $parameters{"$function->{name} $call->{what}"} = 1;
            $values++;
        }
    }
    note("as $role: " . @script . ' calls of ' . @{ $catalog->{functions} } . ' functions, ' . keys(%parameters) . " parameters are given $values values");
    return Fuzz::Session->start(lines => \@script, sane => \%sane, connstr => $node->connstr("sweep_$role"), file => "$directory/sweep_$role");
}

# Each function is called with sane arguments, and with a NULL for each, again and again. What is lost shows in each part of the rounds; a cache that is
# filled, or emptied and filled again, in one of them.
my ($rounds_before, $rounds) = (6, 8); # a statement is planned once for all after five
my @parts = qw(before between after);
my ($library_directory) = run_command([ 'pg_config', '--pkglibdir' ]);
my $has_heap = -e "$library_directory/chronicle_testing.so"; # without it: of the server's contexts only

sub memory_script {
    # Libraries bring settings of their own when they are loaded.
    my @settings = ('\o', "SELECT 'setting', name, setting FROM pg_settings WHERE name !~ '[.]' OR name LIKE 'chronicle.%' ORDER BY name;", '\o /dev/null');
    my ($calls, @script) = (0, @settings);
    for my $function (@{ $catalog->{functions} }) {
        my %seen;
        my @calls = map { "BEGIN; $_->{sql}; ROLLBACK;" } grep { $_->{what} eq 'sane' || !$seen{ $_->{what} }++ } Fuzz::Sweep->calls($function, 1);
        for my $part (@parts) {
            push @script, (@calls) x ($part eq 'before' ? $rounds_before : $rounds), '\o',
              "SELECT '$function->{name} $part', sum(used_bytes), " . ($has_heap ? 'fuzz.heap()' : 'sum(total_bytes)') . ' FROM pg_backend_memory_contexts;', '\o /dev/null';
        }
        $calls += @calls * ($rounds_before + 2 * $rounds);
    }
    note("$calls calls while memory is looked at");
    return [ @script, @settings ];
}

copy_of_database("sweep_$_", /operator|admin/ ? $_ : 'postgres') for 'postgres', @sweepers;
copy_of_database('memory', 'postgres');
$node->safe_psql('memory', q(CREATE FUNCTION fuzz.heap() RETURNS bigint LANGUAGE c AS '$libdir/chronicle_testing', 'seam_heap')) if $has_heap;
my $memory_script = memory_script();
my @sweeps = map { sweep($_) } 'postgres', @sweepers;
my $memory = Fuzz::Session->start(lines => $memory_script, connstr => $node->connstr('memory'), file => "$directory/memory");
no_faults('each parameter takes each hostile value: no error but those that a caller can do something about', @sweeps, $memory);

my %settings;
my $looks = slurp_file("$directory/memory.out");
push @{ $settings{$1} }, $2 while $looks =~ /^setting\|([^|]*)\|(.*)$/mg;
my @changed = grep { $settings{$_}[0] ne $settings{$_}[1] } sort keys %settings;
is("@changed", '', "calls leave the session's settings as they were");
my %bytes = map { /^(\S+ \w+)\|(\d+)\|(\d+)$/ ? ($1 => [ $2, $3 ]) : () } split /\n/, $looks;
is(scalar keys %bytes, @parts * @{ $catalog->{functions} }, 'memory was looked at');
my @grown;
for my $name (map { $_->{name} } @{ $catalog->{functions} }) {
    my @at = map { $bytes{"$name $_"} } @parts;
    my @growth = map { my $kind = $_; min(map { $at[$_]->[$kind] - $at[ $_ - 1 ]->[$kind] } 1 .. $#at) } 0, 1;
    # The least that 5 kB would be, lost by one of the calls in a round.
    push @grown, "$name: @growth" if grep { $_ > $rounds * 5_000 } @growth;
}
is("@grown", '', "calls leave no memory behind (grown by bytes: the server's contexts, malloc)");

about_databases("DROP DATABASE $_") for 'memory', map { "sweep_$_" } 'postgres', @sweepers;

# --- by chance: several sessions, and one that cancels them ---

sub by_chance {
    my ($number) = @_;
    my $own_seed = $seed * 1000 + $number;
    my $fuzz = Fuzz::Random->new(seed => $own_seed, calm => $own_seed % 2, %$catalog);
    return Fuzz::Session->start(lines => [ map { $fuzz->line } 1 .. $lines ], connstr => $node->connstr($db), file => "$directory/session_$number");
}

my @runs = map { by_chance($_) } 1 .. $sessions;
my $cancels = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE application_name = 'fuzz' AND pid <> pg_backend_pid() AND random() < 0.1";
my $canceller = Fuzz::Session->start(lines => ["$cancels \\watch 0.05"], connstr => $node->connstr($db), file => "$directory/canceller");
no_faults("$sessions sessions of $lines lines each: no error but those that a caller can do something about", @runs);
$canceller->stop;
my $errors = join '', map { slurp_file("$directory/session_$_.err") } 1 .. $sessions;
ok($errors =~ /ERROR:  CH\d\d\d/, 'there were errors');
ok($errors =~ /ERROR:  57014: canceling statement due to user request/, 'there were cancellations');

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

# --- the log ---

my @bad = bad_log_lines();
is(scalar @bad, 0, 'the log of the server has no internal error') or diag(join "\n", @bad[ 0 .. ($#bad < 20 ? $#bad : 20) ]);

$node->stop;
done_testing();
