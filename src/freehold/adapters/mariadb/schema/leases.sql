-- One row a partition or a member, updated at every heartbeat.
CREATE TABLE IF NOT EXISTS freehold_lease (
    name VARCHAR(700) NOT NULL PRIMARY KEY,
    owner VARCHAR(500) NOT NULL DEFAULT '',
    token BIGINT NOT NULL DEFAULT 0,
    heartbeat BIGINT NOT NULL DEFAULT 0
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
