-- Events are kept for ever. AUTOINCREMENT: a position is never used twice.
CREATE TABLE freehold_event (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,
    category TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    type TEXT NOT NULL,
    schema_version INTEGER NOT NULL,
    id TEXT NOT NULL,
    data BLOB NOT NULL,
    correlation_id TEXT NOT NULL,
    causation_id TEXT,
    hlc INTEGER NOT NULL,
    trace_parent TEXT,
    subject_key TEXT,
    headers BLOB,
    recorded_at INTEGER NOT NULL,
    UNIQUE (stream, version)
);
CREATE INDEX freehold_event_type ON freehold_event (type, position);
CREATE INDEX freehold_event_category ON freehold_event (category, position);
CREATE INDEX freehold_event_time ON freehold_event (recorded_at, position);
