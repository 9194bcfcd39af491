-- Event types: schemas and validators refuse events, versions, upcasters in every read, rights.
SET search_path = public, chronicle;
CREATE ROLE regress_types_owner;
CREATE ROLE regress_types_other;
CREATE ROLE "regress_Types ""writer'";
CREATE ROLE regress_types_admin;
CREATE ROLE regress_types_limited;
SELECT grant_access('regress_types_owner', 'operator'), grant_access('regress_types_other', 'operator'),
       grant_access('"regress_Types ""writer''"', 'writer'), grant_access('regress_types_admin', 'admin'),
       grant_category('regress_types_limited', 'types_a', 'read');
CREATE FUNCTION types_raised(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
    answer text;
BEGIN
    EXECUTE query INTO answer;
    RETURN coalesce(nullif(answer, ''), 'yes');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN sqlstate || ' ' || sqlerrm || coalesce(' ' || nullif(detail, ''), '');
END $$;
SELECT append_event('types_a-1', 'TypesPlaced', '{"total": 5}');

-- 1. Registering: what is refused.
SELECT types_raised('SELECT register_event_type(' || arguments || ')')
  FROM unnest(ARRAY['NULL', '''''', '''$x''', '''T'', version => 0', '''T'', ''{"type": "text"}''', '''T'', ''[]''',
                    '''T'', ''{"$schema": "http://json-schema.org/draft-04/schema#"}''',
                    '''T'', ''{"properties": {"a": {"$ref": "http://example.org/a.json"}}}''', '''T'', ''{"pattern": "(a"}''',
                    '''T'', validator => ''no_such_function''', '''T'', validator => ''lower''']) AS arguments;
SELECT types_raised('SELECT register_upcaster(' || arguments || ')')
  FROM unnest(ARRAY['NULL, 1, ''f''', '''T'', NULL, ''f''', '''T'', 1, NULL', '''T'', 0, ''f''', '''$T'', 1, ''f''', '''T'', 1, ''no_such_function''']) AS arguments;
SELECT count(*) FROM event_types;

-- 2. A schema. The order of the checks: retry, expected version, schema.
SELECT register_event_type('TypesPlaced', '{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "required": ["total"],
    "properties": {"total": {"type": "number", "multipleOf": 0.01, "minimum": 0},
                   "items": {"type": "array", "items": {"$ref": "#/definitions/item"}, "uniqueItems": true}},
    "definitions": {"item": {"properties": {"sku": {"type": "string", "pattern": "^[A-Z]{2}\\d+$"}}, "additionalProperties": false}}}',
    description => 'an order');
SELECT append_event('types_a-1', 'TypesPlaced', '{"total": 19.99, "items": [{"sku": "AB12"}]}', event_id => '00000000-0000-4000-8000-00000000000a');
SELECT types_raised(format('SELECT append_event(''types_a-1'', ''TypesPlaced'', %L)', data))
  FROM unnest(ARRAY['{}', '[]', '{"total": "1"}', '{"total": -1}', '{"total": 0.005}', '{"total": 1, "items": [{"sku": "AB1"}, {"sku": "x"}]}',
                    '{"total": 1, "items": [{"sku": "AB1", "a b": 1}]}', '{"total": 1, "items": [{}, {}]}', '{"total": 1e400}']) AS data;
SELECT append_event('types_a-1', 'TypesPlaced', '{"total": 19.99, "items": [{"sku": "AB12"}]}', event_id => '00000000-0000-4000-8000-00000000000a') AS retry;
SELECT register_event_type('TypesPlaced', '{"required": ["customer"]}');
SELECT append_event('types_a-1', 'TypesPlaced', '{"total": 19.99, "items": [{"sku": "AB12"}]}', event_id => '00000000-0000-4000-8000-00000000000a') AS retry_of_what_would_be_refused;
SELECT types_raised('SELECT append_event(''types_a-1'', ''TypesPlaced'', ''{}'', expected_version => 9)') AS version_first;
SELECT types_raised('SELECT append_events(''types_a-1'', ''[{"type": "TypesPlaced", "data": {"customer": 1}}, {"type": "TypesPlaced"}, {"type": "Free"}, {"type": "TypesPlaced"}]'')') AS every_refusal;
SELECT types_raised('SELECT append_streams(''[{"stream": "types_a-1", "events": [{"type": "Free"}]}, {"stream": "types_b-1", "events": [{"type": "TypesPlaced"}]}]'')') AS all_or_nothing;
SELECT stream_version('types_a-1'), stream_version('types_b-1');

-- 3. Long texts neither hang nor overflow anything; deep data ends with a clear error.
SELECT register_event_type('TypesText', '{"properties": {"t": {"pattern": "^(a+)+$"}}, "patternProperties": {"^(b|bb)+$": {"maxLength": 3}}}');
SELECT types_raised(format('SELECT append_event(''types_a-2'', ''TypesText'', %L)', jsonb_build_object('t', repeat('a', 200000)))) AS matches;
SELECT types_raised(format('SELECT append_event(''types_a-2'', ''TypesText'', %L)', jsonb_build_object('t', repeat('a', 200000) || 'b'))) AS does_not;
SELECT types_raised(format('SELECT append_event(''types_a-2'', ''TypesText'', %L)', jsonb_build_object(repeat('b', 5000), 'long'))) IS NOT NULL AS name;
SELECT register_event_type('TypesDeep', '{"items": {"$ref": "#"}}');
SELECT types_raised(format('SELECT append_event(''types_a-2'', ''TypesDeep'', %L)', repeat('[', 200) || repeat(']', 200))) AS deep;
SELECT types_raised(format('SELECT append_event(''types_a-2'', ''TypesDeep'', %L)', repeat('[', 5000) || repeat(']', 5000))) AS too_deep;
SELECT types_raised('SELECT register_event_type(''TypesCycle'', ''{"allOf": [{"$ref": "#"}]}'')') AS endless;
SELECT left(types_raised(format('SELECT register_event_type(''TypesChain'', %L)', (
    SELECT jsonb_build_object('$ref', '#/definitions/1', 'definitions', jsonb_object_agg(n, jsonb_build_object('properties', jsonb_build_object('p', jsonb_build_object('$ref', '#/definitions/' || n % 4000 + 1)))))
      FROM generate_series(1, 4000) AS n))), 5) AS chain;

-- 4. A validator: runs as who registered it, with that search_path, in a restricted operation.
CREATE SCHEMA types_private AUTHORIZATION regress_types_owner;
SET ROLE regress_types_owner;
CREATE TABLE types_private.allowed (color text);
INSERT INTO types_private.allowed VALUES ('red');
CREATE FUNCTION types_private.check_color(data jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF data ? 'raise' THEN
        RAISE EXCEPTION 'no color: %', data USING ERRCODE = data ->> 'raise';
    END IF;
    IF data ? 'append' THEN
        PERFORM chronicle.append_event('types_c-1', 'Free');
    END IF;
    PERFORM set_config('search_path', 'pg_catalog', false);
    RETURN CASE WHEN NOT EXISTS (SELECT FROM types_private.allowed WHERE color = data ->> 'color')
                THEN format('%s is no color (%s, %s)', data ->> 'color', current_user, session_user = current_user) END;
END $$;
SET search_path = types_private, public, chronicle;
SELECT register_event_type('TypesPainted', validator => 'check_color');
RESET ROLE;
SET search_path = public, chronicle;
SET ROLE "regress_Types ""writer'";
SELECT append_event('types_c-1', 'TypesPainted', '{"color": "red"}'), current_user, current_setting('search_path');
SELECT append_event('types_c-1', 'TypesPainted', '{"color": "blue"}');
SELECT types_raised('SELECT append_event(''types_c-1'', ''TypesPainted'', ''{"raise": "P0001"}'')') LIKE 'CH004 %no color%"sqlstate":"P0001"%' AS refused;
SELECT types_raised('SELECT append_event(''types_c-1'', ''TypesPainted'', ''{"raise": "40001"}'')') AS passes;
SELECT types_raised('SELECT append_event(''types_c-1'', ''TypesPainted'', ''{"append": 1, "color": "red"}'')') AS appended_itself;
SELECT types_raised('SELECT * FROM types_private.allowed') AS not_outside;
RESET ROLE;
ALTER FUNCTION types_private.check_color(jsonb) RENAME TO moved;
SELECT types_raised('SELECT append_event(''types_c-1'', ''TypesPainted'', ''{"color": "red"}'')') AS dropped;
ALTER FUNCTION types_private.moved(jsonb) RENAME TO check_color;
SELECT stream_version('types_c-1');

-- 5. Another's type: its owner's members and admins; and a function never runs as somebody who did not register it.
SET ROLE regress_types_other;
SELECT types_raised('SELECT register_event_type(''TypesPainted'')');
SELECT types_raised('SELECT register_event_type(''TypesPainted'', version => 2)');
SELECT types_raised('SELECT register_upcaster(''TypesPainted'', 1, ''jsonb_strip_nulls'')');
RESET ROLE;
SET ROLE "regress_Types ""writer'";
SELECT types_raised('SELECT register_event_type(''TypesMine'')');
RESET ROLE;
CREATE FUNCTION types_who(data jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'as ' || current_user $$;
SET ROLE regress_types_admin;
SELECT register_event_type('TypesPainted', validator => 'types_who');
RESET ROLE;
SELECT types_raised('SELECT append_event(''types_c-1'', ''TypesPainted'', ''{}'')') AS runs_as;
SELECT type, owner, validator FROM event_types WHERE type = 'TypesPainted';

-- 6. Versions and upcasters. Nothing changes in what is stored; each read shows the newest version.
SELECT append_event('types_v-1', 'TypesNamed', '{"name": "Ada Lovelace"}'), append_event('types_v-1', 'Free', '{"name": "as it is"}');
CREATE FUNCTION types_split(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
$$ SELECT jsonb_build_object('first', split_part(data ->> 'name', ' ', 1), 'last', split_part(data ->> 'name', ' ', 2)) $$;
CREATE FUNCTION types_upper(data jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN data || jsonb_build_object('last', upper(data ->> 'last')); END $$;
SELECT register_event_type('TypesNamed', version => 2);
SELECT version, type, type_version, data FROM read_stream('types_v-1');
SELECT register_upcaster('TypesNamed', 1, 'types_split');
SELECT version, type, type_version, data FROM read_stream('types_v-1');
SELECT append_event('types_v-1', 'TypesNamed', '{"first": "Grace", "last": "Hopper"}');
SELECT append_event('types_v-1', 'TypesNamed', '{"name": "Alan Turing"}', '{"schema_version": 1}');
SELECT register_event_type('TypesNamed', '{"properties": {"last": {"pattern": "^[A-Z]+$"}}}', version => 3);
SELECT register_upcaster('TypesNamed', 2, 'types_upper');
SELECT types_raised('SELECT append_event(''types_v-1'', ''TypesNamed'', ''{"last": "Hopper"}'')') AS newest_is_checked;
SELECT append_event('types_v-1', 'TypesNamed', '{"last": "KNUTH"}', '{"schema_version": "3"}');
-- A version that nobody registered would be a way around the checks: of the future, before the first, between.
SELECT append_event('types_v-1', 'TypesNamed', '{"from": "the future"}', '{"schema_version": 7}');
SELECT types_raised(format('SELECT append_event(''types_v-1'', ''TypesNamed'', ''{"last": "KNUTH"}'', %L)', jsonb_build_object('schema_version', version)))
  FROM unnest(ARRAY['0', '-1', '1.5', '"x"', '{}', '99999999999', 'true', '4']::jsonb[]) AS version;
SELECT register_event_type('TypesSparse', version => 5), register_upcaster('TypesSparse', 2, 'types_upper');
SELECT v, types_raised(format('SELECT append_event(''types_v-4'', ''TypesSparse'', ''{"last": "a"}'', ''{"schema_version": %s}'')', v)) FROM generate_series(1, 6) AS v;
SELECT types_raised('SELECT append_events(''types_v-4'', ''[{"type": "TypesSparse", "metadata": {"schema_version": 6}}, {"type": "TypesNamed", "data": {"last": "a"}}, {"type": "Free", "metadata": {"schema_version": 12}}]'')') AS both_faults;
SELECT append_event('types_v-4', 'Free', metadata => '{"schema_version": 12}'), append_event('types_v-4', 'TypesSparse', metadata => '{"schema_version": null}');
SELECT version, type, type_version FROM read_stream('types_v-4');
SELECT version, type_version, data FROM read_stream('types_v-1') WHERE type = 'TypesNamed';
SELECT version, type_version, data FROM read_stream('types_v-1', backwards => true, max_count => 2);
SELECT version, type_version, data FROM read_all(categories => '{types_v}', types => '{TypesNamed}');
SELECT version, type_version, data FROM read_category('types_v') WHERE version = 1;
SELECT version, type_version, data FROM read_all(categories => '{types_v}', filter => '$.data.last == "TURING" && $.type_version == 3');
SELECT version, type_version, data FROM events WHERE stream = 'types_v-1' ORDER BY version;
SELECT version FROM events WHERE category = 'types_v' AND data ->> 'last' = 'LOVELACE';
SELECT type, version, newest, schema, validator, upcaster, description FROM event_types WHERE type LIKE 'Types%' AND type <> 'TypesText' AND type <> 'TypesDeep' ORDER BY 1, 2;
-- Folded states see the newest version, too.
CREATE FUNCTION types_last(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE sql AS
$$ SELECT state || jsonb_build_object((event).version::text, (event).data ->> 'last') $$;
SELECT create_aggregate('types_v', 'types_last');
SELECT aggregate_state('types_v-1');
-- A missing link: as far as it goes.
SELECT register_upcaster('TypesGap', 1, 'types_upper'), register_upcaster('TypesGap', 3, 'types_upper');
SELECT append_event('types_v-2', 'TypesGap', '{"last": "a"}', '{"schema_version": 1}'), append_event('types_v-2', 'TypesGap', '{"last": "b"}', '{"schema_version": 2}'),
       append_event('types_v-2', 'TypesGap', '{"last": "c"}', '{"schema_version": 3}'), append_event('types_v-2', 'TypesGap', '{"last": "d"}');
SELECT version, type_version, data FROM read_stream('types_v-2');
SELECT version, type_version, data FROM events WHERE stream = 'types_v-2' ORDER BY version;

-- 7. An upcaster runs as who registered it; it fails with type and version; a replaced one counts at once.
SET ROLE regress_types_owner;
CREATE FUNCTION types_private.color(data jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF data ? 'raise' THEN
        RAISE EXCEPTION 'cannot' USING ERRCODE = data ->> 'raise';
    END IF;
    RETURN CASE WHEN NOT data ? 'null' THEN jsonb_build_object('color', (SELECT min(color) FROM types_private.allowed), 'as', current_user) END;
END $$;
SELECT register_upcaster('TypesColor', 1, 'types_private.color');
RESET ROLE;
SELECT append_event('types_a-3', 'TypesColor', '{}', '{"schema_version": 1}'), append_event('types_d-1', 'TypesColor', '{"raise": "P0001"}', '{"schema_version": 1}'),
       append_event('types_d-2', 'TypesColor', '{"null": 1}', '{"schema_version": 1}'), append_event('types_d-3', 'TypesColor', '{"raise": "40001"}', '{"schema_version": 1}');
SET ROLE regress_types_limited;
SELECT data, type_version FROM read_stream('types_a-3');
SELECT data, type_version FROM events WHERE stream = 'types_a-3';
SELECT type FROM event_types WHERE type IN ('TypesColor', 'TypesPlaced', 'TypesNamed') ORDER BY 1;
SELECT chronicle_data.upcast_data((SELECT global_position FROM events WHERE stream = 'types_a-3')) AS mine;
RESET ROLE;
SELECT global_position AS theirs FROM events WHERE stream = 'types_d-2' \gset
SET ROLE regress_types_limited;
SELECT chronicle_data.upcast_data(:theirs) AS not_theirs, chronicle_data.upcast_data(0) AS not_there;
SELECT types_raised('SELECT types_private.color(''{}'')') AS not_directly;
RESET ROLE;
-- Nor what is hidden: deleted, cut off, of a tombstoned stream; in a transaction that has seen it, too.
SELECT append_event('types_a-' || n, 'TypesColor', '{}', '{"schema_version": 1}') FROM generate_series(4, 8) AS n, generate_series(1, 2);
SELECT array_agg(global_position ORDER BY global_position) AS hidden FROM events WHERE stream ~ '^types_a-[4-8]$' \gset
SET ROLE regress_types_limited;
SELECT count(chronicle_data.upcast_data(p)) AS seen FROM unnest(:'hidden'::bigint[]) AS p;
RESET ROLE;
SELECT delete_stream('types_a-4'), tombstone_stream('types_a-5'), set_stream_retention('types_a-6', max_count => 1),
       set_stream_retention('types_a-7', truncate_before => 2);
SET ROLE regress_types_limited;
SELECT count(chronicle_data.upcast_data(p)) AS seen, (SELECT count(*) FROM events WHERE global_position = ANY (:'hidden')) AS shown
  FROM unnest(:'hidden'::bigint[]) AS p;
RESET ROLE;
BEGIN;
SELECT set_category_retention('types_a', max_age => '1 microsecond');
SET LOCAL ROLE regress_types_limited;
SELECT count(chronicle_data.upcast_data(p)) AS seen FROM unnest(:'hidden'::bigint[]) AS p;
ROLLBACK;
CREATE FUNCTION types_seen(to_be_deleted bigint, theirs bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    said text = '';
    data jsonb;
BEGIN
    FOR i IN 1 .. 4 LOOP
        data := chronicle_data.upcast_data(CASE WHEN i < 3 THEN to_be_deleted ELSE theirs END); -- one place, which keeps its answers
        said := said || CASE WHEN data IS NULL THEN ' no' ELSE ' yes' END;
        IF i = 1 THEN
            PERFORM delete_stream('types_a-8');
        ELSIF i = 3 THEN
            PERFORM set_config('role', 'regress_types_limited', true);
        END IF;
    END LOOP;
    RETURN said;
END $$;
SELECT append_event('types_d-4', 'TypesColor', '{}', '{"schema_version": 1}');
BEGIN;
SELECT types_seen((:'hidden'::bigint[])[10], last_position()) AS seen_deleted_theirs;
ROLLBACK;
DROP FUNCTION types_seen;
SELECT regexp_replace(regexp_replace(types_raised(format('SELECT data FROM read_stream(%L)', stream)), '"context":".*?",', ''), '"global_position":\d+', '"global_position":N') AS raised
  FROM unnest(ARRAY['types_d-1', 'types_d-2', 'types_d-3']) AS stream;
SELECT split_part(types_raised('SELECT data FROM events WHERE stream = ''types_d-1'''), '{', 1) AS in_the_view;
ALTER FUNCTION types_private.color(jsonb) RENAME TO gone;
SELECT regexp_replace(types_raised('SELECT data FROM read_stream(''types_a-3'')'), '"global_position":\d+', '"global_position":N') AS dropped;
ALTER FUNCTION types_private.gone(jsonb) RENAME TO color;
BEGIN;
CREATE FUNCTION types_same(data jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"another"'::jsonb $$;
SELECT register_upcaster('TypesColor', 1, 'types_same');
SELECT data FROM read_stream('types_a-3');
ROLLBACK;
SELECT data FROM read_stream('types_a-3');

SELECT drop_aggregate('types_v');
-- A snapshot never changes what the state is: one from before an upcaster is not used.
SELECT count(append_event('types_v-3', 'TypesLate', '{"last": "x"}', '{"schema_version": 1}')) FROM generate_series(1, 12);
SELECT create_aggregate('types_v', 'types_last', snapshot_every => 10);
SELECT take_snapshot('types_v-3');
SELECT aggregate_state('types_v-3') ->> '1' AS before;
SELECT register_upcaster('TypesLate', 1, 'types_upper');
SELECT aggregate_state('types_v-3') ->> '1' AS after;
SELECT drop_aggregate('types_v');
DROP FUNCTION types_raised, types_last;
\set VERBOSITY terse
DROP SCHEMA types_private CASCADE;
\set VERBOSITY default
DELETE FROM chronicle_data.event_type;
DELETE FROM chronicle_data.upcaster;
DROP FUNCTION types_split, types_upper, types_who;
SELECT count(revoke_access(oid::regrole, 'reader')) FROM pg_roles WHERE rolname ILIKE 'regress\_types%';
SELECT revoke_category('regress_types_limited', 'types_a', 'read');
DROP ROLE regress_types_owner, regress_types_other, "regress_Types ""writer'", regress_types_admin, regress_types_limited;
