-- One row for each instance, updated at every step. `due_at` is its timer.
CREATE TABLE freehold_saga (
    id TEXT PRIMARY KEY,
    definition TEXT NOT NULL,
    definition_version INTEGER NOT NULL,
    key TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    status TEXT NOT NULL,
    version INTEGER NOT NULL,
    document BLOB NOT NULL,
    failure TEXT,
    due_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE INDEX freehold_saga_due ON freehold_saga (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX freehold_saga_newest ON freehold_saga (created_at, id);
-- Sagas are searched by status or definition, the newest first, and by their cause.
CREATE INDEX freehold_saga_status ON freehold_saga (definition, status, created_at, id);
CREATE INDEX freehold_saga_state ON freehold_saga (status, created_at, id);
CREATE INDEX freehold_saga_correlation ON freehold_saga (correlation_id);
CREATE INDEX freehold_saga_key ON freehold_saga (key);
CREATE INDEX freehold_saga_ended ON freehold_saga (updated_at)
    WHERE status IN ('completed', 'compensated', 'terminated');
CREATE TABLE freehold_saga_journal (
    saga_id TEXT NOT NULL,
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    step TEXT NOT NULL,
    what TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX freehold_saga_journal_saga ON freehold_saga_journal (saga_id, ordinal);
