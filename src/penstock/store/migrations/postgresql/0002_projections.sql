-- How far each generation of a projection has come. The row is the fence: a page locks it first and moves it last.
CREATE TABLE penstock_checkpoints (
    projection text NOT NULL,
    generation text NOT NULL DEFAULT '',
    kind text NOT NULL,
    source text NOT NULL,
    version integer NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0,
    sources text NOT NULL DEFAULT '[]',
    behind text NOT NULL DEFAULT '{}',
    former text NOT NULL DEFAULT '{}',
    state bytea,
    schema_name text,
    tables text NOT NULL DEFAULT '[]',
    updated_at bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (projection, generation)
) WITH (fillfactor = 50);

-- What people want of it, who runs it, and what went wrong. Times are microseconds since the Unix epoch, by this server.
CREATE TABLE penstock_projections (
    projection text NOT NULL,
    generation text NOT NULL DEFAULT '',
    plan text NOT NULL DEFAULT '{}',
    wanted text NOT NULL DEFAULT 'run',
    request text NOT NULL DEFAULT '',
    options text NOT NULL DEFAULT '{}',
    reload_at bigint NOT NULL DEFAULT 0,
    holder text,
    token text,
    lease_until bigint NOT NULL DEFAULT 0,
    session text,
    deaths integer NOT NULL DEFAULT 0,
    died_at bigint,
    suspect bigint,
    attempts integer NOT NULL DEFAULT 0,
    retry_at bigint NOT NULL DEFAULT 0,
    stands integer NOT NULL DEFAULT 0,
    error text,
    error_class text,
    error_type text,
    error_position bigint,
    error_event_id text,
    failed_at bigint,
    PRIMARY KEY (projection, generation)
) WITH (fillfactor = 50);

-- Events that a projection could not handle, and those that wait behind them.
CREATE TABLE penstock_projection_failures (
    id text PRIMARY KEY,
    projection text NOT NULL,
    generation text NOT NULL DEFAULT '',
    position bigint NOT NULL,
    lane text NOT NULL,
    event_id text NOT NULL,
    event_name text NOT NULL,
    stream text NOT NULL,
    key text,
    error_class text NOT NULL DEFAULT '',
    error_type text NOT NULL DEFAULT '',
    message text NOT NULL DEFAULT '',
    traceback text NOT NULL DEFAULT '',
    attempts integer NOT NULL DEFAULT 0,
    state text NOT NULL,
    wanted integer NOT NULL DEFAULT 0,
    first_at bigint NOT NULL,
    last_at bigint NOT NULL,
    UNIQUE (projection, generation, position)
);

CREATE INDEX penstock_projection_failures_by_lane
    ON penstock_projection_failures (projection, generation, lane, position);

-- What people did to projections: who, when, and what it was about.
CREATE TABLE penstock_projection_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    projection text NOT NULL,
    generation text NOT NULL DEFAULT '',
    at bigint NOT NULL,
    who text NOT NULL,
    what text NOT NULL,
    which text NOT NULL DEFAULT '',
    why text NOT NULL DEFAULT '',
    events bigint NOT NULL DEFAULT 0
);

CREATE INDEX penstock_projection_log_by_projection ON penstock_projection_log (projection, id);
