# Sixteen sessions give commands on a few streams at once, many of them with an id that another one uses at the same
# moment: each id is one command, no seat is sold twice, and nobody sees a lost race.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = new_node('commands');
$node->safe_psql($db, "ALTER DATABASE $db SET search_path = public, chronicle");
$node->safe_psql($db, <<'SQL');
CREATE FUNCTION seats_apply(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN RETURN jsonb_set(state, '{free}', to_jsonb((state ->> 'free')::int - 1)); END $$;
CREATE FUNCTION seats_decide(state jsonb, command text, payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF (state ->> 'free')::int < 1 THEN RAISE 'sold out'; END IF;
    RETURN jsonb_build_array(jsonb_build_object('type', 'Booked', 'data', payload));
END $$;
SELECT create_aggregate('seats', 'seats_apply', '{"free": 200}', decide => 'seats_decide', snapshot_every => 10);
SQL

# :show is a stream and, with :try, an id: the same id always means the same command.
$node->pgbench(
    '--no-vacuum --client=16 --jobs=2 --transactions=150', 0,
    [qr{number of transactions actually processed: 2400/2400}], [qr{^$}],
    'no command fails: a rejection is an answer, and no race is lost',
    { '024_book' => <<'SQL' });
\set show random(1, 4)
\set try random(1, 400)
BEGIN;
SELECT accepted FROM try_command('seats-' || :show, 'Book', jsonb_build_object('try', :try), md5(:show || ' ' || :try)::uuid);
END;
SQL

is( $node->safe_psql($db, q{SELECT count(*) FROM (SELECT stream FROM events WHERE category = 'seats' GROUP BY stream HAVING count(*) > 200) AS s}),
    '0', 'no show has more guests than seats');
is( $node->safe_psql($db, q{SELECT count(*) FROM (SELECT stream, data FROM events WHERE category = 'seats' GROUP BY 1, 2 HAVING count(*) > 1) AS s}),
    '0', 'no id booked twice');
is( $node->safe_psql($db, q{SELECT count(*) FROM command_log AS c FULL JOIN (SELECT * FROM events WHERE category = 'seats') AS e
                              ON e.stream = c.stream AND e.version = c.first_version
                            WHERE (c.accepted AND c.payload IS DISTINCT FROM e.data) OR c.command_id IS NULL}),
    '0', 'the log tells what was appended, command by command');
is( $node->safe_psql($db, q{SELECT count(DISTINCT command_id) = count(*) AND count(*) FILTER (WHERE NOT accepted) > 0 FROM command_log}),
    't', 'each id has one answer; some were rejected');

# --- a crash between an answer and its reading ---
my $id = '00000000-0000-0000-0000-0000000000cc';
my $book = qq{SELECT accepted, version FROM try_command('seats-9', 'Book', '{}', '$id')};
my $first = $node->safe_psql($db, $book);
$node->stop('immediate');
$node->start;
is($node->safe_psql($db, $book), $first, 'after a crash the id has the same answer');

done_testing();
