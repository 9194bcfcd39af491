-- Where the events of runs are stored: together, not in what is left on old pages; and where retention has made room.
SET client_min_messages = warning;
SELECT current_database() AS back \gset
CREATE DATABASE regress_flow_pages TEMPLATE template0 ENCODING 'UTF8';
ALTER DATABASE regress_flow_pages SET chronicle.workers = off;
\c regress_flow_pages
SET client_min_messages = warning;
CREATE EXTENSION chronicle;
ALTER TABLE chronicle_data.workflow_event SET (autovacuum_enabled = off);
SELECT count(*) FROM chronicle.create_workflow('{"id": "short", "nodes": [{"id": "n", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]}');
-- A long name does not compress away: 40 events fill 10 pages and more, and leave some 700 bytes on each.
SELECT count(*) FROM chronicle.create_workflow(jsonb_build_object('id', 'long', 'name', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 48) AS i),
    'nodes', '[{"id": "n", "nodeType": "sql.query", "config": {"sql": "SELECT 1"}}]'::jsonb));
CREATE FUNCTION block(ctid tid) RETURNS int LANGUAGE sql RETURN (ctid::text::point)[0]::int;
CREATE FUNCTION pages() RETURNS int LANGUAGE sql RETURN (pg_relation_size('chronicle_data.workflow_event') / current_setting('block_size')::int)::int;
CREATE PROCEDURE no_snapshots() LANGUAGE plpgsql AS $$ -- of an autovacuum: VACUUM would leave what it may still see
DECLARE until timestamptz := clock_timestamp() + interval '60s';
BEGIN
    WHILE EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND backend_xmin IS NOT NULL AND pid <> pg_backend_pid()) LOOP
        IF clock_timestamp() > until THEN RAISE 'not in time'; END IF;
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
SELECT count(chronicle.execute_workflow('long')) FROM generate_series(1, 40);
SELECT pages() >= 10 AS many_pages, max(block(ctid)) - pages() + 1 AS last_is_used FROM chronicle_data.workflow_event;
VACUUM chronicle_data.workflow_event;

-- 1. 60 short events need three pages or so. They stand on the last one, and on new ones.
SELECT max(global_position) AS before, pages() - 1 AS last_page FROM chronicle_data.workflow_event \gset
SELECT count(chronicle.execute_workflow('short')) FROM generate_series(1, 60);
SELECT bool_and(block(ctid) >= :last_page) AS together, count(DISTINCT block(ctid)) BETWEEN 2 AND 6 AS on_few_pages, count(*) FROM chronicle_data.workflow_event WHERE global_position > :before;

-- 2. The same in another session: it goes on where the last page has room.
\c regress_flow_pages
SELECT max(global_position) AS before, pages() AS pages FROM chronicle_data.workflow_event \gset
SELECT count(chronicle.execute_workflow('short')) FROM generate_series(1, 3);
SELECT bool_and(block(ctid) >= :pages - 1) AS together, pages() <= :pages + 1 AS no_page_of_its_own FROM chronicle_data.workflow_event WHERE global_position > :before;

-- 3. Pages that a removal has emptied are used again: the table does not grow. (Their events are removed as nobody else can.)
ALTER TABLE chronicle_data.workflow_event DISABLE TRIGGER refuse_change;
DELETE FROM chronicle_data.workflow_event WHERE block(ctid) < 6;
ALTER TABLE chronicle_data.workflow_event ENABLE ALWAYS TRIGGER refuse_change;
SELECT unnest('{CALL no_snapshots(), VACUUM chronicle_data.workflow_event}'::text[]) FROM generate_series(1, 3) \gexec
SELECT max(global_position) AS before, pages() AS pages FROM chronicle_data.workflow_event \gset
SELECT count(chronicle.execute_workflow('short')) FROM generate_series(1, 90);
SELECT pages() <= :pages + 1 AS does_not_grow, count(DISTINCT block(ctid)) FILTER (WHERE block(ctid) < 6) >= 3 AS on_emptied_pages, count(*)
  FROM chronicle_data.workflow_event WHERE global_position > :before;

-- 4. When they are full, the table grows again, and does not go for what is left elsewhere.
SELECT count(chronicle.execute_workflow('short')) FROM generate_series(1, 200);
SELECT max(global_position) AS before, pages() AS pages FROM chronicle_data.workflow_event \gset
SELECT count(chronicle.execute_workflow('short')) FROM generate_series(1, 60);
SELECT bool_and(block(ctid) >= :pages - 1) AS together, pages() > :pages AS grows FROM chronicle_data.workflow_event WHERE global_position > :before;
\c :back
DROP DATABASE regress_flow_pages;
