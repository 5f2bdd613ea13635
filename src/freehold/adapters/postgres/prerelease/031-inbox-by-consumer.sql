-- Each consumer prunes its own receipts: several may share a database, with windows of their own.
CREATE INDEX freehold_inbox_consumer_received ON freehold_inbox (consumer, received_at);
DROP INDEX freehold_inbox_received;
