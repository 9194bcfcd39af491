-- examples/order_fulfilment.sql as it stands, in a database of its own.
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_orders;
SET client_min_messages = notice;
CREATE DATABASE regress_orders TEMPLATE template0 LOCALE 'C' ENCODING 'UTF8';
\c regress_orders
CREATE EXTENSION chronicle;
\getenv source PG_ABS_SRCDIR
\set example :source '/../examples/order_fulfilment.sql'
\i :example

\c contrib_regression
DROP DATABASE regress_orders;
