-- The newest message of the log, as the broker named it when it was looked at last: a log that has not come as far any
-- more was restored from an older copy.
ALTER TABLE freehold_outbox_log ADD COLUMN mark TEXT NOT NULL DEFAULT '';
