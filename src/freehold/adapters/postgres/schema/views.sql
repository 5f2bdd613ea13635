-- The state of materialized views: one row for each. `digest` is that of the definition that the view was built from.
CREATE TABLE freehold_view (
    name text PRIMARY KEY,
    digest text NOT NULL,
    refreshed_at timestamptz,
    duration_seconds float8,
    attempted_at timestamptz NOT NULL,
    failures integer NOT NULL,
    error text NOT NULL
);
