# SQL by chance over everything that chronicle offers: each function of the catalog with arguments by their types and names, the views,
# and what statements can be wrapped in (savepoints, cursors, prepared statements, caught errors …). A seed tells all of it.
package Fuzz::Random;

use strict;
use warnings FATAL => 'all';

use Fuzz::Values;
use JSON::PP;

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
    return $self->pick("SELECT * FROM chronicle.$view AS v $tail", "SELECT count(*) FROM (SELECT * FROM chronicle.$view AS v $tail) AS x", "SELECT v.\"$column\" FROM (SELECT * FROM chronicle.$view LIMIT 200) AS v JOIN (SELECT * FROM chronicle.$view LIMIT 200) AS w USING (\"$column\") LIMIT 5",
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

# A superuser can put triggers on the tables of an extension. One message up to there: were BEGIN cancelled alone, the trigger would stay.
sub with_trigger {
    my ($self, $statement) = @_;
    my $table = $self->pick(qw(event stream execution node_task projection_progress command snapshot workflow_event));
    return 'RESET SESSION AUTHORIZATION \; BEGIN \; SET LOCAL lock_timeout = 100 \; CREATE TRIGGER fuzz ' . $self->pick('BEFORE', 'AFTER') . ' INSERT OR UPDATE OR DELETE ON chronicle_data.' . $table . ' FOR EACH ' . $self->pick('ROW', 'STATEMENT')
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

# What a call counts on may be gone, or another thing (in one message, as above).
sub without_object {
    my ($self, $statement) = @_;
    my @changes = (
        'DROP FUNCTION fuzz.apply', 'DROP FUNCTION fuzz.on_state CASCADE', 'DROP TABLE fuzz.totals', 'ALTER TABLE fuzz.totals DROP COLUMN n', 'ALTER TABLE fuzz.totals RENAME TO other', 'REVOKE USAGE ON SCHEMA fuzz FROM PUBLIC', 'ALTER SCHEMA fuzz RENAME TO other',
        'REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA fuzz FROM PUBLIC', 'ALTER FUNCTION fuzz.decide OWNER TO fuzz_none', 'CREATE OR REPLACE FUNCTION fuzz.decide(state jsonb, command text, payload jsonb) RETURNS jsonb LANGUAGE sql AS $x$ SELECT payload $x$',
        'DROP FUNCTION fuzz.up(jsonb)', 'ALTER ROLE fuzz_operator RENAME TO fuzz_other', 'ALTER ROLE fuzz_operator SET search_path = nowhere', 'CREATE TABLE fuzz.totals2 (LIKE fuzz.totals)', 'ALTER FUNCTION fuzz.validate(jsonb) STRICT', 'ALTER FUNCTION fuzz.apply(jsonb, chronicle.event) SET work_mem = 1'
    );
    return 'RESET SESSION AUTHORIZATION \; BEGIN \; SET LOCAL lock_timeout = 100 \; ' . $self->pick(@changes) . "; SAVEPOINT s; $statement; ROLLBACK TO s; " . $self->statement . '; ROLLBACK;';
}

sub query {
    my ($self) = @_;
    return $self->pick("SELECT * FROM " . $self->call, 'SELECT * FROM chronicle.' . $self->pick(sort keys %{ $self->{views} }), 'SELECT * FROM chronicle.read_all()', q(SELECT * FROM chronicle.read_stream('cart-1')));
}

1;
