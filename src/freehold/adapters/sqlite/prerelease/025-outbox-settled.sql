-- What a partition of the outbox owes: published through here, and no message on the broker says so yet. One row each.
CREATE TABLE freehold_outbox_owed (
    partition INTEGER PRIMARY KEY,
    position INTEGER NOT NULL
);
