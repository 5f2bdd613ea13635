-- How far consumers have read the lanes of other services: one row for each consumer and lane, updated with every batch
-- that advances it.
CREATE TABLE freehold_progress (
    consumer TEXT NOT NULL,
    lane TEXT NOT NULL,
    watermark INTEGER NOT NULL,
    appended_position INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (consumer, lane)
) WITHOUT ROWID;
