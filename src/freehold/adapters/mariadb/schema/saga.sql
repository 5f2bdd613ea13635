-- One row an instance, rewritten at every step. `due_at` is its timer.
CREATE TABLE IF NOT EXISTS freehold_saga (
    id BINARY(16) NOT NULL PRIMARY KEY,
    definition VARCHAR(256) NOT NULL,
    definition_version INT NOT NULL,
    `key` VARCHAR(512) NOT NULL,
    correlation_id BINARY(16) NOT NULL,
    status VARCHAR(20) NOT NULL,
    version BIGINT NOT NULL,
    document LONGBLOB NOT NULL,
    failure TEXT,
    due_at DATETIME(6),
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    INDEX freehold_saga_due (due_at, id),
    INDEX freehold_saga_newest (created_at, id),
    INDEX freehold_saga_status (definition, status, created_at, id),
    INDEX freehold_saga_state (status, created_at, id),
    INDEX freehold_saga_correlation (correlation_id),
    INDEX freehold_saga_key (`key`),
    INDEX freehold_saga_ended (status, updated_at)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS freehold_saga_journal (
    ordinal BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    saga_id BINARY(16) NOT NULL,
    at DATETIME(6) NOT NULL,
    step VARCHAR(512) NOT NULL,
    what VARCHAR(512) NOT NULL,
    attempt INT NOT NULL,
    detail TEXT NOT NULL,
    INDEX freehold_saga_journal_saga (saga_id, ordinal)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
