-- apply_merge_patch (RFC 7396) and apply_json_patch (RFC 6902) against the examples in their RFCs.
\c -
SET search_path = public, chronicle;
CREATE FUNCTION event_with(data jsonb) RETURNS chronicle.event LANGUAGE sql IMMUTABLE
    RETURN ROW(1, 's', 1, 'T', data, '{}', NULL, NULL, 's', 1, NULL, NULL, 'me')::chronicle.event;
CREATE FUNCTION patched(document jsonb, patch jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    info text;
BEGIN
    RETURN apply_json_patch(document, event_with(patch));
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS info = PG_EXCEPTION_DETAIL;
    RETURN sqlstate || ' ' || sqlerrm || ' ' || info;
END $$;

-- RFC 7396, appendix A: all cases.
SELECT original, patch, result, apply_merge_patch(original, event_with(patch)) = result AS right
  FROM (VALUES
    (1, '{"a":"b"}'::jsonb, '{"a":"c"}'::jsonb, '{"a":"c"}'::jsonb),
    (2, '{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    (3, '{"a":"b"}', '{"a":null}', '{}'),
    (4, '{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    (5, '{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    (6, '{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    (7, '{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    (8, '{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    (9, '["a","b"]', '["c","d"]', '["c","d"]'),
    (10, '{"a":"b"}', '["c"]', '["c"]'),
    (11, '{"a":"foo"}', 'null', 'null'),
    (12, '{"a":"foo"}', '"bar"', '"bar"'),
    (13, '{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    (14, '[1,2]', '{"a":"b","c":null}', '{"a":"b"}'),
    (15, '{}', '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}')) AS t (n, original, patch, result)
 ORDER BY n;
-- Section 3: the example with a title.
SELECT apply_merge_patch(
    '{"title": "Goodbye!", "author": {"givenName": "John", "familyName": "Doe"}, "tags": ["example", "sample"], "content": "This will be unchanged"}',
    event_with('{"title": "Hello!", "phoneNumber": "+01-123-456-7890", "author": {"familyName": null}, "tags": ["example"]}'));

-- Numbers, text and emptiness come through unchanged; scalars and NULL as states.
SELECT apply_merge_patch('{"a": 1}', event_with('{"n": [1.10, 1e400, -0.0, 12345678901234567890.5], "": {"": ""}, "ü€": "\u0001\"\\", "t": true, "f": false, "z": {}, "y": []}'));
SELECT apply_merge_patch('5', event_with('{"a": 1}')), apply_merge_patch(NULL, event_with('{"a": 1, "b": null}')),
       apply_merge_patch('{"a": 1}', NULL), apply_merge_patch(NULL, NULL), apply_merge_patch('{"a": 1}', event_with(NULL));
-- More members than one entry of offsets spans; keys in jsonb's order.
SELECT apply_merge_patch(a, event_with(b)) = a || b AS same, jsonb_object_length
  FROM (SELECT jsonb_object_agg('k' || n, n) AS a FROM generate_series(1, 500) AS n) AS a,
       (SELECT jsonb_object_agg(repeat('x', n % 50) || n, n::text) AS b FROM generate_series(1, 500) AS n) AS b,
       LATERAL (SELECT count(*) AS jsonb_object_length FROM jsonb_object_keys(apply_merge_patch(a, event_with(b)))) AS c;
SELECT apply_merge_patch('{}', event_with(jsonb_build_object('list', list))) -> 'list' = list AS same
  FROM (SELECT jsonb_agg(jsonb_build_array(n, n::text, NULL, n % 2 = 0, jsonb_build_object('n', n / 7.0))) AS list FROM generate_series(1, 200) AS n) AS l;

-- RFC 6902, appendix A.
SELECT example, patched(document, patch)::jsonb = result AS right
  FROM (VALUES
    ('A.1 adding an object member', '{"foo":"bar"}'::jsonb, '[{"op":"add","path":"/baz","value":"qux"}]'::jsonb, '{"baz":"qux","foo":"bar"}'::jsonb),
    ('A.2 adding an array element', '{"foo":["bar","baz"]}', '[{"op":"add","path":"/foo/1","value":"qux"}]', '{"foo":["bar","qux","baz"]}'),
    ('A.3 removing an object member', '{"baz":"qux","foo":"bar"}', '[{"op":"remove","path":"/baz"}]', '{"foo":"bar"}'),
    ('A.4 removing an array element', '{"foo":["bar","qux","baz"]}', '[{"op":"remove","path":"/foo/1"}]', '{"foo":["bar","baz"]}'),
    ('A.5 replacing a value', '{"baz":"qux","foo":"bar"}', '[{"op":"replace","path":"/baz","value":"boo"}]', '{"baz":"boo","foo":"bar"}'),
    ('A.6 moving a value', '{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}', '[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]',
     '{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}'),
    ('A.7 moving an array element', '{"foo":["all","grass","cows","eat"]}', '[{"op":"move","from":"/foo/1","path":"/foo/3"}]', '{"foo":["all","cows","eat","grass"]}'),
    ('A.8 testing a value: success', '{"baz":"qux","foo":["a",2,"c"]}', '[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}]',
     '{"baz":"qux","foo":["a",2,"c"]}'),
    ('A.10 adding a nested member object', '{"foo":"bar"}', '[{"op":"add","path":"/child","value":{"grandchild":{}}}]', '{"foo":"bar","child":{"grandchild":{}}}'),
    ('A.11 ignoring unrecognized elements', '{"foo":"bar"}', '[{"op":"add","path":"/baz","value":"qux","xyz":123}]', '{"foo":"bar","baz":"qux"}'),
    ('A.14 ~ escape ordering', '{"/":9,"~1":10}', '[{"op":"test","path":"/~01","value":10}]', '{"/":9,"~1":10}'),
    ('A.16 adding an array value', '{"foo":["bar"]}', '[{"op":"add","path":"/foo/-","value":["abc","def"]}]', '{"foo":["bar",["abc","def"]]}')) AS t (example, document, patch, result);
SELECT example, patched(document, patch)
  FROM (VALUES
    ('A.9 testing a value: error', '{"baz":"qux"}'::jsonb, '[{"op":"test","path":"/baz","value":"bar"}]'::jsonb),
    ('A.12 adding to a nonexistent target', '{"foo":"bar"}', '[{"op":"add","path":"/baz/bat","value":"qux"}]'),
    ('A.15 comparing strings and numbers', '{"/":9,"~1":10}', '[{"op":"test","path":"/~01","value":"10"}]')) AS t (example, document, patch);
-- A.13: jsonb keeps the last of two members with one name.
SELECT '{"op":"add","path":"/baz","value":"qux","op":"remove"}'::jsonb ->> 'op' AS kept;

-- RFC 6901, section 5: every pointer of the example.
SELECT pointer, patched('{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}',
                        jsonb_build_array(jsonb_build_object('op', 'test', 'path', pointer, 'value', value))) !~ '^2' AS found
  FROM (VALUES ('/foo', '["bar","baz"]'::jsonb), ('/foo/0', '"bar"'), ('/', '0'), ('/a~1b', '1'), ('/c%d', '2'), ('/e^f', '3'), ('/g|h', '4'),
               ('/i\j', '5'), ('/k"l', '6'), ('/ ', '7'), ('/m~0n', '8')) AS t (pointer, value);

-- Everything else that the RFC says of its operations.
SELECT patch, patched('{"a": [1, 2, 3], "o": {"x": 1.0, "y": [], "z": null}}', patch) AS result
  FROM unnest(ARRAY[
    '[]', '[{"op":"replace","path":"","value":7}]', '[{"op":"add","path":"","value":{"new":true}},{"op":"add","path":"/b","value":1}]', '[{"op":"remove","path":""}]',
    '[{"op":"copy","from":"/o","path":"/copy"},{"op":"add","path":"/copy/x","value":2}]', '[{"op":"copy","from":"","path":"/whole"}]',
    '[{"op":"add","path":"/a/0","value":0}]', '[{"op":"add","path":"/a/3","value":4}]', '[{"op":"add","path":"/a/4","value":5}]', '[{"op":"add","path":"/a/01","value":5}]',
    '[{"op":"add","path":"/a/x","value":5}]', '[{"op":"add","path":"/a/99999999999999999999","value":5}]', '[{"op":"remove","path":"/a/-"}]', '[{"op":"remove","path":"/a/3"}]',
    '[{"op":"remove","path":"/o/y/0"}]', '[{"op":"remove","path":"/none"}]', '[{"op":"replace","path":"/none","value":1}]', '[{"op":"replace","path":"/o/z","value":{"deep":[1]}}]',
    '[{"op":"move","from":"/o","path":"/o/inner"}]', '[{"op":"move","from":"/a","path":"/a"}]', '[{"op":"move","from":"/none","path":"/a"}]', '[{"op":"move","path":"/a"}]',
    '[{"op":"test","path":"/o","value":{"z":null,"y":[],"x":1}}]', '[{"op":"test","path":"/o/z","value":null}]', '[{"op":"test","path":"/a","value":[1,2]}]',
    '[{"op":"test","path":"/o/x"}]', '[{"op":"add","path":"/b"}]', '[{"op":"add","path":"b","value":1}]', '[{"op":"add","path":"/~","value":1}]', '[{"op":"add","path":"/~2","value":1}]',
    '[{"op":"add","path":"/a/0/x","value":1}]', '[{"op":"drop","path":"/a"}]', '[{"path":"/a"}]', '[{"op":"remove","path":7}]', '{}', '"x"', '[1]', '[{"op":"remove","path":"/a"}, 5]',
    '[{"op":"add","path":"/ok","value":1},{"op":"remove","path":"/none"}]']::jsonb[]) WITH ORDINALITY AS t (patch, n)
 ORDER BY n;
SELECT apply_json_patch(NULL, event_with('[{"op":"add","path":"/a","value":1}]')), apply_json_patch('[]', event_with('[{"op":"add","path":"/-","value":1}]')),
       apply_json_patch('{"a": 1}', NULL), apply_json_patch('3', event_with('[{"op":"test","path":"","value":3.00}]'));

-- Deep nesting.
SELECT patched('{}', (SELECT jsonb_agg(jsonb_build_object('op', 'add', 'path', repeat('/a', n), 'value', '{}'::jsonb)) FROM generate_series(1, 300) AS n))
       = (repeat('{"a": ', 300) || '{}' || repeat('}', 300)) AS nested;
-- Copies: a few operations could ask for any amount of memory.
SELECT patched('{"a": [1, "two", {"three": 3}]}', '[{"op": "copy", "from": "", "path": "/b"}, {"op": "copy", "from": "/b/a/2", "path": "/a/0"}]');
CREATE FUNCTION doubled(times int) RETURNS jsonb LANGUAGE sql IMMUTABLE
    RETURN (SELECT jsonb_agg(jsonb_build_object('op', 'copy', 'from', '', 'path', '/k' || n)) FROM generate_series(1, times) AS n);
SELECT length(patched('{}', doubled(15))) AS enough, patched('{}', doubled(60)) AS too_much;
SELECT patched(jsonb_build_object('a', repeat('x', 1000000)), (SELECT jsonb_agg('{"op": "copy", "from": "/a", "path": "/b"}'::jsonb) FROM generate_series(1, 100))) AS one_text;
SELECT create_aggregate('double', 'apply_json_patch');
SELECT append_event('double-1', 'Doubled', doubled(14)), append_event('double-1', 'Doubled', doubled(40));
SELECT aggregate_state('double-1');
SELECT length(aggregate_state('double-1', 1)::text) > 100000 AS first;
SELECT drop_aggregate('double');
DROP FUNCTION patched, event_with, doubled;
