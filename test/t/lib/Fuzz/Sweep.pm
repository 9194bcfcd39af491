# Every parameter of every function, given every hostile value of its type once, in order, while the others are sane. Nothing is drawn by
# chance, and each call is undone, so that every one meets the same objects (Fuzz::World::known_sql).
package Fuzz::Sweep;

use strict;
use warnings FATAL => 'all';

use Fuzz::Values;
use JSON::PP;

my @nasty_jsons = (undef, JSON::PP::true, 0, -1, 1.5, 1e300, 99999999999999, '', 'x', '10 years', '-1s', "\x{20ac}" x 400, [], {}, [undef], [ [] ], { '' => undef }, { '$' => '$.input' });

# What an argument is given while another one is looked at, by its name.
my %sane = (
    stream => q('acc-1'), category => q('acc'), type => q('Added'), name => q('p_state'), projection => q('p_park'), workflow_id => q('quick'), execution_id => known('completed', 'uuid'),
    a => known('before', 'uuid'), b => known('completed', 'uuid'), apply => q('fuzz.apply'), upcast => q('fuzz.up'), task_id => known('claimed', 'bigint'), attempt => 1, error => q('e'),
    schedule_id => known('schedule', 'bigint'), trigger_id => known('trigger', 'bigint'), queue => q('q'), worker => q('w'), command => q('add'), level => q('reader'), privilege => q('read'),
    role => q('fuzz_none'), from_version => 1, from_node => q('b'), predicate => q('$.count > 1'), state => q('{}'), event => q{(SELECT e::chronicle.event FROM chronicle.events AS e WHERE stream = 'acc-1' LIMIT 1)},
    types => q(ARRAY['Added']), data => q(ARRAY[jsonb '{}']), events => q('[{"type": "Added", "data": {"x": 1}, "metadata": {}}]'), at => q('now()'), definition => quote(definition()), schema => q('{"type": "object"}'),
    batches => q('[{"stream": "acc-1", "expected_version": -1, "events": [{"type": "Added", "data": {}, "metadata": {}, "event_id": "00000000-0000-0000-0000-00000000ffff"}]}]'),
    stream_id => 1, after_position => 0, projection_id => 1, global_position => 1, kind => q('workflow'), status => q('completed'), started_at => 'now()', ended_at => 'now()', earlier => 'now()', later => 'now()',
    node_id => q('a'), node_type => q('sql.query'), records_processed => 1, owner => q('postgres'), started_by => q('postgres'), decide => q('fuzz.decide'), categories => q(ARRAY['acc']), version => 1, first => '0.25', last => '0.5', width => 10
);

