-- The number of times that this broker is known to have lost its log.
ALTER TABLE freehold_outbox_log ADD COLUMN losses INTEGER NOT NULL DEFAULT 0;
UPDATE freehold_outbox_log SET losses = 1 WHERE lost_at IS NOT NULL;
-- The number of losses that were recorded, of all brokers, when the message was fetched. While a loss is open, a
-- message with a lower number may be lost, and is sent again before anything newer of its key.
ALTER TABLE freehold_outbox_sent ADD COLUMN losses INTEGER NOT NULL DEFAULT 0;
CREATE INDEX freehold_outbox_sent_by_key ON freehold_outbox_sent (key, losses, position);
