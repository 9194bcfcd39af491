-- What nodes wait for: signals, other runs. C++: src/flow/waiting.cpp, signal.cpp, child.cpp.

-- Kept with the run. A wait takes the oldest one of its name that nobody took.
CREATE SEQUENCE chronicle_data.signal_id_seq AS bigint;
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.signal_id_seq', '');
CREATE TABLE chronicle_data.signal (
    signal_id bigint NOT NULL DEFAULT nextval('chronicle_data.signal_id_seq') CONSTRAINT signal_pkey PRIMARY KEY,
    execution_id uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    payload jsonb,
    sent_by text NOT NULL,
    sent_at timestamptz NOT NULL,
    taken_by text COLLATE "C",                 -- the node whose wait it ended
    taken_at timestamptz
);
CREATE INDEX signal_execution ON chronicle_data.signal (execution_id, name, signal_id);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.signal', '');

-- Runs that a node waits for: a row from a child's start until its end has been seen to (child.cpp).
CREATE TABLE chronicle_data.awaited_child (
    call bigint NOT NULL,
    item int NOT NULL,
    parent_execution_id uuid NOT NULL,
    parent_index int NOT NULL,
    child_id uuid NOT NULL,
    state text COLLATE "C" NOT NULL DEFAULT 'running'
        CHECK (state IN ('running', 'ended', 'failed', 'noted', 'abandoned')), -- noted: failed, and the parent was told
    CONSTRAINT awaited_child_pkey PRIMARY KEY (call, item)
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX awaited_child_running ON chronicle_data.awaited_child (call) WHERE state = 'running';
CREATE INDEX awaited_child_told ON chronicle_data.awaited_child (state) WHERE state <> 'running';
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.awaited_child', '');

-- Items of map.each whose runs have not started.
CREATE TABLE chronicle_data.map_item (
    call bigint NOT NULL,
    item int NOT NULL,
    input jsonb NOT NULL,
    CONSTRAINT map_item_pkey PRIMARY KEY (call, item)
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.map_item', '');

CREATE FUNCTION chronicle.signal_execution(execution_id uuid, name text, payload jsonb DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_signal_execution';
COMMENT ON FUNCTION chronicle.signal_execution(uuid, text, jsonb) IS
'Sends a signal to a run, as part of the caller''s transaction. It ends one wait.signal of this name: the one that has waited longest, or else the next to come.
name: 1 to 1024 bytes. payload: what the node''s output has as "payload".
Errors: CH031 no such run, not yours, or over; 22004 NULL execution_id or name; 22023 name too long or empty.';

CREATE VIEW chronicle.signals WITH (security_barrier) AS
SELECT g.signal_id, e.workflow_id, g.execution_id, g.name, g.payload, g.sent_by, g.sent_at, g.taken_by, g.taken_at
  FROM chronicle_data.execution AS e
  JOIN chronicle_data.signal AS g ON g.execution_id = e.execution_id
 WHERE chronicle_data.sees_execution(e.owner, e.started_by);
COMMENT ON VIEW chronicle.signals IS 'Every signal that a run was sent. ORDER BY signal_id.';
COMMENT ON COLUMN chronicle.signals.signal_id IS 'rises with the order in which the run was sent them';
COMMENT ON COLUMN chronicle.signals.sent_by IS 'the session user who sent it';
COMMENT ON COLUMN chronicle.signals.taken_by IS 'the node whose wait it ended; NULL: none yet';
COMMENT ON COLUMN chronicle.signals.taken_at IS 'when it ended that wait';
GRANT SELECT ON chronicle.signals TO PUBLIC;