# Where that does not do, or calls of more than one form are to be looked at: [ what is called before, arguments… ] of each.
my %forms = (
    apply_json_patch => [ [ '', event => q{ROW(1, 'acc-1', 1, 'Added', '[{"op": "add", "path": "/x", "value": 1}]', '{}', NULL, now(), 'acc', 1, NULL, NULL, 'x')} ] ],
    append_event => [ [ '', data => q('{"x": 1}') ] ],
    append_event_arrays => [ [''], [ '', metadata => q(ARRAY[jsonb '{}']), event_ids => q(ARRAY[gen_random_uuid()]) ] ],
    cancel_execution => [ [ '', execution_id => known('waiting', 'uuid') ] ],
    cancel_rebuild => [ ['SELECT chronicle.rebuild_projection(\'p_state\');'] ],
    claim_tasks => [ [ '', queue => q('q') ] ],
    create_aggregate => [ [ '', category => q('fresh') ], [ '', replace => 'true' ] ],
    create_projection => [
        [ '', name => q('p_new'), handler => q('fuzz.on_event') ],
        [ '', name => q('p_new'), handler => q('fuzz.on_state'), partition_by => q('stream'), initial_state => q('{}'), mode => q('inline'), categories => q(ARRAY['cart']) ],
        [ '', name => q('p_statement'), statement => quote('INSERT INTO fuzz.totals AS t SELECT category, count(*) FROM new_events GROUP BY category ON CONFLICT (category) DO UPDATE SET n = t.n + EXCLUDED.n'), options => q('{"target": "fuzz.totals", "batch_size": 10, "max_retries": 1, "retry_delay": "1 s", "on_error": "stop", "start_from": 0}'), replace => 'true' ]
    ],
    drop_snapshots => [ [ '', stream => q('acc-1') ] ],
    drop_workflow => [ [ '', workflow_id => q('off') ] ],
    enable_projection => [ [ '', name => q('p_off') ] ],
    fail_task => [ [''] ],
    pause_execution => [ [ '', execution_id => known('waiting', 'uuid') ] ],
    read_all => [ [''], [ '', categories => q(ARRAY['acc']), types => q(ARRAY['Added']), stream_regex => q('^acc'), backwards => 'true' ] ],
    read_category => [ [ '', consumer_group_size => 2, consumer_group_member => 0 ] ],
    register_event_type => [ [''] ],
    register_upcaster => [ [ '', type => q('Fresh') ] ],
    resume_execution => [ [ '', execution_id => known('paused', 'uuid') ] ],
    resume_schedule => [ [ '', schedule_id => known('paused schedule', 'bigint') ] ],
    retry_execution => [ [ '', execution_id => known('failed', 'uuid') ] ],
    revoke_access => [ ["SELECT chronicle.grant_access('fuzz_none', 'reader');"] ],
    revoke_category => [ ["SELECT chronicle.grant_category('fuzz_none', 'acc', 'read');"] ],
    schedule_workflow => [ [ '', cron => q('0 0 * * *'), timezone => q('Europe/Berlin') ], [ '', every => q('1 hour') ] ],
    set_owner => [ [ '', kind => q('workflow'), name => q('quick'), role => q('fuzz_operator') ] ],
    signal_execution => [ [ '', execution_id => known('waiting', 'uuid'), name => q('go') ] ],
    timeline_json => [ [ '', execution_id => known('completed', 'uuid') ] ],
    upcast_version => [ [ '', type => q('Up') ] ],
    # What is waited for is there, or nothing is waited.
    wait_for_execution => [ [ '', timeout => q('0') ] ],
    wait_for_projection => [ [ '', global_position => 1, timeout => q('0') ] ],
);

