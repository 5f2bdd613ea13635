-- How far consumers have read the lanes of other services: one row for each consumer and lane, updated with every batch
-- that advances it.
CREATE TABLE freehold_progress (
    consumer TEXT NOT NULL,
    lane TEXT NOT NULL,
    watermark INTEGER NOT NULL,
    kept INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (consumer, lane)
) WITHOUT ROWID;
-- The position of a deferred message in its lane. Until it is handled, the consumer has not reached it.
ALTER TABLE freehold_deferred ADD COLUMN lane TEXT;
ALTER TABLE freehold_deferred ADD COLUMN lane_position INTEGER;
CREATE INDEX freehold_deferred_lane ON freehold_deferred (consumer, lane, lane_position) WHERE lane IS NOT NULL;
-- The consistency token of a stored answer; a repeated request gets it again.
ALTER TABLE freehold_idempotency ADD COLUMN token TEXT;
