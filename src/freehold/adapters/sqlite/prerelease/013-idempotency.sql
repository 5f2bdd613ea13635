-- Responses by idempotency key. A row without a status is a claim; the response is written in the same transaction.
CREATE TABLE freehold_idempotency (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status INTEGER,
    content_type TEXT,
    body BLOB,
    claimed_at INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE INDEX freehold_idempotency_claimed ON freehold_idempotency (claimed_at);
