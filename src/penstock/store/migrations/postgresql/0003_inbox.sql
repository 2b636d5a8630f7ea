-- The events that listeners have handled, noted in the transaction of their effects. Times are microseconds since the
-- Unix epoch.
CREATE TABLE penstock_inbox (
    receiver text NOT NULL,
    event_id text NOT NULL,
    handled_at bigint NOT NULL,
    PRIMARY KEY (receiver, event_id)
);

CREATE INDEX penstock_inbox_by_time ON penstock_inbox (handled_at);
