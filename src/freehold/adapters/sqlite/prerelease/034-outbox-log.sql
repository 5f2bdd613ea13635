-- Which log of a broker this service has worked with: a row a broker. `lost_at`: another log was found in its place, and
-- what the one before had confirmed was not sent again yet.
CREATE TABLE freehold_outbox_log (
    place TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    noted_at INTEGER NOT NULL,
    lost_at INTEGER
);
CREATE INDEX freehold_outbox_log_lost ON freehold_outbox_log (place) WHERE lost_at IS NOT NULL;
