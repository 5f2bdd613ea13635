-- What comparisons of copies with their sources found. Written once a comparison, pruned after retention.
CREATE TABLE IF NOT EXISTS freehold_reconciliation (
    ordinal BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    dataset VARCHAR(512) NOT NULL,
    finished_at DATETIME(6) NOT NULL,
    seconds DOUBLE NOT NULL,
    compared BIGINT NOT NULL,
    drifted BIGINT NOT NULL,
    repaired BIGINT NOT NULL,
    inconclusive BIGINT NOT NULL,
    error TEXT NOT NULL,
    INDEX freehold_reconciliation_dataset (dataset, ordinal),
    INDEX freehold_reconciliation_finished (finished_at)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
