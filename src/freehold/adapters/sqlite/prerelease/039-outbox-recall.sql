-- How often this broker has lost its log, as far as it was noticed.
ALTER TABLE freehold_outbox_log ADD COLUMN losses INTEGER NOT NULL DEFAULT 0;
UPDATE freehold_outbox_log SET losses = 1 WHERE lost_at IS NOT NULL;
-- How many losses had been written down, of all brokers, when the message was fetched to be published: while a loss is
-- open, what has fewer may be gone, and goes again before anything newer of its key.
ALTER TABLE freehold_outbox_sent ADD COLUMN losses INTEGER NOT NULL DEFAULT 0;
CREATE INDEX freehold_outbox_sent_by_key ON freehold_outbox_sent (key, losses, position);
