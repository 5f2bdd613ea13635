-- What is known of a materialised view: one row each. `digest` is of the definition that it was built from.
CREATE TABLE freehold_view (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    refreshed_at INTEGER,
    duration_seconds REAL,
    attempted_at INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    error TEXT NOT NULL
);
