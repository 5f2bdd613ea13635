-- How far consumers have read the lanes of others: one row each, updated with every batch that brings something new.
CREATE TABLE freehold_progress (
    consumer TEXT NOT NULL,
    lane TEXT NOT NULL,
    watermark INTEGER NOT NULL,
    kept INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (consumer, lane)
) WITHOUT ROWID;
-- Where a deferred message stands in its lane: until it is handled, nothing from there on is complete.
ALTER TABLE freehold_deferred ADD COLUMN lane TEXT;
ALTER TABLE freehold_deferred ADD COLUMN lane_position INTEGER;
CREATE INDEX freehold_deferred_lane ON freehold_deferred (consumer, lane, lane_position) WHERE lane IS NOT NULL;
-- The token that went with an answer goes with its repetition.
ALTER TABLE freehold_idempotency ADD COLUMN token TEXT;
