-- Which steps were applied, which version of each function is there, and what the database was made with and for whom.
-- Made with the first step, and by no step itself.
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
