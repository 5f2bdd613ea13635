-- The logs of brokers that this service has used: one row for each broker.
-- `lost_at`: another log was found in its place, and the messages that the lost one had confirmed were not all sent
-- again yet.
-- `mark`: the newest message of the log at the last check, as the broker names it. A log that no longer reaches it was
-- restored from an older copy.
-- `losses`: the number of times that this broker is known to have lost its log.
CREATE TABLE freehold_outbox_log (
    place text PRIMARY KEY,
    identity text NOT NULL,
    noted_at timestamptz NOT NULL,
    lost_at timestamptz,
    mark text NOT NULL DEFAULT '',
    losses bigint NOT NULL DEFAULT 0
);
CREATE INDEX freehold_outbox_log_lost ON freehold_outbox_log (place) WHERE lost_at IS NOT NULL;
