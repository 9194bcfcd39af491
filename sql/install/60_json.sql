-- The same as JSON, for dashboards: camelCase, whole epoch milliseconds, explicit null. These functions run as their
-- caller and read the views only, so they show what the views show.

-- Raise; declared with a result so that they can stand in an expression.
CREATE FUNCTION chronicle_data.unknown_workflow(workflow_id text, version int DEFAULT NULL) RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'chronicle_unknown_workflow';
CREATE FUNCTION chronicle_data.unknown_execution(execution_id uuid) RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'chronicle_unknown_execution';

-- What the JSON of a run and of a node have in common. The duration is the difference of the two whole times.
CREATE FUNCTION chronicle_data.span_json(started_at timestamptz, ended_at timestamptz, status text) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN jsonb_build_object(
        'startTime', chronicle_data.epoch_ms(started_at), 'endTime', chronicle_data.epoch_ms(ended_at),
        'duration', chronicle_data.epoch_ms(ended_at) - chronicle_data.epoch_ms(started_at), 'status', status);
CREATE FUNCTION chronicle_data.node_json(node_id text, node_type text, started_at timestamptz, ended_at timestamptz,
    status text, records_processed bigint, error text) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN chronicle_data.span_json(started_at, ended_at, status) || jsonb_build_object(
        'nodeId', node_id, 'nodeType', node_type, 'recordsProcessed', records_processed, 'error', error);

CREATE FUNCTION chronicle.history_json(workflow_id text) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN NOT EXISTS (SELECT FROM chronicle.workflows AS w WHERE w.workflow_id = history_json.workflow_id)
        THEN chronicle_data.unknown_workflow(history_json.workflow_id)
        ELSE jsonb_build_object('workflowId', history_json.workflow_id, 'executions', COALESCE(
            (SELECT jsonb_agg(
                        chronicle_data.span_json(e.started_at, e.ended_at, e.status)
                            || jsonb_build_object('executionId', e.execution_id, 'workflowName', e.workflow_name,
                                                  'nodes', COALESCE(n.nodes, '[]'))
                        ORDER BY e.queued_at DESC, e.execution_id DESC)
               FROM chronicle.executions AS e
               LEFT JOIN (SELECT n.execution_id,
                                 jsonb_agg(chronicle_data.node_json(n.node_id, n.node_type, n.started_at, n.ended_at,
                                                                    n.status, n.records_processed, n.error)
                                           ORDER BY n.started_at, n.ended_at, n.node_id) AS nodes
                            FROM chronicle.node_executions AS n
                           WHERE n.workflow_id = history_json.workflow_id
                           GROUP BY n.execution_id) AS n ON n.execution_id = e.execution_id
              WHERE e.workflow_id = history_json.workflow_id), '[]'))
        END;
END;
COMMENT ON FUNCTION chronicle.history_json(text) IS
'Every kept run of a workflow with its nodes, newest first: {"workflowId","executions":[{"executionId","workflowName","startTime","endTime","status","duration","nodes":[{"nodeId","nodeType","startTime","endTime","duration","status","recordsProcessed","error"}]}]}.
Nodes come by their start; those that have not started come last. Times and durations: whole milliseconds.
Errors: 42704 no such workflow, or not yours; 22004 NULL.';

CREATE FUNCTION chronicle.status_json(workflow_id text) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT COALESCE(
        (SELECT jsonb_build_object('workflowId', s.workflow_id, 'state', s.state,
                    'currentExecution', CASE WHEN s.current_execution_id IS NOT NULL THEN
                        jsonb_build_object('executionId', s.current_execution_id,
                            'startTime', chronicle_data.epoch_ms(s.started_at),
                            'endTime', chronicle_data.epoch_ms(s.ended_at), 'status', s.current_status,
                            'completedNodes', s.completed_nodes, 'totalNodes', s.total_nodes) END,
                    'allExecutions', COALESCE(
                        (SELECT jsonb_agg(chronicle_data.span_json(e.started_at, e.ended_at, e.status)
                                              || jsonb_build_object('executionId', e.execution_id)
                                          ORDER BY e.queued_at DESC, e.execution_id DESC)
                           FROM chronicle.executions AS e
                          WHERE e.workflow_id = status_json.workflow_id), '[]'))
           FROM chronicle.workflow_status AS s
          WHERE s.workflow_id = status_json.workflow_id),
        chronicle_data.unknown_workflow(status_json.workflow_id));
