-- Access levels (contract, section 9): rows of role name and level, checked in C++ (src/access).

CREATE TABLE chronicle_data.access_level (
    role text NOT NULL PRIMARY KEY,
    level text NOT NULL CHECK (level IN ('reader', 'writer', 'operator', 'admin'))
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.access_level', '');

CREATE FUNCTION chronicle.grant_access(role regrole, level text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_grant_access';
COMMENT ON FUNCTION chronicle.grant_access(regrole, text) IS
'Gives a role a level in this database: reader, writer, operator or admin (cumulative; a role has one level, the highest that it was given).
role: an existing role. level: at most the caller''s own. Superusers and the extension''s owner are admins.
Errors: 22004 NULL argument; 22023 unknown level; 42501 the caller is no admin.';

CREATE FUNCTION chronicle.revoke_access(role regrole, level text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_revoke_access';
COMMENT ON FUNCTION chronicle.revoke_access(regrole, text) IS
'Takes a level, and those above it, from a role: it keeps the level below, or none.
Errors: 22004 NULL argument; 22023 unknown level; 42501 the caller is no admin.';

CREATE FUNCTION chronicle_data.has_level(level text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chronicle_has_level';
-- True for the owner's members, the role that started the run, and admins.
CREATE FUNCTION chronicle_data.sees_execution(owner text, started_by text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'chronicle_sees_execution';
