-- A span of history that is read again; `number` names the tables of its own. Pruned when it has ended; one with tables
-- is kept until an operator drops it.
CREATE TABLE IF NOT EXISTS freehold_replay (
    number BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    projection VARCHAR(255) NOT NULL,
    generation INT,
    recorded_from DATETIME(6),
    recorded_to DATETIME(6),
    position BIGINT NOT NULL,
    end_position BIGINT NOT NULL,
    applied BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    state VARCHAR(20) NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    tables LONGTEXT NOT NULL,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    started_position BIGINT NOT NULL DEFAULT -1,
    isolated_position BIGINT NOT NULL DEFAULT 0,
    isolated_attempts INT NOT NULL DEFAULT 0,
    INDEX freehold_replay_projection (projection, number),
    INDEX freehold_replay_ended (updated_at)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS freehold_replay_error (
    replay BIGINT NOT NULL,
    position BIGINT NOT NULL,
    stream VARCHAR(512) NOT NULL,
    version BIGINT NOT NULL,
    event_id BINARY(16) NOT NULL,
    type VARCHAR(512) NOT NULL,
    error TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (replay, position)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
