# The claim of the next node commits with the end of a batch: that it does, and that nothing is lost or doubled when this
# commit fails, or the claim itself.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use JSON::PP ();
use Test::More;

my $db = 'postgres';
my $node = new_node('claim_with_batch', conf => "chronicle.worker_processes = 1\n");

# A root, and quick siblings that are queued when it has ended: one is claimed, the others run with it in one batch. Each
# leaves the process that ran it.
$node->safe_psql($db, 'CREATE TABLE effect (run text, pid int DEFAULT pg_backend_pid())');
sub effect {
    my ($id, %more) = @_;
    return { id => $id, nodeType => 'sql.query', config => { sql => 'INSERT INTO effect (run) SELECT :run', params => { run => { '$' => '$.execution_id' } } }, %more };
}
my @siblings = map { "n$_" } 1 .. 5;
make_workflow($node, $db, 'fan', [ effect('root', own_transaction => JSON::PP::true), map { effect($_) } @siblings ], [ map { "root>$_" } @siblings ]);

# Runs so many; all must come to their end.
sub drain {
    my ($count, $what) = @_;
    $node->safe_psql($db, 'TRUNCATE effect');
    $node->safe_psql($db, "SELECT chronicle.execute_workflow('fan') FROM generate_series(1, $count)");
    wait_for($node, $db, 'SELECT count(*) FROM chronicle.executions WHERE ended_at IS NULL', '0', "$what: all runs are over");
    is($node->safe_psql($db, "SELECT count(*) FROM chronicle.executions WHERE status <> 'completed'"), '0', '… completed');
    is($node->safe_psql($db, 'SELECT count(DISTINCT run), min(c), max(c) FROM (SELECT run, count(*) AS c FROM effect GROUP BY run) AS r'),
        "$count|6|6", '… each node has had its effect once');
    is($node->safe_psql($db, 'SELECT max(attempts) FROM chronicle.node_executions'), '1', '… in its first attempt');
    is($node->safe_psql($db, 'SELECT count(DISTINCT pid) FROM effect'), '1', '… by one executor, which has overlooked nothing');
    return;
}

# Transactions in which one run's node ended and another run's began.
my $both = q{FROM chronicle_data.workflow_event AS s JOIN chronicle_data.workflow_event AS c ON s.xmin = c.xmin AND s.execution_id <> c.execution_id
    WHERE s.type = 'NodeExecutionStarted' AND c.type = 'NodeExecutionCompleted'};
my $found = 0;
for (1 .. 50) {
    last if $found;
    drain(30, 'undisturbed');
    $found = $node->safe_psql($db, "SELECT count(*) $both");
}
cmp_ok($found, '>', 0, 'a claim commits with the end of the batch before it');

# --- the commit fails: the batch's nodes, siblings too, are in the queue again, and found ---

$node->safe_psql($db, q{
CREATE FUNCTION claimed_with_a_batch() RETURNS boolean LANGUAGE sql AS $$
    SELECT EXISTS (SELECT FROM chronicle_data.workflow_event AS s JOIN chronicle_data.workflow_event AS c ON s.execution_id <> c.execution_id
        WHERE s.type = 'NodeExecutionStarted' AND c.type = 'NodeExecutionCompleted' AND s.xmin = pg_current_xact_id()::xid AND c.xmin = pg_current_xact_id()::xid) $$;
CREATE SEQUENCE faults;
CREATE FUNCTION refuse_commit() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    IF claimed_with_a_batch() AND nextval('faults') <= 5 THEN
        RAISE EXCEPTION 'refused';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER refuse_commit AFTER UPDATE ON chronicle_data.node_task DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (new.state = 'running') EXECUTE FUNCTION refuse_commit();
});
for (1 .. 50) {
    drain(30, 'five commits fail');
    last if $node->safe_psql($db, "SELECT last_value >= 5 FROM faults") eq 't';
}
cmp_ok($node->safe_psql($db, 'SELECT last_value FROM faults'), '>=', 5, 'five commits have failed');
$node->safe_psql($db, 'DROP TRIGGER refuse_commit ON chronicle_data.node_task');

# --- the claim fails: the batch is repeated without it ---

$node->safe_psql($db, q{
ALTER SEQUENCE faults RESTART;
CREATE FUNCTION refuse_claim() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    IF EXISTS (SELECT FROM chronicle_data.node_result WHERE execution_id <> new.execution_id AND xmin = pg_current_xact_id()::xid) AND nextval('faults') <= 5 THEN
        RAISE EXCEPTION 'refused';
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER refuse_claim BEFORE UPDATE ON chronicle_data.node_task FOR EACH ROW WHEN (new.state = 'running') EXECUTE FUNCTION refuse_claim();
});
for (1 .. 50) {
    drain(30, 'five claims fail');
    last if $node->safe_psql($db, "SELECT last_value >= 5 FROM faults") eq 't';
}
cmp_ok($node->safe_psql($db, 'SELECT last_value FROM faults'), '>=', 5, 'five claims have failed');

$node->stop;
done_testing();
