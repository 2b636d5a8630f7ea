-- How far each generation of a projection has come. The row is the fence: a page locks it first and moves it last.
CREATE TABLE penstock_checkpoints (
    projection TEXT NOT NULL,
    generation TEXT NOT NULL DEFAULT '',
    kind TEXT NOT NULL,
    source TEXT NOT NULL,
    version INTEGER NOT NULL,
    position INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER NOT NULL DEFAULT 0,
    sources TEXT NOT NULL DEFAULT '[]',
    behind TEXT NOT NULL DEFAULT '{}',
    former TEXT NOT NULL DEFAULT '{}',
    state BLOB,
    schema_name TEXT,
    tables TEXT NOT NULL DEFAULT '[]',
    updated_at INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (projection, generation)
);

-- What people want of it, who runs it, and what went wrong. Times are microseconds since the Unix epoch.
CREATE TABLE penstock_projections (
    projection TEXT NOT NULL,
    generation TEXT NOT NULL DEFAULT '',
    plan TEXT NOT NULL DEFAULT '{}',
    wanted TEXT NOT NULL DEFAULT 'run',
    request TEXT NOT NULL DEFAULT '',
    options TEXT NOT NULL DEFAULT '{}',
    reload_at INTEGER NOT NULL DEFAULT 0,
    holder TEXT,
    token TEXT,
    lease_until INTEGER NOT NULL DEFAULT 0,
    session TEXT,
    deaths INTEGER NOT NULL DEFAULT 0,
    died_at INTEGER,
    suspect INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    retry_at INTEGER NOT NULL DEFAULT 0,
    stands INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    error_class TEXT,
    error_type TEXT,
    error_position INTEGER,
    error_event_id TEXT,
    failed_at INTEGER,
    PRIMARY KEY (projection, generation)
);

-- Events that a projection could not handle, and those that wait behind them.
CREATE TABLE penstock_projection_failures (
    id TEXT PRIMARY KEY,
    projection TEXT NOT NULL,
    generation TEXT NOT NULL DEFAULT '',
    position INTEGER NOT NULL,
    lane TEXT NOT NULL,
    event_id TEXT NOT NULL,
    event_name TEXT NOT NULL,
    stream TEXT NOT NULL,
    key TEXT,
    error_class TEXT NOT NULL DEFAULT '',
    error_type TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT '',
    traceback TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL,
    wanted INTEGER NOT NULL DEFAULT 0,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    UNIQUE (projection, generation, position)
);

CREATE INDEX penstock_projection_failures_by_lane
    ON penstock_projection_failures (projection, generation, lane, position);

-- What people did to projections: who, when, and what it was about.
CREATE TABLE penstock_projection_log (
    id INTEGER PRIMARY KEY,
    projection TEXT NOT NULL,
    generation TEXT NOT NULL DEFAULT '',
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    which TEXT NOT NULL DEFAULT '',
    why TEXT NOT NULL DEFAULT '',
    events INTEGER NOT NULL DEFAULT 0
);

CREATE INDEX penstock_projection_log_by_projection ON penstock_projection_log (projection, id);
