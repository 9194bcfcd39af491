# Values that calls are given: the objects that are there (Fuzz::World makes them), and hostile values of each type, as SQL.
package Fuzz::Values;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';

our @EXPORT = qw(@roles @streams @categories @types @workflows @projections @nodes @functions @nasty_texts @regexes @paths @jsonpaths @intervals @times @bigints @integers @crons @zones @json_texts @huge_jsons @statements);

our @roles = qw(fuzz_none fuzz_reader fuzz_writer fuzz_operator fuzz_admin fuzz_category);
our @streams = qw(cart-1 cart-2 cart-3 order-1 order-2 acc-1 acc-2 acc-3 patch-1 json-1 bad-1 gone-1 dead-1 typed-1 solo new-1 new-2);
our @categories = qw(cart order acc patch json bad gone typed solo new none fresh);
our @types = qw(Added Removed Typed Up Order Merged);
our @workflows = qw(quick fails waits timer task calls maps saga limited slow off retries any);
our @projections = qw(p_state p_table p_statement p_inline p_inline_table p_raise p_park p_off);
our @nodes = qw(a b c wait task absent input);
our @functions = qw(fuzz.apply fuzz.apply_raise fuzz.apply_null fuzz.decide fuzz.decide_raise fuzz.decide_bad fuzz.validate fuzz.validate_raise
  fuzz.up fuzz.up_raise fuzz.on_event fuzz.on_event_raise fuzz.on_event_append fuzz.on_state fuzz.on_state_raise fuzz.call fuzz.call_raise
  apply_merge_patch chronicle.apply_json_patch fuzz.no_such nowhere.apply apply pg_sleep now generate_series sum fuzz.procedure fuzz.set_of);
