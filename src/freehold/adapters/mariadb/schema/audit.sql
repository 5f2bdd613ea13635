-- What people did by command, and why. Kept for good: as many rows as people type commands.
CREATE TABLE IF NOT EXISTS freehold_audit (
    ordinal BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    at DATETIME(6) NOT NULL,
    actor TEXT NOT NULL,
    action VARCHAR(4000) NOT NULL,
    subject VARCHAR(4000) NOT NULL,
    reason TEXT NOT NULL,
    INDEX freehold_audit_at (at, ordinal),
    INDEX freehold_audit_subject (subject(500), at, ordinal)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
