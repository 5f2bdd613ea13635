-- Sent messages, kept as long as they may be sent again.
-- `losses`: the number of losses that were recorded, of all brokers, when the message was fetched. While a loss is
-- open, a message with a lower number may be lost, and is sent again before anything newer of its key.
CREATE TABLE freehold_outbox_sent (
    position INTEGER PRIMARY KEY,
    partition INTEGER NOT NULL,
    id TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    document BLOB NOT NULL,
    sent_at INTEGER NOT NULL,
    losses INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX freehold_outbox_sent_at ON freehold_outbox_sent (sent_at);
CREATE INDEX freehold_outbox_sent_by_key ON freehold_outbox_sent (key, losses, position);
