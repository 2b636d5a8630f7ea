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

-- A copy is a file of its own, and shadow tables here while it is exchanged with the live one. Its file has the same row,
-- by which it is known whether it still is what the row here says: no step relies on a commit over two files.
CREATE TABLE penstock_replay_files (
    replay TEXT PRIMARY KEY,
    content TEXT NOT NULL,                    -- names what the copy's file has to hold
    is_leaving INTEGER NOT NULL DEFAULT 0,    -- it is being removed
    shadows TEXT NOT NULL DEFAULT '{}',       -- JSON: how far the shadow tables follow the file
    former TEXT NOT NULL DEFAULT '[]'         -- JSON: the tables that the file is made again with, out of the shadow ones
);

-- Where the generations of read models are that live elsewhere; exchanged with the checkpoints.
CREATE TABLE penstock_replay_places (
    projection TEXT NOT NULL,
    generation TEXT NOT NULL,
    place TEXT NOT NULL,
    switches INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (projection, generation)
);
