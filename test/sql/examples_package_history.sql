-- examples/package_history over a small log, in a database of its own: what becomes of each kind of line, that importing
-- again changes nothing, what the workflow reports, and each reason for which dpkg may say something else.
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_packages;
CREATE DATABASE regress_packages TEMPLATE template0 LOCALE 'C' ENCODING 'UTF8';
\c regress_packages
CREATE EXTENSION chronicle;
SET search_path = public, chronicle;
SET datestyle = 'ISO';
\getenv source PG_ABS_SRCDIR
\set schema :source '/../examples/package_history/schema.sql'
\set report :source '/../examples/package_history/report.sql'

\o /dev/null
\set ECHO none
\i :schema
\set ECHO all
\copy package_history.log_line (file, file_line, line) from program '"$PG_ABS_SRCDIR/../examples/package_history/read-log" "$PG_ABS_SRCDIR/data"'
\o

-- Every line is one event or none.
SELECT count(*) AS lines, (SELECT count(*) FROM package_history.log_change) AS changes FROM package_history.log_line;
SELECT line FROM package_history.log_line WHERE number NOT IN (SELECT number FROM package_history.log_change) ORDER BY number;
CALL package_history.import_log();
SELECT type, count(*) FROM events GROUP BY type ORDER BY type;

-- The order of a stream is that of the log.
SELECT version, type, data, metadata FROM read_stream('package-nano:amd64');
SELECT stream, count(*), max(version) FROM events GROUP BY stream ORDER BY stream;

-- The same lines again, in a file of another name and with two lines more: two events more. The oldest file is gone.
TRUNCATE package_history.log_line RESTART IDENTITY;
\o /dev/null
\copy package_history.log_line (file, file_line, line) from program 'sed -n "s/^/dpkg.log.1\t1\t/;42,66p" "$PG_ABS_SRCDIR/data/dpkg.log"; printf "dpkg.log\t1\t%s\n" "2025-03-04 12:00:00 install nano:amd64 7.2-1+deb12u1 7.2-2" "2025-03-04 12:00:00 status half-installed nano:amd64 7.2-2"'
\o
SELECT count(*) FROM package_history.log_line;
CALL package_history.import_log();
SELECT count(*) FROM events;
SELECT version, type, data, metadata FROM read_stream('package-nano:amd64', from_version => 21);

-- The workflow.
\set definition `cat "$PG_ABS_SRCDIR/../examples/package_history/workflow.json"`
SELECT * FROM create_workflow(:'definition');
SELECT execute_workflow('package-history') AS run \gset
SELECT wait_for_execution(:'run');
SELECT node_id, node_type, status, attempts, records_processed FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
TABLE package_history.package_state ORDER BY package;
\i :report

-- A second run leaves the same.
SELECT checksum FROM package_history.report_checksum \gset
SELECT execute_workflow('package-history') AS run \gset
SELECT wait_for_execution(:'run');
SELECT checksum = :'checksum' AS same FROM package_history.report_checksum;

-- What dpkg says: as the log does, of other versions and states, of packages that the log does not have, and nothing.
INSERT INTO package_history.dpkg_package VALUES
    ('libc6:amd64', 'installed', '2.36-9'),
    ('libc-bin:amd64', 'installed', '2.36-10'),
    ('nano:amd64', 'installed', '7.2-2'),
    ('fonts-demo:amd64', 'installed', '2.0'),
    ('base-files:amd64', 'installed', '12.4'),
    ('local-demo:all', 'config-files', '1');
INSERT INTO package_history.dpkg_file_list VALUES
    ('libc6:amd64', '2025-03-01 09:00:02'),
    ('libc-bin', '2025-04-01 00:00:00'),
    ('nano', '2025-03-04 12:00:00'),
    ('base-files', '2024-01-01 00:00:00'),
    ('local-demo', '2025-03-02 00:00:00');
SELECT package, folded, dpkg, agrees, reason FROM package_history.comparison ORDER BY package;
DELETE FROM package_history.dpkg_package WHERE package = 'libc6:amd64';
SELECT package, folded, dpkg, agrees, reason FROM package_history.comparison WHERE package = 'libc6:amd64';

-- The same states from the aggregates, now and at any time.
\set state :source '/../examples/package_history/state.sql'
\i :state
SELECT package, status, version, agrees FROM package_history.state_comparison ORDER BY package;
SELECT count(*) AS differ FROM package_history.package_state AS r JOIN package_history.state_comparison AS a USING (package)
 WHERE (r.status, r.version, r.changed_at) IS DISTINCT FROM (a.status, a.version, a.since);
SELECT e.version, e.data ->> 'status' AS told, aggregate_state(e.stream, at_version => e.version)
  FROM read_stream('package-nano:amd64') AS e WHERE e.type = 'PackageStatusChanged' ORDER BY e.version LIMIT 4;

-- Without any log there is a report, too.
CREATE DATABASE regress_packages_empty TEMPLATE template0 LOCALE 'C' ENCODING 'UTF8';
\c regress_packages_empty
CREATE EXTENSION chronicle;
SET search_path = public, chronicle;
\o /dev/null
\set ECHO none
\i :schema
\set ECHO all
CALL package_history.import_log();
\o
SELECT * FROM create_workflow(:'definition');
SELECT execute_workflow('package-history') AS run \gset
SELECT wait_for_execution(:'run');
TABLE package_history.summary;
INSERT INTO package_history.dpkg_package VALUES ('nano:amd64', 'installed', '7.2-2');
SELECT package, folded, dpkg, agrees, reason FROM package_history.comparison;

\c contrib_regression
DROP DATABASE regress_packages;
DROP DATABASE regress_packages_empty;
