# Random SQL over everything that chronicle offers: each function of the catalog with arguments by their types and names, the views,
# and what statements can be wrapped in (savepoints, cursors, prepared statements, caught errors …). A seed tells all of it.
package ChronicleFuzz;

use strict;
use warnings FATAL => 'all';

use JSON::PP;

# Objects that are there (set_up makes them), and hostile ones.
my @roles = qw(fuzz_none fuzz_reader fuzz_writer fuzz_operator fuzz_admin fuzz_category);
my @streams = qw(cart-1 cart-2 cart-3 order-1 order-2 acc-1 acc-2 acc-3 patch-1 json-1 bad-1 gone-1 dead-1 typed-1 solo new-1 new-2);
my @categories = qw(cart order acc patch json bad gone typed solo new none fresh);
my @types = qw(Added Removed Typed Up Order Merged);
my @workflows = qw(quick fails waits timer task calls maps saga limited slow off retries any);
my @projections = qw(p_state p_table p_statement p_inline p_inline_table p_raise p_park p_off);
my @nodes = qw(a b c wait task absent input);
my @functions = qw(fuzz.apply fuzz.apply_raise fuzz.apply_null fuzz.decide fuzz.decide_raise fuzz.decide_bad fuzz.validate fuzz.validate_raise
  fuzz.up fuzz.up_raise fuzz.on_event fuzz.on_event_raise fuzz.on_event_append fuzz.on_state fuzz.on_state_raise fuzz.call fuzz.call_raise
  apply_merge_patch chronicle.apply_json_patch fuzz.no_such nowhere.apply apply pg_sleep now generate_series sum fuzz.procedure fuzz.set_of);
