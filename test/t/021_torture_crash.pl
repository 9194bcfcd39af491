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
my @load = ('--writers', 6, '--readers', 11);

# Starts the program in the background: its handle and its output.
sub start_torture {
    my ($node, $ledger, @arguments) = @_;
    my $run = { out => '' };
    $run->{handle} = IPC::Run::start([ $program, '--conninfo', $node->connstr('postgres'), '--crash-log', $ledger, '--seconds', 300, @load, @arguments ],
        '>', \$run->{out}, '2>&1', IPC::Run::timeout(300));
    return $run;
}

# Waits until the condition holds, or dies.
sub wait_until {
    my ($condition, $otherwise) = @_;
    my $end = time + $ChronicleTest::deadline;
    while (!$condition->()) {
        die $otherwise if time > $end;
        select(undef, undef, undef, 0.05);
    }
}

# The postmaster is killed; its backends notice and end a moment later, and until then no server can start there.
sub kill_and_start {
    my ($node) = @_;
    my $pid = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
    $node->kill9;
    wait_until(sub { !kill(0, $pid) }, 'the postmaster is not dead');
    wait_until(sub { $node->start(fail_ok => 1) }, 'the server does not come back');
}

my %crash = (
    'kill -9 of the postmaster' => \&kill_and_start,
    'kill -9 of a backend' => sub {
        my ($node) = @_;
        my $since = -s $node->logfile;
        my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT append%' AND pid <> pg_backend_pid() LIMIT 1");
        kill('KILL', $pid) == 1 or die "no backend to kill";
        wait_for_message($node, qr/database system is ready to accept connections/, $since, '… the server comes back by itself');
    },
    'an immediate stop' => sub { my ($node) = @_; $node->stop('immediate'); $node->start },
);

# One crash under load, and what is found after it.
sub crash_and_verify {
    my ($node, $ledger, $how, @verify) = @_;
    my $before = $node->safe_psql('postgres', 'SELECT chronicle.safe_position()');
    my $run = start_torture($node, $ledger);
    wait_for($node, 'postgres', "SELECT chronicle.safe_position() > $before + 6000", 't', "$how: the load runs");
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
}

my %conf = (on => '', off => "wal_writer_delay = 10s\nwal_writer_flush_after = 1GB\n");
for my $mode ('on', 'off') {
    my $node = new_node("crash_$mode", conf => "$conf{$mode}synchronous_commit = $mode\nmax_connections = 100\nrestart_after_crash = on\ndeadlock_timeout = 50ms\n");
    my $ledger = "$ledger_directory/$mode";
    my @verify = $mode eq 'off' ? ('--allow-loss') : ();
    note("synchronous_commit = $mode");
    crash_and_verify($node, $ledger, $_, @verify) for ('kill -9 of the postmaster', 'kill -9 of a backend', ($mode eq 'off' ? 'an immediate stop' : ()));
    $node->stop;
}
done_testing();
