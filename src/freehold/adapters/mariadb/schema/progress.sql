-- How far consumers have read the lanes of others: one row each, updated with every batch that brings something new.
CREATE TABLE IF NOT EXISTS freehold_progress (
    consumer VARCHAR(256) NOT NULL,
    lane VARCHAR(512) NOT NULL,
    watermark BIGINT NOT NULL,
    appended_position BIGINT NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    PRIMARY KEY (consumer, lane)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
