-- Replays: read models that are built beside the live ones. Times are microseconds since the Unix epoch.
CREATE TABLE penstock_replays (
    key TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    store TEXT NOT NULL,
    projections TEXT NOT NULL,                -- JSON: ["name", ...], sorted
    versions TEXT NOT NULL,                   -- JSON: {"name": version}, what the copy is built for
    former_versions TEXT NOT NULL DEFAULT '{}',
    place TEXT NOT NULL DEFAULT '',           -- the copy's schema or file
    tables TEXT NOT NULL DEFAULT '[]',        -- JSON: [[schema or null, name], ...]
    part TEXT NOT NULL DEFAULT '{}',
    processes INTEGER NOT NULL DEFAULT 1,
    is_fed INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 1,         -- goes up with each change; moved by compare-and-set
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    verified_at INTEGER,
    verified_position INTEGER,
    is_verified INTEGER NOT NULL DEFAULT 0,
    promoted_at INTEGER,
    override TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT ''
);

-- Every stretch of history that was played to a copy.
CREATE TABLE penstock_replay_plays (
    id INTEGER PRIMARY KEY,
    replay TEXT NOT NULL,
    from_position INTEGER NOT NULL,
    to_position INTEGER,
    started_at INTEGER NOT NULL,
    finished_at INTEGER,
    outcome TEXT NOT NULL DEFAULT 'running',
    events INTEGER NOT NULL DEFAULT 0,
    who TEXT NOT NULL DEFAULT '',
    token TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT ''
);

CREATE INDEX penstock_replay_plays_by_replay ON penstock_replay_plays (replay, id);

-- What comparisons with the live read model found; the whole report as JSON.
CREATE TABLE penstock_replay_reports (
    id INTEGER PRIMARY KEY,
    replay TEXT NOT NULL,
    at INTEGER NOT NULL,
    position INTEGER NOT NULL,
    is_green INTEGER NOT NULL,
    report TEXT NOT NULL
);

CREATE INDEX penstock_replay_reports_by_replay ON penstock_replay_reports (replay, id);

-- Who did what to a replay, when and why; it outlives the replay.
CREATE TABLE penstock_replay_log (
    id INTEGER PRIMARY KEY,
    replay TEXT NOT NULL,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    which TEXT NOT NULL DEFAULT '',
    why TEXT NOT NULL DEFAULT ''
);
