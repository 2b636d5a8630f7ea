-- Replays: read models that are built beside the live ones. Times are microseconds since the Unix epoch.
CREATE TABLE penstock_replays (
    key text PRIMARY KEY,
    state text NOT NULL,
    store text NOT NULL,
    projections text NOT NULL,                -- JSON: ["name", ...], sorted
    versions text NOT NULL,                   -- JSON: {"name": version}, what the copy is built for
    former_versions text NOT NULL DEFAULT '{}',
    place text NOT NULL DEFAULT '',           -- the copy's schema or file
    tables text NOT NULL DEFAULT '[]',        -- JSON: [[schema or null, name], ...]
    part text NOT NULL DEFAULT '{}',
    processes integer NOT NULL DEFAULT 1,
    is_fed integer NOT NULL DEFAULT 0,
    revision bigint NOT NULL DEFAULT 1,         -- goes up with each change; moved by compare-and-set
    created_at bigint NOT NULL,
    created_by text NOT NULL DEFAULT '',
    verified_at bigint,
    verified_position bigint,
    is_verified integer NOT NULL DEFAULT 0,
    promoted_at bigint,
    override text NOT NULL DEFAULT '',
    error text NOT NULL DEFAULT ''
);

-- Every stretch of history that was played to a copy.
CREATE TABLE penstock_replay_plays (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    replay text NOT NULL,
    from_position bigint NOT NULL,
    to_position bigint,
    started_at bigint NOT NULL,
    finished_at bigint,
    outcome text NOT NULL DEFAULT 'running',
    events bigint NOT NULL DEFAULT 0,
    who text NOT NULL DEFAULT '',
    token text NOT NULL DEFAULT '',
    error text NOT NULL DEFAULT ''
);

CREATE INDEX penstock_replay_plays_by_replay ON penstock_replay_plays (replay, id);

-- What comparisons with the live read model found; the whole report as JSON.
CREATE TABLE penstock_replay_reports (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    replay text NOT NULL,
    at bigint NOT NULL,
    position bigint NOT NULL,
    is_green integer NOT NULL,
    report text NOT NULL
);

CREATE INDEX penstock_replay_reports_by_replay ON penstock_replay_reports (replay, id);

-- Who did what to a replay, when and why; it outlives the replay.
CREATE TABLE penstock_replay_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    replay text NOT NULL,
    at bigint NOT NULL,
    who text NOT NULL,
    what text NOT NULL,
    which text NOT NULL DEFAULT '',
    why text NOT NULL DEFAULT ''
);

-- Where the generations of read models are that live elsewhere; exchanged with the checkpoints.
CREATE TABLE penstock_replay_places (
    projection text NOT NULL,
    generation text NOT NULL,
    place text NOT NULL,
    switches bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (projection, generation)
);
