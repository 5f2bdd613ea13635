-- When a row that is sent again was confirmed for the first time; NULL for one that never was.
ALTER TABLE freehold_outbox ADD COLUMN sent_at INTEGER;
-- What was confirmed, for as long as it may be sent again.
CREATE TABLE freehold_outbox_sent (
    position INTEGER PRIMARY KEY,
    partition INTEGER NOT NULL,
    id TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    document BLOB NOT NULL,
    sent_at INTEGER NOT NULL
);
CREATE INDEX freehold_outbox_sent_at ON freehold_outbox_sent (sent_at);
