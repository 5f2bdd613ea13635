-- The state of materialized views: one row for each. `digest` is that of the definition that the view was built from.
CREATE TABLE freehold_view (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    refreshed_at INTEGER,
    duration_seconds REAL,
    attempted_at INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    error TEXT NOT NULL
);
