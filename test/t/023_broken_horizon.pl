# The torture program can fail: with a library whose horizon is wrong on purpose (CHRONICLE_BREAK_HORIZON in
# src/store/order.cpp) it finds readers that lost events. The library lies in a copy of PostgreSQL of its own.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use File::Basename;
use PostgreSQL::Test::Utils;
use Test::More;

for my $variable ('CHRONICLE_TEST_TOOLS', 'CHRONICLE_BROKEN') {
    die "$variable is not set: run tools/check" unless defined $ENV{$variable};
}

# PostgreSQL finds its files relative to its own binary. Hard links, but for the one file that is another.
sub copy_of_postgresql {
    my %directory = map { chomp(my $d = `$ENV{PG_CONFIG} --$_`); $_ => $d } ('bindir', 'pkglibdir', 'sharedir');
    my $copy = PostgreSQL::Test::Utils::tempdir();
    for my $directory (sort { $a cmp $b } values %directory) {
        next if -e "$copy$directory";
        system_or_bail('mkdir', '-p', $copy . dirname($directory));
        system_or_bail('cp', '-rl', $directory, "$copy$directory");
    }
    my $library = "$copy$directory{pkglibdir}/chronicle.so";
    unlink $library or die "$library: $!";
    system_or_bail('cp', $ENV{CHRONICLE_BROKEN}, $library);
    return $copy . dirname($directory{bindir});
}

my $node = new_node('broken', install_path => copy_of_postgresql(), conf => "max_connections = 100\nlog_min_messages = fatal\n");
new_database($node, 'other');
my ($out, $errors) = ('', '');
IPC::Run::run(
    [
        "$ENV{CHRONICLE_TEST_TOOLS}/torture", '--conninfo', $node->connstr('postgres'),
        '--other-conninfo', $node->connstr('other'), '--seconds', 60
    ],
    '>', \$out, '2>', \$errors);
my $status = $? >> 8;
is($status, 1, 'the torture program fails');
like($out . $errors, qr/VIOLATION: reader \d+ .* came event /, '… because a reader lost an event')
  or diag($out . $errors);
$node->stop;
done_testing();
