-- Which steps were applied, which version of each function is there, and what the database was made with and for whom.
-- Made with the first step, and by no step itself.
CREATE TABLE IF NOT EXISTS freehold_migration (
    owner VARCHAR(100) NOT NULL,
    name VARCHAR(512) NOT NULL,
    digest VARCHAR(100) NOT NULL,
    applied_at DATETIME(6) NOT NULL,
    PRIMARY KEY (owner, name)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS freehold_object (
    name VARCHAR(500) NOT NULL PRIMARY KEY,
    digest VARCHAR(100) NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS freehold_meta (
    name VARCHAR(100) NOT NULL PRIMARY KEY,
    value VARCHAR(500) NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
