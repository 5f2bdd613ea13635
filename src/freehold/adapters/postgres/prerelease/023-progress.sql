-- How far consumers have read the lanes of others: one row each, updated with every batch that brings something new.
CREATE TABLE freehold_progress (
    consumer text COLLATE "C" NOT NULL,
    lane text COLLATE "C" NOT NULL,
    watermark bigint NOT NULL,
    kept bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (consumer, lane)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000);
-- Where a deferred message stands in its lane: until it is handled, nothing from there on is complete.
ALTER TABLE freehold_deferred ADD COLUMN lane text COLLATE "C", ADD COLUMN lane_position bigint;
CREATE INDEX freehold_deferred_lane ON freehold_deferred (consumer, lane, lane_position) WHERE lane IS NOT NULL;
-- The token that went with an answer goes with its repetition.
ALTER TABLE freehold_idempotency ADD COLUMN token text;
