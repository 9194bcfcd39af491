-- Access (contract, section 9): rows of role names with a level, or with a privilege on one category; checked in C++
-- (src/access).

CREATE TABLE chronicle_data.access_level (
    role text NOT NULL PRIMARY KEY,
    level text NOT NULL CHECK (level IN ('reader', 'writer', 'operator', 'admin'))
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.access_level', '');

CREATE TABLE chronicle_data.access_category (
    role text NOT NULL,
    category text COLLATE "C" NOT NULL,
    privilege text NOT NULL CHECK (privilege IN ('read', 'append')),
    PRIMARY KEY (role, category, privilege)
);
SELECT pg_catalog.pg_extension_config_dump('chronicle_data.access_category', '');

CREATE FUNCTION chronicle.grant_access(role regrole, level text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_grant_access';
COMMENT ON FUNCTION chronicle.grant_access(regrole, text) IS
'Gives a role a level in this database: reader, writer, operator or admin (cumulative; a role has one level, the highest that it was given).
role: an existing role. level: at most the caller''s own. Superusers and the extension''s owner are admins.
Errors: 22004 NULL argument; 22023 unknown level; 42704 no such role; 42501 the caller is no admin.';

CREATE FUNCTION chronicle.revoke_access(role regrole, level text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_revoke_access';
COMMENT ON FUNCTION chronicle.revoke_access(regrole, text) IS
'Takes a level, and those above it, from a role: it keeps the level below, or none.
Errors: 22004 NULL argument; 22023 unknown level; 42704 no such role; 42501 the caller is no admin.';

CREATE FUNCTION chronicle.grant_category(role regrole, category text, privilege text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_grant_category';
COMMENT ON FUNCTION chronicle.grant_category(regrole, text, text) IS
'Gives a role a privilege on one category, for roles that shall not see them all: read (its events, streams and types), or append.
role: an existing role. category: a name without "-", there or not. privilege: read or append; neither includes the other. A level of the role stands beside it.
Errors: 22004 NULL argument; 22023 bad category or unknown privilege; 42704 no such role; 42501 the caller is no admin; 42939 category workflow, or one with $ first.';

CREATE FUNCTION chronicle.revoke_category(role regrole, category text, privilege text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_revoke_category';
COMMENT ON FUNCTION chronicle.revoke_category(regrole, text, text) IS
'Takes a privilege on one category from a role; nothing happens when it has none. What its level gives stays.
Errors: as grant_category.';

CREATE FUNCTION chronicle.set_owner(kind text, name text, role regrole) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'chronicle_set_owner';
COMMENT ON FUNCTION chronicle.set_owner(text, text, regrole) IS
'Gives a workflow, a projection or an aggregate to another role, which its code runs as from then on. Runs keep the owner that they began with. A rebuild of the projection that is under way is cancelled.
kind: workflow, projection, aggregate. role: an operator, and the caller is one of its members.
Errors: 22004 NULL argument; 22023 unknown kind; 42704 no such object or role; 42501 neither its owner nor an admin, no member of the role, or the role is no operator.';

CREATE FUNCTION chronicle_data.has_level(level text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chronicle_has_level';
-- True for readers of all, and for who was granted the category. A stream is seen by who reads its category; what happened
-- to it ($streams-<name>), too.
CREATE FUNCTION chronicle_data.may_read(category text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chronicle_may_read';
CREATE FUNCTION chronicle_data.may_append(category text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chronicle_may_append';
CREATE FUNCTION chronicle_data.may_read_stream(stream text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'chronicle_may_read_stream';
-- True for the owner's members, the role that started the run, and admins.
CREATE FUNCTION chronicle_data.sees_execution(owner text, started_by text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'chronicle_sees_execution';
