-- Which table set the view of a read model shows: the suffix of its tables' names. Where a view reads two sets, its
-- parts have the condition that this row names them, so that a switch is part of a transaction although DDL is not.
CREATE TABLE IF NOT EXISTS freehold_read_model (
    name VARCHAR(200) NOT NULL PRIMARY KEY,
    table_set VARCHAR(60) NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
