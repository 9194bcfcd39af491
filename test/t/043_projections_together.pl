# Projections that share a transaction of their executor: each one's events count exactly once, and a failure, a wait or
# an append of one is not the others'.
# crash-expected
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
$ChronicleTest::deadline = 300; # a busy machine is not always quick enough for projections to go together: it is tried for long
my $node = new_node('together', conf => "restart_after_crash = on\n");

sub as_keeper { return sql_as($node, $db, 'keeper', "SET search_path = kept, chronicle;\n$_[0]") }

sub waits_for {
    my (@names) = @_;
    for my $name (@names) {
        as_keeper("SELECT wait_for_projection('$name', timeout => '60s')") eq 't' or return 0;
    }
    return 1;
}

my ($appended, @all) = (0);

# Appends events of the type, a few at a time, until the query answers true; they are projected before the next ones.
sub append_until {
    my ($type, $query, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $step = join "\n", "SELECT append_event('t-' || n, '$type') FROM generate_series(1, 3) AS n;",
      "SELECT bool_and(wait_for_projection(name, timeout => '60s')) FROM projections;";
    my $end = time + $ChronicleTest::deadline;
    while (time < $end) {
        my $answers = as_keeper($step x 10);
        $appended += 30;
        return fail("$what: projected in time") if $answers =~ /^f$/m;
        return pass($what) if as_keeper($query) eq 't';
    }
    return fail($what);
}

# Each has noted each event once, and nothing of a failure is to be seen.
sub all_is_well {
    my ($what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is(as_keeper("SELECT count(*), count(DISTINCT (projection, position)) FROM noted"),
        join('|', (@all * $appended) x 2), "$what: each event is noted once by each projection");
    is(as_keeper("SELECT count(*) FROM projections WHERE status <> 'running' OR last_error IS NOT NULL"), 0, "$what: no failure is shown");
    return;
}

$node->safe_psql($db, <<'SQL');
CREATE ROLE keeper LOGIN;
SELECT chronicle.grant_access('keeper', 'operator');
CREATE SCHEMA kept AUTHORIZATION keeper;
SQL
as_keeper(<<'SQL');
CREATE TABLE noted (projection text, position bigint, xid bigint);
CREATE TABLE swallowed (position bigint);
CREATE TABLE held (n int);
INSERT INTO held VALUES (0);
CREATE SEQUENCE tried; -- counts what is rolled back, too
CREATE FUNCTION xid() RETURNS bigint LANGUAGE sql AS 'SELECT pg_current_xact_id()::text::bigint';
CREATE FUNCTION note(projection text, event chronicle.event) RETURNS void LANGUAGE sql AS $$
INSERT INTO kept.noted VALUES (projection, event.global_position, kept.xid()) $$;
CREATE FUNCTION plain(event chronicle.event) RETURNS void LANGUAGE sql AS $$ SELECT kept.note('plain', event) $$;
CREATE FUNCTION odd(event chronicle.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM kept.note('odd', event);
    IF event.type = 'shy' THEN
        PERFORM nextval('kept.tried');
        IF EXISTS (SELECT FROM kept.noted WHERE projection = 'plain' AND xid = kept.xid()) THEN
            RAISE 'not beside another';
        END IF;
    ELSIF event.type = 'slow' THEN
        PERFORM nextval('kept.tried'), pg_sleep(0.2); -- # not a wait: it works
    ELSIF event.type = 'stubborn' THEN
        PERFORM nextval('kept.tried');
        BEGIN
            PERFORM pg_sleep(0.2); -- # not a wait: it works
        EXCEPTION WHEN query_canceled THEN
            INSERT INTO kept.swallowed VALUES (event.global_position);
        END;
    ELSIF event.type = 'asking' THEN
        PERFORM chronicle.append_event('answer-1', 'Answered', jsonb_build_object('to', event.global_position));
    END IF;
END $$;
CREATE FUNCTION last(event chronicle.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM kept.note('last', event);
    IF event.type = 'poison' THEN
        RAISE 'poison';
    END IF;
    IF event.type = 'locking' THEN
        UPDATE kept.held SET n = n + 1;
    END IF;
END $$;
SELECT create_projection(p, handler => p, categories => '{t}',
    options => jsonb_build_object('max_retries', 0, 'reset', format('DELETE FROM noted WHERE projection = %L', p))) FROM unnest('{plain, odd, last}'::text[]) AS p;
SQL
@all = qw(plain odd last);

append_until('any', 'SELECT EXISTS (SELECT FROM noted GROUP BY xid HAVING count(DISTINCT projection) = 3)', 'all three in one transaction');
all_is_well('together');

# --- what fails only beside others ---

append_until('shy', "SELECT last_value > (SELECT count(*) FROM noted JOIN events ON position = global_position WHERE projection = 'odd' AND type = 'shy') FROM tried",
    'a handler fails beside another, and not alone');
all_is_well('it failed beside another');

append_until('any', "SELECT EXISTS (SELECT FROM noted WHERE position > (SELECT max(global_position) FROM events WHERE type = 'shy') GROUP BY xid HAVING count(DISTINCT projection) = 3)",
    'later they go together again');
as_keeper("SELECT setval('tried', 1, false)");
append_until('slow', "SELECT last_value > (SELECT count(*) FROM noted JOIN events ON position = global_position WHERE projection = 'odd' AND type = 'slow') FROM tried",
    'a batch that others would have to wait for is interrupted, and done alone');
all_is_well('it was slow');

append_until('any', "SELECT EXISTS (SELECT FROM noted WHERE position > (SELECT max(global_position) FROM events WHERE type = 'slow') GROUP BY xid HAVING count(DISTINCT projection) = 3)",
    'later they go together again');
as_keeper("SELECT setval('tried', 1, false)");
append_until('stubborn', "SELECT last_value > (SELECT count(*) FROM noted JOIN events ON position = global_position WHERE projection = 'odd' AND type = 'stubborn') FROM tried",
    'a handler that swallows the interruption');
all_is_well('it was swallowed');
is(as_keeper('SELECT count(*) FROM swallowed'), 0, 'nothing is left of what it did then');

# --- a lock that somebody holds ---

append_until('any', "SELECT EXISTS (SELECT FROM noted WHERE position > (SELECT max(global_position) FROM events WHERE type = 'stubborn') GROUP BY xid HAVING count(DISTINCT projection) = 3)",
    'later they go together again');
my $holder = $node->background_psql($db);
$holder->query_safe('BEGIN; UPDATE kept.held SET n = n + 0;');
as_keeper("SELECT append_event('t-1', 'locking')");
$appended++;
ok(waits_for('plain', 'odd'), 'a projection that waits for a lock does not hold what others have done');
$holder->query_safe('COMMIT');
$holder->quit;
ok(waits_for(@all), 'it goes on when the lock is free');
is(as_keeper('SELECT n FROM held'), 1, '… and has written once');
all_is_well('a lock');

# --- one that appends ---

append_until('asking', "SELECT EXISTS (SELECT FROM noted JOIN events ON position = global_position WHERE type = 'asking' GROUP BY xid HAVING count(DISTINCT projection) > 1)",
    'a handler appends beside another');
all_is_well('an append');
is( as_keeper("SELECT count(*) = count(DISTINCT data), count(*) = (SELECT count(*) FROM events WHERE type = 'asking') FROM events WHERE category = 'answer'"),
    't|t', 'each is answered once');

# --- a poison event ---

as_keeper("SELECT append_event('t-1', 'poison')");
wait_for($node, $db, "SELECT status FROM chronicle.projections WHERE name = 'last'", 'faulted', 'a poison event stops its projection');
is(as_keeper("SELECT last_error FROM projections WHERE name = 'last'"), 'poison', '… which says why');
$appended++;
ok(waits_for('plain', 'odd'), 'the others go on');
is(as_keeper("SELECT count(*), count(DISTINCT (projection, position)) FROM noted WHERE projection <> 'last'"), join('|', (2 * $appended) x 2),
    'they have each event once');
is(as_keeper("SELECT count(*) FROM noted WHERE projection = 'last'"), $appended - 1, 'it has what came before');

# --- reset while they go together, by one who resets several in one transaction ---

as_keeper("SELECT drop_projection('last')");
as_keeper(q{CREATE OR REPLACE FUNCTION odd(event chronicle.event) RETURNS void LANGUAGE sql AS $$ SELECT kept.note('odd', event) $$});
@all = qw(plain odd);
my $script = PostgreSQL::Test::Utils::tempdir() . '/append.sql';
append_to_file($script, "\\set s random(1, 20)\nSELECT chronicle.append_event('t-' || :s, 'any');\n");
my ($out, $err) = ('', '');
my $load = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-R', 300, '-T', 4, '-f', $script, $node->connstr($db) ], '>', \$out, '2>', \$err);
for my $round (1 .. 20) {
    my @order = $round % 2 ? @all : reverse @all;
    as_keeper(join "\n", 'BEGIN;', (map { "SELECT reset_projection('$_');" } @order), 'COMMIT');
}
ok($load->finish, 'appends while both are reset again and again') or diag($err);
ok(waits_for(@all), 'both come to the end');
$appended = as_keeper("SELECT count(*) FROM events WHERE category = 't'");
$node->safe_psql($db, "DELETE FROM kept.noted WHERE projection = 'last'");
all_is_well('reset');

# --- one executor is enough, however often the scheduler looks ---

my $followers = "SELECT count(*) FROM chronicle.workers WHERE role = 'executor' AND owner = 'keeper'";
$node->safe_psql($db, "SELECT pg_terminate_backend(pid) FROM chronicle.workers WHERE role = 'executor' AND owner = 'keeper'");
$load = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-R', 300, '-T', 300, '-f', $script, $node->connstr($db) ], '<', \undef, '>', \$out, '2>&1');
wait_for($node, $db, $followers, 1, 'an executor follows the appends');
my $looks = $node->safe_psql($db, join ';', ('SELECT pg_reload_conf()', 'SELECT pg_sleep(0.005)') x 1000, $followers); # not a wait: a load
is([ split /\n/, $looks ]->[-1], 1, '… and no second one is started beside it');
$load->kill_kill;

# --- killed while they go together ---

my ($killed, $exact) = (0, 0);
my $together = 'SELECT count(*) FROM (SELECT FROM kept.noted GROUP BY xid HAVING count(DISTINCT projection) = 2) AS t';
for my $round (1 .. 6) {
    $load = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-R', 300, '-T', 300, '-f', $script, $node->connstr($db) ], '<', \undef, '>', \$out, '2>&1');
    my $before = $node->safe_psql($db, $together);
    wait_until(sub { $node->safe_psql($db, $together) > $before }, "none go together in round $round");
    $round % 2 ? kill_executor($node, $db, 'keeper') : kill_server($node);
    $killed++;
    $load->finish; # it has lost its connections
    wait_until(sub { waits_for(@all) }, "they do not come to the end in round $round");
    $appended = as_keeper("SELECT count(*) FROM events WHERE category = 't'");
    $exact++ if as_keeper('SELECT count(*), count(DISTINCT (projection, position)) FROM noted') eq join '|', (@all * $appended) x 2;
}
is("$killed $exact", '6 6', 'an executor or the server is killed while they go together: each event is noted once');
all_is_well('killed');

done_testing();
