-- What is known of a materialized view: one row each. `digest` is of the definition that it was built from.
CREATE TABLE IF NOT EXISTS freehold_view (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    digest VARCHAR(100) NOT NULL,
    refreshed_at DATETIME(6),
    duration_seconds DOUBLE,
    attempted_at DATETIME(6) NOT NULL,
    failures INT NOT NULL,
    error TEXT NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
