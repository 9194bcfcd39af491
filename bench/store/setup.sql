-- The tables that the store is compared with, and 1,000 streams with one event each in all of them.
-- `same` has the columns and indexes of chronicle_data.event (sql/install/20_store.sql): change them together.
-- What chronicle works out per event (time, id, kind, actor) is a default here, the cheapest there is.
CREATE EXTENSION chronicle;
CREATE SCHEMA bench;
CREATE SEQUENCE bench.version_seq START WITH 1000000000000000 CACHE 1000;
CREATE SEQUENCE bench.position_seq;

CREATE TABLE bench.plain (
    id bigint PRIMARY KEY DEFAULT nextval('bench.position_seq'),
    stream text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    type text COLLATE "C" NOT NULL,
    data jsonb NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (stream, version)
);

CREATE TABLE bench.same (
    global_position bigint PRIMARY KEY DEFAULT nextval('bench.position_seq'),
    stream_id bigint NOT NULL,
    version bigint NOT NULL DEFAULT nextval('bench.version_seq'),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    floor bigint NOT NULL DEFAULT 0,
    kind_id int NOT NULL DEFAULT 1,
    type_version int NOT NULL DEFAULT 1,
    event_id uuid NOT NULL DEFAULT '01900000-0000-7000-8000-000000000000',
    id_given boolean NOT NULL DEFAULT false,
    actor text NOT NULL DEFAULT 'postgres',
    data jsonb NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    UNIQUE (stream_id, version)
);
CREATE UNIQUE INDEX ON bench.same (event_id) WHERE id_given;
CREATE INDEX ON bench.same (kind_id, global_position);

CREATE TABLE bench.counter (stream_id bigint PRIMARY KEY, version bigint NOT NULL);
INSERT INTO bench.counter VALUES (1, 1);

INSERT INTO bench.same (stream_id, version, data) SELECT s, 1, :'data' FROM generate_series(1, 1000) s;
INSERT INTO bench.plain (stream, version, type, data)
SELECT 'account-' || s, 1, 'deposited', :'data' FROM generate_series(1, 1000) s;
SELECT count(chronicle.append_event('account-' || s, 'deposited', :'data')) FROM generate_series(1, 1000) s;
