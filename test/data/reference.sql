-- What the examples of docs/reference/functions.md and views.md speak of and do not make themselves (test/t/003_reference.pl).
\set last_seen 0
CREATE FUNCTION apply_cart(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE sql IMMUTABLE
    RETURN CASE event.type WHEN 'ItemPut' THEN state || jsonb_build_object(event.data ->> 'product', event.data -> 'quantity') ELSE state END;
CREATE FUNCTION decide_cart(state jsonb, command text, payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF command = 'AddItem' THEN
        RETURN jsonb_build_array(jsonb_build_object('type', 'ItemPut', 'data', payload));
    END IF;
    RAISE EXCEPTION 'Item not found';
END $$;
CREATE FUNCTION apply_account_fixed(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE sql IMMUTABLE
    RETURN jsonb_build_object('balance', (state ->> 'balance')::numeric + coalesce((event.data ->> 'amount')::numeric, 0));
SELECT create_aggregate('cart', 'apply_cart', decide => 'decide_cart');
SELECT create_projection('cart_summary', handler => 'apply_cart', categories => '{cart}', partition_by => 'stream');

SELECT create_workflow(jsonb_build_object('id', id, 'nodes', '[{"id": "one", "nodeType": "sequence.numbers"}]'::jsonb))
  FROM unnest(ARRAY['nightly', 'sales-report']) AS id;
SELECT create_workflow('{"id": "order-fulfilment", "nodes": [{"id": "wait", "nodeType": "wait.signal", "config": {"name": "approved"}}]}');
SELECT execute_workflow('order-fulfilment') AS run \gset
SELECT create_workflow('{"id": "letters", "nodes": [{"id": "print", "nodeType": "task.external", "config": {"queue": "print"}}]}');
SELECT execute_workflow('letters') FROM generate_series(1, 3);
