-- Event types: versions, schemas, validators, upcasters. C++: src/types.

CREATE TABLE chronicle_data.event_type (
    type text COLLATE "C" NOT NULL,
    version int NOT NULL,
    schema jsonb,                       -- JSON Schema, draft 7
    validator text,                     -- schema.function
    description text,
    owner text NOT NULL,                -- as whom the validator runs
    search_path text NOT NULL,          -- and with what
    registered_at timestamptz NOT NULL,
    CONSTRAINT event_type_pkey PRIMARY KEY (type, version)
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.event_type', '');

-- One step: from a version to the next.
CREATE TABLE chronicle_data.upcaster (
    type text COLLATE "C" NOT NULL,
    from_version int NOT NULL,
    upcast text NOT NULL,               -- schema.function
    owner text NOT NULL,
    search_path text NOT NULL,
    registered_at timestamptz NOT NULL,
    CONSTRAINT upcaster_pkey PRIMARY KEY (type, from_version)
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.upcaster', '');

CREATE FUNCTION chronicle.register_event_type(
    type text, schema jsonb DEFAULT NULL, validator text DEFAULT NULL, version int DEFAULT 1,
    description text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_register_event_type';
COMMENT ON FUNCTION chronicle.register_event_type(text, jsonb, text, int, text) IS
'Registers a version of an event type, or replaces it. From then on new events of the type carry the newest version (unless their metadata key schema_version says another one that is registered, or that an upcaster takes or makes) and must pass its checks, else CH004. What is stored already is not looked at.
schema: JSON Schema, draft 7, for the data; references within the schema only. validator: name of a function (data jsonb) returns text: NULL, or what is wrong; it runs as the caller of register_event_type. NULL: no such check. version: from 1.
Errors: 22004 NULL type; 22023 bad name or version, an invalid schema or one of another draft (path and reason in DETAIL); 42883 no function of that name and signature; 42939 reserved type; 42501 no operator, or another''s type.';

CREATE FUNCTION chronicle.register_upcaster(type text, from_version int, upcast text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_register_upcaster';
COMMENT ON FUNCTION chronicle.register_upcaster(text, int, text) IS
'Says how data of a version of an event type becomes data of the next version: every read then shows events as the newest version. Upcasters are chained, and stop where one is missing. What is stored stays as it is.
from_version: the version that it takes, from 1. upcast: name of a function (data jsonb) returns jsonb; it runs as the caller of register_upcaster.
Errors: 22004 NULL argument; 22023 bad name or version; 42883 no function of that name and signature; 42939 reserved type; 42501 no operator, or another''s type.';

-- For view events. They tell nothing that the caller may not read (src/types/upcast.cpp).
CREATE FUNCTION chronicle_data.upcast_version(type text, version int) RETURNS int
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'chronicle_upcast_version';
CREATE FUNCTION chronicle_data.upcast_data(global_position bigint) RETURNS jsonb
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'chronicle_upcast_data';

CREATE VIEW chronicle.event_types WITH (security_barrier) AS
SELECT COALESCE(t.type, u.type) AS type, COALESCE(t.version, u.from_version) AS version,
       COALESCE(t.version, u.from_version) = GREATEST(
           (SELECT max(n.version) FROM chronicle_data.event_type AS n WHERE n.type = COALESCE(t.type, u.type)),
           (SELECT max(n.from_version) + 1 FROM chronicle_data.upcaster AS n WHERE n.type = COALESCE(t.type, u.type)))
           AS newest,
       t.schema, t.validator, u.upcast AS upcaster, t.description,
       COALESCE(t.owner, u.owner) AS owner, COALESCE(t.registered_at, u.registered_at) AS registered_at
  FROM chronicle_data.event_type AS t
  FULL JOIN chronicle_data.upcaster AS u ON u.type = t.type AND u.from_version = t.version
 WHERE (SELECT chronicle_data.has_level('reader'))
    OR EXISTS (SELECT FROM chronicle_data.event_kind AS k
                WHERE k.type = COALESCE(t.type, u.type)
                  AND (chronicle_data.may_read(k.category) OR chronicle_data.may_append(k.category)));
COMMENT ON VIEW chronicle.event_types IS
'One row per registered version of an event type. Who was granted single categories sees the types of which there are events in them.';
COMMENT ON COLUMN chronicle.event_types.newest IS 'true: new events get this version, and reads upcast to it';
COMMENT ON COLUMN chronicle.event_types.schema IS 'JSON Schema, draft 7; NULL: none';
COMMENT ON COLUMN chronicle.event_types.validator IS 'function (data jsonb) returns text; NULL: none';
COMMENT ON COLUMN chronicle.event_types.upcaster IS 'function (data jsonb) returns jsonb that leads to the next version; NULL: none';
COMMENT ON COLUMN chronicle.event_types.owner IS 'the role as which the functions run';
GRANT SELECT ON chronicle.event_types TO PUBLIC;
