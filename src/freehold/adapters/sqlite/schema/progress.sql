-- How far consumers have read the lanes of others: one row each, updated with every batch that brings something new.
CREATE TABLE freehold_progress (
    consumer TEXT NOT NULL,
    lane TEXT NOT NULL,
    watermark INTEGER NOT NULL,
    appended_position INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (consumer, lane)
) WITHOUT ROWID;
