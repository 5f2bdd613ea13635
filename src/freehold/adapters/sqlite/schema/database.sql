-- The record: the applied steps, the version of each function, and facts about the database (partitions, owner,
-- schema). These tables are created together with the first step; no step creates them.
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
