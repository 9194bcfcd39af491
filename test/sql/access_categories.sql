-- Rights on single categories: who has no level sees and appends just what it was granted, and learns of nothing else.
-- In a database of its own: some reads are of everything.
SELECT current_database() AS back \gset
CREATE DATABASE regress_categories TEMPLATE template0 ENCODING 'UTF8';
\c regress_categories
SET client_min_messages = warning;
CREATE EXTENSION chronicle;
RESET client_min_messages;
SET search_path = public, chronicle;
CREATE ROLE regress_category_reader;
CREATE ROLE regress_category_writer;
CREATE ROLE "regress_Category ""odd'";
CREATE ROLE regress_category_all;
CREATE ROLE regress_category_none;
CREATE FUNCTION category_raised(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    rows bigint;
BEGIN
    EXECUTE 'SELECT count(*) FROM (' || query || ') AS q' INTO rows;
    RETURN rows;
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate;
END $$;
CREATE FUNCTION category_as(role text, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    answer := category_raised(query);
    RESET ROLE;
    RETURN answer;
END $$;
SELECT count(append_event('cat_mine-' || n, 'T')) FROM generate_series(1, 3) AS n;
SELECT count(append_event('cat_theirs-' || n, 'T', event_id => '00000000-0000-4000-8000-000000000001')) FROM generate_series(1, 1) AS n;
SELECT append_event('Cat "odd''é-1', 'T');
SELECT delete_stream('cat_mine-3'), delete_stream('cat_theirs-1');
SELECT append_event('cat_theirs-2', 'T');

-- 1. Granting: by admins, to roles that exist, categories that can be, known privileges.
SELECT category_as('regress_category_reader', 'SELECT grant_category(''regress_category_reader'', ''cat_mine'', ''read'')') AS by_nobody;
SELECT query, category_raised('SELECT ' || query)
  FROM unnest(ARRAY['grant_category(NULL, ''c'', ''read'')', 'grant_category(''regress_category_reader'', NULL, ''read'')',
                    'grant_category(''regress_category_reader'', ''c'', NULL)', 'grant_category(''regress_no_role'', ''c'', ''read'')',
                    'grant_category(''regress_category_reader'', ''c-1'', ''read'')', 'grant_category(''regress_category_reader'', '''', ''read'')',
                    'grant_category(''regress_category_reader'', repeat(''x'', 1025), ''read'')',
                    'grant_category(''regress_category_reader'', ''c'', ''Read'')', 'grant_category(''regress_category_reader'', ''c'', ''write'')',
                    'grant_category(''regress_category_reader'', ''workflow'', ''read'')', 'grant_category(''regress_category_reader'', ''$streams'', ''read'')',
                    'revoke_category(''regress_category_reader'', ''cat_mine'', ''read'')', 'revoke_category(''regress_category_reader'', ''c-1'', ''read'')']) AS query;
SELECT grant_category('regress_category_reader', 'cat_mine', 'read');
SELECT grant_category('regress_category_reader', 'cat_mine', 'read');
SELECT grant_category('regress_category_writer', 'cat_mine', 'append');
SELECT grant_category('"regress_Category ""odd''"', 'Cat "odd''é', privilege) FROM unnest(ARRAY['read', 'append']) AS privilege;
SELECT grant_access('regress_category_all', 'reader');

-- 2. What each may do. "theirs" answers the same for what is there and what is not.
CREATE TABLE category_action (number int GENERATED ALWAYS AS IDENTITY, what text, query text);
INSERT INTO category_action (what, query) VALUES
    ('read a stream of mine', 'SELECT FROM read_stream(''cat_mine-1'')'),
    ('read an absent stream of mine', 'SELECT FROM read_stream(''cat_mine-99'')'),
    ('read a stream of theirs', 'SELECT FROM read_stream(''cat_theirs-2'')'),
    ('read an absent stream of theirs', 'SELECT FROM read_stream(''cat_theirs-99'')'),
    ('version of one of mine', 'SELECT FROM stream_version(''cat_mine-1'') AS v WHERE v = 1'),
    ('version of one of theirs', 'SELECT stream_version(''cat_theirs-2'')'),
    ('version of an absent one of theirs', 'SELECT stream_version(''cat_theirs-99'')'),
    ('read my category', 'SELECT FROM read_category(''cat_mine'')'),
    ('read their category', 'SELECT FROM read_category(''cat_theirs'')'),
    ('read an absent category', 'SELECT FROM read_category(''cat_absent'')'),
    ('read the log', 'SELECT FROM read_all() WHERE category ILIKE ''cat%'''),
    ('read the log backwards', 'SELECT FROM read_all(backwards => true) WHERE category ILIKE ''cat%'''),
    ('read the log by type', 'SELECT FROM read_all(types => ''{T}'') WHERE category ILIKE ''cat%'''),
    ('read the log by regex', 'SELECT FROM read_all(stream_regex => ''cat_'')'),
    ('read the log by filter', 'SELECT FROM read_all(filter => ''$.category like_regex "cat_"'')'),
    ('read mine by name', 'SELECT FROM read_all(categories => ''{cat_mine}'')'),
    ('read mine and theirs by name', 'SELECT FROM read_all(categories => ''{cat_mine,cat_theirs}'')'),
    ('read deletions', 'SELECT FROM read_category(''$streams'') WHERE stream LIKE ''%cat\_%'''),
    ('read the log with deletions', 'SELECT FROM read_all(include_system => true) WHERE stream LIKE ''%cat\_%'''),
    ('read a deletion of mine', 'SELECT FROM read_stream(''$streams-cat_mine-3'')'),
    ('read a deletion of theirs', 'SELECT FROM read_stream(''$streams-cat_theirs-1'')'),
    ('view events', 'SELECT FROM events WHERE stream ILIKE ''%cat%'''),
    ('view events of theirs', 'SELECT FROM events WHERE stream = ''cat_theirs-2'''),
    ('append to mine', 'SELECT append_event(''cat_mine-1'', ''T'')'),
    ('append arrays to mine', 'SELECT append_event_arrays(''cat_mine-new'', ''{T}'', NULL)'),
    ('append to theirs', 'SELECT append_event(''cat_theirs-2'', ''T'')'),
    ('append to mine and theirs', 'SELECT append_streams(''[{"stream": "cat_mine-1", "events": [{"type": "T"}]}, {"stream": "cat_theirs-2", "events": [{"type": "T"}]}]'')'),
    ('check mine', 'SELECT append_events(''cat_mine-1'', ''[]'', -1)'),
    ('check theirs', 'SELECT append_events(''cat_theirs-2'', ''[]'', 0)'),
    ('delete mine', 'SELECT delete_stream(''cat_mine-1'')'),
    ('tombstone mine', 'SELECT tombstone_stream(''cat_mine-1'')'),
    ('an id of theirs', 'SELECT append_event(''cat_mine-1'', ''T'', event_id => ''00000000-0000-4000-8000-000000000001'')');
SELECT what, category_as('regress_category_reader', query) AS reader, category_as('regress_category_writer', query) AS writer,
       category_as('regress_category_all', query) AS level_reader, category_as('regress_category_none', query) AS none
  FROM category_action ORDER BY number;
SELECT category_as('regress_Category "odd''', query)
  FROM unnest(ARRAY['SELECT append_event(''Cat "odd''''é-1'', ''T'')', 'SELECT FROM read_all()', 'SELECT FROM read_stream(''Cat "odd''''é-1'')',
                    'SELECT FROM events', 'SELECT FROM read_category(''cat "odd''''é'')', 'SELECT append_event(''Cat'', ''T'')']) AS query;

-- 3. Errors tell of nothing that the caller does not see; their hints work as they stand.
SET ROLE regress_category_writer;
SELECT append_event('cat_mine-1', 'T', expected_version => 99);
SELECT append_event('cat_mine-1', 'T', event_id => '00000000-0000-4000-8000-000000000001');
SELECT append_event('cat_theirs-2', 'T', expected_version => 99);
SELECT * FROM read_stream('cat_theirs-2');
RESET ROLE;
SET ROLE "regress_Category ""odd'";
SELECT append_event('Cat ''odd"', 'T');
SELECT * FROM read_all(categories => ARRAY['$other']);
RESET ROLE;

-- 4. A condition that tells what it is called with sees no row of others.
CREATE FUNCTION category_tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$
BEGIN
    IF $1 LIKE '%theirs%' THEN RAISE NOTICE 'saw %', $1; END IF;
    RETURN true;
END $$;
SET ROLE regress_category_reader;
SELECT count(*) FROM events WHERE category_tell(stream);
RESET ROLE;

-- 5. Groups, levels beside grants, revoking: at once, and undone with the transaction.
CREATE ROLE regress_category_member IN ROLE regress_category_reader;
CREATE ROLE regress_category_aloof NOINHERIT IN ROLE regress_category_reader;
SELECT role, category_as(role, 'SELECT FROM read_stream(''cat_mine-2'')') FROM unnest(ARRAY['regress_category_member', 'regress_category_aloof']) AS role;
SELECT grant_category('regress_category_all', 'cat_mine', 'append');
SELECT category_as('regress_category_all', 'SELECT append_event(''cat_mine-1'', ''T'')') AS mine,
       category_as('regress_category_all', 'SELECT append_event(''cat_theirs-2'', ''T'')') AS theirs;
SELECT revoke_access('regress_category_all', 'reader');
SELECT category_as('regress_category_all', 'SELECT append_event(''cat_mine-1'', ''T'')') AS append,
       category_as('regress_category_all', 'SELECT FROM read_stream(''cat_mine-1'')') AS read;
BEGIN;
SELECT revoke_category('regress_category_reader', 'cat_mine', 'read');
SELECT category_as('regress_category_member', 'SELECT FROM read_stream(''cat_mine-2'')') AS revoked;
ROLLBACK;
SELECT category_as('regress_category_member', 'SELECT FROM read_stream(''cat_mine-2'')') AS undone;
SELECT revoke_category('regress_category_reader', 'cat_mine', 'append');
SELECT category_as('regress_category_member', 'SELECT FROM read_stream(''cat_mine-2'')') AS another_privilege;
SELECT revoke_category('regress_category_reader', 'cat_mine', 'read');
SELECT category_as('regress_category_member', 'SELECT FROM read_stream(''cat_mine-2'')') AS revoked,
       category_as('regress_category_member', 'SELECT FROM read_all()') AS log,
       category_as('regress_category_member', 'SELECT FROM events') AS view;

SELECT count(revoke_category(r.oid::regrole, c, p)) FROM pg_roles AS r, unnest(ARRAY['cat_mine', 'Cat "odd''é']) AS c, unnest(ARRAY['read', 'append']) AS p
 WHERE rolname ILIKE 'regress\_category%';
DROP TABLE category_action;
DROP FUNCTION category_tell, category_as, category_raised;
\c :back
DROP DATABASE regress_categories;
DROP ROLE regress_category_reader, regress_category_writer, "regress_Category ""odd'", regress_category_all, regress_category_none,
    regress_category_member, regress_category_aloof;
