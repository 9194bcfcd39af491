# States under a load: appends, commands, snapshots, retention, the scavenger, deletions and undone work on a few streams at once, while
# readers (READ COMMITTED and REPEATABLE READ) compare every state with what it must be. Then the same through a crash of the server.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use IPC::Run ();
use ChronicleTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = new_node('state_load', conf => "chronicle.scavenge_interval = 0\n");
$node->safe_psql($db, "ALTER DATABASE $db SET search_path = public, chronicle");

# A state tells how many events are in it, the sum of their versions, and the last one: from the last version and the count follows the
# sum, whatever was deleted or cut off.
$node->safe_psql($db, <<'SQL');
CREATE FUNCTION apply_load(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN jsonb_build_object('count', (state -> 'count')::int + 1, 'sum', (state -> 'sum')::bigint + e.version, 'last', e.version);
END $$;
CREATE FUNCTION decide_load(state jsonb, command text, payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF payload = '0' THEN
        RAISE 'rejected';
    END IF;
    RETURN jsonb_build_array(jsonb_build_object('type', 'Decided', 'data', state));
END $$;
SELECT create_aggregate('load', 'apply_load', '{"count": 0, "sum": 0, "last": 0}', decide => 'decide_load', snapshot_every => 10, snapshot_after_idle => '1 second');
CREATE FUNCTION is_right(state jsonb, version bigint) RETURNS boolean LANGUAGE sql IMMUTABLE
    RETURN CASE WHEN state -> 'count' = '0' THEN state = '{"count": 0, "sum": 0, "last": 0}'
                ELSE (state ->> 'last')::bigint = version
                     AND (state ->> 'sum')::bigint * 2 = version * (version + 1) - (version - (state ->> 'count')::bigint) * (version - (state ->> 'count')::bigint + 1) END;
CREATE FUNCTION checked(name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    loaded record;
    step record;
BEGIN
    SELECT * INTO loaded FROM load_aggregate(name);
    IF NOT is_right(loaded.state, loaded.version) THEN
        RAISE EXCEPTION 'wrong state of %: %', name, loaded;
    END IF;
    FOR step IN SELECT * FROM replay(name) LOOP
        IF step.error IS NOT NULL OR NOT is_right(step.state_after, step.version) THEN
            RAISE EXCEPTION 'wrong step of %: %', name, step;
        END IF;
    END LOOP;
END $$;
-- What a command decided on was the state that its events were appended to.
CREATE VIEW wrong_decisions AS SELECT * FROM read_all(max_count => 1000000, types => '{Decided}') AS e WHERE NOT is_right(e.data, e.version - 1);
SQL

my $random = "\\set s random(1, 4)\n\\set n random(1, 25)\n";
my $append = "SELECT append_event_arrays('load-' || :s, array_fill('T'::text, ARRAY[:n]), NULL);\n";
my @scripts;
for my $part (
    [ 10, $append ],
    [ 4, "SELECT accepted FROM try_command('load-' || :s, 'Decide', to_jsonb(:n % 3));\n" ],
    [ 3, "SELECT take_snapshot('load-' || :s);\n" ],
    [ 1, "SELECT drop_snapshots('load-' || :s);\n" ],
    [ 3, "SELECT set_stream_retention('load-' || :s, max_count => :n);\n" ],
    [ 1, "SELECT set_stream_retention('load-' || :s);\n" ],
    [ 3, "SELECT * FROM scavenge(:n * 10);\n" ],
    [ 1, "SELECT delete_stream('load-' || :s);\n" ],
    [ 2, "BEGIN;\n${append}ROLLBACK;\n" ],
    [ 4, "SELECT checked('load-' || :s);\n" ],
    [ 2, "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT checked('load-' || :s);\nSELECT checked('load-' || :s);\nCOMMIT;\n" ],
  )
{
    my ($weight, $sql) = @$part;
    my $file = PostgreSQL::Test::Utils::tempdir . '/' . @scripts . '.sql';
    append_to_file($file, $random . $sql);
    push @scripts, '-f', "$file\@$weight";
}
my @load = ('pgbench', '-n', '-c', 8, '-j', 2, @scripts);

# No statement fails, and nobody is warned.
runs_silently([ @load, '-t', 400, $node->connstr($db) ], 'a load');
is($node->safe_psql($db, 'SELECT count(*) FROM wrong_decisions'), '0', 'commands decided on the state that they were appended to');
cmp_ok($node->safe_psql($db, 'SELECT sum(removed) FROM chronicle_data.stream'), '>', 0, 'rows were removed');

# One stream whose base is replaced all the time, by many: whoever looks for it sees the old one or the new one.
$node->safe_psql($db, "SELECT set_stream_retention('load-1', max_count => 1)");
my @contended;
for my $part ([ 2, $append =~ s/:s/1/r ], [ 3, "SELECT take_snapshot('load-1');\n" ], [ 3, "SELECT * FROM scavenge(3);\n" ]) {
    my ($weight, $sql) = @$part;
    my $file = PostgreSQL::Test::Utils::tempdir . '/contended_' . @contended . '.sql';
    append_to_file($file, "\\set n 3\n$sql");
    push @contended, '-f', "$file\@$weight";
}
runs_silently([ 'pgbench', '-n', '-c', 12, '-j', 2, @contended, '-t', 3000, $node->connstr($db) ], 'a base that is replaced is found');

# One whose own row moves all the time: it is there for whoever looks for it.
my @moved;
for my $part ([ 2, "SELECT set_stream_retention('load-1', max_count => 20 + :client_id);\n" ], [ 1, $append =~ s/:s/1/r ],
    [ 3, "SELECT 1 / (stream_version('load-1') IS NOT NULL)::int;\n" ], [ 1, "SELECT state FROM load_aggregate('load-1');\n" ])
{
    my ($weight, $sql) = @$part;
    my $file = PostgreSQL::Test::Utils::tempdir . '/moved_' . @moved . '.sql';
    append_to_file($file, "\\set n 3\n$sql");
    push @moved, '-f', "$file\@$weight";
}
runs_silently([ 'pgbench', '-n', '-c', 12, '-j', 2, @moved, '-t', 2000, $node->connstr($db) ], 'a stream whose row moves is found');

for my $round (1, 2) {
    my $output;
    my $crashed = IPC::Run::start([ @load, '-T', 300, $node->connstr($db) ], '<', \undef, '>', \$output, '2>&1');
    my $before = $node->safe_psql($db, 'SELECT safe_position()');
    ok($node->poll_query_until($db, "SELECT safe_position() > $before + 3000"), "under load, crash $round");
    $node->stop('immediate');
    $crashed->finish;
    unlike($output, qr/wrong/, 'until then every state was right');
    $node->start;
    is($node->safe_psql($db, "SELECT count(checked(stream)) FROM streams WHERE category = 'load'"), '4', 'after it every state is right');
}
is($node->safe_psql($db, 'SELECT count(*) FROM wrong_decisions'), '0', 'and so were the decisions');

$node->stop;
done_testing();

sub runs_silently {
    my ($command, $what) = @_;
    my ($output, $errors) = ('', '');
    my $ran = IPC::Run::run($command, '<', \undef, '>', \$output, '2>', \$errors);
    $errors =~ s/^pgbench \(.*\)\n//mg;
    return ok($ran && $errors eq '', $what) || diag("$output\n$errors");
}
