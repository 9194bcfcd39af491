-- What users do to a run that exists. C++: src/flow/control.cpp.

CREATE FUNCTION chronicle.cancel_execution(execution_id uuid, reason text DEFAULT NULL) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_cancel_execution';
COMMENT ON FUNCTION chronicle.cancel_execution(uuid, text) IS
'Ends a run as cancelled, with every node of it that is not over; running SQL is interrupted and rolled back when this transaction commits.
reason: kept in the event WorkflowCancelled. Returns false when the run was over already.
While a failed run is compensated: ends the compensation, and the run as failed, naming what is not compensated; while a cancelled one is, only when it is paused.
Errors: CH031 no such run, or not yours; 0A000 in a node of that run; 22004 NULL execution_id.';

CREATE FUNCTION chronicle.pause_execution(execution_id uuid) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_pause_execution';
COMMENT ON FUNCTION chronicle.pause_execution(uuid) IS
'Starts no more nodes of a run until it is resumed; those that run now come to their end. A run that is paused stays so.
Errors: CH031 no such run, not yours, or over; 0A000 in a node of that run; 22004 NULL.';

CREATE FUNCTION chronicle.resume_execution(execution_id uuid) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_resume_execution';
COMMENT ON FUNCTION chronicle.resume_execution(uuid) IS
'Lets a paused run go on; one that is not paused is left alone. What came due meanwhile runs at once.
Errors: CH031 no such run, not yours, or over; 0A000 in a node of that run; 22004 NULL.';

CREATE FUNCTION chronicle.retry_execution(execution_id uuid, from_node text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_retry_execution';
COMMENT ON FUNCTION chronicle.retry_execution(uuid, text) IS
'Lets a run that failed or was cancelled go on, in the version that it has: nodes that failed, were cancelled or were compensated run again, finished ones are kept; retry policies and the timeout count anew.
from_node: this node, too, with all that follows from it.
Errors: CH031 no such run, not yours, or neither failed nor cancelled; 42704 no such node, or the workflow was dropped; 0A000 in a node of that run; 22004 NULL execution_id.';

CREATE FUNCTION chronicle.fork_execution(execution_id uuid, from_node text, input jsonb DEFAULT NULL) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_fork_execution';
COMMENT ON FUNCTION chronicle.fork_execution(uuid, text, jsonb) IS
'Starts a new run from one that is over, in the same version, and returns its id: results are kept but for from_node, all that follows from it, and what would run again in a retry.
input: NULL that of the other run.
Errors: CH031 no such run, not yours, or not over; 42704 no such node, or the workflow was dropped; 42501 the workflow is another''s now; 55000 it is disabled; 0A000 in a node of that run; 22004 NULL execution_id or from_node.';
