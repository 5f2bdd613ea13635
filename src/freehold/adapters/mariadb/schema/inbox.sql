-- Receipts come and go at the rate of the messages.
CREATE TABLE IF NOT EXISTS freehold_inbox (
    consumer VARCHAR(256) NOT NULL,
    receipt_key VARCHAR(512) NOT NULL,
    cancelled BOOLEAN NOT NULL,
    answer LONGBLOB,
    received_at DATETIME(6) NOT NULL,
    PRIMARY KEY (consumer, receipt_key),
    INDEX freehold_inbox_consumer_received (consumer, received_at)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
-- Messages kept for a later try: nearly always empty, and busy when it is not. `lane_position`: where the message
-- stands in its lane; until it is handled, nothing from there on is complete. `waiting`: was due and not the first of
-- its key when it was looked at. Whoever finishes the first wakes the next.
CREATE TABLE IF NOT EXISTS freehold_deferred (
    position BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    consumer VARCHAR(256) NOT NULL,
    topic VARCHAR(512) NOT NULL,
    `key` VARCHAR(512) NOT NULL,
    receipt_key VARCHAR(512) NOT NULL,
    document LONGBLOB NOT NULL,
    attempts INT NOT NULL,
    due_at DATETIME(6) NOT NULL,
    deferred_at DATETIME(6) NOT NULL,
    reason TEXT NOT NULL,
    lane VARCHAR(512),
    lane_position BIGINT,
    waiting BOOLEAN NOT NULL DEFAULT false,
    INDEX freehold_deferred_key (consumer(64), topic(128), `key`(512), position),
    INDEX freehold_deferred_due (consumer, waiting, due_at),
    INDEX freehold_deferred_lane (consumer(64), lane(512), lane_position)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