# Hostile values by the argument's name, beside those of its type.
my %by_name = (
    stream_regex => \@regexes, type_regex => \@regexes, partition_by => \@paths, cron => \@crons, timezone => \@zones, statement => \@statements, (map { $_ => [ map { "'$_'" } @functions ] } qw(apply decide validator upcast handler)),
    level => [ map { "'$_'" } qw(reader writer operator admin root) ], privilege => [ map { "'$_'" } qw(read append write) ], overlap => [ map { "'$_'" } qw(skip queue allow cancel_running x) ],
    mode => [ map { "'$_'" } qw(async inline lazy) ], kind => [ map { "'$_'" } qw(workflow projection aggregate x) ], command => [ map { "'$_'" } qw(reject bad nothing other) ],
    stream => [ map { "'$_'" } @streams ], category => [ map { "'$_'" } @categories ], type => [ map { "'$_'" } @types ], workflow_id => [ map { "'$_'" } @workflows, 'w' ], projection => [ map { "'$_'" } @projections ],
    name => [ map { "'$_'" } @projections, @workflows, 'go' ], from_node => [ map { "'$_'" } @nodes ], execution_id => [ map { known($_, 'uuid') } 'waiting', 'failed', 'paused', 'task 1' ],
);
# JSON that is given as it is but for one value at a time.
my %mutated = (
    definition => definition(),
    options => '{"batch_size": 1, "max_retries": 1, "retry_delay": "1 s", "on_error": "park", "start_from": 0, "target": "fuzz.totals", "reset": "SELECT 1", "timeout": "1 s"}',
    events => '[{"type": "Added", "data": {}, "metadata": {"correlation_id": "c", "causation_id": "d", "schema_version": 1}, "event_id": "00000000-0000-0000-0000-00000000ffff"}]',
    batches => '[{"stream": "acc-1", "expected_version": -1, "events": [{"type": "Added"}]}, {"stream": "acc-2"}]',
    schema => '{"$schema": "http://json-schema.org/draft-07/schema#", "$id": "x", "$ref": "#/definitions/a", "definitions": {"a": {}}, "type": "object", "enum": [1], "const": 1, "multipleOf": 1, "maximum": 1, "exclusiveMaximum": 1, "minimum": 1, "exclusiveMinimum": 1, "maxLength": 1, "minLength": 1, "pattern": "a", "items": [{}], "additionalItems": {}, "maxItems": 1, "minItems": 1, "uniqueItems": true, "contains": {}, "maxProperties": 1, "minProperties": 1, "required": ["x"], "properties": {"x": {}}, "patternProperties": {"a": {}}, "additionalProperties": {}, "dependencies": {"x": ["y"], "z": {}}, "propertyNames": {}, "if": {}, "then": {}, "else": {}, "allOf": [{}], "anyOf": [{}], "oneOf": [{}], "not": {}, "format": "date", "contentEncoding": "x", "default": 1, "title": "x"}',
);
my @uuids = ("'00000000-0000-0000-0000-000000000000'", "'00000000-0000-0000-0000-000000000001'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'", "'018f0000-0000-7000-8000-000000000000'");
my %by_type = (
    'text' => \@nasty_texts, 'bigint' => \@bigints, 'integer' => \@integers, 'boolean' => [qw(true false)], 'jsonb' => [ (map { quote($_) } @json_texts), @huge_jsons ], 'jsonpath' => \@jsonpaths, 'uuid' => \@uuids,
    'interval' => [ @intervals, q('infinity'), q('-infinity') ], 'timestamp with time zone' => \@times, 'double precision' => [ qw(0 1 -1 0.5 1e308 -1e308), map { "'$_'" } qw(NaN infinity -infinity) ],
    'regrole' => [ (map { "'$_'" } @roles, 'postgres', 'pg_read_all_data'), 0, 99999 ], 'text[]' => arrays('text', @nasty_texts), 'jsonb[]' => arrays('jsonb', map { quote($_) } @json_texts), 'uuid[]' => arrays('uuid', @uuids),
    'chronicle.event' => [ q{ROW(1, 'acc-1', 1, 'Added', '{}', '{}', NULL, now(), 'acc', 1, NULL, NULL, 'x')}, q{ROW(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)}, map { "ROW(-1, '', 0, '', " . quote($_) . ", '[]', NULL, 'infinity', '', -1, NULL, NULL, NULL)" } @json_texts ],
);

