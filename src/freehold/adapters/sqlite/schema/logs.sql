-- Which log of a broker this service has worked with: a row a broker. `lost_at`: another log was found in its place,
-- and what the one before had confirmed was not sent again yet. `mark`: the newest message of the log, as the broker
-- named it when it was looked at last; a log that has not come as far any more was restored from an older copy.
-- `losses`: how often this broker has lost its log, as far as it was noticed.
CREATE TABLE freehold_outbox_log (
    place TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    noted_at INTEGER NOT NULL,
    lost_at INTEGER,
    mark TEXT NOT NULL DEFAULT '',
    losses INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX freehold_outbox_log_lost ON freehold_outbox_log (place) WHERE lost_at IS NOT NULL;
