-- Snapshots: one for each stream and kind, replaced in place. A cache: all of it may be deleted at any time.
CREATE TABLE IF NOT EXISTS freehold_snapshot (
    kind VARCHAR(256) NOT NULL,
    stream VARCHAR(512) NOT NULL,
    version BIGINT NOT NULL,
    schema_version INT NOT NULL,
    fingerprint VARCHAR(512) NOT NULL,
    data LONGBLOB NOT NULL,
    saved_at DATETIME(6) NOT NULL,
    PRIMARY KEY (kind, stream)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