my @nasty_texts = (
    q(''), q(' '), q('-'), q('-1'), q('$x'), q('$all'), q('workflow'), q('workflow-quick'), q('workflow-quick/0'), q('$stream-deleted'),
    q('o''brien"; DROP TABLE x; --'), q(E'new\nline-\t1'), q(E'\u00e4\u00f6\u20ac-\U0001F600'), q('a''b-"c"'), q('%s%n%d-%'), q('$1'), q(':name'),
    q(repeat('x', 1024)), q(repeat('x', 1025)), q(repeat('x', 5000)), q(('a-' || repeat(E'\u20ac', 400))), q(repeat('a-', 100000)), q('null'), q('0'),
    q('NaN'), q('-9223372036854775809'), q(E'\u0001'), q('"quoted"'), q('a.b.c.d'), q('pg_catalog.'), q('."x"'), q('"unclosed'), q('x(int)'), q('*')
);
my @regexes = (q('^cart'), q('.*'), q(''), q{'('}, q('[a'), q('*'), q('(a+)+$'), q('(x+x+)+y'), q{'((((((((((a*)*)*)*)*)*)*)*)*)*)b'}, q('a{1,255}{1,255}{1,255}'),
    q{'\'}, q('(?:a)(?<=b)\1'), q{repeat('(', 5000)}, q((repeat('a?', 500) || repeat('a', 500))), q('***:x'), q(E'[\u20ac-\u00e4]'), q('^(.)\1*$'));
my @paths = (q('$.x'), q('$.data.x > 1'), q('$.type == "Added"'), q('strict $.no.such'), q('$'), q('$.**'), q('$.data.x / 0'), q('$.count > $y'), q('$[*].a.b'),
    q('$.data.at.datetime()'), q('$.type like_regex "^A"'), q('exists($.data)'), q('null'), q('$.x.double()'), q('-$.data'), q('lax $.a[last + 1 to 9223372036854775807]'),
    q('$.** ? (@.** > 1)'), q('$.count >= 2'), q('$.recorded_at.datetime() > "2020-01-01".datetime()'));
my @jsonpaths = map { "$_\::jsonpath" } grep { $_ ne q('null') } @paths;
my @intervals = map { "interval '$_'" } ('0', '1 ms', '10 ms', '1 second', '-1 second', '30 s', '1 month', '-1 month', '1 month -30 days', '178000000 years', '-178000000 years',
    '0.000001 s', '1 day', '9999999 hours');
my @times = map { "timestamptz '$_'" } qw(infinity -infinity 2000-01-01 1970-01-01 2038-01-19 294276-12-31 epoch now), '4714-11-24 BC', '0001-01-01 BC';
my @bigints = qw(0 1 2 3 5 10 100 -1 -2 1000 9223372036854775807 -9223372036854775808 9223372036854775806 4294967296 2147483648 -2147483649);
my @integers = qw(0 1 2 3 10 100 -1 2147483647 -2147483648 2147483646 65536 10000 10001);
my @crons = (q('* * * * *'), q('0 0 30 2 *'), q('*/0 * * * *'), q('61 * * * *'), q('* * * *'), q('@daily'), q('0 0 29 2 *'), q('1-0 * * * *'), q('*/99999999999 * * * *'), q('L * * * *'), q('0 12 * * MON-FRI'));
my @zones = (q('UTC'), q('Europe/Berlin'), q('America/St_Johns'), q('Nowhere/Land'), q('+99:99'), q('<+05>-5'), q('EST5EDT'), q('posixrules'), q('../../etc/passwd'));

my @json_texts = ('{}', '[]', 'null', 'true', '0', '1e400', '-1e-400', '""', '"x"', '{"x": 1}', '{"x": 5, "at": "2024-01-01"}', '[null]', '[[[[]]]]', '{"": {"": null}}', '{"a": "\\\\u0000"}',
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
my @huge_jsons = (q(to_jsonb(repeat('x', 2000000))), q((SELECT jsonb_agg(i) FROM generate_series(1, 3000) AS i)), q((repeat('[', 1000) || repeat(']', 1000))::jsonb),
    q((repeat('[', 6000) || repeat(']', 6000))::jsonb), q((repeat('{"a":', 4000) || '1' || repeat('}', 4000))::jsonb), q((SELECT jsonb_agg(jsonb_build_object('type', 'Added')) FROM generate_series(1, 300))),
    q((SELECT jsonb_object_agg('k' || i, i) FROM generate_series(1, 2000) AS i)), q(to_jsonb(1e400::numeric)), q((SELECT jsonb_agg(jsonb_build_object('stream', 'many-' || i, 'events', '[]'::jsonb)) FROM generate_series(1, 300) AS i)),
    q(jsonb_build_object('nodes', (SELECT jsonb_agg(jsonb_build_object('id', 'n' || i)) FROM generate_series(1, 1000) AS i))), q('NaN'::float8::numeric::text::jsonb));
my @statements = (q('SELECT 1'), q(''), q('INSERT INTO fuzz.seen SELECT global_position FROM new_events'), q('INSERT INTO totals AS t SELECT category, count(*) FROM new_events GROUP BY category ON CONFLICT (category) DO UPDATE SET n = t.n + EXCLUDED.n'),
    q('SELECT 1; SELECT 2'), q('COMMIT'), q('SELECT * FROM no_such'), q('UPDATE fuzz.seen SET x = 1 / 0 FROM new_events'), q('COPY fuzz.seen FROM stdin'), q('WITH x AS (SELECT * FROM new_events) SELECT $1 FROM x'), q('DROP TABLE fuzz.nothing'),
    q('SELECT chronicle.append_event(''fresh-1'', ''X'') FROM new_events'), q('VACUUM'), q('DELETE FROM new_events'), q('EXPLAIN SELECT 1'), q('SELECT FROM'));

# What a call of a function is given, by the name of its argument where that says more than the type.
my %by_name = (
    stream => sub { "'" . $_[0]->stream . "'" },
    category => sub { "'" . $_[0]->pick(@categories) . "'" },
    categories => sub { $_[0]->text_array(@categories) },
    streams => sub { $_[0]->text_array(@streams) },
    types => sub { $_[0]->text_array(@types) },
    type => sub { "'" . $_[0]->pick(@types) . "'" },
    name => sub { "'" . $_[0]->pick(@projections, 'go', 'p_new') . "'" },
    projection => sub { "'" . $_[0]->pick(@projections) . "'" },
    workflow_id => sub { "'" . $_[0]->pick(@workflows) . "'" },
    execution_id => sub { $_[0]->execution },
    a => sub { $_[0]->execution },
    b => sub { $_[0]->execution },
    from_node => sub { "'" . $_[0]->pick(@nodes) . "'" },
    apply => sub { $_[0]->function_name },
    decide => sub { $_[0]->function_name },
    validator => sub { $_[0]->function_name },
    upcast => sub { $_[0]->function_name },
    handler => sub { $_[0]->function_name },
    statement => sub { $_[0]->pick(@statements) },
    stream_regex => sub { $_[0]->pick(@regexes) },
    type_regex => sub { $_[0]->pick(@regexes) },
    partition_by => sub { $_[0]->pick(q('stream'), q('category'), q('type'), @paths) },
    partition => sub { $_[0]->pick(q(''), q('cart-1'), q('cart')) },
    mode => sub { $_[0]->pick(qw('async' 'inline' 'lazy')) },
    level => sub { $_[0]->pick(qw('reader' 'writer' 'operator' 'admin' 'root')) },
    privilege => sub { $_[0]->pick(qw('read' 'append' 'write')) },
    overlap => sub { $_[0]->pick(qw('skip' 'queue' 'allow' 'cancel_running' 'x')) },
    cron => sub { $_[0]->pick(@crons) },
    timezone => sub { $_[0]->pick(@zones) },
    queue => sub { $_[0]->pick(qw('q' 'r')) },
    worker => sub { $_[0]->pick(qw('w1' 'w2')) },
    command => sub { $_[0]->pick(qw('add' 'reject' 'bad' 'nothing' 'other')) },
    idempotency_key => sub { $_[0]->pick(qw('k1' 'k2' 'k3')) },
    definition => sub { $_[0]->definition },
    wait => sub { $_[0]->pick("interval '0'", "interval '0'", "interval '5 ms'", "interval '-1 s'") },
    timeout => sub { $_[0]->pick("interval '0'", "interval '0'", "interval '10 ms'", "interval '-1 s'", "interval '1 month -30 days'") },
    max_age => sub { $_[0]->pick("interval '1 day'", "interval '1 ms'", "interval '-1 s'", "interval '0'", @intervals) },
    task_id => sub { $_[0]->pick('fuzz.nth_task(' . $_[0]->below(50) . ')', $_[0]->below(30), @bigints) },
    trigger_id => sub { $_[0]->pick(1 .. 30) },
    schedule_id => sub { $_[0]->pick(1 .. 30) },
    event_id => sub { $_[0]->uuid },
    command_id => sub { $_[0]->uuid },
    every => sub { $_[0]->pick("interval '1 hour'", @intervals) },
    run_at => sub { $_[0]->pick("now() + interval '1 hour'", @times) },
    version => sub { $_[0]->pick(1, 1, 2, 3, @integers) },
    from_version => sub { $_[0]->pick(1, 2, 3, 10, @integers) },
    expected_version => sub { $_[0]->pick(0, -1, 1, 2, 3, 5, @bigints) },
    max_count => sub { $_[0]->pick(1, 2, 10, 100, @integers) },
    max_events => sub { $_[0]->pick(1, 10, 1000, @bigints) },
    snapshot_every => sub { $_[0]->pick(10, 20, @integers) },
    attempt => sub { $_[0]->pick(1, 1, 2, @integers) },
);
my %by_type = (
    'text' => sub { "'" . $_[0]->pick(@streams, @types, @workflows) . "'" },
    'bigint' => sub { $_[0]->pick(@bigints) },
    'integer' => sub { $_[0]->pick(@integers) },
    'boolean' => sub { $_[0]->pick('true', 'false') },
    'jsonb' => sub { $_[0]->json },
    'jsonpath' => sub { $_[0]->pick(@jsonpaths) },
    'uuid' => sub { $_[0]->uuid },
    'interval' => sub { $_[0]->pick(@intervals) },
    'timestamp with time zone' => sub { $_[0]->pick(@times, "now() - interval '1 second'") },
    'double precision' => sub { $_[0]->pick('0', '1', '-1', "'NaN'", "'infinity'", '1e308', '0.5') },
    'regrole' => sub { $_[0]->pick((map { "'$_'" } @roles), "'postgres'", '0', '99999', "'fuzz_lost'") },
    'text[]' => sub { $_[0]->text_array(@types, @streams) },
    'jsonb[]' => sub { $_[0]->array('jsonb', sub { $_[0]->json }) },
    'uuid[]' => sub { $_[0]->array('uuid', sub { $_[0]->uuid }) },
    'chronicle.event' => sub { $_[0]->event },
);

# functions: [{ name (with schema), arguments: [[name, type, has_default]…], set, void }], views: { name => [columns] }; calm: hostile values are
# rare, so that more calls come far.
sub new {
    my ($class, %option) = @_;
    srand($option{seed});
    # What moves most is called most.
    my @busy = grep { $_->{name} =~ /append|execute|command|state|aggregate|read_|create_|claim|task|signal|retention|scavenge|snapshot|replay$|fork|rebuild/ } @{ $option{functions} };
    return bless { seed => $option{seed}, calm => $option{calm}, functions => $option{functions}, busy => \@busy, views => $option{views} }, $class;
}

# ---- values ----

sub below { return int rand $_[1] }
sub pick { my ($self, @pool) = @_; return $pool[ rand @pool ] }
sub chance { return rand() < $_[1] }

sub uuid {
    my ($self) = @_;
    return $self->pick("'00000000-0000-0000-0000-00000000000" . $self->below(10) . "'::uuid", "gen_random_uuid()", "'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid", $self->execution);
}
# Among the few, where sessions meet, or of many, which nobody has spoilt yet.
sub stream { my ($self) = @_; return $self->chance(0.7) ? $self->pick(@streams) : $self->pick(qw(cart order acc patch bad typed)) . '-' . $self->below(300) }
sub execution { my ($self) = @_; return 'fuzz.nth_run(' . $self->below(400) . ')' }
sub function_name { my ($self) = @_; return "'" . $self->pick(@functions) . "'" }

sub event {
    my ($self) = @_;
    return $self->pick('NULL::chronicle.event', '(SELECT e::chronicle.event FROM chronicle.events AS e LIMIT 1)', "ROW(1, 'cart-1', 1, 'Added', " . $self->json . ", '{}', NULL, now(), 'cart', 1, NULL, NULL, 'x')::chronicle.event");
}

sub json {
    my ($self) = @_;
    return $self->pick(@huge_jsons) if $self->chance(0.05);
    return $self->quote($self->random_json(0)) . '::jsonb' if $self->chance(0.1);
    return "'" . $self->pick(@json_texts) . "'::jsonb";
}

sub quote { my ($self, $text) = @_; return "'" . ($text =~ s/'/''/gr) . "'" }

my $encoder = JSON::PP->new->canonical->allow_nonref->ascii;

sub random_value {
    my ($self, $depth) = @_;
    my $kind = $self->below($depth > 3 ? 7 : 9);
    return $self->pick(undef, JSON::PP::true, JSON::PP::false, 0, 1, -1, 1.5, \'1e400', \'99999999999999999999', \'-0', '1s', '', 'a', 'x' x 300, '$.x', '$', '[', '$.a >', ':x', "\x{20ac}", '10 years', '-1s', 'NaN') if $kind < 7;
    return [ map { $self->random_value($depth + 1) } 1 .. $self->below(4) ] if $kind == 7;
    return { map { $self->pick(qw(id type data sql name for items $ $secret x nodes config source target), '') => $self->random_value($depth + 1) } 1 .. $self->below(4) };
}

# Numbers that Perl cannot hold are references to their text.
sub encode {
    my ($self, $value) = @_;
    return 'null' if !defined $value;
    return $$value if ref $value eq 'SCALAR' && $$value !~ /^[01]$/;
    return '[' . join(',', map { $self->encode($_) } @$value) . ']' if ref $value eq 'ARRAY';
    return '{' . join(',', map { $encoder->encode("$_") . ':' . $self->encode($value->{$_}) } sort keys %$value) . '}' if ref $value eq 'HASH';
    return $encoder->encode($value);
}
sub random_json { my ($self, $depth) = @_; return $self->encode($self->random_value($depth)) }

sub array {
    my ($self, $type, $element) = @_;
    my @elements = map { $self->chance(0.15) ? 'NULL' : $element->($self) } 1 .. $self->below(5);
    my $list = 'ARRAY[' . join(', ', @elements) . "]::$type\[]";
    return "array_fill(" . ($elements[0] // 'NULL') . "::$type, ARRAY[2, 2])" if $self->chance(0.05);
    return "array_fill(" . ($elements[0] // 'NULL') . "::$type, ARRAY[2], ARRAY[5])" if $self->chance(0.05);
    return "array_fill(" . ($elements[0] // 'NULL') . "::$type, ARRAY[2000])" if $self->chance(0.02);
    return $list;
}
sub text_array { my ($self, @pool) = @_; return $self->array('text', sub { $_[0]->chance(0.1) ? $_[0]->pick(@nasty_texts) : "'" . $_[0]->pick(@pool) . "'" }) }

# ---- definitions of workflows: mutations of good ones ----

sub sql_node { my ($id, $sql, %more) = @_; return { id => $id, nodeType => 'sql.query', config => { sql => $sql }, %more } }

sub good_definition {
    my ($self) = @_;
    my $a = sql_node('a', 'SELECT 1 AS x, true AS y, NULL::int AS z');
    my $edge = [ { source => 'a', target => 'b' } ];
    my @kinds = (
        sub { { nodes => [ $a, sql_node('b', 'SELECT sum(x) AS s FROM input') ], edges => $edge } },
        sub { { nodes => [ { id => 'a', nodeType => 'sequence.numbers', config => { start => 1, end => 5, fields => { n => 'sequence', s => 'random_string(3)', c => "random_choice(['a','b'])" } } },
                    { id => 'b', nodeType => 'filter', config => { condition => 'n > 2' } }, { id => 'c', nodeType => 'console.log', config => { limit => 3, format => 'json' } } ],
                  edges => [ @$edge, { source => 'b', target => 'c', condition => '$.n > 3' } ] } },
        sub { { nodes => [ { id => 'a', nodeType => 'memory.collection', config => { data => [ { category => 'x', n => 1 }, { category => 'y', n => $self->random_value(2) } ] } },
                    { id => 'b', nodeType => 'table.write', config => { table => 'fuzz.written', mode => $self->pick(qw(insert upsert replace)), keys => ['category'] } } ], edges => $edge } },
        sub { { nodes => [ { id => 'a', nodeType => 'wait.timer', config => { for => '10ms' } }, sql_node('b', 'SELECT :v::text', retry => { max_attempts => 3, initial_interval => '1ms', backoff => 2, max_interval => '5ms', jitter => 0.1, non_retryable => [ '23505', '22' ] }) ],
                  edges => $edge } },
        sub { { nodes => [ { id => 'a', nodeType => 'wait.signal', config => { name => 'go', timeout => '50ms', on_timeout => 'continue' } }, sql_node('b', 'SELECT 1 / 0', on_failure => 'continue', timeout => '1s') ], edges => $edge } },
        sub { { nodes => [ { id => 'a', nodeType => 'task.external', config => { queue => 'q', input => { '$' => '$.input' } }, timeout => '1s' } ], edges => [] } },
        sub { { nodes => [ { id => 'a', nodeType => 'workflow.call', config => { workflow => $self->pick(@workflows), input => { '$' => '$.input' }, wait => $self->pick(JSON::PP::true, JSON::PP::false) } } ], edges => [] } },
        sub { { nodes => [ { id => 'a', nodeType => 'map.each', config => { items => [ 1, 2, { x => 3 } ], $self->pick([ workflow => 'quick' ], [ function => 'fuzz.call' ], [ function => 'fuzz.call_raise' ])->@*, max_concurrency => 2 } } ], edges => [] } },
        sub { { nodes => [ $a, { id => 'b', nodeType => 'function.call', config => { function => $self->pick(@functions), args => { x => { '$' => '$.nodes.a' } } } } ], edges => $edge } },
        sub { { nodes => [ sql_node('a', 'SELECT 1 AS x', compensate => { nodeType => 'sql.query', config => { sql => 'SELECT 1' } }), sql_node('b', 'SELECT 1 / 0', on_failure => 'compensate') ], edges => $edge } },
        sub { { nodes => [ sql_node('a', $self->pick('SELECT :v', 'SELECT 1 AS a, 2 AS a', 'SELECT', 'SELECT 1; SELECT 2', 'DO $$BEGIN NULL; END$$', 'CREATE TEMP TABLE t (x int)', "SELECT 'NaN'::float8 AS f, 'infinity'::timestamptz AS t, '{1}'::int[] AS a, '\\xff'::bytea AS b, '1'::xml",
                          'SELECT pg_sleep(0.01)', 'SELECT chronicle.append_event(:s, :t)', 'TRUNCATE fuzz.written', 'COMMIT', 'SET ROLE postgres', "SELECT repeat('x', 100000) AS x FROM generate_series(1, 50)", 'SELECT * FROM chronicle.executions', 'LISTEN x', 'COPY fuzz.seen TO stdout', 'EXPLAIN SELECT 1',
                          "SELECT chronicle.cancel_execution((SELECT execution_id FROM chronicle.executions WHERE status = 'running' LIMIT 1))", 'BEGIN', 'SHOW work_mem', 'VALUES (1), (NULL)', 'SELECT ROW(1, 2) AS r', 'FETCH 1 FROM c')) ], edges => [] } },
    );
    my $definition = $self->pick(@kinds)->();
    $definition->{id} = $self->pick(@workflows, 'w1', 'w2', 'w3', 'w4', 'w5');
    $definition->{timeout} = $self->pick('1h', 10, '1min') if $self->chance(0.1);
    $definition->{concurrency} = { limit => 1, key => '$.input.x' } if $self->chance(0.1);
    $definition->{nodes}[0]{config}{parameters} = { v => $self->random_value(2), s => 'cart-1', t => 'Added' } if $definition->{nodes}[0]{nodeType} eq 'sql.query' && $self->chance(0.3);
    return JSON::PP->new->decode($encoder->encode($self->plain($definition))) if $self->chance(0.3);
    return $definition;
}

# Without references to texts of numbers.
sub plain {
    my ($self, $value) = @_;
    return [ map { $self->plain($_) } @$value ] if ref $value eq 'ARRAY';
    return { map { $_ => $self->plain($value->{$_}) } keys %$value } if ref $value eq 'HASH';
    return ref $value eq 'SCALAR' && $$value !~ /^[01]$/ ? 1 : $value;
}

sub definition {
    my ($self) = @_;
    return $self->json if $self->chance(0.05);
    my $definition = $self->copy($self->good_definition);
    $self->mutate($definition) for 1 .. ($self->{calm} ? $self->pick(0, 0, 1) : $self->pick(0, 1, 1, 1, 2, 3));
    return $self->quote($self->encode($definition)) . '::jsonb';
}

sub copy {
    my ($self, $value) = @_;
    return [ map { $self->copy($_) } @$value ] if ref $value eq 'ARRAY';
    return { map { $_ => $self->copy($value->{$_}) } keys %$value } if ref $value eq 'HASH';
    return $value;
}

my @keys = qw(id nodes edges nodeType node_type type config sql data retry timeout priority own_transaction on_failure onFailure compensate join concurrency metadata condition source from target to max_attempts
  maxAttempts name version tags parameters materialize batchSize schedule items workflow function queue input keys table mode position label);

sub mutate {
    my ($self, $at) = @_;
    while (ref $at eq 'HASH' || ref $at eq 'ARRAY') {
        my @inside = ref $at eq 'HASH' ? sort keys %$at : (0 .. $#$at);
        if (!@inside || $self->chance(0.3)) {
            my $value = $self->chance(0.5) ? $self->random_value(1) : $self->pick(JSON::PP::true, 'any', 'all', 'continue', 'compensate', 'fail', '0s', '-1', '1 month', 1e15, { enabled => JSON::PP::true, scheduleType => 'cron', cronExpression => '* * * * *' });
            if (ref $at eq 'HASH') {
                my $key = $self->chance(0.5) && @inside ? $self->pick(@inside) : $self->pick(@keys);
                $self->chance(0.2) ? delete $at->{$key} : ($at->{$key} = $value);
            } else {
                $self->chance(0.3) && @inside ? push(@$at, $self->copy($self->pick(@$at))) : $self->chance(0.5) ? shift(@$at) : push(@$at, $value);
            }
            return;
        }
        my $next = $self->pick(@inside);
        my $value = ref $at eq 'HASH' ? $at->{$next} : $at->[$next];
        if (!ref $value) {
            my $new = $self->random_value(1);
            ref $at eq 'HASH' ? ($at->{$next} = $new) : ($at->[$next] = $new);
            return;
        }
        $at = $value;
    }
    return;
}

# ---- calls ----

sub value {
    my ($self, $name, $type) = @_;
    my $hostile = $self->{calm} ? 0.1 : 1;
    return 'NULL' if $self->chance(0.05 * $hostile);
    return $self->pick(@nasty_texts) if $type eq 'text' && $self->chance(0.12 * $hostile);
    my $by_name = $by_name{$name};
    # Names of arguments that stand for other types here and there (version int, a pool of bigints).
    return $by_name->($self) if $by_name && $self->chance(1 - 0.15 * $hostile);
    my $by_type = $by_type{$type} or die "no values of type $type";
    return $by_type->($self);
}

sub call {
    my ($self, @unlike) = @_;
    my $function;
    do { $function = $self->pick(@{ $self->chance(0.35) ? $self->{busy} : $self->{functions} }) } while (grep { $function->{$_} } @unlike);
    my (@given, $named);
    for my $argument (@{ $function->{arguments} }) {
        my ($name, $type, $optional) = @$argument;
        # Left out, and from the pool of intervals, a wait is a long one.
        my $waits = $name eq 'wait' || $name eq 'timeout';
        if ($optional && !$waits && $self->chance(0.55)) {
            $named = 1;
            next;
        }
        # Nothing comes after a tombstone.
        my $value = $function->{name} =~ /tombstone/ && $name eq 'stream' && $self->chance(0.9) ? "'dead-" . $self->below(100) . "'" : $waits ? $by_name{$name}->($self) : $self->value($name, $type);
        # Numbers and names have no type of their own.
        $value = "($value)::$type";
        push @given, $named ? "\"$name\" => $value" : $value;
    }
    return "$function->{name}(" . join(', ', @given) . ')';
}

sub statement {
    my ($self) = @_;
    my $dice = rand;
    return $self->view if $dice < 0.06;
    my $call = $self->call;
    return "SELECT * FROM $call" if $dice < 0.55;
    return "SELECT $call" if $dice < 0.8;
    return "SELECT * FROM $call AS f LIMIT 1" if $dice < 0.84;
    return "SELECT f.* FROM generate_series(1, 3) AS i LEFT JOIN LATERAL $call AS f ON i % 2 = 0" if $dice < 0.88;
    return 'SELECT (' . $self->call('void') . ') FROM generate_series(1, 3) AS i ORDER BY 1' if $dice < 0.9;
    return "SELECT count(*) FROM (SELECT * FROM $call) AS a, (VALUES (1), (2)) AS v" if $dice < 0.92;
    return "CREATE TEMP TABLE made ON COMMIT DROP AS SELECT * FROM $call AS f" if $dice < 0.94;
    return "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM $call" if $dice < 0.97;
    return $self->pick("COPY (SELECT * FROM $call) TO '/dev/null'", 'COPY chronicle.' . $self->pick(sort keys %{ $self->{views} }) . " FROM '/dev/null'", 'COPY chronicle.' . $self->pick(sort keys %{ $self->{views} }) . " TO '/dev/null'") if $dice < 0.98;
    return 'SELECT CASE WHEN (' . $self->call('set') . ') IS NULL THEN 1 END';
}

sub view {
    my ($self) = @_;
    my $view = $self->pick(sort keys %{ $self->{views} });
    my @columns = @{ $self->{views}{$view} };
    my $column = $self->pick(@columns);
    my @more = (
        '', "WHERE \"$column\" IS NULL", "WHERE \"$column\"::text = " . $self->pick(@nasty_texts), "WHERE \"$column\"::text ~ " . $self->pick(@regexes),
        "ORDER BY \"$column\"::text DESC NULLS LAST LIMIT 3", "WHERE \"$column\"::text LIKE '%a%' ORDER BY random()", 'LIMIT 1 OFFSET 2', 'FOR UPDATE'
    );
    my $tail = $self->pick(@more);
    return $self->pick("SELECT * FROM chronicle.$view AS v $tail", "SELECT count(*) FROM (SELECT * FROM chronicle.$view AS v $tail) AS x", "SELECT v.\"$column\" FROM chronicle.$view AS v JOIN chronicle.$view AS w USING (\"$column\") LIMIT 5",
        "SELECT max(v.\"$column\"::text) FROM chronicle.$view AS v GROUP BY \"$column\"", "DELETE FROM chronicle.$view", "UPDATE chronicle.$view SET \"$column\" = NULL", "INSERT INTO chronicle.$view SELECT * FROM chronicle.$view",
        "SELECT to_jsonb(v) FROM chronicle.$view AS v LIMIT 5", "SELECT (SELECT count(*) FROM chronicle.$view AS w WHERE w.\"$column\" IS NOT DISTINCT FROM v.\"$column\") FROM chronicle.$view AS v LIMIT 2");
}

# One line of a script for psql: everything that is left open in it is closed by the line itself.
sub line {
    my ($self) = @_;
    my $dice = rand;
    return 'SELECT fuzz.restore();' if $dice < 0.004;
    return 'SET SESSION AUTHORIZATION ' . ($self->chance($self->{calm} ? 0.9 : 0.6) ? 'DEFAULT' : $self->pick(@roles, 'fuzz_admin', 'fuzz_operator')) . ';' if $dice < 0.03;
    my $statement = $self->statement;
    return "$statement;" if $dice < 0.72;
    my $other = $self->statement;
    return 'BEGIN' . $self->pick('', ' ISOLATION LEVEL REPEATABLE READ', ' ISOLATION LEVEL SERIALIZABLE', ' READ ONLY') . "; $statement; $other; " . $self->pick('COMMIT', 'ROLLBACK') . ';' if $dice < 0.80;
    return "BEGIN; SAVEPOINT s; $statement; ROLLBACK TO s; $other; SAVEPOINT t; " . $self->statement . '; ROLLBACK TO s; ' . $self->pick('COMMIT', 'ROLLBACK') . ';' if $dice < 0.85;
    return $self->parallel($statement) if $dice < 0.86;
    return $self->with_trigger($statement) if $dice < 0.863;
    return $self->with_settings($statement) if $dice < 0.875;
    return $self->without_object($statement) if $dice < 0.88;
    return "BEGIN; $statement; PREPARE TRANSACTION 'fuzz_$self->{seed}'; ROLLBACK PREPARED 'fuzz_$self->{seed}'; ROLLBACK;" if $dice < 0.883;
    return 'DISCARD ALL;' if $dice < 0.884;
    return 'SELECT fuzz.caught(' . $self->quote($statement) . '), fuzz.caught(' . $self->quote($other) . ');' if $dice < 0.90;
    return "BEGIN; DECLARE c SCROLL CURSOR" . $self->pick('', ' WITH HOLD') . ' FOR ' . $self->query . '; ' . join('; ', map { $self->pick('FETCH NEXT FROM c', 'FETCH -1 FROM c', 'FETCH ABSOLUTE -1 FROM c', 'FETCH ALL FROM c', 'MOVE LAST FROM c', 'FETCH RELATIVE 2 FROM c', 'FETCH BACKWARD ALL FROM c', $statement) } 1 .. 4)
      . '; ' . $self->pick('COMMIT', 'ROLLBACK') . '; CLOSE ALL;' if $dice < 0.93;
    return "SET plan_cache_mode = force_generic_plan; PREPARE p AS $statement; EXECUTE p; EXECUTE p; DEALLOCATE ALL; RESET plan_cache_mode;" if $dice < 0.95 && $statement =~ /^SELECT/;
    # A RESET could itself be cancelled: this way it is over with the transaction, whatever happens.
    return "BEGIN; SET LOCAL statement_timeout = '" . $self->pick(1, 2, 5) . "ms'; $statement; $other; ROLLBACK; ROLLBACK;" if $dice < 0.97;
    return "SET ROLE " . $self->pick(@roles) . "; $statement; RESET ROLE;" if $dice < 0.98;
    return "\\copy (SELECT 1) TO '/dev/null'" if $dice < 0.981;
    return "SET TIME ZONE " . $self->pick("'UTC'", "'Asia/Kathmandu'") . '; SET DateStyle = ' . $self->pick("'SQL, DMY'", "'ISO, MDY'", "'German'") . "; SET bytea_output = 'escape'; $statement; RESET ALL;" if $dice < 0.99;
    return "$statement \\; $other;";
}

# Whatever may run in a parallel worker does.
sub parallel {
    my ($self, $statement) = @_;
    my $set = "SELECT set_config(name, 'on', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')";
    return "$set; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; $statement; SELECT * FROM " . $self->call . '; ' . $self->view . '; RESET ALL;';
}

# A superuser can put triggers on the tables of an extension.
sub with_trigger {
    my ($self, $statement) = @_;
    my $table = $self->pick(qw(event stream execution node_task projection_progress command snapshot workflow_event));
    return 'RESET SESSION AUTHORIZATION; BEGIN; SET LOCAL lock_timeout = 100; CREATE TRIGGER fuzz ' . $self->pick('BEFORE', 'AFTER') . ' INSERT OR UPDATE OR DELETE ON chronicle_data.' . $table . ' FOR EACH ' . $self->pick('ROW', 'STATEMENT')
      . ' EXECUTE FUNCTION fuzz.' . $self->pick('trigger', 'trigger_raise') . "(); $statement; " . $self->statement . '; ROLLBACK;';
}

# Settings of a session that change how SQL is read, planned or shown.
sub with_settings {
    my ($self, $statement) = @_;
    my @settings = ("search_path = ''", 'search_path = pg_temp, fuzz, pg_catalog', 'standard_conforming_strings = off', "IntervalStyle = 'sql_standard'", "IntervalStyle = 'iso_8601'", 'extra_float_digits = -15',
        'quote_all_identifiers = on', 'transform_null_equals = on', 'array_nulls = off', "default_tablespace = 'pg_default'", "work_mem = '64kB'", 'enable_indexscan = off', 'enable_seqscan = off', 'enable_nestloop = off',
        'enable_sort = off', 'jit_above_cost = 0', 'row_security = off', 'default_transaction_deferrable = on', 'cursor_tuple_fraction = 0', 'synchronous_commit = off', 'temp_buffers = 100', 'xmloption = document',
        "lc_monetary = 'C'", 'plan_cache_mode = force_custom_plan', "chronicle.max_event_bytes = '1kB'", 'chronicle.max_streams_per_transaction = 1', 'chronicle.snapshot_every = 10', 'chronicle.timeline_width = 10');
    return 'BEGIN; ' . join('', map { 'SET LOCAL ' . $self->pick(@settings) . '; ' } 1 .. 3) . "$statement; " . $self->statement . '; ' . $self->pick('COMMIT', 'ROLLBACK') . ';';
}

# What a call counts on may be gone, or another thing.
sub without_object {
    my ($self, $statement) = @_;
    my @changes = (
        'DROP FUNCTION fuzz.apply', 'DROP FUNCTION fuzz.on_state CASCADE', 'DROP TABLE fuzz.totals', 'ALTER TABLE fuzz.totals DROP COLUMN n', 'ALTER TABLE fuzz.totals RENAME TO other', 'REVOKE USAGE ON SCHEMA fuzz FROM PUBLIC', 'ALTER SCHEMA fuzz RENAME TO other',
        'REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA fuzz FROM PUBLIC', 'ALTER FUNCTION fuzz.decide OWNER TO fuzz_none', 'CREATE OR REPLACE FUNCTION fuzz.decide(state jsonb, command text, payload jsonb) RETURNS jsonb LANGUAGE sql AS $x$ SELECT payload $x$',
        'DROP FUNCTION fuzz.up(jsonb)', 'ALTER ROLE fuzz_operator RENAME TO fuzz_other', 'ALTER ROLE fuzz_operator SET search_path = nowhere', 'CREATE TABLE fuzz.totals2 (LIKE fuzz.totals)', 'ALTER FUNCTION fuzz.validate(jsonb) STRICT', 'ALTER FUNCTION fuzz.apply(jsonb, chronicle.event) SET work_mem = 1'
    );
    return 'RESET SESSION AUTHORIZATION; BEGIN; SET LOCAL lock_timeout = 100; ' . $self->pick(@changes) . "; SAVEPOINT s; $statement; ROLLBACK TO s; " . $self->statement . '; ROLLBACK;';
}

sub query {
    my ($self) = @_;
    return $self->pick("SELECT * FROM " . $self->call, 'SELECT * FROM chronicle.' . $self->pick(sort keys %{ $self->{views} }), 'SELECT * FROM chronicle.read_all()', q(SELECT * FROM chronicle.read_stream('cart-1')));
}

# ---- what came of it ----

# The errors that psql (VERBOSITY verbose) and fuzz.caught reported: { line, sqlstate, message, detail, hint, location, context } of each.
sub errors {
    my ($class, $output) = @_;
    my (@errors, $now, $field);
    for my $line (split /\n/, $output) {
        if ($line =~ /^psql:[^:]*:(\d+): (?:ERROR|FATAL|PANIC):  (\w{5}): (.*)/) {
            push @errors, $now = { line => $1, sqlstate => $2, message => $3 };
            $field = 'message';
        } elsif ($line =~ /^psql:[^:]*:(\d+): WARNING:  \w{5}: caught (\w{5}): (.*)/) {
            push @errors, $now = { line => $1, sqlstate => $2, message => $3 };
            $field = 'message';
        } elsif ($line =~ /^psql:[^:]*:(\d+): (.*)/) {
            push @errors, $now = { line => $1, sqlstate => '00000', message => $2 };
            $field = 'message';
        } elsif (defined $now && $line =~ /^(DETAIL|HINT|CONTEXT|LOCATION|QUERY): +(.*)/) {
            $field = lc $1;
            $now->{$field} = $2;
        } elsif (defined $now) {
            $now->{$field} .= "\n$line";
        }
    }
    return @errors;
}

# Why an error is not one that a caller should ever see, or nothing.
sub fault {
    my ($class, $error, $statement) = @_;
    my $state = $error->{sqlstate};
    return 'a hang' if $error->{message} =~ /(?:statement|lock) timeout/ && $statement !~ /statement_timeout|lock_timeout/;
    return 'an internal error' if $state =~ /^XX/ || $state eq '38000';
    return 'a connection that was lost' if $error->{message} =~ /server closed the connection|connection to server was lost|terminating connection/;
    return 'a leak' if $error->{message} =~ /leak|you don't own a lock|was not closed/;
    return if $state =~ /^(?:25006|40|42501|53|55P03|57014)/;
    return if ($error->{context} // '') =~ /function fuzz\./; # raised by a user's code
    return 'a message from the depth' if $error->{message} =~ /null value in column|duplicate key value|violates (?:check|unique|foreign)|cache lookup|could not open relation|invalid memory alloc|concurrently|std::|basic_string|_M_|unexpected|internal error/;
    return 'a statement of the engine that failed' if ($error->{query} // '') =~ /chronicle_data\./ || ($error->{context} // '') =~ /^SQL statement "[^"]*chronicle_data\./m;
    return 'a DETAIL that is not JSON' if $state =~ /^CH/ && !defined eval { decode_json($error->{detail} // '') };
    return;
}

# ---- what the script needs ----

# Reads what there is to call.
sub catalog_sql {
    return <<'SQL';
SET search_path = pg_catalog;
SELECT jsonb_build_object(
    'functions', (SELECT jsonb_agg(jsonb_build_object('name', p.oid::regproc::text, 'set', p.proretset, 'void', p.prorettype = 'void'::regtype, 'arguments', COALESCE((
        SELECT jsonb_agg(jsonb_build_array(a.name, format_type(a.type, NULL), a.n > p.pronargs - p.pronargdefaults) ORDER BY a.n)
          FROM unnest(p.proargnames[1:p.pronargs], p.proargtypes::oid[]) WITH ORDINALITY AS a (name, type, n)), '[]')) ORDER BY p.oid::regproc::text COLLATE "C")
        FROM pg_proc AS p
       WHERE p.pronamespace = 'chronicle'::regnamespace
          OR p.pronamespace = 'chronicle_data'::regnamespace AND p.prorettype <> 'trigger'::regtype AND has_function_privilege('public', p.oid, 'EXECUTE')
             AND 'chronicle.events'::regtype <> ALL (p.proargtypes)),
    'views', (SELECT jsonb_object_agg(c.relname, (SELECT jsonb_agg(attname ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0))
        FROM pg_class AS c WHERE c.relnamespace = 'chronicle'::regnamespace AND c.relkind = 'v'))
SQL
}

# The roles, functions and tables that the calls name, and fuzz.restore(), which makes whatever a call has removed again.
sub set_up_sql {
    my $workflows = join "\n", map { "PERFORM fuzz.caught('SELECT chronicle.create_workflow(' || quote_literal('" . ($encoder->encode($_) =~ s/'/''/gr) . "') || '::jsonb)');" } (
        { id => 'quick', nodes => [ sql_node('a', 'SELECT 1 AS x'), sql_node('b', 'SELECT x + 1 AS x FROM input') ], edges => [ { source => 'a', target => 'b' } ] },
        { id => 'fails', nodes => [ sql_node('a', 'SELECT 1 AS x'), sql_node('b', 'SELECT 1 / 0') ], edges => [ { source => 'a', target => 'b' } ] },
        { id => 'waits', nodes => [ { id => 'wait', nodeType => 'wait.signal', config => { name => 'go' } } ] },
        { id => 'timer', nodes => [ { id => 'wait', nodeType => 'wait.timer', config => { for => '200ms' } } ] },
        { id => 'task', nodes => [ { id => 'task', nodeType => 'task.external', config => { queue => 'q' } }, sql_node('b', 'SELECT 1') ], edges => [ { source => 'task', target => 'b' } ] },
        { id => 'calls', nodes => [ { id => 'a', nodeType => 'workflow.call', config => { workflow => 'quick' } } ] },
        { id => 'maps', nodes => [ { id => 'a', nodeType => 'map.each', config => { items => { '$' => '$.input' }, workflow => 'quick' } } ] },
        { id => 'saga', nodes => [ sql_node('a', 'SELECT 1', compensate => { nodeType => 'sql.query', config => { sql => 'SELECT 2' } }), sql_node('b', 'SELECT 1 / 0', on_failure => 'compensate') ], edges => [ { source => 'a', target => 'b' } ] },
        { id => 'limited', concurrency => { limit => 1, key => '$.input.x' }, nodes => [ sql_node('a', 'SELECT pg_sleep(0.01)') ] },
        { id => 'slow', nodes => [ sql_node('a', 'SELECT pg_sleep(0.1)'), sql_node('b', 'SELECT 1') ], edges => [ { source => 'a', target => 'b' } ] },
        { id => 'off', nodes => [ sql_node('a', 'SELECT 1') ] },
        { id => 'retries', nodes => [ sql_node('a', 'SELECT 1 / 0', retry => { max_attempts => 3, initial_interval => '10ms' }) ] },
        { id => 'any', nodes => [ sql_node('a', 'SELECT 1'), sql_node('b', 'SELECT pg_sleep(5)'), sql_node('c', 'SELECT 1', join => 'any') ], edges => [ { source => 'a', target => 'c' }, { source => 'b', target => 'c' } ] },
    );
    return <<"SQL";
CREATE SCHEMA fuzz;
GRANT USAGE ON SCHEMA fuzz TO PUBLIC;
@{[ map { "CREATE ROLE $_ LOGIN;" } @roles ]}
CREATE TABLE fuzz.seen (x bigint);
CREATE TABLE fuzz.totals (category text PRIMARY KEY, n bigint);
CREATE TABLE fuzz.written (category text PRIMARY KEY, n int CHECK (n > 0));
GRANT ALL ON fuzz.seen, fuzz.totals, fuzz.written TO PUBLIC;
CREATE FUNCTION fuzz.apply(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql AS \$\$ SELECT jsonb_build_object('count', COALESCE((state ->> 'count')::int, 0) + 1) \$\$;
CREATE FUNCTION fuzz.apply_raise(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS \$\$ BEGIN IF e.version % 5 = 0 THEN RAISE 'apply' USING DETAIL = 'd', HINT = 'h'; END IF; RETURN state; END \$\$;
CREATE FUNCTION fuzz.apply_null(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
CREATE FUNCTION fuzz.decide(state jsonb, command text, payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
BEGIN
    IF command = 'reject' THEN RAISE 'no'; ELSIF command = 'bad' THEN RETURN payload; ELSIF command = 'nothing' THEN RETURN NULL; END IF;
    RETURN jsonb_build_array(jsonb_build_object('type', 'Added', 'data', payload));
END \$\$;
CREATE FUNCTION fuzz.decide_raise(state jsonb, command text, payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$ BEGIN RETURN 1 / 0; END \$\$;
CREATE FUNCTION fuzz.decide_bad(state jsonb, command text, payload jsonb) RETURNS jsonb LANGUAGE sql AS \$\$ SELECT to_jsonb(chronicle.append_event('acc-1', 'Added')) \$\$;
CREATE FUNCTION fuzz.validate(data jsonb) RETURNS text LANGUAGE sql AS \$\$ SELECT CASE WHEN data ? 'x' THEN NULL ELSE 'x is missing' END \$\$;
CREATE FUNCTION fuzz.validate_raise(data jsonb) RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN RETURN 1 / 0; END \$\$;
CREATE FUNCTION fuzz.up(data jsonb) RETURNS jsonb LANGUAGE sql AS \$\$ SELECT jsonb_build_object('up', data) \$\$;
CREATE FUNCTION fuzz.up_raise(data jsonb) RETURNS jsonb LANGUAGE sql AS \$\$ SELECT to_jsonb(1 / (data IS NULL)::int) \$\$;
CREATE FUNCTION fuzz.on_event(e chronicle.event) RETURNS void LANGUAGE sql AS 'INSERT INTO fuzz.seen VALUES (e.global_position)';
CREATE FUNCTION fuzz.on_event_raise(e chronicle.event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN IF e.global_position % 7 = 0 THEN RAISE 'handler'; END IF; END \$\$;
CREATE FUNCTION fuzz.on_event_append(e chronicle.event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN IF e.category <> 'fresh' THEN PERFORM chronicle.append_event('fresh-1', 'Made'); END IF; END \$\$;
CREATE FUNCTION fuzz.on_state(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql AS \$\$ SELECT jsonb_build_object('n', COALESCE((state ->> 'n')::int, 0) + 1) \$\$;
CREATE FUNCTION fuzz.on_state_raise(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS \$\$ BEGIN IF e.version % 6 = 0 THEN RAISE 'handler'; END IF; RETURN state; END \$\$;
CREATE FUNCTION fuzz.call(context jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT context';
CREATE FUNCTION fuzz.call_raise(context jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$ BEGIN RAISE 'call' USING ERRCODE = 'ABCDE'; END \$\$;
CREATE FUNCTION fuzz.trigger() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN RETURN COALESCE(NEW, OLD); END \$\$;
CREATE FUNCTION fuzz.trigger_raise() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN RAISE 'trigger'; END \$\$;
CREATE FUNCTION fuzz.set_of(data jsonb) RETURNS SETOF jsonb LANGUAGE sql AS 'SELECT data';
CREATE PROCEDURE fuzz.procedure(data jsonb) LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION fuzz.nth_run(n int) RETURNS uuid LANGUAGE sql SECURITY DEFINER AS 'SELECT COALESCE((SELECT execution_id FROM chronicle_data.execution ORDER BY queued_at DESC OFFSET n % 40 LIMIT 1), gen_random_uuid())';
CREATE FUNCTION fuzz.nth_task(n int) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT COALESCE((SELECT task_id FROM chronicle_data.task ORDER BY task_id DESC OFFSET n LIMIT 1), n)';
-- Runs a statement and catches its error.
CREATE FUNCTION fuzz.caught(statement text) RETURNS text LANGUAGE plpgsql AS \$\$
DECLARE state text; message text; detail text; hint text; context text;
BEGIN
    EXECUTE statement;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
    RAISE WARNING USING MESSAGE = format('caught %s: %s', state, message), DETAIL = COALESCE(detail, ''), HINT = COALESCE(hint, '');
    RETURN state;
END \$\$;
CREATE FUNCTION fuzz.restore() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS \$\$
DECLARE s text;
BEGIN
    FOREACH s IN ARRAY ARRAY['reader', 'writer', 'operator', 'admin'] LOOP
        PERFORM fuzz.caught(format('SELECT chronicle.grant_access(%L, %L)', 'fuzz_' || s, s));
    END LOOP;
    PERFORM fuzz.caught('SELECT chronicle.grant_category(''fuzz_category'', c, p) FROM unnest(''{cart,acc}''::text[]) AS c, unnest(''{read,append}''::text[]) AS p');
    PERFORM fuzz.caught('SELECT chronicle.create_aggregate(''acc'', ''fuzz.apply'', decide => ''fuzz.decide'', snapshot_every => 10, replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.create_aggregate(''patch'', ''chronicle.apply_merge_patch'', replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.create_aggregate(''json'', ''chronicle.apply_json_patch'', replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.create_aggregate(''bad'', ''fuzz.apply_raise'', decide => ''fuzz.decide_raise'', snapshot_every => 10, replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.register_event_type(''Typed'', ''{"required": ["x"]}'', validator => ''fuzz.validate'')');
    PERFORM fuzz.caught('SELECT chronicle.register_event_type(''Up'', version => 2)');
    PERFORM fuzz.caught('SELECT chronicle.register_upcaster(''Up'', 1, ''fuzz.up'')');
    PERFORM fuzz.caught('SELECT chronicle.create_projection(''p_state'', handler => ''fuzz.on_state'', partition_by => ''category'', replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.create_projection(''p_table'', handler => ''fuzz.on_event'', options => ''{"reset": "DELETE FROM fuzz.seen"}'', replace => true)');
    PERFORM fuzz.caught('SET LOCAL search_path = fuzz, public; SELECT chronicle.create_projection(''p_statement'', statement => ''INSERT INTO totals AS t SELECT category, count(*) FROM new_events GROUP BY category ON CONFLICT (category) DO UPDATE SET n = t.n + EXCLUDED.n'', options => ''{"target": "totals"}'', replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.create_projection(''p_inline'', handler => ''fuzz.on_state'', partition_by => ''stream'', mode => ''inline'', categories => ''{cart}'', replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.create_projection(''p_inline_table'', handler => ''fuzz.on_event'', mode => ''inline'', categories => ''{order}'', replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.create_projection(''p_raise'', handler => ''fuzz.on_event_raise'', mode => ''inline'', categories => ''{bad}'', replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.create_projection(''p_park'', handler => ''fuzz.on_state_raise'', options => ''{"on_error": "park", "max_retries": 1, "retry_delay": "1 ms"}'', replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.create_projection(''p_off'', handler => ''fuzz.on_event_append'', categories => ''{cart}'', replace => true)');
    PERFORM fuzz.caught('SELECT chronicle.append_event(s, ''Added'', jsonb_build_object(''x'', i)) FROM unnest(''{cart-1,cart-2,order-1,acc-1,acc-2,patch-1,bad-1,gone-1,typed-1,solo}''::text[]) AS s, generate_series(1, 3) AS i');
    PERFORM fuzz.caught('SELECT chronicle.set_category_retention(c) FROM unnest(''{cart,order,acc,bad}''::text[]) AS c');
    PERFORM fuzz.caught('SELECT chronicle.delete_stream(''gone-1'')');
    PERFORM fuzz.caught('SELECT chronicle.tombstone_stream(''dead-1'')');
    $workflows
    PERFORM fuzz.caught('SELECT chronicle.disable_workflow(''off'')');
END \$\$;
SELECT fuzz.restore();
SQL
}

1;
