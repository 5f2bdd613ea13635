-- Staged messages; the relay deletes them. AUTOINCREMENT: a position is never used twice, even after the table was
-- empty.
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
    staged_at INTEGER NOT NULL
);
CREATE INDEX freehold_outbox_blocked ON freehold_outbox (key, blocked_until) WHERE blocked_until IS NOT NULL;
