-- Each consumer prunes its own receipts: several consumers may share a database and have different windows.
CREATE INDEX freehold_inbox_consumer_received ON freehold_inbox (consumer, received_at);
DROP INDEX freehold_inbox_received;
