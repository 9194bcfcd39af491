-- Managing workflows. C++: src/flow/manage.cpp.

CREATE FUNCTION chronicle.enable_workflow(workflow_id text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_enable_workflow';
COMMENT ON FUNCTION chronicle.enable_workflow(text) IS
'Lets a disabled workflow be started again; one that is enabled stays so. Errors: 42704 no such workflow; 42501 neither its owner nor an admin; 22004 NULL.';

CREATE FUNCTION chronicle.disable_workflow(workflow_id text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_disable_workflow';
COMMENT ON FUNCTION chronicle.disable_workflow(text) IS
'Starts no more runs of a workflow: execute_workflow is 55000, its schedules and triggers start none. Runs that exist go on.
Errors: 42704 no such workflow; 42501 neither its owner nor an admin; 22004 NULL.';

CREATE FUNCTION chronicle.drop_workflow(workflow_id text, if_exists boolean DEFAULT false) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_drop_workflow';
COMMENT ON FUNCTION chronicle.drop_workflow(text, boolean) IS
'Removes a workflow with its schedules and triggers. Its finished runs stay until retention takes them; a workflow of the same id counts its versions on.
if_exists: do nothing when there is none.
Errors: 42704 no such workflow; 55006 it has runs that are not over; 42501 neither its owner nor an admin; 22004 NULL workflow_id.';
