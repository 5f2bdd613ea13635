-- Which place of a read model its view reads: the suffix of that place's tables. Where a view reads two places, this row
-- tells which of them counts, so that a switch is part of a transaction although DDL is not.
CREATE TABLE IF NOT EXISTS freehold_read_model (
    name VARCHAR(200) NOT NULL PRIMARY KEY,
    place VARCHAR(60) NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
