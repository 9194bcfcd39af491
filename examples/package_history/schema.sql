-- The history of a Debian machine's packages as events: one stream per package, one event per line of dpkg's log.
-- In psql, in this directory and in a database with the extension:
--
--   \i schema.sql
--   \copy package_history.log_line (file, file_line, line) from program './read-log'
--   CALL package_history.import_log();
--   SELECT version, type, data FROM read_stream('package-bash:amd64');
--
-- All of it can be done again at any time: what has been imported is not imported twice.
CREATE SCHEMA IF NOT EXISTS package_history;

-- The log as it is, oldest line first. Only a way in: empty it (TRUNCATE) and fill it again as you like.
CREATE UNLOGGED TABLE IF NOT EXISTS package_history.log_line (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    file text NOT NULL,
    file_line bigint NOT NULL,
    line text NOT NULL
);

-- Lines that change a package, and the event that each one is. The others name no package: they say that dpkg was
-- started (startup …), or which version of a configuration file was kept (conffile …).
--
--   2025-06-24 14:36:25 upgrade bash:amd64 5.2.15-2 5.2.15-3                 action package from to
--   2025-06-24 14:36:25 configure bash:amd64 5.2.15-3 <none>                 action package version -
--   2025-06-24 14:36:25 status half-configured bash:amd64 5.2.15-3           status state package version
--
-- dpkg writes an action's line when it begins; how it ended is told by the status lines that follow. So the state of a
-- package is folded from PackageStatusChanged alone.
--
-- Streams carry the architecture (package-libc6:amd64), as the log does: libc6:amd64 and libc6:i386 can be installed side
-- by side, each in a state of its own, so they are two packages with two histories.
--
-- Times are the machine's local time, as dpkg writes them: the log does not say which time zone that was.
--
-- event_id makes importing a line twice harmless. It comes from the line alone, and from how many equal lines precede it
-- (dpkg may write one twice within a second): not from the file's name or the line's number, because logrotate renames
-- the files and throws the oldest away.
CREATE OR REPLACE VIEW package_history.log_change AS
SELECT l.number,
       'package-' || p.package AS stream,
       CASE p.action WHEN 'install' THEN 'PackageInstalled'
                     WHEN 'upgrade' THEN 'PackageUpgraded'
                     WHEN 'configure' THEN 'PackageConfigured'
                     WHEN 'trigproc' THEN 'PackageTriggersProcessed'
                     WHEN 'remove' THEN 'PackageRemoved'
                     WHEN 'purge' THEN 'PackagePurged'
                     WHEN 'disappear' THEN 'PackageDisappeared'
                     WHEN 'status' THEN 'PackageStatusChanged' END AS type,
       jsonb_build_object('at', p.at) ||
       CASE WHEN p.action = 'status' THEN jsonb_build_object('status', p.state, 'version', p.version)
            WHEN p.action IN ('configure', 'trigproc') THEN jsonb_build_object('version', p.version)
            ELSE jsonb_build_object('from', p.version, 'to', p.other_version) END AS data,
       jsonb_build_object('file', l.file, 'line', l.file_line) AS metadata,
       md5(l.line || ' ' || row_number() OVER (PARTITION BY l.line ORDER BY l.number))::uuid AS event_id
  FROM package_history.log_line AS l
 CROSS JOIN LATERAL string_to_array(l.line, ' ') AS w
 CROSS JOIN LATERAL (
    SELECT w[1] || 'T' || w[2] AS at, w[3] AS action,
           CASE WHEN w[3] = 'status' THEN w[4] END AS state,
           CASE WHEN w[3] = 'status' THEN w[5] ELSE w[4] END AS package,
           NULLIF(CASE WHEN w[3] = 'status' THEN w[6] ELSE w[5] END, '<none>') AS version,
           NULLIF(CASE WHEN w[3] <> 'status' THEN w[6] END, '<none>') AS other_version) AS p
 WHERE cardinality(w) = 6
   AND w[3] IN ('install', 'upgrade', 'configure', 'trigproc', 'remove', 'purge', 'disappear', 'status')
   AND l.line ~ '^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ';

-- Appends what log_line holds. Commits every few hundred lines: an import that breaks off goes on where it was.
CREATE OR REPLACE PROCEDURE package_history.import_log()
LANGUAGE plpgsql
AS $$
DECLARE
    change package_history.log_change;
    done bigint := 0;
