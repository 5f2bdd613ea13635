-- The logs of brokers that this service has used: one row for each broker. `lost_at`: another log was found in its
-- place, and the messages that the lost one had confirmed were not all sent again yet.
CREATE TABLE freehold_outbox_log (
    place TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    noted_at INTEGER NOT NULL,
    lost_at INTEGER
);
CREATE INDEX freehold_outbox_log_lost ON freehold_outbox_log (place) WHERE lost_at IS NOT NULL;
