-- What users do to a run that exists. C++: src/flow/control.cpp.

CREATE FUNCTION chronicle.cancel_execution(execution_id uuid, reason text DEFAULT NULL) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_cancel_execution';
COMMENT ON FUNCTION chronicle.cancel_execution(uuid, text) IS
'Ends a run as cancelled, with every node of it that is not over; running SQL is interrupted and rolled back when this transaction commits.
reason: kept in the event WorkflowCancelled. Returns false when the run was over already.
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
