# The library and the server: without the preload, with it, and with an extension of another version.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $hint = qr/HINT:  Add chronicle to shared_preload_libraries/;
my $node = PostgreSQL::Test::Cluster->new('preload');
$node->init;
$node->start;
fails_with($node, 'postgres', 'CREATE EXTENSION chronicle', '55000', $hint, 'CREATE EXTENSION without the preload says what to do');
fails_with($node, 'postgres', "LOAD 'chronicle'", '55000', $hint, 'and so does LOAD');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'chronicle%'"), '0', 'nothing is left behind');

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'chronicle'");
$node->restart;
$node->safe_psql('postgres', 'CREATE EXTENSION chronicle');
make_workflow($node, 'postgres', 'one', [ [ 'a', 'SELECT 1' ] ]);
run_ends($node, 'postgres', start_run($node, 'postgres', 'one'), 'completed', 'with the preload a run completes');

# A library that was replaced, and a schema that was not (or the reverse).
my $since = -s $node->logfile;
$node->safe_psql('postgres', "UPDATE pg_extension SET extversion = '0.0.0' WHERE extname = 'chronicle'");
my $update = qr/version 0\.0\.0.*HINT:  Run ALTER EXTENSION chronicle UPDATE/s;
fails_with($node, 'postgres', "SELECT chronicle.append_event('s-1', 't')", '55000', $update, 'append_event refuses a schema of another version');
fails_with($node, 'postgres', "SELECT chronicle.execute_workflow('one')", '55000', $update, 'execute_workflow, too');
$node->restart;
wait_for_message($node, qr/chronicle's library is version .* version 0\.0\.0/, $since, 'the workers say so in the log');
is($node->safe_psql('postgres', 'SELECT 1'), '1', 'the server works');

$node->safe_psql('postgres', "UPDATE pg_extension SET extversion = (SELECT default_version FROM pg_available_extensions WHERE name = 'chronicle') WHERE extname = 'chronicle'");
run_ends($node, 'postgres', start_run($node, 'postgres', 'one'), 'completed', 'with the right version again work goes on');

$node->stop;
done_testing();
