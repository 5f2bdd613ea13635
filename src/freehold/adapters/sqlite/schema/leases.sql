-- One row for each partition or member.
CREATE TABLE freehold_lease (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL DEFAULT '',
    token INTEGER NOT NULL DEFAULT 0,
    heartbeat INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
