-- A shopping cart: commands are decided on the state that its events fold into.
--
--   command            ─ decide ─►  event                       ─ apply ─►  state
--   AddItem                         ItemAddedToCart                         {"items": {"mug": 2}, "checked_out": false}
--   AddItem (there already)         QuantityAdjustedInCart
--   ChangeQuantity                  QuantityAdjustedInCart, or ItemRemovedFromCart for 0
--   RemoveItem                      ItemRemovedFromCart
--   CheckOut                        CartCheckedOut
--
-- Paste it into psql, in a database with the extension.
SET search_path = cart, public, chronicle;

CREATE SCHEMA cart;

-- What each event changes. It only ever sees what was decided, so it checks nothing.
CREATE FUNCTION cart.apply(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    CASE event.type
    WHEN 'ItemAddedToCart', 'QuantityAdjustedInCart' THEN
        RETURN jsonb_set(state, ARRAY['items', event.data ->> 'product'], event.data -> 'quantity');
    WHEN 'ItemRemovedFromCart' THEN
        RETURN state #- ARRAY['items', event.data ->> 'product'];
    WHEN 'CartCheckedOut' THEN
        RETURN state || '{"checked_out": true}';
    ELSE
        RETURN state;
    END CASE;
END $$;

-- What each command means, given the cart as it is. RAISE rejects it.
CREATE FUNCTION cart.decide(state jsonb, command text, payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    product text := payload ->> 'product';
    quantity int := payload ->> 'quantity';
    present int := state -> 'items' ->> product;  -- NULL: not in the cart
BEGIN
    IF (state ->> 'checked_out')::boolean THEN
        RAISE EXCEPTION 'Cart is checked out';
    END IF;
    CASE command
    WHEN 'AddItem' THEN
        IF quantity IS NULL OR quantity < 1 THEN RAISE EXCEPTION 'Quantity must be at least 1'; END IF;
        RETURN cart.one_event(CASE WHEN present IS NULL THEN 'ItemAddedToCart' ELSE 'QuantityAdjustedInCart' END,
                              product, coalesce(present, 0) + quantity);
    WHEN 'ChangeQuantity' THEN
        IF present IS NULL THEN RAISE EXCEPTION 'Item not found'; END IF;
        IF quantity IS NULL OR quantity < 0 THEN RAISE EXCEPTION 'Quantity must be at least 0'; END IF;
        IF quantity = present THEN RETURN '[]'; END IF;
        IF quantity = 0 THEN RETURN cart.one_event('ItemRemovedFromCart', product); END IF;
        RETURN cart.one_event('QuantityAdjustedInCart', product, quantity);
    WHEN 'RemoveItem' THEN
        IF present IS NULL THEN RAISE EXCEPTION 'Item not found'; END IF;
        RETURN cart.one_event('ItemRemovedFromCart', product);
    WHEN 'CheckOut' THEN
        IF state -> 'items' = '{}' THEN RAISE EXCEPTION 'Cart is empty'; END IF;
        RETURN jsonb_build_array(jsonb_build_object('type', 'CartCheckedOut', 'data', jsonb_build_object('items', state -> 'items')));
    ELSE
        RAISE EXCEPTION 'Unknown command %', command;
    END CASE;
END $$;

CREATE FUNCTION cart.one_event(type text, product text, quantity int DEFAULT NULL) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_array(jsonb_build_object('type', type, 'data',
               jsonb_strip_nulls(jsonb_build_object('product', product, 'quantity', quantity))));
$$;

SELECT create_aggregate('cart', 'cart.apply', '{"items": {}, "checked_out": false}', decide => 'cart.decide');

-- A customer fills a cart. Each call returns the version of the stream.
SELECT execute_command('cart-42', 'AddItem', '{"product": "mug", "quantity": 2}');
SELECT execute_command('cart-42', 'AddItem', '{"product": "tea", "quantity": 1}');
SELECT execute_command('cart-42', 'AddItem', '{"product": "mug", "quantity": 1}');
SELECT execute_command('cart-42', 'ChangeQuantity', '{"product": "tea", "quantity": 3}');
SELECT version, type, data FROM read_stream('cart-42');
SELECT aggregate_state('cart-42');

-- What is not there cannot be removed. execute_command raises (CH005); try_command answers, and the log remembers.
SELECT * FROM try_command('cart-42', 'RemoveItem', '{"product": "spoon"}');

-- A client that did not hear the answer asks again with the same id: it gets the first answer, and nothing happens twice.
SELECT execute_command('cart-42', 'RemoveItem', '{"product": "mug"}', command_id => '5d1f4c1e-7c3d-4a52-9c6e-2a1b9a3d0c11');
SELECT execute_command('cart-42', 'RemoveItem', '{"product": "mug"}', command_id => '5d1f4c1e-7c3d-4a52-9c6e-2a1b9a3d0c11');

SELECT execute_command('cart-42', 'CheckOut');
SELECT * FROM try_command('cart-42', 'AddItem', '{"product": "mug", "quantity": 1}');

-- The cart at any time: its state when the tea came, each step, and since when there has been no mug.
SELECT aggregate_state('cart-42', at_version => 2);
SELECT version, type, state_before -> 'items' AS before, state_after -> 'items' AS after FROM replay('cart-42');
SELECT find_first_version('cart-42', 'exists($.items.tea) && !exists($.items.mug)');
SELECT command, payload, accepted, reason, first_version, last_version FROM command_log WHERE stream = 'cart-42' ORDER BY at;
