-- What nodes wait for: signals, other runs, programs outside. C++: src/flow/waiting.cpp, signal.cpp, child.cpp, task.cpp.

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
    state text COLLATE "C" NOT NULL,           -- running, ended, failed, noted (failed, and the parent was told), abandoned
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

-- One row per attempt of a node of type task.external; states: src/flow/task.cpp. Kept with the run.
CREATE SEQUENCE chronicle_data.task_id_seq AS bigint;
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.task_id_seq', '');
CREATE TABLE chronicle_data.task (
    task_id bigint NOT NULL,                   -- the same for all attempts of a node
    execution_id uuid NOT NULL,
    node_index int NOT NULL,
    node_id text COLLATE "C" NOT NULL,
    attempt int NOT NULL,                      -- the node's
    queue text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    priority int NOT NULL,
    state text COLLATE "C" NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'claimed', 'completed', 'failed', 'expired', 'cancelled')),
    input jsonb NOT NULL,
    output jsonb,
    error text,
    retryable boolean NOT NULL DEFAULT true,
    worker text,
    deadline timestamptz,                      -- of claimed: the end of the lease
    CONSTRAINT task_pkey PRIMARY KEY (task_id, attempt),
    CONSTRAINT task_node_key UNIQUE (execution_id, node_index, attempt)
) WITH (fillfactor = 70, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX task_queued ON chronicle_data.task (queue, owner, priority DESC, task_id) WHERE state = 'queued';
CREATE INDEX task_deadline ON chronicle_data.task (deadline) WHERE state = 'claimed';
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.task', '');

CREATE FUNCTION chronicle.claim_tasks(queue text, worker text, max_count int DEFAULT 1, lease interval DEFAULT '30s',
    wait interval DEFAULT '0', OUT task_id bigint, OUT execution_id uuid, OUT node_id text, OUT attempt int,
    OUT input jsonb, OUT deadline timestamptz) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'chronicle_claim_tasks';
COMMENT ON FUNCTION chronicle.claim_tasks(text, text, int, interval, interval) IS
'Takes tasks of a queue that nodes of type task.external wait for, highest priority first; those of workflows whose owner the caller may act for. Each is the worker''s until the deadline: before it, complete_task, fail_task or heartbeat_task; else the attempt fails.
queue: as in the node. worker: a name, shown in view tasks. max_count: 1 to 10000. lease: from now. wait: 0 to 60 s, how long to wait for a first task.
Errors: 22004 NULL queue or worker; 22023 argument out of range; 25001 wait in a transaction that has appended or started a run, or is REPEATABLE READ or SERIALIZABLE.';

CREATE FUNCTION chronicle.complete_task(task_id bigint, attempt int, output jsonb DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_complete_task';
COMMENT ON FUNCTION chronicle.complete_task(bigint, int, jsonb) IS
'Ends a claimed task, as part of the caller''s transaction: its node completes with this output.
Errors: CH032 the lease is lost (reason cancelled, expired or finished); 42704 no such task, or not yours; 22004 NULL task_id or attempt; 22023 an attempt that never was.';

CREATE FUNCTION chronicle.fail_task(task_id bigint, attempt int, error text, retryable boolean DEFAULT true) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_fail_task';
COMMENT ON FUNCTION chronicle.fail_task(bigint, int, text, boolean) IS
'Ends a claimed task, as part of the caller''s transaction: the node''s attempt fails with this error (P0001). Its retry policy says whether there is another one, unless retryable is false.
Errors: CH032 the lease is lost (reason cancelled, expired or finished); 42704 no such task, or not yours; 22004 NULL task_id, attempt or error; 22023 an attempt that never was.';

CREATE FUNCTION chronicle.heartbeat_task(task_id bigint, attempt int, lease interval DEFAULT '30s') RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_heartbeat_task';
COMMENT ON FUNCTION chronicle.heartbeat_task(bigint, int, interval) IS
'The worker still works on a claimed task: its lease lasts so long from now.
Errors: CH032 the lease is lost (reason cancelled, expired or finished); 42704 no such task, or not yours; 22004 NULL task_id or attempt; 22023 lease out of range, or an attempt that never was.';

CREATE VIEW chronicle.tasks WITH (security_barrier) AS
SELECT t.task_id, t.queue, t.execution_id, t.node_id, t.attempt, t.worker, t.deadline, e.workflow_id, t.input
  FROM chronicle_data.task AS t
  JOIN chronicle_data.execution AS e ON e.execution_id = t.execution_id
 WHERE t.state IN ('queued', 'claimed')
   AND EXISTS (SELECT FROM chronicle_data.node_task AS n
                WHERE n.execution_id = t.execution_id AND n.node_index = t.node_index AND n.begun AND n.attempt = t.attempt)
   AND chronicle_data.sees_execution(e.owner, e.started_by);
COMMENT ON VIEW chronicle.tasks IS 'Tasks that wait for a worker, or have one. ORDER BY task_id.';
COMMENT ON COLUMN chronicle.tasks.attempt IS 'what complete_task and its like must name';
COMMENT ON COLUMN chronicle.tasks.worker IS 'who claimed it; NULL: nobody';
COMMENT ON COLUMN chronicle.tasks.deadline IS 'end of the worker''s lease; NULL: nobody has it';
GRANT SELECT ON chronicle.tasks TO PUBLIC;