BEGIN
    FOR change IN SELECT * FROM package_history.log_change ORDER BY number LOOP
        PERFORM chronicle.append_event(change.stream, change.type, change.data, change.metadata, event_id => change.event_id);
        done := done + 1;
        IF done % 500 = 0 THEN
            COMMIT;
        END IF;
    END LOOP;
END $$;

-- ---- the report: what workflow.json writes -----------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS package_history.daily_change (
    day date PRIMARY KEY,
    installed bigint NOT NULL,
    upgraded bigint NOT NULL,
    removed bigint NOT NULL
);

CREATE TABLE IF NOT EXISTS package_history.package_activity (
    package text PRIMARY KEY,
    changes bigint NOT NULL,        -- how often it was installed, upgraded or removed
    events bigint NOT NULL,         -- everything that happened to it
    last_change timestamp
);

CREATE TABLE IF NOT EXISTS package_history.package_state (
    package text PRIMARY KEY,
    status text NOT NULL,
    version text,
    changed_at timestamp NOT NULL
);

CREATE TABLE IF NOT EXISTS package_history.summary (
    events bigint NOT NULL,
    packages bigint NOT NULL,
    installed bigint NOT NULL,
    days bigint NOT NULL,
    busiest_day date,
    first_event timestamp,
    last_event timestamp,
    rows_written bigint NOT NULL
);

-- Two runs over the same events leave the same report, whatever was interrupted: then this is the same.
CREATE OR REPLACE VIEW package_history.report_checksum AS
SELECT md5(string_agg(r.line, chr(10) ORDER BY r.line)) AS checksum
  FROM (SELECT 'day ' || d::text AS line FROM package_history.daily_change AS d
        UNION ALL
        SELECT 'activity ' || a::text FROM package_history.package_activity AS a
        UNION ALL
        SELECT 'state ' || s::text FROM package_history.package_state AS s
        UNION ALL
        SELECT 'summary ' || t::text FROM package_history.summary AS t) AS r;

-- ---- is that right? what dpkg itself says, from compare.sql --------------------------------------------------------

CREATE UNLOGGED TABLE IF NOT EXISTS package_history.dpkg_package (
    package text PRIMARY KEY,       -- name:architecture
    status text NOT NULL,           -- dpkg's word: installed, config-files, …
    version text
);

-- When the files of a package were last unpacked: dpkg writes /var/lib/dpkg/info/<package>.list then.
CREATE UNLOGGED TABLE IF NOT EXISTS package_history.dpkg_file_list (
    package text PRIMARY KEY,       -- name, or name:architecture
    unpacked_at timestamp NOT NULL
);

-- One row per package that either side knows. A package that was removed without a trace agrees when dpkg does not know it.
-- Each package that differs has its reason: only a change that this log does not hold can make one, so a reason says what
-- speaks for which kind of gap.
CREATE OR REPLACE VIEW package_history.comparison AS
SELECT c.package, c.folded, c.dpkg, c.folded = c.dpkg AS agrees,
       CASE WHEN c.folded = c.dpkg THEN NULL
            WHEN l.first_at IS NULL THEN 'there is no log'
            WHEN s.package IS NULL AND f.unpacked_at < l.first_at THEN 'installed before the log begins'
            WHEN s.package IS NULL THEN 'installed since the log begins, but not in it: dpkg ran with another log, or lines are lost'
            WHEN d.package IS NULL AND EXISTS (SELECT FROM package_history.dpkg_package AS o
                                                WHERE split_part(o.package, ':', 1) = split_part(c.package, ':', 1)
                                                  AND s.status = 'half-installed')
                 THEN 'changed its architecture: its history goes on under another name'
            WHEN d.package IS NULL THEN 'dpkg has forgotten it without a line in the log'
            WHEN f.unpacked_at > s.changed_at + interval '1 minute' THEN 'unpacked again after its last line in the log'
            ELSE 'changed after its last line in the log' END AS reason
  FROM package_history.package_state AS s
  FULL JOIN package_history.dpkg_package AS d ON d.package = s.package
 CROSS JOIN LATERAL (SELECT COALESCE(s.package, d.package) AS package,
                            COALESCE(s.status || COALESCE(' ' || s.version, ''), 'not in the log') AS folded,
                            COALESCE(d.status || COALESCE(' ' || d.version, ''),
                                     CASE WHEN s.status = 'not-installed' THEN 'not-installed' ELSE 'unknown' END) AS dpkg) AS c
  LEFT JOIN package_history.dpkg_file_list AS f ON f.package IN (c.package, split_part(c.package, ':', 1))
 CROSS JOIN (SELECT first_event AS first_at FROM package_history.summary) AS l;