our @nasty_texts = (
    q(''), q(' '), q('-'), q('-1'), q('$x'), q('$all'), q('workflow'), q('workflow-quick'), q('workflow-quick/0'), q('$stream-deleted'),
    q('o''brien"; DROP TABLE x; --'), q(E'new\nline-\t1'), q(E'\u00e4\u00f6\u20ac-\U0001F600'), q('a''b-"c"'), q('%s%n%d-%'), q('$1'), q(':name'),
    q(repeat('x', 1024)), q(repeat('x', 1025)), q(repeat('x', 5000)), q(('a-' || repeat(E'\u20ac', 400))), q(repeat('a-', 100000)), q('null'), q('0'),
    q('NaN'), q('-9223372036854775809'), q(E'\u0001'), q('"quoted"'), q('a.b.c.d'), q('pg_catalog.'), q('."x"'), q('"unclosed'), q('x(int)'), q('*')
);
our @regexes = (q('^cart'), q('.*'), q(''), q{'('}, q('[a'), q('*'), q('(a+)+$'), q('(x+x+)+y'), q{'((((((((((a*)*)*)*)*)*)*)*)*)*)b'}, q('a{1,255}{1,255}{1,255}'),
    q{'\'}, q('(?:a)(?<=b)\1'), q{repeat('(', 5000)}, q((repeat('a?', 500) || repeat('a', 500))), q('***:x'), q(E'[\u20ac-\u00e4]'), q('^(.)\1*$'));
our @paths = (q('$.x'), q('$.data.x > 1'), q('$.type == "Added"'), q('strict $.no.such'), q('$'), q('$.**'), q('$.data.x / 0'), q('$.count > $y'), q('$[*].a.b'),
    q('$.data.at.datetime()'), q('$.type like_regex "^A"'), q('exists($.data)'), q('null'), q('$.x.double()'), q('-$.data'), q('lax $.a[last + 1 to 9223372036854775807]'),
    q('$.** ? (@.** > 1)'), q('$.count >= 2'), q('$.recorded_at.datetime() > "2020-01-01".datetime()'));
our @jsonpaths = map { "$_\::jsonpath" } grep { $_ ne q('null') } @paths;
our @intervals = map { "interval '$_'" } ('0', '1 ms', '10 ms', '1 second', '-1 second', '30 s', '1 month', '-1 month', '1 month -30 days', '178000000 years', '-178000000 years',
    '0.000001 s', '1 day', '9999999 hours');
our @times = map { "timestamptz '$_'" } qw(infinity -infinity 2000-01-01 1970-01-01 2038-01-19 294276-12-31 epoch now), '4714-11-24 BC', '0001-01-01 BC';
our @bigints = qw(0 1 2 3 5 10 100 -1 -2 1000 9223372036854775807 -9223372036854775808 9223372036854775806 4294967296 2147483648 -2147483649);
our @integers = qw(0 1 2 3 10 100 -1 2147483647 -2147483648 2147483646 65536 10000 10001);
our @crons = (q('* * * * *'), q('0 0 30 2 *'), q('*/0 * * * *'), q('61 * * * *'), q('* * * *'), q('@daily'), q('0 0 29 2 *'), q('1-0 * * * *'), q('*/99999999999 * * * *'), q('L * * * *'), q('0 12 * * MON-FRI'));
our @zones = (q('UTC'), q('Europe/Berlin'), q('America/St_Johns'), q('Nowhere/Land'), q('+99:99'), q('<+05>-5'), q('EST5EDT'), q('posixrules'), q('../../etc/passwd'));

our @json_texts = ('{}', '[]', 'null', 'true', '0', '1e400', '-1e-400', '""', '"x"', '{"x": 1}', '{"x": 5, "at": "2024-01-01"}', '[null]', '[[[[]]]]', '{"": {"": null}}', '{"a": "\\\\u0000"}',
    '[1, "a", {"b": []}]', '{"$": "$.input"}', '{"$secret": "x"}', '{"type": "Added"}', '[{"type": "Added", "data": {"x": 2}}]', '[{"type": "Added"}, {"type": ""}]', '[{"type": 1}]', '[{"type": null}]',
    '[{}]', '[{"type": "Added", "event_id": "no uuid"}]', '[{"type": "Added", "event_id": "00000000-0000-0000-0000-000000000001"}]', '[{"type": "Added", "data": null, "metadata": []}]',
    '[{"type": "$x"}]', '[{"type": "Added", "unknown": 1}]', '[{"stream": "cart-1", "events": [{"type": "Added"}]}, {"stream": "order-1", "events": []}]',
    '[{"stream": "cart-1", "expected_version": 1e30, "events": []}]', '[{"stream": "cart-1", "expected_version": 1.5, "events": []}]', '[{"stream": "cart-1", "expected_version": "1", "events": {}}]',
    '[{"stream": "cart-2"}, {"stream": "cart-2"}]', '[{"stream": "new-1", "expected_version": 0, "events": [{"type": "Added"}]}, {"stream": "cart-1", "expected_version": 99}]',
    '{"schema_version": 2}', '{"schema_version": "x"}', '{"schema_version": 1e30}', '{"correlation_id": {"a": 1}, "$causationId": 17}', '{"correlation_id": "c", "causation_id": null}',
    '{"type": "object", "required": ["x"]}', '{"type": "nonsense"}', '{"$schema": "http://json-schema.org/draft-04/schema#"}', '{"$ref": "#"}', '{"properties": {"a": {"$ref": "#/definitions/a"}}, "definitions": {"a": {"$ref": "#/definitions/a"}}}',
    '{"pattern": "("}', '{"properties": {"x": {"pattern": "^(a+)+$"}}}', '{"multipleOf": 0}', '{"minimum": 1e400}', '{"enum": []}', '{"allOf": [{"$ref": "http://example.com/x"}]}', '{"x": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"}',
    '[{"op": "add", "path": "/x", "value": 1}]', '[{"op": "copy", "from": "", "path": "/x"}]', '[{"op": "remove", "path": "/no"}]', '[{"op": "test", "path": "", "value": 1}]', '[{"op": "move", "from": "/a", "path": "/a/b"}]', '[{"op": 1}]',
    '{"batch_size": 1}', '{"batch_size": 0}', '{"batch_size": 1e9, "max_retries": -1}', '{"on_error": "park", "max_retries": 0}', '{"on_error": 1}', '{"retry_delay": "-1s"}', '{"timeout": "1 fortnight"}', '{"start_from": "end"}',
    '{"start_from": "infinity"}', '{"start_from": 99999999999999999999}', '{"target": "fuzz.totals"}', '{"target": "no.such"}', '{"reset": "DELETE FROM fuzz.seen"}', '{"unknown": 1}', '{"target": "fuzz.totals", "batch_size": 2}');
our @huge_jsons = (q(to_jsonb(repeat('x', 2000000))), q((SELECT jsonb_agg(i) FROM generate_series(1, 3000) AS i)), q((repeat('[', 1000) || repeat(']', 1000))::jsonb),
    q((repeat('[', 6000) || repeat(']', 6000))::jsonb), q((repeat('{"a":', 4000) || '1' || repeat('}', 4000))::jsonb), q((SELECT jsonb_agg(jsonb_build_object('type', 'Added')) FROM generate_series(1, 300))),
    q((SELECT jsonb_object_agg('k' || i, i) FROM generate_series(1, 2000) AS i)), q(to_jsonb(1e400::numeric)), q((SELECT jsonb_agg(jsonb_build_object('stream', 'many-' || i, 'events', '[]'::jsonb)) FROM generate_series(1, 300) AS i)),
    q(jsonb_build_object('nodes', (SELECT jsonb_agg(jsonb_build_object('id', 'n' || i)) FROM generate_series(1, 1000) AS i))), q('NaN'::float8::numeric::text::jsonb));
our @statements = (q('SELECT 1'), q(''), q('INSERT INTO fuzz.seen SELECT global_position FROM new_events'), q('INSERT INTO totals AS t SELECT category, count(*) FROM new_events GROUP BY category ON CONFLICT (category) DO UPDATE SET n = t.n + EXCLUDED.n'),
    q('SELECT 1; SELECT 2'), q('COMMIT'), q('SELECT * FROM no_such'), q('UPDATE fuzz.seen SET x = 1 / 0 FROM new_events'), q('COPY fuzz.seen FROM stdin'), q('WITH x AS (SELECT * FROM new_events) SELECT $1 FROM x'), q('DROP TABLE fuzz.nothing'),
    q('SELECT chronicle.append_event(''fresh-1'', ''X'') FROM new_events'), q('VACUUM'), q('DELETE FROM new_events'), q('EXPLAIN SELECT 1'), q('SELECT FROM'));
