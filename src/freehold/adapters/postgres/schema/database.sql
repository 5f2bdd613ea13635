-- The record: the applied steps, the version of each function, and facts about the database (partitions, owner,
-- schema). These tables are created together with the first step; no step creates them.
CREATE TABLE IF NOT EXISTS freehold_migration (
    owner text NOT NULL,
    name text NOT NULL,
    digest text NOT NULL,
    applied_at timestamptz NOT NULL,
    PRIMARY KEY (owner, name)
);
CREATE TABLE IF NOT EXISTS freehold_object (
    name text NOT NULL PRIMARY KEY,
    digest text NOT NULL
);
CREATE TABLE IF NOT EXISTS freehold_meta (
    name text NOT NULL PRIMARY KEY,
    value text NOT NULL
);
