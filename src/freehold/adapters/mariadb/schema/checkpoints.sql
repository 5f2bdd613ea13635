-- The generations of read models. Bounded by the projections; retired ones are forgotten when their tables are dropped.
-- `live` bears the projection's name where the generation is live, so that no two of a projection are.
CREATE TABLE IF NOT EXISTS freehold_projection (
    projection VARCHAR(255) NOT NULL,
    generation INT NOT NULL,
    version INT NOT NULL,
    partitions INT NOT NULL,
    state VARCHAR(20) NOT NULL CHECK (state IN ('building', 'live', 'retired')),
    reason TEXT NOT NULL,
    created_at DATETIME(6) NOT NULL,
    changed_at DATETIME(6) NOT NULL,
    tables LONGTEXT NOT NULL,
    live VARCHAR(255) AS (IF(state = 'live', projection, NULL)) VIRTUAL,
    PRIMARY KEY (projection, generation),
    UNIQUE INDEX freehold_projection_live (live)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
-- One row a partition, updated with every batch.
CREATE TABLE IF NOT EXISTS freehold_checkpoint (
    projection VARCHAR(255) NOT NULL,
    generation INT NOT NULL,
    `partition` INT NOT NULL,
    position BIGINT NOT NULL,
    state VARCHAR(20) NOT NULL,
    revision BIGINT NOT NULL DEFAULT 0,
    handled BIGINT NOT NULL DEFAULT 0,
    failed BIGINT NOT NULL DEFAULT 0,
    updated_at DATETIME(6) NOT NULL,
    started_position BIGINT NOT NULL DEFAULT -1,
    isolated_position BIGINT NOT NULL DEFAULT 0,
    isolated_attempts INT NOT NULL DEFAULT 0,
    PRIMARY KEY (projection, generation, `partition`)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
-- Streams that a projection could not go on with. Bounded by the projection's `parked_max`.
CREATE TABLE IF NOT EXISTS freehold_parked (
    projection VARCHAR(255) NOT NULL,
    generation INT NOT NULL,
    `partition` INT NOT NULL,
    stream VARCHAR(512) NOT NULL,
    position BIGINT NOT NULL,
    version BIGINT NOT NULL,
    event_id BINARY(16) NOT NULL,
    type VARCHAR(512) NOT NULL,
    error TEXT NOT NULL,
    detail TEXT NOT NULL,
    attempts INT NOT NULL,
    started_attempts INT NOT NULL,
    parked_at DATETIME(6) NOT NULL,
    due_at DATETIME(6),
    PRIMARY KEY (projection, generation, stream),
    INDEX freehold_parked_position (projection, generation, position)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
-- What an operator, or a projection itself, has made stand still. Generation 0 stands for all of them.
CREATE TABLE IF NOT EXISTS freehold_projection_pause (
    projection VARCHAR(255) NOT NULL,
    generation INT NOT NULL,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    paused_at DATETIME(6) NOT NULL,
    PRIMARY KEY (projection, generation)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
