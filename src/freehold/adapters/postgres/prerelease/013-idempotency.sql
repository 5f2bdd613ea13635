-- Responses by idempotency key. A row without a status is a claim; the response is written in the same transaction.
CREATE TABLE freehold_idempotency (
    scope text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    fingerprint text NOT NULL,
    status integer,
    content_type text,
    body bytea,
    claimed_at timestamptz NOT NULL,
    PRIMARY KEY (scope, key)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
CREATE INDEX freehold_idempotency_claimed ON freehold_idempotency (claimed_at);
