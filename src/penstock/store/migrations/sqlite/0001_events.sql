-- Events, and what is said about their streams.

CREATE TABLE penstock_events (
    -- AUTOINCREMENT: a position is never handed out again, even when the newest events were deleted.
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    stream TEXT NOT NULL,
    category TEXT NOT NULL,
    version INTEGER NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    key TEXT,
    schema_version INTEGER NOT NULL,
    -- A body of JSON, as it was written.
    data TEXT,
    -- A body of any other content type.
    body BLOB,
    -- The envelope as JSON.
    meta TEXT NOT NULL,
    -- When it was appended, in microseconds since the Unix epoch.
    recorded_at INTEGER NOT NULL,
    UNIQUE (id),
    UNIQUE (stream, version)
);

-- An index ends in the position, so this one reads a category from any position on.
CREATE INDEX penstock_events_by_category ON penstock_events (category);

-- Only streams of which something is to be remembered beside their events have a row.
CREATE TABLE penstock_streams (
    name TEXT PRIMARY KEY,
    -- The highest version that was ever deleted: versions go on from there.
    version INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    max_count INTEGER,
    max_age_us INTEGER,
    extra TEXT NOT NULL DEFAULT '{}',
    -- Not 0: nothing can be appended any more.
    deleted INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
