-- The time of the first confirmation, of a message that is sent again; else NULL.
ALTER TABLE freehold_outbox ADD COLUMN sent_at INTEGER;
-- Sent messages, kept as long as they may be sent again.
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
