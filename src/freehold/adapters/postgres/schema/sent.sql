-- Sent messages, kept as long as they may be sent again. Rows are inserted and deleted in order, and never updated.
-- `losses`: the number of losses that were recorded, of all brokers, when the message was fetched. While a loss is
-- open, a message with a lower number may be lost, and is sent again before anything newer of its key.
CREATE TABLE freehold_outbox_sent (
    position bigint PRIMARY KEY,
    partition integer NOT NULL,
    id uuid NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    document bytea NOT NULL,
    sent_at timestamptz NOT NULL,
    losses bigint NOT NULL DEFAULT 0
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000);
ALTER TABLE freehold_outbox_sent ALTER COLUMN document SET STORAGE EXTERNAL;
CREATE INDEX freehold_outbox_sent_at ON freehold_outbox_sent (sent_at);
CREATE INDEX freehold_outbox_sent_by_key ON freehold_outbox_sent (key, losses, position);
