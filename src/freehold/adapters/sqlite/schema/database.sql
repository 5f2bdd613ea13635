-- Which steps were applied, which version of each function is there, and what the database was made with and for whom.
-- Made with the first step, and by no step itself.
CREATE TABLE IF NOT EXISTS freehold_migration (
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    applied_at INTEGER NOT NULL,
    PRIMARY KEY (owner, name)
);
CREATE TABLE IF NOT EXISTS freehold_object (
    name TEXT NOT NULL PRIMARY KEY,
    digest TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS freehold_meta (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
