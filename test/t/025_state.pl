# States with processes around them: snapshots of idle streams by executors, ordinary roles, and snapshots that survive a dump.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('state');
my $db = 'postgres';

# --- roles: the functions run as the aggregate's owner, whoever asks ---

$node->safe_psql($db, <<'SQL');
CREATE ROLE stocker LOGIN;
CREATE ROLE clerk LOGIN;
CREATE ROLE stranger LOGIN;
SELECT chronicle.grant_access('stocker', 'operator'), chronicle.grant_access('clerk', 'writer');
CREATE SCHEMA stock AUTHORIZATION stocker;
SQL
sql_as($node, $db, 'stocker', <<'SQL');
CREATE TABLE stock.factor (factor int);
INSERT INTO stock.factor VALUES (10);
CREATE FUNCTION stock.apply_stock(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF e.data ? 'fail' THEN
        RAISE EXCEPTION 'cannot be applied';
    END IF;
    RETURN jsonb_build_object('n', (state ->> 'n')::int + (SELECT factor FROM stock.factor), 'by', current_user);
END $$;
SELECT chronicle.create_aggregate('stock', 'stock.apply_stock', '{"n": 0}', snapshot_every => 10, snapshot_after_idle => '1 second');
SQL
is(sql_as($node, $db, 'clerk', <<'SQL'), "10\n{\"n\": 100, \"by\": \"stocker\"}", 'a writer without rights on the schema appends with a snapshot, and reads the state');
SELECT chronicle.append_event_arrays('stock-1', array_fill('Put'::text, ARRAY[10]), NULL);
SELECT chronicle.aggregate_state('stock-1');
SQL
is(sql_as($node, $db, 'clerk', "SELECT version FROM chronicle.snapshots WHERE stream = 'stock-1'"), '10', 'the writer sees the snapshot');
for my $refused (
    [ 'stranger', "SELECT chronicle.aggregate_state('stock-1')", 'a state by nobody' ],
    [ 'stranger', "SELECT * FROM chronicle.replay('stock-1')", 'a replay by nobody' ],
    [ 'clerk', "SELECT chronicle.create_aggregate('own', 'chronicle.apply_merge_patch')", 'an aggregate by a writer' ],
    [ 'clerk', "SELECT chronicle.drop_aggregate('stock')", 'a drop by a writer' ],
    [ 'clerk', "SELECT chronicle.take_snapshot('stock-1')", 'a snapshot by a writer' ],
    [ 'clerk', "SELECT chronicle.drop_snapshots('stock-1')", 'dropping snapshots by a writer' ],
    [ 'clerk', 'SELECT * FROM chronicle_data.snapshot', 'the table itself' ],
  )
{
    my ($role, $sql, $what) = @$refused;
    fails_with($node, $db, "SET ROLE $role;\n$sql", '42501', '', "$what is refused");
}
is(sql_as($node, $db, 'stranger', 'SELECT count(*) FROM chronicle.snapshots'), '0', 'a stranger sees no snapshot');
$node->safe_psql($db, "SELECT chronicle.grant_access('stranger', 'operator')");
fails_with($node, $db, "SET ROLE stranger;\nSELECT chronicle.create_aggregate('stock', 'chronicle.apply_merge_patch', replace => true)",
    '42501', 'owner', 'another operator cannot replace it');

# --- idle streams ---

$node->safe_psql($db, "SELECT count(chronicle.append_event('stock-' || s, 'Put')) FROM generate_series(1, 3) AS s, generate_series(1, 4)");
wait_for($node, $db, "SELECT string_agg(stream || ':' || version, ' ' ORDER BY stream, version) FROM chronicle.snapshots WHERE version % 10 <> 0",
    'stock-1:14 stock-2:4 stock-3:4', 'idle streams get a snapshot of their last version');
is($node->safe_psql($db, "SELECT version, snapshot_version, events_applied, state ->> 'by' FROM chronicle.load_aggregate('stock-2')"),
    '4|4|0|stocker', 'a fold begins there');
$node->safe_psql($db, "SELECT chronicle.append_event('stock-2', 'Broken', '{\"fail\": 1}'), chronicle.append_event('stock-3', 'Put')");
wait_for($node, $db, "SELECT max(version) FROM chronicle.snapshots WHERE stream = 'stock-3'", '5', 'the next one, too');
wait_for($node, $db, "SELECT failing_streams FROM chronicle.aggregates WHERE category = 'stock'", '1', 'a failing apply function is noted and stops nobody');

# A stream that somebody holds who does not append is tried again; the others do not wait for it.
my $holder = $node->background_psql($db);
$holder->query_safe("SELECT chronicle.append_event('stock-4', 'Put'); BEGIN; SELECT chronicle.append_events('stock-4', '[]', 1)");
$node->safe_psql($db, "SELECT chronicle.append_event('stock-5', 'Put')");
wait_for($node, $db, "SELECT max(version) FROM chronicle.snapshots WHERE stream = 'stock-5'", '1', 'a stream beside one that is held');
wait_for($node, $db, 'SELECT count(*) FROM chronicle_data.aggregate_idle_held', '1', 'the one that is held is noted');
is($node->safe_psql($db, "SELECT count(*) FROM chronicle.snapshots WHERE stream = 'stock-4'"), '0', 'and has no snapshot');
$holder->query_safe('ROLLBACK');
wait_for($node, $db, "SELECT max(version) FROM chronicle.snapshots WHERE stream = 'stock-4'", '1', 'it gets one when it is free');
wait_for($node, $db, 'SELECT count(*) FROM chronicle_data.aggregate_idle_held', '0', 'and is not noted any more');
$holder->quit;

# --- the scheduler's own scavenging runs nobody's code: it goes to the newest snapshot below the cut, and makes that the base ---

sql_as($node, $db, 'stocker', <<'SQL');
CREATE FUNCTION stock.apply_count(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('application_name') NOT LIKE '%.pl' THEN
        RAISE EXCEPTION 'run by %', current_setting('application_name');
    END IF;
    RETURN jsonb_build_object('n', (state ->> 'n')::int + 1, 'sum', (state ->> 'sum')::int + e.version);
END $$;
SELECT chronicle.create_aggregate('count', 'stock.apply_count', '{"n": 0, "sum": 0}', snapshot_every => 10, keep_snapshots => 5);
SELECT count(chronicle.append_event('count-' || s, 'Counted')) FROM generate_series(1, 2) AS s, generate_series(1, 25);
SQL
my $left = "SELECT string_agg(s.name || ':' || e.least, ' ' ORDER BY s.name) FROM chronicle_data.stream AS s,
    LATERAL (SELECT min(version) AS least FROM chronicle_data.event AS v WHERE v.stream_id = s.stream_id) AS e WHERE s.category = 'count'";
$node->safe_psql($db, <<'SQL');
ALTER SYSTEM SET chronicle.scavenge_interval = 0;
SELECT pg_reload_conf();
SELECT chronicle.set_stream_retention('count-1', max_count => 3), chronicle.set_stream_retention('count-2', truncate_before => 6);
SQL
wait_for($node, $db, $left, 'count-1:21 count-2:1', 'rows go up to a snapshot below the cut; where there is none they stay');
is($node->safe_psql($db, "SELECT v, chronicle.aggregate_state('count-1', v) FROM unnest(ARRAY[22, 25]) AS v"),
    qq(22|{"n": 22, "sum": 253}\n25|{"n": 25, "sum": 325}), 'the states are as they were');
is($node->safe_psql($db, "SELECT chronicle.aggregate_state('count-2', 5)"), '{"n": 5, "sum": 15}', 'where rows stay, too');
fails_with($node, $db, "SELECT chronicle.aggregate_state('count-1', 21)", '22023', 'cut off', 'below the cut they are refused');
$node->safe_psql($db, "SELECT count(chronicle.append_event('count-1', 'Counted')) FROM generate_series(1, 10)");
wait_for($node, $db, $left, 'count-1:31 count-2:1', 'the next snapshot takes the next rows along');
is($node->safe_psql($db, "SELECT version, state, events_applied FROM chronicle.load_aggregate('count-1')"),
    '35|{"n": 35, "sum": 630}|5', 'and is where a fold begins');
$node->safe_psql($db, "SELECT chronicle.drop_aggregate('count'); ALTER SYSTEM RESET chronicle.scavenge_interval");
$node->reload;

# --- dump and restore: definitions and snapshots come along, and are used ---

$node->safe_psql($db, 'ALTER SYSTEM SET chronicle.workers = off');
$node->reload;
my $dump = $node->backup_dir . '/state.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr($db) ], 'dump');
$node->safe_psql($db, 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'restore');
my $states = "SELECT s, l.* FROM unnest(ARRAY['stock-1', 'stock-3']) AS s, chronicle.load_aggregate(s) AS l ORDER BY s";
is($node->safe_psql('restored', $states), $node->safe_psql($db, $states), 'the same states from the same snapshots');
$node->safe_psql('restored', 'UPDATE stock.factor SET factor = 1');
is($node->safe_psql('restored', "SELECT events_applied FROM chronicle.load_aggregate('stock-3')"), '0', 'the fingerprint survives the dump');

$node->stop;
done_testing();
