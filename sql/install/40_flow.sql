-- Workflows: definitions, runs, the queue of nodes. C++: src/flow. States and locks: src/flow/README.md.

CREATE TABLE chronicle_data.workflow (
    workflow_id text COLLATE "C" NOT NULL CONSTRAINT workflow_pkey PRIMARY KEY,
    version int NOT NULL,                      -- the newest one
    first_version int NOT NULL DEFAULT 1,      -- those before it are of a dropped workflow of this id
    owner text NOT NULL,                       -- a role name: its nodes run as this role
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.workflow', '');

-- A definition never changes: processes cache what they parsed under definition_id.
CREATE SEQUENCE chronicle_data.definition_id_seq AS bigint;
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.definition_id_seq', '');
CREATE TABLE chronicle_data.workflow_version (
    definition_id bigint NOT NULL CONSTRAINT workflow_version_pkey PRIMARY KEY,
    workflow_id text COLLATE "C" NOT NULL,
    version int NOT NULL,
    definition jsonb NOT NULL,                 -- as it was given
    content jsonb NOT NULL,                    -- without layout keys: the same content makes no new version
    search_path text NOT NULL,                 -- of the session that created it: names in its SQL resolve as there
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT workflow_version_key UNIQUE (workflow_id, version)
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.workflow_version', '');

-- Rows of execution, node_task, node_result, node_rows and awaited_child are inserted by their columns' order (src/flow). Their states have
-- no CHECK: PostgreSQL reads the text of one anew in every statement, which took a twelfth of an executor's time.

-- One row per run; updated when it starts and when it ends.
CREATE TABLE chronicle_data.execution (
    execution_id uuid NOT NULL CONSTRAINT execution_pkey PRIMARY KEY,
    workflow_id text COLLATE "C" NOT NULL,
    version int NOT NULL,
    definition_id bigint NOT NULL,
    owner text NOT NULL,
    started_by text NOT NULL,
    status text NOT NULL,                      -- pending, running, waiting, paused, completed, failed, cancelled
    priority int NOT NULL,
    total_nodes int NOT NULL,
    queued_at timestamptz NOT NULL,
    run_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    completed_nodes int,                       -- set at the end; while it runs, node_result is counted
    failed_node text COLLATE "C",
    error text,
    parent_execution_id uuid,
    parent_node text COLLATE "C",
    parent_call bigint,                        -- of that node: a retried one calls again
    parent_item int,                           -- 0, 1, 2 … in that call; NULL: the node does not wait for this run
    depth int NOT NULL DEFAULT 0,              -- runs above this one
    idempotency_key text COLLATE "C",
    input jsonb NOT NULL,
    metadata jsonb NOT NULL,
    timeout_at timestamptz,                    -- when a run that has not ended by then fails
    ending jsonb,                              -- how it will end, while compensations run
    attempts_before jsonb                      -- {"node": attempts} before the last retry_execution: they do not count
) WITH (fillfactor = 60);
CREATE INDEX execution_workflow ON chronicle_data.execution (workflow_id, queued_at DESC);
CREATE INDEX execution_parent ON chronicle_data.execution (parent_execution_id, parent_call, parent_item)
    WHERE parent_execution_id IS NOT NULL;
CREATE UNIQUE INDEX execution_idempotency ON chronicle_data.execution (workflow_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX execution_timeout ON chronicle_data.execution (timeout_at) WHERE timeout_at IS NOT NULL;
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.execution', '');

-- The queue: only nodes that wait for an executor or have one. A finished node leaves it for node_result. held: ready,
-- but the run is paused, or waits for a slot; scheduled: ready at the run's run_at.
CREATE SEQUENCE chronicle_data.queue_seq AS bigint CACHE 32;
-- Places in the queue: positions of the global order (src/flow/queue_scan.cpp). Below zero: ready again, before the others.
CREATE FUNCTION chronicle_data.queue_number() RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_queue_number';
CREATE FUNCTION chronicle_data.queue_number_again() RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_queue_number_again';
CREATE TABLE chronicle_data.node_task (
    execution_id uuid NOT NULL,
    node_index int NOT NULL,                   -- position in the definition's nodes
    node_id text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,           -- ready, running, retrying, waiting, held, scheduled
    owner text COLLATE "C" NOT NULL,
    priority int NOT NULL,
    queue_number bigint NOT NULL DEFAULT chronicle_data.queue_number(),
    attempt int NOT NULL DEFAULT 0,            -- the one that runs, or the last one
    losses int NOT NULL DEFAULT 0,             -- times in a row that the worker died while this node ran alone
    alone boolean NOT NULL DEFAULT false,      -- run it in a transaction of its own
    queued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at timestamptz,                        -- of retrying, waiting, and scheduled (run_at)
    lost boolean NOT NULL DEFAULT false,       -- the attempt has begun, and its worker was lost: it begins again as itself
    begun boolean NOT NULL DEFAULT false,      -- the attempt has begun and waits; ready and running: a look at it
    wait jsonb,                                -- what it waits for (src/flow/waiting.cpp)
    started_at timestamptz,
    lease_slot int,                            -- the executor that runs it: slot and generation in shared memory
    lease_generation bigint,
    compensating boolean NOT NULL DEFAULT false, -- the node is over; what runs undoes it
    CONSTRAINT node_task_pkey PRIMARY KEY (execution_id, node_index)
) WITH (fillfactor = 60, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.0,
        autovacuum_vacuum_insert_scale_factor = 0.0, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX node_task_ready ON chronicle_data.node_task (owner, priority DESC, queue_number) WHERE state = 'ready';
CREATE INDEX node_task_due ON chronicle_data.node_task (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX node_task_running ON chronicle_data.node_task (lease_slot, lease_generation) WHERE state = 'running';
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.node_task', '');
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.queue_seq', '');

-- One row per node that is over; changed only when it is compensated. live_edges: the outgoing edges (as indexes into the definition's
-- edges) that were decided live. The whole output as a typed relation lies in node_rows.
CREATE TABLE chronicle_data.node_result (
    execution_id uuid NOT NULL,
    node_index int NOT NULL,
    node_id text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,          -- completed, failed, skipped, cancelled, compensated
    attempts int NOT NULL,
    started_at timestamptz,
    ended_at timestamptz NOT NULL,
    records_processed bigint,
    live_edges int[] NOT NULL DEFAULT '{}',
    output jsonb,
    output_truncated boolean NOT NULL DEFAULT false,
    columns jsonb,                             -- [{"name","type"}]: NULL when the node has no rows to hand on
    CONSTRAINT node_result_pkey PRIMARY KEY (execution_id, node_index)
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.node_result', '');

-- A node's rows for its successors, encoded with the types' own text form (src/flow/rows.cpp), in chunks.
CREATE TABLE chronicle_data.node_rows (
    execution_id uuid NOT NULL,
    node_index int NOT NULL,
    chunk int NOT NULL,
    rows bytea NOT NULL,
    CONSTRAINT node_rows_pkey PRIMARY KEY (execution_id, node_index, chunk)
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.node_rows', '');

-- Concurrency limits (src/flow/limits.cpp): runs that have a slot of their group, or wait for one …
CREATE TABLE chronicle_data.concurrency_slot (
    execution_id uuid NOT NULL CONSTRAINT concurrency_slot_pkey PRIMARY KEY,
    group_key text COLLATE "C" NOT NULL,       -- the workflow, and the key's value
    slots int NOT NULL,                        -- how many the run's version allows its group
    priority int NOT NULL,
    queue_number bigint NOT NULL DEFAULT nextval('chronicle_data.queue_seq'),
    held boolean NOT NULL DEFAULT false        -- it has one
) WITH (fillfactor = 60, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.0,
        autovacuum_vacuum_insert_scale_factor = 0.0, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX concurrency_slot_waiting ON chronicle_data.concurrency_slot (group_key, priority DESC, queue_number)
    WHERE NOT held;
CREATE INDEX concurrency_slot_held ON chronicle_data.concurrency_slot (group_key) WHERE held;
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.concurrency_slot', '');

-- … and groups that the scheduler is to look at.
CREATE TABLE chronicle_data.concurrency_bell (
    bell_number bigint NOT NULL DEFAULT nextval('chronicle_data.queue_seq')
        CONSTRAINT concurrency_bell_pkey PRIMARY KEY,
    group_key text COLLATE "C" NOT NULL
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.0,
        autovacuum_vacuum_insert_scale_factor = 0.0, autovacuum_vacuum_cost_delay = 0);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.concurrency_bell', '');

-- What console.log prints.
CREATE TABLE chronicle_data.execution_log (
    execution_id uuid NOT NULL,
    node_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    level text NOT NULL DEFAULT 'info',
    message text NOT NULL,
    CONSTRAINT execution_log_pkey PRIMARY KEY (execution_id, node_id, seq)
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.execution_log', '');

CREATE FUNCTION chronicle.create_workflow(definition jsonb, OUT workflow_id text, OUT version int)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'chronicle_create_workflow';
COMMENT ON FUNCTION chronicle.create_workflow(jsonb) IS
'Stores a workflow: a graph of nodes and edges (docs/reference/workflow-definition.md). The same id again makes the next version; the same content (layout keys aside) makes none. Runs in flight stay on theirs.
definition: the document. Returns the id and the version that now counts.
Errors: CH030 every fault with its JSON path in DETAIL; 0A000 something that this version does not run; 22004 NULL; 42501 no operator, or another''s workflow.';

CREATE FUNCTION chronicle.validate_workflow(definition jsonb, OUT path text, OUT problem text)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL UNSAFE ROWS 5 AS 'MODULE_PATHNAME', 'chronicle_validate_workflow';
COMMENT ON FUNCTION chronicle.validate_workflow(jsonb) IS
'Every fault of a definition with its JSON path; no rows: create_workflow would take it. Errors: 22004 NULL.';

CREATE FUNCTION chronicle.execute_workflow(
    workflow_id text, input jsonb DEFAULT '{}', idempotency_key text DEFAULT NULL, version int DEFAULT NULL,
    priority int DEFAULT 0, run_at timestamptz DEFAULT NULL, metadata jsonb DEFAULT '{}') RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_execute_workflow';
COMMENT ON FUNCTION chronicle.execute_workflow(text, jsonb, text, int, int, timestamptz, jsonb) IS
'Queues one run of a workflow as part of the caller''s transaction and returns its id; workers take it up after the commit.
input: the context''s "input". version: NULL the newest. priority: -1000000 to 1000000, higher first. run_at: not before that time. metadata: a JSON object kept with the run.
idempotency_key: 1 to 1024 bytes, of this workflow; while a run with it is kept, the same call returns that run and starts none.
Errors: CH033 the key was used with another input; 42704 no such workflow or version; 55000 it is disabled; 22023 a bad key, priority, run_at or metadata; 42501 neither its owner nor an admin.';

CREATE FUNCTION chronicle.wait_for_execution(execution_id uuid, timeout interval DEFAULT '30s') RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_wait_for_execution';
COMMENT ON FUNCTION chronicle.wait_for_execution(uuid, interval) IS
'Waits until a run is over, or the time is up, and returns its status then. Sleeps on the process latch: it wakes with the commit that ends the run.
timeout: 0 to 60 s. Errors: 22004 NULL execution_id; 22023 timeout out of range; CH031 no such run, or not yours; 25001 in a transaction that has appended or started a run, or is REPEATABLE READ or SERIALIZABLE (it could never see the end).';

CREATE FUNCTION chronicle_data.node_types(OUT type text, OUT role text, OUT display_name text, OUT category text,
    OUT description text, OUT config_schema jsonb) RETURNS SETOF record
    LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'chronicle_node_types';
CREATE VIEW chronicle.node_types AS
SELECT t.type, t.role, t.display_name, t.category, t.description, t.config_schema FROM chronicle_data.node_types() AS t;
COMMENT ON VIEW chronicle.node_types IS
'The node types that this version runs, one row for each role: name, role, what it does, and its config as a JSON Schema.';
GRANT SELECT ON chronicle.node_types TO PUBLIC;
