-- What is known of a materialised view: one row each. `digest` is of the definition that it was built from.
CREATE TABLE freehold_view (
    name text PRIMARY KEY,
    digest text NOT NULL,
    refreshed_at timestamptz,
    duration_seconds float8,
    attempted_at timestamptz NOT NULL,
    failures integer NOT NULL,
    error text NOT NULL
);
