-- Responses by Idempotency-Key. Without a status the key is only claimed; the response follows in the same transaction.
-- `token`: the consistency token that went with it. `headers`: a JSON list of pairs, NULL where there are none.
CREATE TABLE IF NOT EXISTS freehold_idempotency (
    scope VARCHAR(256) NOT NULL,
    `key` VARCHAR(512) NOT NULL,
    fingerprint VARCHAR(200) NOT NULL,
    status INT,
    content_type VARCHAR(500),
    body LONGBLOB,
    claimed_at DATETIME(6) NOT NULL,
    token TEXT,
    headers TEXT,
    PRIMARY KEY (scope, `key`),
    INDEX freehold_idempotency_claimed (claimed_at)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
