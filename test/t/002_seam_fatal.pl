# FATAL below C++ frames: the session dies, the server does not, and what the session held in shared memory is free: its
# open append no longer holds readers back. No destructor runs on that way.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($library_directory) = run_command([ 'pg_config', '--pkglibdir' ]);
plan skip_all => 'the testing-only module is not installed (make testing install-testing)'
  unless -e "$library_directory/chronicle_testing.so";

my $node = new_node('fatal', conf => 'max_connections = 20');
my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION seam_fatal() RETURNS void LANGUAGE c AS '$libdir/chronicle_testing';
CREATE FUNCTION seam_run(sql text) RETURNS bigint LANGUAGE c AS '$libdir/chronicle_testing';
CREATE FUNCTION seam_attempt(sql text) RETURNS jsonb LANGUAGE c AS '$libdir/chronicle_testing';
CREATE FUNCTION seam_sleep(seconds double precision) RETURNS void LANGUAGE c AS '$libdir/chronicle_testing';
SELECT chronicle.append_event('log-1', 'T');
SQL

# Appends in another session, and asks whether that event is safe to take.
my $later = 0;
sub append_later { return $node->safe_psql('postgres', q{SELECT chronicle.append_event('log-1', 'T')}) }
my $safe = q{SELECT max(global_position) <= chronicle.safe_position() FROM chronicle.read_stream('log-1')};

# A session with an open append, that holds a later event back.
sub open_append {
    my ($stream) = @_;
    my $session = $node->background_psql('postgres', on_error_stop => 0);
    $session->query_safe('BEGIN');
    $session->query_safe("SELECT chronicle.append_event('$stream', 'Lost')");
    append_later();
    is($node->safe_psql('postgres', $safe), 'f', "$stream: an open append holds a later event back");
    return $session;
}

sub freed {
    my ($what) = @_;
    wait_for($node, 'postgres', $safe, 't', "$what: nothing is held back any more");
}

# Each way to the end, with savepoints and frames of C++, SPI and PL/pgSQL around it.
my %way = (
    'at once' => 'SELECT seam_fatal()',
    'below SPI' => q{SELECT seam_run('SELECT seam_run(''SELECT seam_fatal()'')')},
    'in a savepoint of C++' => q{SELECT seam_attempt('SELECT seam_fatal()')},
    'in a savepoint of PL/pgSQL' => q{DO $$ BEGIN PERFORM chronicle.append_event('lost-2', 'Lost'); PERFORM seam_fatal(); EXCEPTION WHEN OTHERS THEN NULL; END $$},
);
my $number = 0;
for my $way (sort keys %way) {
    my $stream = 'lost-way' . $number++;
    my $session = open_append($stream);
    my $log = -s $node->logfile;
    $session->{stdin} .= "$way{$way};\n";
    eval { $session->{run}->pump_nb };
    wait_for_message($node, qr/FATAL:  the end of this session, for a test/, $log, "$way: the session ends");
    freed($way);
    is($node->safe_psql('postgres', "SELECT chronicle.stream_version('$stream') IS NULL"), 't', "$way: its event is gone");
    eval { $session->quit };
}

# Ended from outside while it waits below a guard.
my $session = open_append('lost-terminated');
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$session->{stdin} .= "SELECT seam_sleep(600);\n";
eval { $session->{run}->pump_nb };
wait_for($node, 'postgres', "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $pid", 't', 'the session sleeps');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
freed('terminated');
eval { $session->quit };

# Idle in a transaction, and the client is gone.
$session = open_append('lost-client');
$session->{run}->kill_kill;
freed('client gone');

# More sessions than the server has places: each place is free again.
for my $n (1 .. 60) {
    $node->psql('postgres', "BEGIN; SELECT chronicle.append_event('lost-many$n', 'Lost'); SELECT seam_fatal()");
}
append_later();
freed('60 sessions');

is($node->safe_psql('postgres', q{SELECT count(*) FROM chronicle.events WHERE stream LIKE 'lost-%'}), '0', 'nothing of them is stored');
is($node->safe_psql('postgres', q{SELECT bool_and(version = row_number) FROM (SELECT version, row_number() OVER (ORDER BY global_position) FROM chronicle.read_stream('log-1')) AS e}),
    't', 'versions of the others are contiguous');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'userlock' AND objsubid = 1}), '0', 'no stream is locked');
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started, 'it is the same server');
unlike(slurp_file($node->logfile), qr/terminated by signal|reinitializing|PANIC/, 'no process crashed');

$node->stop;
done_testing();
