-- Events are kept for ever. Nothing here decides by a clock: what is dumped can be restored.
CREATE TABLE IF NOT EXISTS freehold_event (
    position BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    stream VARCHAR(512) NOT NULL,
    version BIGINT NOT NULL,
    category VARCHAR(512) NOT NULL,
    bucket SMALLINT NOT NULL,
    type VARCHAR(512) NOT NULL,
    schema_version INT NOT NULL,
    id BINARY(16) NOT NULL,
    data LONGBLOB NOT NULL,
    correlation_id BINARY(16) NOT NULL,
    causation_id BINARY(16),
    hlc BIGINT NOT NULL,
    trace_parent VARCHAR(512),
    subject_key VARCHAR(512),
    headers LONGBLOB,
    recorded_at DATETIME(6) NOT NULL,
    UNIQUE INDEX freehold_event_stream (stream, version),
    INDEX freehold_event_type (type, position),
    INDEX freehold_event_category (category, position),
    INDEX freehold_event_time (recorded_at, position)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
-- Transactions that append: a row each, in the same transaction. `floor`: the highest position that was committed when
-- it came. Swept by readers.
CREATE TABLE IF NOT EXISTS freehold_event_marker (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    floor BIGINT NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
