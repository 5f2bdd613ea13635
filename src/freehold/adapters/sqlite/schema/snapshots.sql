-- Snapshots: one row for each stream and kind, replaced in place. They are a cache: all may be deleted at any time.
CREATE TABLE freehold_snapshot (
    kind TEXT NOT NULL,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,
    schema_version INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    data BLOB NOT NULL,
    saved_at INTEGER NOT NULL,
    PRIMARY KEY (kind, stream)
);
