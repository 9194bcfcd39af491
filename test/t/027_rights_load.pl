# Rights while they are changed by others: a role whose level goes up and down, but never below "writer", is never refused, and after all of
# it has the level that the last changes left.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use IPC::Run ();
use ChronicleTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = new_node('rights_load');
# With an index on what changes, each change is a row at another place, as it is where the page is full.
$node->safe_psql($db, <<'SQL');
ALTER DATABASE postgres SET search_path = public, chronicle;
CREATE ROLE busy;
SELECT chronicle.grant_access('busy', 'writer');
CREATE INDEX ON chronicle_data.access_level (level);
SQL

my @scripts;
for my $part (
    [ 1, "SELECT grant_access('busy', 'admin');\nSELECT revoke_access('busy', 'operator');\n" ],
    [ 1, "SELECT grant_access('busy', 'reader');\n" ], # less than it has: nothing changes
    [ 3, "SET ROLE busy;\nSELECT append_event('rights-' || :client_id, 'T');\nSELECT stream_version('rights-0');\nRESET ROLE;\n" ])
{
    my ($weight, $sql) = @$part;
    my $file = PostgreSQL::Test::Utils::tempdir . '/rights_' . @scripts . '.sql';
    append_to_file($file, $sql);
    push @scripts, '-f', "$file\@$weight";
}
my $output;
my $ran = IPC::Run::run([ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', 2000, @scripts, $node->connstr($db) ], '<', \undef, '>', \$output, '2>&1');
ok($ran && $output !~ /ERROR/, 'nobody is refused while rights change') or diag($output);
is($node->safe_psql($db, "SELECT level FROM chronicle_data.access_level WHERE role = 'busy'"), 'writer', 'the level that was left');
$node->stop;
done_testing();
