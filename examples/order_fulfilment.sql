-- Orders: reserve the goods, charge the card, then ship and write to the customer at the same time.
--
--   order ── reserve ─┬─ in stock ───── charge ─┬─ ship ────┬─ close
--                     │                         └─ confirm ─┘
--                     └─ out of stock ─ backorder
--
-- The card terminal is often busy (charge is tried again), a card may be declined (the run fails), and a letter that
-- cannot be sent holds no order up (confirm may fail). Paste it into psql, in a database with the extension.
SET search_path = shop, public, chronicle;

CREATE SCHEMA shop;
CREATE TABLE shop.stock (item text PRIMARY KEY, available int NOT NULL CHECK (available >= 0));
CREATE TABLE shop.customer_order (
    order_id int PRIMARY KEY,
    item text NOT NULL REFERENCES shop.stock,
    quantity int NOT NULL,
    price numeric NOT NULL,
    card text NOT NULL,
    mail text,
    status text NOT NULL DEFAULT 'new'
);
CREATE TABLE shop.payment (order_id int PRIMARY KEY, amount numeric NOT NULL);
CREATE TABLE shop.shipment (order_id int PRIMARY KEY, item text NOT NULL, quantity int NOT NULL);
CREATE TABLE shop.outbox (recipient text NOT NULL, message text NOT NULL);

INSERT INTO shop.stock VALUES ('lamp', 10), ('chair', 1);
INSERT INTO shop.customer_order VALUES
    (1, 'lamp', 2, 40, 'good', 'ann@example.org'),
    (2, 'chair', 4, 360, 'good', 'bob@example.org'),
    (3, 'lamp', 1, 20, 'good', NULL),
    (4, 'lamp', 3, 60, 'expired', 'eve@example.org');

-- The card terminal answers every second call. A sequence counts the calls, because it is the one thing that a failed
-- attempt, which is undone, leaves behind.
CREATE SEQUENCE shop.terminal_call;
CREATE FUNCTION shop.charge_card(card text, amount numeric) RETURNS numeric LANGUAGE plpgsql AS $$
BEGIN
    IF card = 'expired' THEN
        RAISE EXCEPTION 'the card was declined' USING ERRCODE = 'P0001', DETAIL = 'expired';
    ELSIF nextval('shop.terminal_call') % 2 = 1 THEN
        RAISE EXCEPTION 'the card terminal is busy' USING ERRCODE = '08006';
    END IF;
    RETURN amount;
END $$;

SELECT * FROM create_workflow($$ {
  "id": "order-fulfilment",
  "nodes": [
    { "id": "order", "nodeType": "sql.query",
      "config": { "sql": "SELECT * FROM customer_order WHERE order_id = :order_id",
                  "parameters": { "order_id": { "$": "$.input.order_id" } } } },

    { "id": "reserve", "nodeType": "sql.query",
      "config": { "sql": "WITH taken AS (UPDATE stock AS s SET available = available - i.quantity FROM input AS i WHERE s.item = i.item AND s.available >= i.quantity RETURNING s.item) SELECT i.*, EXISTS (SELECT FROM taken) AS reserved FROM input AS i" } },

    { "id": "charge", "nodeType": "sql.query", "own_transaction": true,
      "retry": { "max_attempts": 3, "initial_interval": "100ms", "non_retryable": ["P0001"] },
      "config": { "sql": "INSERT INTO payment SELECT order_id, charge_card(card, price) FROM input RETURNING order_id, amount" } },

    { "id": "ship", "nodeType": "sql.query",
      "config": { "sql": "INSERT INTO shipment SELECT order_id, item, quantity FROM \"order\" RETURNING order_id" } },

    { "id": "confirm", "nodeType": "sql.query", "on_failure": "continue",
      "config": { "sql": "INSERT INTO outbox SELECT o.mail, format('%s paid for order %s', i.amount, i.order_id) FROM input AS i JOIN \"order\" AS o USING (order_id)" } },

    { "id": "close", "nodeType": "sql.query",
      "config": { "sql": "UPDATE customer_order AS o SET status = 'shipped' FROM ship AS s WHERE o.order_id = s.order_id" } },

    { "id": "backorder", "nodeType": "sql.query",
      "config": { "sql": "UPDATE customer_order AS o SET status = 'waits for goods' FROM input AS i WHERE o.order_id = i.order_id" } }
  ],
  "edges": [
    { "source": "order", "target": "reserve" },
    { "source": "reserve", "target": "charge", "condition": "$.reserved == true" },
    { "source": "reserve", "target": "backorder", "condition": "$.reserved == false" },
    { "source": "charge", "target": "ship" },
    { "source": "charge", "target": "confirm" },
    { "source": "ship", "target": "close" },
    { "source": "confirm", "target": "close" }
  ]
} $$);

-- One run for each order, one after the other.
SELECT execute_workflow('order-fulfilment', '{"order_id": 1}') AS order_1 \gset
SELECT wait_for_execution(:'order_1');
SELECT execute_workflow('order-fulfilment', '{"order_id": 2}') AS order_2 \gset
SELECT wait_for_execution(:'order_2');
SELECT execute_workflow('order-fulfilment', '{"order_id": 3}') AS order_3 \gset
SELECT wait_for_execution(:'order_3');
SELECT execute_workflow('order-fulfilment', '{"order_id": 4}') AS order_4 \gset
SELECT wait_for_execution(:'order_4');

-- What became of the orders. The lamps of order 4 stay reserved: what a node did is kept when a later one fails.
SELECT order_id, item, quantity, status FROM shop.customer_order ORDER BY order_id;
SELECT * FROM shop.stock ORDER BY item;
SELECT * FROM shop.payment ORDER BY order_id;
SELECT * FROM shop.shipment ORDER BY order_id;
SELECT * FROM shop.outbox ORDER BY recipient;

-- Which way each order went. skipped: no edge led there; cancelled: the run failed before.
SELECT node_id,
       max(status) FILTER (WHERE execution_id = :'order_1') AS "order 1",
       max(status) FILTER (WHERE execution_id = :'order_2') AS "order 2",
       max(status) FILTER (WHERE execution_id = :'order_3') AS "order 3",
       max(status) FILTER (WHERE execution_id = :'order_4') AS "order 4"
  FROM node_executions WHERE workflow_id = 'order-fulfilment'
 GROUP BY node_id ORDER BY array_position('{order,reserve,charge,ship,confirm,close,backorder}', node_id::text);

-- The attempts that failed: calls of a busy terminal, a letter without an address, and a declined card.
SELECT e.input ->> 'order_id' AS "order", e.status AS run, f.node_id, f.attempt, f.sqlstate, f.error
  FROM execution_failures AS f JOIN executions AS e USING (execution_id)
 WHERE f.workflow_id = 'order-fulfilment' ORDER BY 1, f.failed_at;
