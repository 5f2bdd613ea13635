-- Staged messages; the relay deletes them. AUTOINCREMENT: a position is never used twice, even after the table was
-- empty. `sent_at`: the time of the first confirmation, of a message that is sent again; else NULL.
CREATE TABLE freehold_outbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    partition INTEGER NOT NULL,
    id TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    document BLOB NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    blocked_until INTEGER,
    reason TEXT,
    staged_at INTEGER NOT NULL,
    sent_at INTEGER
);
CREATE INDEX freehold_outbox_blocked ON freehold_outbox (key, blocked_until) WHERE blocked_until IS NOT NULL;
-- Pending watermarks: the last published position of a partition, which no message on the broker has announced yet. The
-- next relay publishes it. One row for each partition.
CREATE TABLE freehold_outbox_watermark (
    partition INTEGER PRIMARY KEY,
    position INTEGER NOT NULL
);
