-- A publication of all tables (for logical replication) is in nobody's way: each table of ours has a replica identity.
-- In a database of its own: it would be in the way of others.
SELECT current_database() AS back \gset
CREATE DATABASE regress_publication TEMPLATE template0 ENCODING 'UTF8';
ALTER DATABASE regress_publication SET chronicle.scavenge_interval = -1;
\c regress_publication
SET client_min_messages = error; -- wal_level may be too low for subscribers
CREATE EXTENSION chronicle;
CREATE PUBLICATION everything FOR ALL TABLES;
SET search_path = public, chronicle;

SELECT relname FROM pg_class AS c
 WHERE relnamespace = 'chronicle_data'::regnamespace AND relkind = 'r' AND relreplident = 'd'
   AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary);

-- What deletes from those without a primary key.
SELECT append_event('pub-1', 'Added');
SELECT delete_stream('pub-1');
SELECT events FROM scavenge();
SELECT create_workflow('{"id": "w", "nodes": [{"id": "one", "nodeType": "sequence.numbers"}]}');
SELECT create_trigger('w', types => '{Started}') AS trigger \gset
SELECT drop_trigger(:trigger);
SELECT drop_workflow('w');

\c :back
DROP DATABASE regress_publication;
