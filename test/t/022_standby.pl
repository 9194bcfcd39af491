# A hot standby reads the same log: in order, without gaps, up to its end; and goes on as a primary after its promotion.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/lib';
use ChronicleTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "shared_preload_libraries = 'chronicle'\nmax_worker_processes = 32\n");
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION chronicle');
$primary->safe_psql('postgres', "SELECT chronicle.append_event('cart-' || g, 'Added') FROM generate_series(1, 100) g");

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my $log = "SELECT string_agg(stream, ' ' ORDER BY global_position) FROM chronicle.read_all(100, categories => '{open, late, new}')";

# The log falls idle: the standby reaches its end all the same.
wait_for($standby, 'postgres', "SELECT count(*) FROM chronicle.read_all(max_count => 1000)", '100',
    'a standby reaches the end of an idle log');
wait_for($primary, 'postgres', "SELECT chronicle.safe_position() >= 100", 't', 'as the primary does');

# An open transaction holds readers of the standby back, too: what commits after it is not shown before it.
my $open = $primary->background_psql('postgres');
$open->query_safe("BEGIN; SELECT chronicle.append_event('open-1', 'Added');");
$primary->safe_psql('postgres', "SELECT chronicle.append_event('late-1', 'Added')");
$primary->safe_psql('postgres', "SELECT chronicle.append_event('late-2', 'Added')");
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is($standby->safe_psql('postgres', $log), '', 'nothing above an open append is shown');
is($standby->safe_psql('postgres', "SELECT count(*) FROM chronicle.events WHERE category = 'late'"),
    '2', 'although it is there');
$open->query_safe('COMMIT');
$open->quit;
wait_for($standby, 'postgres', $log, 'open-1 late-1 late-2', 'after its commit everything comes, in order');

# Every read, also by a role that may read one category only.
$primary->safe_psql('postgres', <<'SQL');
SET search_path = public, chronicle;
CREATE FUNCTION count_events(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE sql IMMUTABLE RETURN to_jsonb((state #>> '{}')::int + 1);
SELECT create_aggregate('kept', 'count_events', '0', snapshot_every => 10);
SELECT append_event_arrays('kept-1', array_fill('T'::text, ARRAY[12]), NULL), append_event('kept-2', 'T'), delete_stream('kept-2');
SELECT set_stream_retention('kept-1', max_count => 3);
CREATE ROLE "Of ""kept'" LOGIN;
SELECT grant_category('"Of ""kept''"', 'kept', 'read');
SQL
my $every_read = <<'SQL';
SET search_path = public, chronicle;
SELECT stream_version('kept-1'), stream_version('kept-2'), stream_version('kept-none');
SELECT version FROM read_stream('kept-1', backwards => true);
SELECT stream, version FROM read_category('kept');
SELECT stream, version FROM read_all(categories => '{kept}', filter => '$.version > 10');
SELECT stream, version, event_count, deleted FROM streams WHERE category = 'kept' ORDER BY stream;
SELECT category, streams, events FROM categories WHERE category = 'kept';
SELECT stream, version FROM events WHERE category = 'kept' ORDER BY global_position;
SELECT aggregate_state('kept-1'), aggregate_state('kept-1', 10), (SELECT count(*) FROM replay('kept-1'));
SELECT position_at('-infinity'), position_at(now()) <= safe_position();
SQL
my $reads = $primary->safe_psql('postgres', $every_read);
my $kept = "SELECT count(*) FROM chronicle.read_category('kept')"; # up to the mark, which the primary's scheduler notes
wait_for($standby, 'postgres', $kept, '3', 'the events of a category');
is($standby->safe_psql('postgres', $every_read), $reads, 'every read says on the standby what it says on the primary');
is(sql_as($standby, 'postgres', q{Of "kept'}, $every_read), $reads, '… also to a role that may read one category');
is(sql_as($standby, 'postgres', q{Of "kept'}, 'SELECT DISTINCT category FROM chronicle.read_all()'), 'kept', '… which sees nothing else');

# What is written on the standby is refused, and says so.
my (undef, undef, $refused) = $standby->psql('postgres', "SELECT chronicle.append_event('x-1', 'X')");
like($refused, qr/read-only transaction|during recovery/, 'a standby takes no append');

# Promotion: positions go on above all that anybody saw, and the work that was queued is done.
make_workflow($primary, 'postgres', 'after_promotion', [ [ 'a', 'SELECT 1 AS one' ] ]);
$primary->safe_psql('postgres', "ALTER SYSTEM SET chronicle.workers = off");
$primary->reload;
wait_for($primary, 'postgres', "SELECT count(*) FROM chronicle.workers WHERE role = 'scheduler'", '0', 'the primary rests');
my $run = start_run($primary, 'postgres', 'after_promotion');
my $seen = $primary->safe_psql('postgres', "SELECT max(global_position) FROM chronicle.events");

# A snapshot of the standby that lives on: what it does not see may have been committed before the promotion.
my $around = "SELECT string_agg(stream, ' ' ORDER BY global_position) FROM chronicle.read_all(100, categories => '{around}')";
$open = $primary->background_psql('postgres');
$open->query_safe("BEGIN; SELECT chronicle.append_event('around-1', 'Added');");
$primary->safe_psql('postgres', "SELECT chronicle.append_event('around-2', 'Added')");
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
my $reader = $standby->background_psql('postgres');
is($reader->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; $around;"), '', 'a reader of the standby stands before an open append');
$open->query_safe('COMMIT');
$open->quit;

$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$primary->stop('immediate');
$standby->promote;
is($reader->query_safe("$around;"), '', '… and with its snapshot still does after the promotion');
is($reader->query_safe("COMMIT; $around;"), 'around-1 around-2', '… so that it gets both then');
$reader->quit;
my $next = $standby->safe_psql('postgres',
    "SELECT chronicle.append_event('new-1', 'Added'); SELECT chronicle.last_position()");
$next =~ s/.*\n//s;
cmp_ok($next, '>', $seen, 'positions go on above every one given before');
wait_for($standby, 'postgres', $log, 'open-1 late-1 late-2 new-1', 'the log goes on');
$standby->safe_psql('postgres', 'SELECT 1');
wait_for($standby, 'postgres', "SELECT status FROM chronicle.executions WHERE execution_id = '$run'", 'completed',
    'what was queued is done by the new primary');

done_testing();
