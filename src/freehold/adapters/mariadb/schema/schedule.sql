-- Rows are moved to the outbox when they are due. The position orders messages that are due at the same time.
CREATE TABLE IF NOT EXISTS freehold_schedule (
    id BINARY(16) NOT NULL PRIMARY KEY,
    position BIGINT NOT NULL AUTO_INCREMENT UNIQUE,
    name VARCHAR(512) NOT NULL,
    topic VARCHAR(512) NOT NULL,
    `key` VARCHAR(512) NOT NULL,
    document LONGBLOB NOT NULL,
    due_at DATETIME(6) NOT NULL,
    INDEX freehold_schedule_due (due_at, position),
    INDEX freehold_schedule_name (name, due_at)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
