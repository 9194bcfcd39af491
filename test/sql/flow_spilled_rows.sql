-- Rows between nodes that do not fit into work_mem, so that they lie in a file while they are stored, read again and put
-- together with others.
SET search_path = public, chronicle;
SELECT * FROM create_workflow($$ {
  "id": "spilled_rows",
  "nodes": [
    { "id": "many", "nodeType": "sql.query",
      "config": { "sql": "SELECT i, repeat('x', 100) AS filler FROM generate_series(1, 100000) AS i" } },
    { "id": "odd", "nodeType": "filter", "config": { "condition": "i % 2 = 1" } },
    { "id": "apart", "nodeType": "sql.query", "own_transaction": true,
      "config": { "sql": "SELECT count(*), sum(i), sum(length(filler)) AS bytes FROM input" } },
    { "id": "both", "nodeType": "sql.query", "config": { "sql": "SELECT count(*), sum(i) FROM input" } }
  ],
  "edges": [
    { "source": "many", "target": "odd" }, { "source": "many", "target": "apart" },
    { "source": "many", "target": "both" }, { "source": "odd", "target": "both" }
  ]
} $$);
SELECT execute_workflow('spilled_rows') AS run \gset
SELECT wait_for_execution(:'run', '60s');
SELECT node_id, status, records_processed, output_truncated, CASE WHEN node_id IN ('apart', 'both') THEN output END AS output
  FROM node_executions WHERE execution_id = :'run' ORDER BY node_id;
