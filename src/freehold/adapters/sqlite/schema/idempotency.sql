-- Responses by idempotency key. A row without a status is a claim; the response is written in the same transaction.
-- `token`: the consistency token of the response. `headers`: a JSON list of pairs, NULL where there are none.
CREATE TABLE freehold_idempotency (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status INTEGER,
    content_type TEXT,
    body BLOB,
    claimed_at INTEGER NOT NULL,
    token TEXT,
    headers TEXT,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE INDEX freehold_idempotency_claimed ON freehold_idempotency (claimed_at);
