-- The newest message of the log at the last check, as the broker names it. A log that no longer reaches it was restored
-- from an older copy.
ALTER TABLE freehold_outbox_log ADD COLUMN mark TEXT NOT NULL DEFAULT '';
