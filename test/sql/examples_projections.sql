-- examples/projections.sql as it stands, in a database of its own.
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_shop;
SET client_min_messages = notice;
CREATE DATABASE regress_shop TEMPLATE template0 LOCALE 'C' ENCODING 'UTF8';
\c regress_shop
CREATE EXTENSION chronicle;
\getenv source PG_ABS_SRCDIR
\set example :source '/../examples/projections.sql'
\i :example

\c contrib_regression
DROP DATABASE regress_shop;
