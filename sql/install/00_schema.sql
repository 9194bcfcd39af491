-- Schemas, and the check that the library was preloaded.
-- chronicle: what users call and read. chronicle_data: our tables and internal functions; nobody else touches them.
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE SCHEMA chronicle;
CREATE SCHEMA chronicle_data;

CREATE FUNCTION chronicle_data.require_preload() RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'chronicle_require_preload';
SELECT chronicle_data.require_preload();

GRANT USAGE ON SCHEMA chronicle TO PUBLIC;
-- Views of schema chronicle call checks that live there; tables have no grants.
GRANT USAGE ON SCHEMA chronicle_data TO PUBLIC;

COMMENT ON SCHEMA chronicle IS 'chronicle: event store and durable workflows (functions, views and types for users)';
COMMENT ON SCHEMA chronicle_data IS 'chronicle: internal tables and functions; not for direct use';
