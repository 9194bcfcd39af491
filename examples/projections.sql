-- Three read models of a shop, one of each kind:
--
--   daily_sales    a table that one SQL statement keeps up, batch by batch (async)
--   cart_summary   a state for each cart, which a function folds (async)
--   one_account    a guard: an e-mail address may be registered once, or the append fails (inline)
--
-- Paste it into psql, in a database with the extension.
SET search_path = shop, public, chronicle;

CREATE SCHEMA shop;

-- --- sales by day: one statement over the new events; it groups, because a batch holds many events of a day ---

CREATE TABLE shop.daily_sales (day date PRIMARY KEY, orders bigint NOT NULL, amount numeric NOT NULL);

SELECT create_projection('daily_sales', categories => '{order}', types => '{OrderPlaced}',
    options => '{"target": "daily_sales"}', statement => $$
    INSERT INTO daily_sales AS d
    SELECT (data ->> 'day')::date, count(*), sum((data ->> 'amount')::numeric) FROM new_events GROUP BY 1
    ON CONFLICT (day) DO UPDATE SET orders = d.orders + excluded.orders, amount = d.amount + excluded.amount $$);

-- --- a summary of each cart: the state so far and one event make the next state ---

CREATE FUNCTION shop.summarize(state jsonb, event chronicle.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    CASE event.type
    WHEN 'ItemAdded' THEN
        RETURN state || jsonb_build_object(
            'items', (state ->> 'items')::int + (event.data ->> 'quantity')::int,
            'total', (state ->> 'total')::numeric + (event.data ->> 'quantity')::int * (event.data ->> 'price')::numeric);
    WHEN 'CheckedOut' THEN
        RETURN state || '{"open": false}';
    ELSE
        RETURN state;
    END CASE;
END $$;

SELECT create_projection('cart_summary', handler => 'summarize', categories => '{cart}', partition_by => 'stream',
    initial_state => '{"items": 0, "total": 0, "open": true}');

-- --- one account for each address: in the appender's transaction, by a unique index ---

CREATE TABLE shop.account (email text PRIMARY KEY, customer text NOT NULL);

CREATE FUNCTION shop.register(event chronicle.event) RETURNS void LANGUAGE sql
    AS $$ INSERT INTO shop.account VALUES (lower(event.data ->> 'email'), event.stream) $$;

SELECT create_projection('one_account', handler => 'register', mode => 'inline', types => '{CustomerRegistered}');

-- --- a day in the shop ---

CREATE FUNCTION shop.sign_up(customer text, email text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN 'version ' || append_event('customer-' || customer, 'CustomerRegistered', jsonb_build_object('email', email));
EXCEPTION WHEN SQLSTATE 'CH010' THEN -- nothing of it is stored
    RETURN sqlerrm;
END $$;

SELECT sign_up('1', 'ann@example.org');
SELECT sign_up('2', 'Ann@example.org');
SELECT append_events('cart-1', '[{"type": "ItemAdded", "data": {"product": "lamp", "quantity": 2, "price": 20}},
                                 {"type": "ItemAdded", "data": {"product": "mug", "quantity": 1, "price": 7.5}},
                                 {"type": "CheckedOut"}]');
SELECT append_event('cart-2', 'ItemAdded', '{"product": "mug", "quantity": 3, "price": 7.5}');
SELECT append_event('order-1', 'OrderPlaced', '{"day": "2024-05-01", "amount": 47.5}'),
       append_event('order-2', 'OrderPlaced', '{"day": "2024-05-01", "amount": 12}'),
       append_event('order-3', 'OrderPlaced', '{"day": "2024-05-02", "amount": 5}');

SELECT wait_for_projection('daily_sales'), wait_for_projection('cart_summary');

SELECT to_char(day, 'YYYY-MM-DD') AS day, orders, amount FROM shop.daily_sales ORDER BY 1;
SELECT partition AS cart, state FROM projection_states WHERE projection = 'cart_summary' ORDER BY 1;
SELECT * FROM shop.account;
SELECT name, mode, kind, status, lag_events, events_processed FROM projections ORDER BY name;

-- Is what is kept what the events say? Differences only.
SELECT * FROM verify_projection('cart_summary');
