# Short nodes share a transaction within limits. For each limit: what happens without it, in plain SQL, and that it holds.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = new_node('batches', conf => "deadlock_timeout = 5ms\n");
$node->safe_psql($db, <<'SQL');
CREATE TABLE effect (run uuid, node text, xid text DEFAULT pg_current_xact_id()::text, backend int DEFAULT pg_backend_pid());
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE pair (id int PRIMARY KEY, touched int DEFAULT 0);
INSERT INTO pair SELECT generate_series(1, 2);
CREATE SEQUENCE once;
CREATE TABLE at_once (id int UNIQUE DEFERRABLE INITIALLY IMMEDIATE);
INSERT INTO at_once VALUES (1);
CREATE SEQUENCE raised;
-- A child before its parent: fine, as long as the constraint is checked at the end.
CREATE FUNCTION put_both(id int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO child VALUES (id); INSERT INTO parent VALUES (id); RETURN id; END $$;
CREATE FUNCTION set_constraints(mode text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SET CONSTRAINTS ALL ' || mode; RETURN 1; END $$;
CREATE FUNCTION checked_at_once() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO at_once VALUES (1); RETURN NULL; EXCEPTION WHEN unique_violation THEN RETURN 1; END $$;
-- Fails when another node of the run is in its transaction.
CREATE FUNCTION only_alone(wanted_run uuid, code text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM effect WHERE run = wanted_run AND xid = pg_current_xact_id()::text) THEN
        PERFORM nextval('raised');
        RAISE 'in company' USING ERRCODE = code;
    END IF;
    RETURN 1;
END $$;
SQL

# A node that notes its transaction, after doing `first`.
sub noted {
    my ($id, %more) = @_;
    my $first = delete $more{first} // '1';
    return {
        id => $id,
        nodeType => 'sql.query',
        config => {
            sql => "INSERT INTO effect (run, node) SELECT :run::uuid, '$id' FROM (SELECT ($first) AS x OFFSET 0) AS f WHERE x IS NOT NULL",
            parameters => { run => { '$' => '$.execution_id' } }
        },
        %more
    };
}

sub chain { my @n = @_; return [ map { "$n[$_]{id}>$n[$_ + 1]{id}" } 0 .. $#n - 1 ]; }

sub run_chain {
    my ($id, @nodes) = @_;
    make_workflow($node, $db, $id, \@nodes, chain(@nodes));
    my $run = start_run($node, $db, $id);
    run_ends($node, $db, $run, 'completed', "$id: completed");
    return $run;
}

# What psql says of statements that are run as one transaction.
sub plain {
    my ($sql) = @_;
    my (undef, $out, $errors) = $node->psql($db, "\\set VERBOSITY verbose\nBEGIN;\n$sql\nCOMMIT;", on_error_stop => 0);
    return ($out, $errors);
}

sub largest { return $node->safe_psql($db, "SELECT max(n) FROM (SELECT count(*) AS n FROM effect WHERE run = '$_[0]' GROUP BY xid) AS t"); }

# --- how many: without it a long chain would be one transaction of any length ---

my @long = map { noted("n$_") } 1 .. 70;
for my $limit (32, 4, 1) {
    $node->append_conf('postgresql.conf', "chronicle.worker_batch = $limit\n");
    $node->reload;
    $node->safe_psql($db, "SELECT pg_terminate_backend(pid) FROM chronicle.workers WHERE role = 'executor'"); # the next ones have it
    my $run = run_chain("chain$limit", @long);
    is($node->safe_psql($db, "SELECT count(*), count(DISTINCT node) FROM effect WHERE run = '$run'"), '70|70', "worker_batch = $limit: each node has run once");
    cmp_ok(largest($run), '<=', $limit, "… and at most $limit in a transaction");
}
cmp_ok($node->safe_psql($db, "SELECT max(n) FROM (SELECT count(*) AS n FROM effect GROUP BY xid) AS t"), '>', 1, 'some did share one');
is($node->safe_psql($db, 'SELECT max(n) FROM (SELECT count(DISTINCT run) AS n FROM effect GROUP BY xid) AS t'), '1', 'runs never share one');
$node->append_conf('postgresql.conf', "chronicle.worker_batch = 32\n");
$node->reload;
$node->safe_psql($db, "SELECT pg_terminate_backend(pid) FROM chronicle.workers WHERE role = 'executor'");

# --- siblings: what stands next in the queue and is of the same run goes along; each runs once, and a failure is its own ---

{
    my @wide = map { $_ % 100 ? noted("w$_") : noted("w$_", first => '1 / 0', on_failure => 'continue') } 1 .. 400;
    make_workflow($node, $db, 'wide', [ noted('start'), @wide, noted('join') ], [ map { ("start>w$_", "w$_>join") } 1 .. 400 ]);
    my $run = start_run($node, $db, 'wide');
    run_ends($node, $db, $run, 'completed', 'wide: completed');
    is($node->safe_psql($db, "SELECT count(*), count(DISTINCT node) FROM effect WHERE run = '$run'"), '398|398', '… each node that could has its effect once');
    is($node->safe_psql($db, "SELECT status, count(*), max(attempts) FROM chronicle.node_executions WHERE execution_id = '$run' GROUP BY 1 ORDER BY 1"),
        "completed|398|1\nfailed|4|1", '… in one attempt, the others failed');
    cmp_ok($node->safe_psql($db, "SELECT count(DISTINCT xid) FROM effect WHERE run = '$run'"), '<', 200, '… in far fewer transactions');
    cmp_ok(largest($run), '<=', 32, '… of at most 32');
    is($node->safe_psql($db, "SELECT count(*) FROM chronicle_data.node_task WHERE execution_id = '$run'"), '0', '… and nothing is left in the queue');

    make_workflow($node, $db, 'wide_own', [ map { noted("w$_", $_ % 2 ? (own_transaction => JSON::PP::true) : ()) } 1 .. 40 ], []);
    $run = start_run($node, $db, 'wide_own');
    run_ends($node, $db, $run, 'completed', 'siblings, every other with own_transaction: completed');
    is($node->safe_psql($db, "SELECT count(*) FROM effect AS a JOIN effect AS b USING (run, xid) WHERE run = '$run' AND a.node < b.node AND (substr(a.node, 2)::int % 2 = 1 OR substr(b.node, 2)::int % 2 = 1)"), '0', '… which share none');
    is($node->safe_psql($db, "SELECT count(*), count(DISTINCT node) FROM effect WHERE run = '$run'"), '40|40', '… each once');

    # What became of a sibling while it ran is looked at before the commit. (Here they change it themselves, as a superuser can.)
    $node->safe_psql($db, <<'SQL');
CREATE FUNCTION not_as_sibling(wanted_run uuid, wanted_node text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM effect WHERE run = wanted_run AND xid = pg_current_xact_id()::text) THEN
        UPDATE chronicle_data.node_task SET alone = true WHERE execution_id = wanted_run AND node_id = wanted_node;
    END IF;
    RETURN 1;
END $$;
SQL
    make_workflow($node, $db, 'wide_changed', [ map { noted("w$_", first => "not_as_sibling(:run, 'w$_')") } 1 .. 20 ], []);
    $run = start_run($node, $db, 'wide_changed');
    run_ends($node, $db, $run, 'completed', 'siblings that somebody else takes: completed');
    is($node->safe_psql($db, "SELECT count(*), count(DISTINCT node), count(DISTINCT xid) FROM effect WHERE run = '$run'"), '20|20|20', '… nobody has run them as siblings');

    make_workflow($node, $db, 'wide_slow', [ map { noted("w$_", first => $_ == 2 ? work_sql(0.3) : '1') } 1 .. 5 ], []);
    $run = start_run($node, $db, 'wide_slow');
    run_ends($node, $db, $run, 'completed', 'siblings of which one is slow: completed');
    is($node->safe_psql($db, "SELECT count(*), count(DISTINCT node) FROM effect WHERE run = '$run'"), '5|5', '… each effect once');
}

# --- how long: without it what is done is not seen until the slow one is ---

{
    my $run = run_chain('slow', noted('quick'), noted('slow', first => work_sql(0.2)), noted('after'));
    is($node->safe_psql($db, "SELECT count(*) FROM effect AS a JOIN effect AS b USING (run, xid) WHERE run = '$run' AND a.node = 'quick' AND b.node = 'slow'"),
        '0', 'a node that takes longer is not in the transaction of the one before');
    is($node->safe_psql($db, "SELECT count(*), count(DISTINCT node) FROM effect WHERE run = '$run'"), '3|3', 'and has run to its end once');
    make_workflow($node, $db, 'seen', [ noted('quick'), [ 'slow', long_sql() ] ], ['quick>slow']);
    $run = start_run($node, $db, 'seen');
    executor_of($node, $db, $db, 'slow');
    is($node->safe_psql($db, "SELECT count(*) FROM effect WHERE run = '$run'"), '1', 'while the slow one runs, what was done before it is committed');
    is($node->safe_psql($db, "SELECT string_agg(node_id || ' ' || status, ', ' ORDER BY node_id) FROM chronicle.node_executions WHERE execution_id = '$run'"), 'quick completed, slow running', 'and shown');
    $node->safe_psql($db, "SELECT chronicle.cancel_execution('$run')");
}

# --- constraints are checked at the end of each node: else the commit fails, and takes with it what was fine ---

my ($out, $errors) = plain("SAVEPOINT a; INSERT INTO child VALUES (1); RELEASE a; SAVEPOINT b; INSERT INTO effect (node) VALUES ('fine'); RELEASE b;");
like($errors, qr/23503/, 'plain SQL: the commit fails');
is($node->safe_psql($db, "SELECT count(*) FROM effect WHERE node = 'fine'"), '0', '… and what was fine is lost');
{
    make_workflow($node, $db, 'deferred', [ [ 'bad', 'INSERT INTO child VALUES (1)', on_failure => 'continue' ], noted('fine') ], ['bad>fine']);
    my $run = start_run($node, $db, 'deferred');
    run_ends($node, $db, $run, 'completed', 'as nodes: the run goes on');
    is($node->safe_psql($db, "SELECT node_id, status, sqlstate FROM chronicle.node_executions WHERE execution_id = '$run' ORDER BY 1"), "bad|failed|23503\nfine|completed|", '… the node that broke the constraint has failed, the other has not');
    is($node->safe_psql($db, "SELECT count(*) FROM effect WHERE node = 'fine'"), '1', '… and has its effect');
}

# --- when they are checked is each node's own: SET CONSTRAINTS lasts until the end of the transaction ---

(undef, $errors) = plain("SAVEPOINT a; SET CONSTRAINTS ALL IMMEDIATE; RELEASE a; SELECT put_both(1);");
like($errors, qr/23503/, 'plain SQL: what was checked before defers nothing any more');
(undef, $errors) = plain("SAVEPOINT a; SET CONSTRAINTS ALL DEFERRED; RELEASE a; SELECT checked_at_once(); SELECT 'later';");
like($errors, qr/23505/, '… and what was deferred stays deferred');
{
    my $run = run_chain('constraints', noted('quick'), noted('first', first => 'put_both(1)'), noted('second', first => 'put_both(2)'), noted('third', first => q{set_constraints('IMMEDIATE')}),
        noted('fourth', first => 'put_both(4)'), noted('fifth', first => q{set_constraints('DEFERRED')}), noted('sixth', first => 'checked_at_once()'));
    is($node->safe_psql($db, "SELECT count(*), count(DISTINCT node) FROM effect WHERE run = '$run'"), '7|7', 'as nodes: each has what it would have alone');
    make_workflow($node, $db, 'constraints_wide', [ map { noted("w$_", first => "put_both(10 + $_)") } 1 .. 20 ], []);
    $run = start_run($node, $db, 'constraints_wide');
    run_ends($node, $db, $run, 'completed', '… and siblings, too');
    is($node->safe_psql($db, "SELECT count(*), count(DISTINCT node) FROM effect WHERE run = '$run'"), '20|20', '… each once');
}

# --- settings end with their node: a savepoint that is released keeps SET LOCAL ---

($out) = plain("SAVEPOINT a; SET LOCAL work_mem = '77MB'; RELEASE a; SHOW work_mem;");
like($out, qr/77MB/, 'plain SQL: SET LOCAL outlives RELEASE');
{
    my $run = run_chain('settings', { id => 'sets', nodeType => 'sql.query', config => { sql => "SELECT set_config('work_mem', '77MB', true)" } }, noted('looks', first => "CASE WHEN current_setting('work_mem') <> '77MB' THEN 1 END"));
    is($node->safe_psql($db, "SELECT count(*) FROM effect WHERE run = '$run'"), '1', 'as nodes: it does not reach the next one');
}

# --- what a repetition cures: without it a node fails for what only its company made fail ---

for my $code (qw(40001 40P01 55P03 25001 55P04 55006 54000 53200 P0001)) {
    make_workflow($node, $db, "picky_$code", [ noted('before'), noted('picky', first => "only_alone(:run, '$code')"), noted('after') ], [ 'before>picky', 'picky>after' ]);
    $node->safe_psql($db, "ALTER SEQUENCE raised RESTART");
    my $ends = $code eq 'P0001' ? 'failed' : 'completed';
    my $run;
    for (1 .. 100) { # on a busy machine the 50 ms may be over before
        $run = start_run($node, $db, "picky_$code");
        wait_for($node, $db, "SELECT count(*) FROM chronicle.executions WHERE execution_id = '$run' AND ended_at IS NOT NULL", '1', "$code: the run ends");
        last if $node->safe_psql($db, 'SELECT is_called FROM raised') eq 't';
    }
    is($node->safe_psql($db, "SELECT status FROM chronicle.executions WHERE execution_id = '$run'"), $ends, "$code in company: the run is $ends");
    is($node->safe_psql($db, "SELECT string_agg(node, ' ' ORDER BY node) FROM effect WHERE run = '$run'"), $ends eq 'failed' ? 'before' : 'after before picky', '… each node that completed has its effect once');
    is($node->safe_psql($db, "SELECT max(attempts) FROM chronicle.node_executions WHERE execution_id = '$run'"), '1', '… in one attempt');
}
{
    make_workflow($node, $db, 'picky_wide', [ map { noted("w$_", first => q{only_alone(:run, '40001')}) } 1 .. 10 ], []);
    my $run = start_run($node, $db, 'picky_wide');
    run_ends($node, $db, $run, 'completed', 'siblings that want to be alone: completed');
    is($node->safe_psql($db, "SELECT count(*), count(DISTINCT node), count(DISTINCT xid) FROM effect WHERE run = '$run'"), '10|10|10', '… each once, alone');
    is($node->safe_psql($db, "SELECT max(attempts) FROM chronicle.node_executions WHERE execution_id = '$run'"), '1', '… in one attempt');
}

# --- members may deadlock with members of another batch: then they are repeated alone (if the 50 ms are not over before) ---

{
    my $touch = sub { my ($id) = @_; return [ "touch$id", "UPDATE pair SET touched = touched + 1 WHERE id = $id" ]; };
    my $wait = sub { my ($id) = @_; return [ "wait$id", 'SELECT ' . work_sql(0.01) ]; };
    make_workflow($node, $db, 'up', [ $touch->(1), $wait->(1), $touch->(2) ], [ 'touch1>wait1', 'wait1>touch2' ]);
    make_workflow($node, $db, 'down', [ $touch->(2), $wait->(2), $touch->(1) ], [ 'touch2>wait2', 'wait2>touch1' ]);
    $node->safe_psql($db, "SELECT chronicle.execute_workflow(w) FROM generate_series(1, 40), unnest('{up,down}'::text[]) AS w");
    wait_for($node, $db, "SELECT count(*) FROM chronicle.executions WHERE workflow_id IN ('up', 'down') AND ended_at IS NOT NULL", '80', 'runs that lock in opposite orders come to their ends');
    is($node->safe_psql($db, "SELECT DISTINCT status FROM chronicle.executions WHERE workflow_id IN ('up', 'down')"), 'completed', '… all completed');
    is($node->safe_psql($db, "SELECT DISTINCT max(attempts) FROM chronicle.node_executions WHERE workflow_id IN ('up', 'down')"), '1', '… without using up attempts');
    is($node->safe_psql($db, 'SELECT string_agg(touched::text, \',\' ORDER BY id) FROM pair'), '80,80', '… each effect once');
    note 'deadlocks: ' . $node->safe_psql($db, 'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()');
}

# --- a lost worker: what it had not committed is repeated, and only that ---

{
    my $run = run_chain('lost', noted('a'), noted('b'), noted('dies', first => "CASE WHEN nextval('once') = 1 THEN pg_terminate_backend(pg_backend_pid()) ELSE true END"), noted('c'));
    is($node->safe_psql($db, "SELECT string_agg(node, ' ' ORDER BY node) FROM effect WHERE run = '$run'"), 'a b c dies', 'each node that was in the lost transaction has its effect once');
    is($node->safe_psql($db, "SELECT max(attempts) FROM chronicle.node_executions WHERE execution_id = '$run'"), '1', 'and no attempt is used up');
}

# --- a node that always kills its worker: without a limit it would do so for ever ---

{
    my $dies = sub { my ($times) = @_; return "CASE WHEN nextval('deaths') <= $times THEN pg_terminate_backend(pg_backend_pid()) ELSE true END"; };
    $node->safe_psql($db, 'CREATE SEQUENCE deaths');
    my $run = run_chain('dies_twice', noted('a'), noted('dies', first => $dies->(2), own_transaction => JSON::PP::true), noted('c'));
    is($node->safe_psql($db, 'SELECT last_value FROM deaths'), '3', 'alone, it may lose its worker twice');
    is($node->safe_psql($db, "SELECT max(attempts) FROM chronicle.node_executions WHERE execution_id = '$run'"), '1', '… in one attempt');
    $node->safe_psql($db, 'ALTER SEQUENCE deaths RESTART');
    my @always = (noted('a'), noted('dies', first => $dies->(1000), own_transaction => JSON::PP::true, retry => { max_attempts => 5, initial_interval => 0 }), noted('c'));
    make_workflow($node, $db, 'always_dies', \@always, chain(@always));
    $run = start_run($node, $db, 'always_dies');
    run_ends($node, $db, $run, 'failed', 'the third time it fails, for good');
    is($node->safe_psql($db, 'SELECT last_value FROM deaths'), '3', '… and is not begun again');
    is($node->safe_psql($db, "SELECT node_id, status, attempts, sqlstate FROM chronicle.node_executions WHERE execution_id = '$run' ORDER BY 1"), "a|completed|1|\nc|cancelled|0|\ndies|failed|1|57P02", '… with 57P02');
    is($node->safe_psql($db, "SELECT string_agg(node, ' ') FROM effect WHERE run = '$run'"), 'a', '… and what was done before it stays, once');
}

# --- how many, once more: a transaction with more than 64 subtransactions makes every reader of the cluster look them up one by one ---

{
    # Nobody else is to count.
    $node->safe_psql($db, "ALTER DATABASE $db SET chronicle.workers = off");
    wait_for($node, $db, "SELECT count(*) FROM chronicle.workers WHERE role <> 'launcher'", '0', 'the workers have gone');
    my $lookups = q{SELECT pg_stat_force_next_flush(); SELECT sum(blks_hit + blks_read) FROM pg_stat_slru WHERE name ILIKE 'subtrans%'};
    my $looked_up = sub {
        my ($members) = @_;
        my $writer = $node->background_psql($db);
        $writer->query_safe('BEGIN; ' . join(' ', map { "SAVEPOINT m; INSERT INTO effect (node) VALUES ('unseen'); RELEASE m;" } 1 .. $members));
        $node->safe_psql($db, 'SELECT pg_current_xact_id()'); # one that began later and is over: a reader has to tell them apart
        (my $before = $node->safe_psql($db, $lookups)) =~ s/\s//g;
        is($node->safe_psql($db, q{SELECT count(*) FROM effect WHERE node = 'unseen'; SELECT pg_stat_force_next_flush()}) =~ s/\s//gr, '0', "$members members, not committed: not seen");
        (my $after = $node->safe_psql($db, $lookups)) =~ s/\s//g;
        $writer->query_safe('ROLLBACK');
        $writer->quit;
        return $after - $before;
    };
    cmp_ok($looked_up->(66), '>', 0, 'plain SQL, 66 members: a reader looks up whose they are');
    is($looked_up->(64), 0, '64, the most that chronicle.worker_batch can be: it does not');
    is($node->safe_psql($db, q{SELECT max_val FROM pg_settings WHERE name = 'chronicle.worker_batch'}), '64', '… and that is its limit');
}

$node->stop;
done_testing();
