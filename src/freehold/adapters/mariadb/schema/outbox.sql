-- Rows are emptied by the relay. `sent_at`: when a row that is sent again was confirmed for the first time; NULL for one
-- that never was.
CREATE TABLE IF NOT EXISTS freehold_outbox (
    position BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    `partition` INT NOT NULL,
    id BINARY(16) NOT NULL,
    topic VARCHAR(512) NOT NULL,
    `key` VARCHAR(512) NOT NULL,
    document LONGBLOB NOT NULL,
    attempts INT NOT NULL DEFAULT 0,
    blocked_until DATETIME(6),
    reason TEXT,
    staged_at DATETIME(6) NOT NULL,
    sent_at DATETIME(6),
    INDEX freehold_outbox_partition (`partition`),
    INDEX freehold_outbox_blocked (blocked_until)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
-- Transactions that stage: a row each, in the same transaction. `floor`: the highest position that was committed when it
-- came. `last`: the last one that it drew. Swept by the relay, but for the highest.
CREATE TABLE IF NOT EXISTS freehold_outbox_marker (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    floor BIGINT NOT NULL,
    last BIGINT,
    INDEX freehold_outbox_marker_last (last)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
-- Published through here, and no message on the broker says so yet: the next relay publishes it. One row a partition.
CREATE TABLE IF NOT EXISTS freehold_outbox_watermark (
    `partition` INT NOT NULL PRIMARY KEY,
    position BIGINT NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
