-- What was confirmed, for as long as it may be sent again. Rows come in order, are never changed, and go in order.
-- `losses`: how many losses had been recorded, of all brokers, when the message was fetched to be published.
CREATE TABLE IF NOT EXISTS freehold_outbox_sent (
    position BIGINT NOT NULL PRIMARY KEY,
    `partition` INT NOT NULL,
    id BINARY(16) NOT NULL,
    topic VARCHAR(512) NOT NULL,
    `key` VARCHAR(512) NOT NULL,
    document LONGBLOB NOT NULL,
    sent_at DATETIME(6) NOT NULL,
    losses BIGINT NOT NULL DEFAULT 0,
    INDEX freehold_outbox_sent_at (sent_at),
    INDEX freehold_outbox_sent_by_key (`key`, losses, position)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
