# The event store when the server is killed under load: with synchronous_commit on nothing that was acknowledged or seen
# is lost; with it off what was seen may be gone, but its position is never given again.
# crash-expected
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use PostgreSQL::Test::Utils;
use Test::More;

die "CHRONICLE_TEST_TOOLS is not set: build the target test_tools of CMakeLists.txt" unless defined $ENV{CHRONICLE_TEST_TOOLS};
my $program = "$ENV{CHRONICLE_TEST_TOOLS}/torture";
my $ledger_directory = PostgreSQL::Test::Utils::tempdir();

# Few writers and readers: the disk is the limit here, not the order.
my @load = ('--writers', 6, '--readers', 12);

# Starts the program in the background: its handle and its output.
sub start_torture {
    my ($node, $ledger, @arguments) = @_;
    my $run = { out => '' };
    $run->{handle} = IPC::Run::start([ $program, '--conninfo', $node->connstr('postgres'), '--crash-log', $ledger, '--seconds', 300, @load, @arguments ],
        '>', \$run->{out}, '2>&1', IPC::Run::timeout(300));
    return $run;
}

sub pid_of {
    my ($node, $which) = @_;
    return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE $which AND pid <> pg_backend_pid() LIMIT 1");
}

# A test: so many positions are given.
sub load_runs {
    my ($node, $positions, $what) = @_;
    my $before = $node->safe_psql('postgres', 'SELECT chronicle.safe_position()');
    wait_for($node, 'postgres', "SELECT chronicle.safe_position() > $before + $positions", 't', $what);
}

# With synchronous_commit off a stopped WAL writer makes sure that there is something to lose.
my $wal_writer;
sub stop_wal_writer {
    my ($node) = @_;
    $node->safe_psql('postgres', 'CHECKPOINT');
    $wal_writer = pid_of($node, "backend_type = 'walwriter'");
    kill('STOP', $wal_writer) == 1 or die 'there is no WAL writer';
}

my %crash = (
    'kill -9 of the postmaster' => \&kill_server,
    'kill -9 of a backend' => sub { my ($node) = @_; kill_process($node, sub { pid_of($node, "query LIKE 'SELECT append%'") }) },
    'kill -9 of the postmaster with unwritten WAL' => sub { my ($node) = @_; kill_server($node, $wal_writer) },
    'kill -9 of the WAL writer after a part was written' => sub {
        my ($node) = @_;
        $node->safe_psql('postgres', "SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'torture', 'flush')");
        load_runs($node, 2000, '… more load');
        kill_process($node, sub { $wal_writer });
    },
);

# One crash under load, and what is found after it.
sub crash_and_verify {
    my ($node, $ledger, $how, @verify) = @_;
    stop_wal_writer($node) if @verify;
    my $run = start_torture($node, $ledger, @verify);
    load_runs($node, 5000, "$how: the load runs");
    $crash{$how}->($node);
    $run->{handle}->finish;
    diag($run->{out});
    is($run->{handle}->result(0), 0, '… until then no violation');
    like($run->{out}, qr/the server went away/, '… and the crash was what ended it');

    my ($out, $errors) = ('', '');
    IPC::Run::run([ $program, '--conninfo', $node->connstr('postgres'), '--verify', $ledger, @verify ], '>', \$out, '2>', \$errors);
    my $status = $? >> 8;
    diag($_) for grep { /\S/ } split /\n/, $out . $errors;
    is($status, 0, @verify ? '… whole transactions, and no position twice' : '… everything acknowledged and seen is there, nothing else is');
    like($out, qr/ [1-9]\d* acknowledged events lost, [1-9]\d* seen events lost/, '… though something was lost that had been seen') if @verify;
}

# In the second server nothing writes WAL when its WAL writer is stopped, but for a new block of positions.
my %mode = (
    on => { conf => '', crashes => [ 'kill -9 of the postmaster', 'kill -9 of a backend' ], verify => [] },
    off => {
        conf => "wal_buffers = 64MB\nbgwriter_lru_maxpages = 0\nautovacuum = off\n",
        crashes => [ 'kill -9 of the postmaster with unwritten WAL', 'kill -9 of the WAL writer after a part was written' ],
        verify => ['--allow-loss'],
    });
for my $on_off ('on', 'off') {
    my $mode = $mode{$on_off};
    my $node = new_node("crash_$on_off",
        conf => "$mode->{conf}synchronous_commit = $on_off\nmax_connections = 100\nrestart_after_crash = on\ndeadlock_timeout = 50ms\n");
    note("synchronous_commit = $on_off");
    crash_and_verify($node, "$ledger_directory/$on_off", $_, @{ $mode->{verify} }) for @{ $mode->{crashes} };
    $node->stop;
}
done_testing();
