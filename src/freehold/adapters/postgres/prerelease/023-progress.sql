-- How far consumers have read the lanes of other services: one row for each consumer and lane, updated with every batch
-- that advances it.
CREATE TABLE freehold_progress (
    consumer text COLLATE "C" NOT NULL,
    lane text COLLATE "C" NOT NULL,
    watermark bigint NOT NULL,
    kept bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (consumer, lane)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000);
-- The position of a deferred message in its lane. Until it is handled, the consumer has not reached it.
ALTER TABLE freehold_deferred ADD COLUMN lane text COLLATE "C", ADD COLUMN lane_position bigint;
CREATE INDEX freehold_deferred_lane ON freehold_deferred (consumer, lane, lane_position) WHERE lane IS NOT NULL;
-- The consistency token of a stored answer; a repeated request gets it again.
ALTER TABLE freehold_idempotency ADD COLUMN token text;
