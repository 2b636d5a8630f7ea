-- The events that listeners have handled, noted in the transaction of their effects. Times are microseconds since the
-- Unix epoch.
CREATE TABLE penstock_inbox (
    receiver TEXT NOT NULL,
    event_id TEXT NOT NULL,
    handled_at INTEGER NOT NULL,
    PRIMARY KEY (receiver, event_id)
) WITHOUT ROWID;

CREATE INDEX penstock_inbox_by_time ON penstock_inbox (handled_at);
