# A dump restored into a new cluster says the same and goes on: positions, order, retention, what was scavenged, tombstones,
# levels. So does a database made by TEMPLATE. The scheduler removes what is hidden. A prepared transaction is refused.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('dump', conf => "chronicle.scavenge_interval = -1\nmax_prepared_transactions = 2\n");
$node->safe_psql('postgres', q{CREATE ROLE "Shop ""1""" LOGIN; CREATE ROLE clerk LOGIN});

# What is dumped: a stream of each kind, hidden events that are removed and some that are not.
$node->safe_psql('postgres', <<'SQL');
SET search_path = public, chronicle;
SELECT append_event('cart-' || n % 5, 'Added', jsonb_build_object('n', n), '{"correlation_id": "c"}') FROM generate_series(1, 200) AS n;
SELECT append_event('order-1', 'Placed', event_id => '00000000-0000-4000-8000-00000000d001');
SELECT append_event_arrays('log-1', array_fill('L'::text, ARRAY[10]), NULL), append_event_arrays('log-2', array_fill('L'::text, ARRAY[10]), NULL);
SELECT delete_stream('cart-1'), tombstone_stream('cart-2');
SELECT set_category_retention('log', max_count => 4, max_age => '30 days'), set_stream_retention('log-2', truncate_before => 9);
SELECT set_stream_retention('order-1', truncate_before => 2), describe_category('cart', 'Carts');
SELECT scavenge();
SELECT append_event_arrays('log-1', array_fill('L'::text, ARRAY[10]), NULL), delete_stream('cart-3');
SELECT grant_access('"Shop ""1"""', 'writer'), grant_category('clerk', 'log', 'read');
SQL

# All that can be seen of the store.
my $seen = <<'SQL';
SET search_path = public, chronicle; SET timezone = UTC;
SELECT * FROM read_all(max_count => 10000, include_system => true);
SELECT * FROM events ORDER BY global_position;
SELECT * FROM streams ORDER BY stream;
SELECT * FROM categories ORDER BY category;
SELECT * FROM chronicle_data.removed_id ORDER BY event_id;
SELECT * FROM chronicle_data.access_level ORDER BY role;
SQL
my $before = $node->safe_psql('postgres', $seen);
my $last = $node->safe_psql('postgres', 'SELECT chronicle.safe_position()');

# Tests: `database` of `copy` says the same, and the store goes on there.
sub goes_on {
    my ($copy, $database, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($copy->safe_psql($database, $seen), $before, "$what: the same events, streams, categories and levels");
    my $next = "SET search_path = public, chronicle; SELECT append_event";
    is($copy->safe_psql($database, "$next('cart-0', 'Added', expected_version => 40)"), 41, '… versions go on');
    is($copy->safe_psql($database, "$next('cart-1', 'Added', expected_version => 0)"), 41, '… also of a stream without rows');
    is($copy->safe_psql($database, "$next('order-1', 'Placed', event_id => '00000000-0000-4000-8000-00000000d001')"), 1,
        '… a retry of what was removed is known');
    fails_with($copy, $database, "$next('cart-2', 'Added')", 'CH002', 'tombstoned', '… a tombstone stays');
    cmp_ok($copy->safe_psql($database, "SELECT max(global_position) FROM chronicle.events WHERE stream = 'cart-1'"),
        '>', $last, '… positions go on above all that were given');
    is($copy->safe_psql($database, "SELECT string_agg(version::text, ' ') FROM chronicle.read_stream('log-1')"),
        '17 18 19 20', '… retention hides');
    is(sql_as($copy, $database, 'Shop "1"', "$next('cart-9', 'Added')"), 1, '… a writer writes');
    is(sql_as($copy, $database, 'clerk', 'SELECT string_agg(stream, $$ $$ ORDER BY stream) FROM chronicle.streams'),
        'log-1 log-2', '… a right to one category shows that one');
    is($copy->safe_psql($database, 'SELECT streams || $$ $$ || events FROM chronicle.scavenge()'), '2 50',
        '… what was to be removed is removed');
    is($copy->safe_psql($database, 'SELECT events FROM chronicle.scavenge()'), 0, '… once');
    return;
}

my $dump = $node->basedir . '/all.sql';
my $custom = $node->basedir . '/postgres.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $custom, $node->connstr('postgres') ], 'dumped');
$node->command_ok([ 'pg_dumpall', '--roles-only', '-f', $dump, '-d', $node->connstr('postgres') ], 'roles dumped');

my $copy = PostgreSQL::Test::Cluster->new('restored');
$copy->init;
$copy->append_conf('postgresql.conf',
    "shared_preload_libraries = 'chronicle'\nmax_worker_processes = 32\nchronicle.scavenge_interval = -1\n");
$copy->start;
$copy->psql('postgres', slurp_file($dump), on_error_stop => 0); # the bootstrap role is there already
$copy->safe_psql('postgres', 'CREATE DATABASE copy');
$copy->command_ok([ 'pg_restore', '--exit-on-error', '-d', $copy->connstr('copy'), $custom ], 'restored into a new cluster');
goes_on($copy, 'copy', 'new cluster');
$copy->stop;

$node->safe_psql('template1', 'CREATE DATABASE twin TEMPLATE postgres');
goes_on($node, 'twin', 'TEMPLATE');
is($node->safe_psql('postgres', $seen), $before, 'the original is as it was');

# Where somebody appends before the restore comes to its end, and sets the sequence: the next session is above all of it.
new_database($node, 'hasty');
my $appended = "SELECT chronicle.append_event('cart-0', 'Added'); SELECT chronicle.last_position()";
$node->safe_psql('hasty', "$appended; SELECT setval('chronicle_data.position_seq', 16384 * 1000 + 1)");
cmp_ok($node->safe_psql('hasty', 'SELECT chronicle.safe_position()'), '>', 16384 * 1000, 'a sequence that is set later: readers go as far');
my (undef, $position) = split /\n/, $node->safe_psql('hasty', $appended);
cmp_ok($position, '>', 16384 * 1000, '… and positions go on above it');

fails_with($node, 'postgres', "BEGIN; SELECT chronicle.append_event('cart-0', 'Added'); PREPARE TRANSACTION 'p';",
    '0A000', 'cannot PREPARE', 'a prepared transaction with an append is refused');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), 0, '… and nothing is left of it');

# --- the scheduler removes, too ---

$node->append_conf('postgresql.conf', 'chronicle.scavenge_interval = 0');
$node->reload;
my $stored = "SELECT count(*) FROM chronicle_data.event AS e JOIN chronicle_data.stream AS s USING (stream_id) WHERE s.name = ";
wait_for($node, 'postgres', "$stored 'cart-3'", '0', 'the scheduler removes a deleted stream');
wait_for($node, 'postgres', "$stored 'log-1'", '4', '… and what a retention hides');
is($node->safe_psql('postgres', "SELECT chronicle.stream_version('cart-3')"), 40, '… and keeps the last number');

$node->stop;
done_testing();
