# Nothing of one node reaches the next one in the same worker: role, settings, temporary tables, prepared statements,
# session locks, channels, cursors, sequence caches; nor does what a failed node left.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
# One worker: whatever runs next runs in the process that ran before.
my $node = new_node('leaks', conf => "chronicle.worker_processes = 1\n");
$node->safe_psql($db, <<'SQL');
CREATE ROLE alice LOGIN;
CREATE ROLE friend NOLOGIN;
GRANT friend TO alice;
CREATE ROLE quiet NOLOGIN;
SELECT chronicle.grant_access(r, 'operator') FROM unnest('{alice,quiet}'::regrole[]) AS r;
CREATE TABLE seen (step text, pid int DEFAULT pg_backend_pid(), found text);
GRANT ALL ON seen TO alice, quiet, friend;
GRANT CREATE ON SCHEMA public TO alice, quiet;
CREATE SEQUENCE numbers CACHE 50;
GRANT ALL ON numbers TO alice;
-- What a session has that it did not begin with.
CREATE FUNCTION leftovers(owner text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE found text[] := '{}';
BEGIN
    IF current_user <> owner THEN found := found || ('role ' || current_user); END IF;
    found := found || ARRAY(SELECT 'setting ' || name || ' = ' || setting FROM pg_settings WHERE source = 'session' AND name NOT IN ('application_name', 'statement_timeout', 'lock_timeout', 'transaction_timeout', 'search_path') ORDER BY name);
    IF current_setting('search_path') <> '"$user", public' THEN found := found || ('path ' || current_setting('search_path')); END IF;
    IF current_setting('lock_timeout') <> '0' THEN found := found || 'lock_timeout'::text; END IF;
    IF current_setting('statement_timeout') <> '0' THEN found := found || 'statement_timeout'::text; END IF;
    IF current_setting('transaction_timeout', true) <> '0' THEN found := found || 'transaction_timeout'::text; END IF; -- since PostgreSQL 17
    IF current_setting('my.own', true) <> '' THEN found := found || 'own setting'::text; END IF;
    found := found || ARRAY(SELECT 'temporary ' || relname FROM pg_class WHERE relpersistence = 't' AND relnamespace = pg_my_temp_schema() AND relkind = 'r');
    found := found || ARRAY(SELECT 'prepared ' || name FROM pg_prepared_statements WHERE from_sql);
    found := found || ARRAY(SELECT 'lock ' || objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid());
    found := found || ARRAY(SELECT 'channel ' || c FROM pg_listening_channels() AS c);
    found := found || ARRAY(SELECT 'cursor ' || name FROM pg_cursors WHERE is_holdable);
    RETURN array_to_string(found, ', ');
END $$;
CREATE FUNCTION leave_everything() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    SET work_mem = '77MB';
    SET search_path = pg_catalog;
    SET my.own = 'mine';
    SET statement_timeout = '1h';
    SET lock_timeout = '1h';
    SET default_transaction_isolation = 'serializable';
    CREATE TEMP TABLE leftover AS SELECT 1 AS x;
    EXECUTE 'PREPARE leftover AS SELECT 1';
    PERFORM pg_advisory_lock(4711);
    PERFORM nextval('public.numbers');
    RETURN 1;
END $$;
CREATE FUNCTION leave_and_fail() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM public.leave_everything(); RAISE 'after that'; END $$;
SQL

# What each way of leaving something does to the next node: in the same batch, in the next transaction, and after a failure.
my @ways = (
    [ 'function', 'SELECT public.leave_everything() AS x' ],
    [ 'set', "SELECT set_config('work_mem', '77MB', false)" ],
    [ 'set local', "SELECT set_config('work_mem', '77MB', true)" ],
    [ 'role', 'SET ROLE friend' ],
    [ 'own setting', "SET my.own = 'mine'" ],
    [ 'path', 'SET search_path = pg_catalog' ],
    [ 'temporary table', 'CREATE TEMP TABLE leftover (x int)' ],
    [ 'temporary table, on commit', 'CREATE TEMP TABLE leftover (x int) ON COMMIT DELETE ROWS' ],
    [ 'prepared', 'PREPARE leftover AS SELECT 1' ],
    [ 'lock', 'SELECT pg_advisory_lock(4711)' ],
    [ 'locks', 'SELECT pg_advisory_lock(4711), pg_advisory_lock_shared(4712)' ],
    [ 'channel', 'LISTEN leftover' ],
    [ 'cursor', 'DECLARE leftover CURSOR WITH HOLD FOR SELECT 1' ],
    [ 'constraints', 'SET CONSTRAINTS ALL DEFERRED' ],
    [ 'authorization', 'SET SESSION AUTHORIZATION alice' ],
);

my $look = "INSERT INTO public.seen (step, found) SELECT 'WAY', public.leftovers('ROLE')";
for my $role (qw(alice quiet)) {
    my $number = 0;
    for my $way (@ways) {
        my ($name, $sql) = @$way;
        $number++;
        for my $apart (0, 1) {
            (my $looks = $look) =~ s/WAY/$name, $role, $apart/;
            $looks =~ s/ROLE/$role/;
            my $id = "leak_${role}_${number}_$apart";
            my %more = $apart ? (own_transaction => JSON::PP::true) : ();
            make_workflow($node, $db, $id, [ [ 'leave', $sql, on_failure => 'continue', %more ], [ 'look', $looks, %more ] ], ['leave>look'], $role);
            my $run = start_run($node, $db, $id);
            run_ends($node, $db, $run, 'completed', "$role: $name" . ($apart ? ', next transaction' : ''));
        }
    }
}
is($node->safe_psql($db, "SELECT step, found FROM seen WHERE found <> ''"), '', 'no node finds anything of the one before');
is($node->safe_psql($db, 'SELECT count(*) FROM seen'), 4 * @ways, 'each has looked');

# After a failure: the same worker, the next run.
make_workflow($node, $db, 'fails', [ [ 'leave', 'SELECT public.leave_and_fail()' ] ], [], 'alice');
make_workflow($node, $db, 'looks', [ [ 'look', "INSERT INTO public.seen (step, found) SELECT 'after a failure', public.leftovers('alice')" ] ], [], 'alice');
for (1, 2) {
    run_ends($node, $db, start_run($node, $db, 'fails'), 'failed', 'a node leaves all and fails');
    run_ends($node, $db, start_run($node, $db, 'looks'), 'completed', 'the next one looks');
}
is($node->safe_psql($db, "SELECT DISTINCT found FROM seen WHERE step = 'after a failure'"), '', 'and finds nothing');

# In one process: else the test shows nothing.
cmp_ok($node->safe_psql($db, "SELECT count(DISTINCT pid) FROM seen WHERE step LIKE '%, alice, %'"), '<=', 3, 'the nodes of one owner shared their workers');

# SET ROLE within the rights of the owner, and not beyond.
make_workflow($node, $db, 'beyond', [ [ 'beyond', 'SET ROLE postgres' ] ], [], 'alice');
my $run = start_run($node, $db, 'beyond');
run_ends($node, $db, $run, 'failed', 'a node cannot become a role that its owner cannot');
is($node->safe_psql($db, "SELECT sqlstate FROM chronicle.execution_failures WHERE execution_id = '$run'"), '42501', '… 42501');
make_workflow($node, $db, 'reset', [ [ 'reset', "DO \$\$ BEGIN RESET ROLE; RESET SESSION AUTHORIZATION; INSERT INTO public.seen (step, found) VALUES ('reset', current_user); END \$\$" ] ], [], 'quiet');
$run = start_run($node, $db, 'reset');
$node->poll_query_until($db, "SELECT ended_at IS NOT NULL FROM chronicle.executions WHERE execution_id = '$run'");
is($node->safe_psql($db, "SELECT count(*) FROM seen WHERE step = 'reset' AND found <> 'quiet'"), '0', 'and RESET ROLE leads nowhere');

$node->stop;
done_testing();
