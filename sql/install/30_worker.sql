-- Background workers (src/worker): launcher → scheduler per database → executors connected as workflow owners.

CREATE FUNCTION chronicle_data.workers(OUT pid int, OUT database text, OUT role text, OUT owner text, OUT state text,
    OUT current_execution uuid, OUT current_node text, OUT started_at timestamptz, OUT nodes_run bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'chronicle_workers';

-- The function shows only what the caller may see.
CREATE VIEW chronicle.workers AS
SELECT w.pid, w.database, w.role, w.owner, w.state, w.current_execution, w.current_node, w.started_at, w.nodes_run
  FROM chronicle_data.workers() AS w;
COMMENT ON VIEW chronicle.workers IS
'The background workers of this server: the launcher, one scheduler per database, executors with what they run. Admins and members of pg_monitor see all, others the executors of their own roles.';
GRANT SELECT ON chronicle.workers TO PUBLIC;

-- Tells the launcher, when this transaction commits, that this database has the extension now.
CREATE FUNCTION chronicle_data.wake_launcher() RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'chronicle_wake_launcher';
