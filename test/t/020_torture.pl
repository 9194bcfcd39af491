# The event store under many writers and readers at once, beside transactions that stay open (test/tools/torture.cpp).
# CHRONICLE_TORTURE_SECONDS: how long; CHRONICLE_TORTURE_SEED: the seed of a run that is to be repeated.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{CHRONICLE_TORTURE_SECONDS} || 60;
my @seed = defined $ENV{CHRONICLE_TORTURE_SEED} ? ('--seed', $ENV{CHRONICLE_TORTURE_SEED}) : ();
die "CHRONICLE_TEST_TOOLS is not set: build the target test_tools of CMakeLists.txt" unless defined $ENV{CHRONICLE_TEST_TOOLS};

# Deadlocks are wanted here, and found soon.
my $node = new_node('torture', conf => "max_connections = 100\ndeadlock_timeout = 50ms\nlog_min_messages = fatal");
new_database($node, 'other');

# Runs the program; a test is that it finds no violation. Returns its counts by their names.
sub torture {
    my ($what, @arguments) = @_;
    my ($out, $errors) = ('', '');
    IPC::Run::run(
        [ "$ENV{CHRONICLE_TEST_TOOLS}/torture", '--conninfo', $node->connstr('postgres'), '--other-conninfo', $node->connstr('other'), @arguments ],
        '>', \$out, '2>', \$errors);
    my $status = $? >> 8;
    diag($_) for grep { /\S/ } split /\n/, $out . $errors;
    is($status, 0, $what);
    return map { /^(\d+) (.*?)(?: by .*| beside .*)?$/ ? ($2 => $1) : () } split /[;,] /, $out;
}

my %count = torture("$seconds s of torture: every event exactly once, in order, as it was acknowledged", '--seconds', $seconds, @seed);
cmp_ok($count{$_} // 0, '>', 0, "it had $_: " . ($count{$_} // 'none'))
  for ('events acknowledged', 'savepoints', 'rollbacks', 'conflicts', 'retries', 'twin calls', 'deadlocks', 'events read', 'compared with a snapshot', 'probes');
is($count{'in doubt'}, 0, 'no outcome is unknown');

# A log that is there already, and few streams: every writer meets every other.
torture('again, on the log of the first run, with 16 writers on 6 streams', '--seconds', 3, '--writers', 16, '--streams', 6, @seed);
is($node->safe_psql('postgres', "SELECT count(*) FROM chronicle.events WHERE category = 'torture_other'"), '0', 'no event of the other database is here');

$node->stop;
done_testing();
