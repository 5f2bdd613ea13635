-- How far consumers have read the lanes of other services: one row for each consumer and lane, updated with every batch
-- that advances it.
CREATE TABLE freehold_progress (
    consumer text COLLATE "C" NOT NULL,
    lane text COLLATE "C" NOT NULL,
    watermark bigint NOT NULL,
    appended_position bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (consumer, lane)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000);
