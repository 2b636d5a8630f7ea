-- The relays out of this store: what tells each from one of the same name out of another store, and how far it has come
-- as far as is known here. Events above that are still needed. Times are microseconds since the Unix epoch.
CREATE TABLE penstock_relays (
    relay TEXT PRIMARY KEY,
    token TEXT NOT NULL,
    position INTEGER NOT NULL DEFAULT 0,
    updated_at INTEGER NOT NULL DEFAULT 0
);
