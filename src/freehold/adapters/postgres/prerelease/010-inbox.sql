-- Receipts are inserted and pruned at the rate of the messages. Answers are added by an update in the same transaction:
-- pages keep room for it.
CREATE TABLE freehold_inbox (
    consumer text COLLATE "C" NOT NULL,
    receipt_key text COLLATE "C" NOT NULL,
    barred boolean NOT NULL,
    answer bytea,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (consumer, receipt_key)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
        autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 5000);
CREATE INDEX freehold_inbox_received ON freehold_inbox (received_at);
-- Deferred messages: the table is nearly always empty, and changes often when it is not.
CREATE TABLE freehold_deferred (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer text COLLATE "C" NOT NULL,
    topic text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    receipt_key text NOT NULL,
    document bytea NOT NULL,
    attempts integer NOT NULL,
    due_at timestamptz NOT NULL,
    deferred_at timestamptz NOT NULL,
    reason text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000);
CREATE INDEX freehold_deferred_key ON freehold_deferred (consumer, topic, key, position);
CREATE INDEX freehold_deferred_due ON freehold_deferred (consumer, due_at);
