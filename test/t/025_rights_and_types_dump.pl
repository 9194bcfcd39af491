# Rights on categories and event types live in tables by role name: a dump restored elsewhere works at once, upcasters and
# validators included, and another database of the server has none of it.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('rights_and_types_dump');
new_database($node, 'elsewhere');
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE "odd ""Role'" LOGIN;
CREATE ROLE keeper LOGIN;
SELECT chronicle.grant_category('"odd ""Role''"', 'cat "C"', privilege) FROM unnest(ARRAY['read', 'append']) AS privilege;
SELECT chronicle.grant_access('keeper', 'operator');
GRANT CREATE ON SCHEMA public TO keeper;
SQL
sql_as($node, 'postgres', 'keeper', <<'SQL');
CREATE FUNCTION check_it(data jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'no a, says ' || current_user WHERE NOT data ? 'a' $$;
CREATE FUNCTION lift_it(data jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT data || '{"lifted": true}' $$;
SELECT chronicle.register_event_type('Kept', '{"maxProperties": 1}', 'check_it', version => 2, description => 'it''s kept');
SELECT chronicle.register_upcaster('Kept', 1, 'lift_it');
SQL

my $odd = q{odd "Role'};
my $append = q{SELECT chronicle.append_event('cat "C"-1', 'Kept', '%s', '%s')};

# What the odd role can do in a database: the answers, or the SQLSTATEs.
sub try {
    my ($db, $sql) = @_;
    my ($code, $out, $err) = $node->psql($db, "\\set VERBOSITY sqlstate\n$sql", extra_params => [ '-U', $odd ]);
    return $code == 0 && $err eq '' ? $out : ($err =~ /(ERROR:\s+\w+)/)[0] =~ s/\s+/ /r;
}

sub shows {
    my ($db, $what) = @_;
    is(try($db, sprintf $append, '{"b": 1}', '{}'), 'ERROR: CH004', "$what: refused by the validator");
    is(try($db, sprintf $append, '{"a": 1, "b": 1}', '{}'), 'ERROR: CH004', "$what: refused by the schema");
    is(try($db, q{SELECT version, type_version, data FROM chronicle.read_stream('cat "C"-1') ORDER BY version LIMIT 2}),
        qq(1|2|{"a": 1, "lifted": true}\n2|2|{"a": 2}), "$what: upcast");
    is(try($db, q{SELECT version, type_version, data FROM chronicle.events ORDER BY global_position LIMIT 2}),
        qq(1|2|{"a": 1, "lifted": true}\n2|2|{"a": 2}), "$what: upcast in the view");
    is(try($db, q{SELECT chronicle.append_event('other-1', 'T')}), 'ERROR: 42501', "$what: another category");
    is(try($db, q{SELECT type, version, newest, description FROM chronicle.event_types ORDER BY version}),
        "Kept|1|f|\nKept|2|t|it's kept", "$what: types");
    return;
}

is(try('postgres', sprintf $append, '{"a": 1}', '{"schema_version": 1}'), 1, 'an event of the old version');
is(try('postgres', sprintf $append, '{"a": 2}', '{}'), 2, 'one of the new');
shows('postgres', 'first');
is(try('elsewhere', sprintf $append, '{"a": 1}', '{}'), 'ERROR: 42501', 'another database knows nothing of it');

my $dump = $node->basedir . '/chronicle.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('postgres') ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('copy'), $dump ], 'restored');
shows('copy', 'restored');
is(try('copy', sprintf $append, '{"a": 3}', '{}'), 3, 'and it goes on');

$node->stop;
done_testing();
