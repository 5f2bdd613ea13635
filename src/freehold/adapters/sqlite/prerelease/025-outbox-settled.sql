-- The last published position of a partition, which no message on the broker has announced yet. One row for each
-- partition.
CREATE TABLE freehold_outbox_owed (
    partition INTEGER PRIMARY KEY,
    position INTEGER NOT NULL
);
