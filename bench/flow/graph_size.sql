-- What ten times the nodes cost in create_workflow, validate_workflow and execute_workflow: about ten times, never a hundred.
-- psql -f bench/flow/graph_size.sql in a database with chronicle; leaves nothing behind. Medians of five rounds.
\set QUIET on
SET search_path = pg_temp, public, chronicle;
CREATE FUNCTION pg_temp.graph(kind text, n int) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('id', 'graph_size', 'nodes',
        (SELECT jsonb_agg(jsonb_build_object('id', 'n' || i, 'nodeType', 'sql.query', 'config', '{"sql": "SELECT 1"}'::jsonb)) FROM generate_series(1, n) AS i),
        'edges', (SELECT jsonb_agg(jsonb_build_object('source', CASE kind WHEN 'chain' THEN 'n' || i - 1 ELSE 'n1' END, 'target', 'n' || i)) FROM generate_series(2, n) AS i)) $$;
CREATE TEMP TABLE measured (kind text, n int, what text, ms float);
DO $$
DECLARE
    kind text;
    n int;
    document jsonb;
    at timestamptz[];
BEGIN
    FOR round IN 1..6 LOOP
        FOREACH kind IN ARRAY '{chain,fan}'::text[] LOOP
            FOREACH n IN ARRAY '{1000,10000}'::int[] LOOP
                document := pg_temp.graph(kind, n);
                at[1] := clock_timestamp();
                PERFORM count(*) FROM chronicle.validate_workflow(document);
                at[2] := clock_timestamp();
                BEGIN
                    PERFORM chronicle.create_workflow(document);
                    at[3] := clock_timestamp();
                    PERFORM chronicle.execute_workflow('graph_size'); -- reads and parses the definition, too
                    at[4] := clock_timestamp();
                    RAISE EXCEPTION 'undone';
                EXCEPTION WHEN raise_exception THEN
                    NULL;
                END;
                IF round > 1 THEN -- the first one is to warm up
                    INSERT INTO measured SELECT kind, n, w, extract(epoch FROM at[i + 1] - at[i]) * 1000 FROM unnest('{validate,create,start}'::text[]) WITH ORDINALITY AS s (w, i);
                END IF;
            END LOOP;
        END LOOP;
    END LOOP;
END $$;
SELECT kind, what, round(a.ms::numeric, 1) AS ms_1000, round(b.ms::numeric, 1) AS ms_10000, round((b.ms / a.ms)::numeric, 1) AS ratio
  FROM (SELECT kind, what, percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS ms FROM measured WHERE n = 1000 GROUP BY 1, 2) AS a
  JOIN (SELECT kind, what, percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS ms FROM measured WHERE n = 10000 GROUP BY 1, 2) AS b USING (kind, what) ORDER BY 1, 2;
