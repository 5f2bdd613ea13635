-- Scheduled messages; they are moved to the outbox when they are due. The position orders messages with the same due
-- time.
CREATE TABLE freehold_schedule (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    document BLOB NOT NULL,
    due_at INTEGER NOT NULL
);
CREATE INDEX freehold_schedule_due ON freehold_schedule (due_at, position);
CREATE INDEX freehold_schedule_name ON freehold_schedule (name, due_at);