END;
COMMENT ON FUNCTION chronicle.status_json(text) IS
'What a workflow is doing, and all its kept runs, newest first: {"workflowId","state","currentExecution":{"executionId","startTime","endTime","status","completedNodes","totalNodes"}|null,"allExecutions":[{"executionId","startTime","endTime","status","duration"}]}.
currentExecution: the newest run, over or not; null: it never ran. Times and durations: whole milliseconds.
Errors: 42704 no such workflow, or not yours; 22004 NULL.';

CREATE FUNCTION chronicle.timeline_json(workflow_id text, execution_id uuid DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN s.workflow_id IS NULL THEN chronicle_data.unknown_workflow(timeline_json.workflow_id)
                WHEN e.execution_id IS NULL AND timeline_json.execution_id IS NOT NULL
                THEN chronicle_data.unknown_execution(timeline_json.execution_id)
                ELSE chronicle_data.span_json(e.started_at, e.ended_at, e.status) - 'status'
                    || jsonb_build_object('executionId', e.execution_id, 'nodes', COALESCE(
                        (SELECT jsonb_agg(chronicle_data.node_json(t.node_id, t.node_type, t.started_at, t.ended_at,
                                                                   t.status, t.records_processed, t.error)
                                          ORDER BY COALESCE(t.started_at, t.ended_at), t.node_id, t.attempt)
                           FROM chronicle.execution_timeline AS t
                          WHERE t.execution_id = e.execution_id AND NOT t.compensating), '[]'))
           END
      FROM (SELECT) AS one
      LEFT JOIN chronicle.workflow_status AS s ON s.workflow_id = timeline_json.workflow_id
      LEFT JOIN chronicle.executions AS e
             ON e.workflow_id = timeline_json.workflow_id
            AND e.execution_id = COALESCE(timeline_json.execution_id, s.current_execution_id);
END;
COMMENT ON FUNCTION chronicle.timeline_json(text, uuid) IS
'One run as a Gantt chart: {"executionId","startTime","endTime","duration","nodes":[{"nodeId","nodeType","startTime","endTime","duration","status","recordsProcessed","error"}]}; one entry per attempt of a node, and per skipped node, in the order of their starts.
execution_id: NULL the newest run of the workflow; when there is none, every value is null and nodes is empty. Times and durations: whole milliseconds.
Errors: 42704 no such workflow, or not yours; CH031 the workflow has no such run; 22004 NULL workflow_id.';

CREATE FUNCTION chronicle.execution_result(execution_id uuid) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN EXISTS (SELECT FROM chronicle.executions AS e WHERE e.execution_id = execution_result.execution_id)
        THEN (SELECT e.result FROM chronicle.executions AS e WHERE e.execution_id = execution_result.execution_id)
        ELSE chronicle_data.unknown_execution(execution_result.execution_id) END;
END;
COMMENT ON FUNCTION chronicle.execution_result(uuid) IS
'The outputs of the nodes without outgoing edges, by node id; NULL unless the run completed (wait_for_execution waits for that). A node that failed under on_failure "continue" has {"error","sqlstate"}; a skipped one is left out.
Of rows, the first chronicle.output_rows are shown. Errors: CH031 no such run, or not yours; 22004 NULL.';

CREATE FUNCTION chronicle.workflow_definition(workflow_id text, version int DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT COALESCE(
        (SELECT v.definition
           FROM chronicle.workflow_versions AS v
          WHERE v.workflow_id = workflow_definition.workflow_id
            AND (workflow_definition.version IS NULL OR v.version = workflow_definition.version)
          ORDER BY v.version DESC LIMIT 1),
        chronicle_data.unknown_workflow(workflow_definition.workflow_id, workflow_definition.version));
END;
COMMENT ON FUNCTION chronicle.workflow_definition(text, int) IS
'The definition of a workflow as it was given to create_workflow. version: NULL the newest.
Errors: 42704 no such workflow or version, or not yours; 22004 NULL workflow_id.';
