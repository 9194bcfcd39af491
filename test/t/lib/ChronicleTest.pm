# What the TAP tests of chronicle share: a server that preloads it, workflows in short form, waiting for conditions.
package ChronicleTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_node new_database make_workflow start_run run_ends wait_for wait_for_message wait_until sql_as fails_with
  executor_of kill_process kill_executor kill_server long_sql work_sql);

# Seconds until a condition that does not come about is a failure; not how long anything takes.
our $deadline = 60;

# A started server with chronicle in its database "postgres". conf: more lines of postgresql.conf; install_path: of
# another PostgreSQL than the one under test.
sub new_node {
    my ($name, %option) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name, defined $option{install_path} ? (install_path => $option{install_path}) : ());
    $node->init;
    $node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'chronicle'
max_worker_processes = 32
chronicle.worker_processes = 4
log_line_prefix = '%m [%p] %b '
log_statement = none
CONF
    $node->append_conf('postgresql.conf', $option{conf}) if defined $option{conf};
    $node->start;
    $node->safe_psql('postgres', 'CREATE EXTENSION chronicle');
    return $node;
}

# One more database with chronicle.
sub new_database {
    my ($node, $database) = @_;
    $node->safe_psql('postgres', "CREATE DATABASE $database");
    $node->safe_psql($database, 'CREATE EXTENSION chronicle');
    return $database;
}

# SQL as a role that logs in.
sub sql_as {
    my ($node, $database, $role, $sql) = @_;
    return $node->safe_psql($database, $sql, extra_params => [ '-U', $role ]);
}

# Stores a workflow as `role` (default: the superuser). Nodes are [id, sql, more keys…] for sql.query, or hashes; edges
# are "a>b".
sub make_workflow {
    my ($node, $database, $id, $nodes, $edges, $role) = @_;
    my @nodes = map {
        my ($node_id, $sql, %more) = ref $_ eq 'ARRAY' ? @$_ : ();
        ref $_ eq 'ARRAY' ? { id => $node_id, nodeType => 'sql.query', config => { sql => $sql }, %more } : $_;
    } @$nodes;
    my @edges = map { my ($source, $target) = split />/; { source => $source, target => $target } } @{ $edges // [] };
    my $json = JSON::PP->new->canonical->encode({ id => $id, nodes => \@nodes, edges => \@edges });
    my $as = defined $role ? "SET ROLE $role;" : '';
    return $node->safe_psql($database, "$as SELECT version FROM chronicle.create_workflow(\$json\$$json\$json\$)");
}

# Queues a run and returns its id. It runs as the workflow's owner, whoever starts it.
sub start_run {
    my ($node, $database, $workflow) = @_;
    return $node->safe_psql($database, "SELECT chronicle.execute_workflow('$workflow')");
}

# A test: the query answers `expected` within the deadline (a server on its way up is waited for, too).
sub wait_for {
    my ($node, $database, $query, $expected, $what) = @_;
    local $PostgreSQL::Test::Utils::timeout_default = $deadline;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok($node->poll_query_until($database, $query, $expected), $what);
}

# A test: the run is over within the deadline, and ended like this. Shows the failures when it is not so.
sub run_ends {
    my ($node, $database, $run, $status, $what) = @_;
    local $PostgreSQL::Test::Utils::timeout_default = $deadline;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $over = "SELECT ended_at IS NOT NULL FROM chronicle.executions WHERE execution_id = '$run'";
    my $in_time = $node->poll_query_until($database, $over);
    my $now = $node->safe_psql($database, "SELECT status FROM chronicle.executions WHERE execution_id = '$run'");
    return ok(1, $what) if $in_time && $now eq $status;
    ok(0, $what);
    diag("wanted $status, got $now; nodes: "
          . $node->safe_psql($database, "SELECT node_id, status, attempts, sqlstate, error FROM chronicle.node_executions WHERE execution_id = '$run'"));
    return 0;
}

# A test: the server log has the message within the deadline. `since`: the length of the log before.
sub wait_for_message {
    my ($node, $pattern, $since, $what) = @_;
    local $PostgreSQL::Test::Utils::timeout_default = $deadline;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok(eval { $node->wait_for_log($pattern, $since) }, $what);
}

# A test: the statement fails with this SQLSTATE, and what psql prints has the pattern.
sub fails_with {
    my ($node, $database, $sql, $sqlstate, $pattern, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($status, $out, $errors) = $node->psql($database, "\\set VERBOSITY verbose\n$sql");
    return like($errors, qr/ERROR:  \Q$sqlstate\E: .*$pattern/s, $what);
}

# The pid of the executor that runs a node now, in `database`; waits until there is one. Asks in a database with chronicle.
sub executor_of {
    my ($node, $asked, $database, $node_id) = @_;
    my $query = "FROM chronicle.workers WHERE current_node = '$node_id' AND database = '$database'";
    local $PostgreSQL::Test::Utils::timeout_default = $deadline;
    $node->poll_query_until($asked, "SELECT count(*) = 1 $query") or die "node $node_id does not run";
    return $node->safe_psql($asked, "SELECT pid $query");
}

# Waits until the condition holds, or dies.
sub wait_until {
    my ($condition, $otherwise) = @_;
    my $end = time + $deadline;
    while (!$condition->()) {
        die $otherwise if time > $end;
        select(undef, undef, undef, 0.02);
    }
    return;
}

# Kills one process of the server (`find` answers its pid), which then forgets its memory and recovers.
sub kill_process {
    my ($node, $find) = @_;
    my ($since, $pid) = (-s $node->logfile);
    wait_until(sub { $pid = $find->(); $pid =~ /^\d+$/ && kill('KILL', $pid) == 1 }, 'there is no such process');
    wait_until(sub { slurp_file($node->logfile, $since) =~ /database system is ready to accept connections/ }, 'the server does not come back');
    return;
}

# Kills an executor of the owner, one with `state` if that is given.
sub kill_executor {
    my ($node, $database, $owner, $state) = @_;
    my $such = "role = 'executor' AND owner = '$owner'" . (defined $state ? " AND state = '$state'" : '');
    return kill_process($node, sub { $node->safe_psql($database, "SELECT pid FROM chronicle.workers WHERE $such LIMIT 1") });
}

# Kills the postmaster, and processes `with` it, and starts the server again. Its backends notice and end a moment later;
# until then none can start there.
sub kill_server {
    my ($node, @with) = @_;
    my $pid = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
    $node->kill9;
    kill('KILL', @with);
    wait_until(sub { !kill(0, $pid) }, 'the postmaster is not dead');
    wait_until(sub { $node->start(fail_ok => 1) }, 'the server does not come back');
    return;
}

# Runs until somebody interrupts it, far longer than any deadline.
sub long_sql { return 'SELECT pg_sleep(600)' }

# An SQL expression that is at work for so many seconds (not null).
sub work_sql { my ($seconds) = @_; return "(pg_sleep($seconds))::text" }

1;
