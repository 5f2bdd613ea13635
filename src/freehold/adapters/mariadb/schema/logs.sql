-- Which log of a broker this service has worked with: a row a broker. `lost_at`: another log was found in its place,
-- and what the one before had confirmed was not sent again yet. `mark`: the newest message of the log, as the broker
-- named it when it was looked at last. `losses`: how often this broker has lost its log, as far as it was noticed.
CREATE TABLE IF NOT EXISTS freehold_outbox_log (
    place VARCHAR(700) NOT NULL PRIMARY KEY,
    identity TEXT NOT NULL,
    noted_at DATETIME(6) NOT NULL,
    lost_at DATETIME(6),
    mark TEXT NOT NULL DEFAULT '',
    losses BIGINT NOT NULL DEFAULT 0
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