sub quote { my ($text) = @_; return "'" . ($text =~ s/'/''/gr) . "'" }
sub known { my ($name, $type) = @_; return "fuzz.known('$name')::$type" }

sub arrays {
    my ($type, @elements) = @_;
    my $some = $elements[1];
    return [ "'{}'", 'ARRAY[NULL]', "array_fill(${some}::$type, ARRAY[2, 2])", "array_fill(${some}::$type, ARRAY[2], ARRAY[5])", "array_fill(${some}::$type, ARRAY[2000])", "array_fill(NULL::$type, ARRAY[2000])",
        "ARRAY[$some, NULL]", "ARRAY[$some, $some]", map { "ARRAY[$_]" } @elements ];
}

# A workflow with everything that a definition can have.
sub definition {
    return JSON::PP->new->canonical->encode({
        id => 'w', name => 'n', version => '1', description => 'd', timeout => '1h', priority => 1, tags => ['t'], metadata => { a => 1 }, concurrency => { limit => 1, key => '$.input.x' },
        nodes => [
            { id => 'a', nodeType => 'sql.query', config => { sql => 'SELECT :v AS x', parameters => { v => 1 } }, retry => { max_attempts => 3, initial_interval => '10ms', max_interval => '1s', backoff => 2, jitter => 0.1, non_retryable => ['22'] }, timeout => '1s',
                on_failure => 'compensate', compensate => { nodeType => 'sql.query', config => { sql => 'SELECT 1' } }, join => 'any', own_transaction => JSON::PP::true, priority => 1 },
            { id => 'b', nodeType => 'sequence.numbers', config => { start => 1, end => 5, step => 1, fields => { n => 'sequence', s => 'random_string(3)' } } },
            { id => 'c', nodeType => 'memory.collection', config => { data => [ { x => 1 } ] } }, { id => 'd', nodeType => 'filter', config => { condition => 'x > 1' } },
            { id => 'e', nodeType => 'table.write', config => { table => 'fuzz.written', mode => 'upsert', keys => ['category'] } }, { id => 'f', nodeType => 'console.log', config => { limit => 3, format => 'json', pretty => JSON::PP::true } },
            { id => 'g', nodeType => 'wait.timer', config => { for => '10ms' } }, { id => 'h', nodeType => 'wait.signal', config => { name => 'go', timeout => '1s', on_timeout => 'continue' } },
            { id => 'i', nodeType => 'workflow.call', config => { workflow => 'quick', input => { '$' => '$.input' }, wait => JSON::PP::true } }, { id => 'j', nodeType => 'map.each', config => { items => { '$' => '$.input' }, workflow => 'quick', max_concurrency => 2 } },
            { id => 'k', nodeType => 'task.external', config => { queue => 'q', input => { x => 1 } } }, { id => 'l', nodeType => 'function.call', config => { function => 'fuzz.call', args => { x => 1 } } },
        ],
        edges => [ { source => 'a', target => 'b' }, { source => 'c', target => 'd', condition => '$.x > 1' }, { source => 'd', target => 'e' } ],
    });
}

# The JSON with each of its values replaced by each hostile one, and without it, one at a time.
sub mutations {
    my ($text) = @_;
    my $json = JSON::PP->new->canonical->allow_nonref;
    my @mutations;
    my $visit;
    my $whole = $json->decode($text);
    $visit = sub {
        my ($at) = @_;
        for my $key (ref $at eq 'HASH' ? sort keys %$at : 0 .. $#$at) {
            my $place = ref $at eq 'HASH' ? \$at->{$key} : \$at->[$key];
            my $value = $$place;
            for my $nasty (@nasty_jsons) {
                $$place = $nasty;
                push @mutations, $json->ascii->encode($whole);
            }
            $$place = $value;
            if (ref $at eq 'HASH') {
                delete $at->{$key};
                push @mutations, $json->ascii->encode($whole);
                $at->{$key} = $value;
            }
            $visit->($value) if ref $value eq 'HASH' || ref $value eq 'ARRAY';
        }
    };
    $visit->($whole);
    return @mutations;
}

# The values of a parameter, NULL first.
sub values_of {
    my ($function, $name, $type, $brief) = @_;
    my $of_type = $by_type{$type} or die "no values of type $type";
    my @of_name = @{ $by_name{$name} // [] };
    my $json = $function eq 'create_workflow' ? undef : $mutated{$name}; # it begins with validate_workflow
    my %seen;
    return grep { !$seen{$_}++ } 'NULL', @of_name, $brief ? @$of_type[ grep { $_ % 3 == 0 } 0 .. $#$of_type ] : (@$of_type, $json ? map { quote($_) } mutations($json) : ());
}

# The calls of a function (an entry of the catalog), in order: { sql, what } each; those whose arguments are all sane have what => 'sane'. brief:
# a third of the values, and no changes inside of JSON.
sub calls {
    my ($class, $function, $brief) = @_;
    my $name = $function->{name} =~ s/.*\.//r;
    my @calls;
    for my $form (@{ $forms{$name} // [ [''] ] }) {
        my ($before, %given) = @$form;
        my $later = @calls > 0; # looks at what the first form leaves out
        my $call = sub {
            my ($of, $nasty) = @_;
            my @arguments;
            for (@{ $function->{arguments} }) {
                my ($argument, $type, $optional) = @$_;
                my $value = defined $of && $of eq $argument ? $nasty : $given{$argument} // ($optional ? next : $sane{$argument} // die "no sane value for $argument of $name");
                push @arguments, "\"$argument\" => ($value)::$type";
            }
            return "${before}SELECT * FROM $function->{name}(" . join(', ', @arguments) . ')';
        };
        push @calls, { what => 'sane', sql => $call->() };
        for (@{ $function->{arguments} }) {
            my ($argument, $type) = @$_;
            next if $later && !exists $given{$argument};
            push @calls, map { { what => $argument, sql => $call->($argument, $_) } } values_of($name, $argument, $type, $brief);
        }
    }
    return @calls;
}

1;
