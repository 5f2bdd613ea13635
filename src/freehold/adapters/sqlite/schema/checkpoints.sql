-- The generations of read models. The row of a retired one is deleted when its tables are dropped.
CREATE TABLE freehold_projection (
    projection TEXT NOT NULL,
    generation INTEGER NOT NULL,
    version INTEGER NOT NULL,
    partitions INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('building', 'live', 'retired')),
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    tables TEXT NOT NULL,
    PRIMARY KEY (projection, generation)
) WITHOUT ROWID;
CREATE UNIQUE INDEX freehold_projection_live ON freehold_projection (projection) WHERE state = 'live';
-- One row for each partition, updated with every batch.
CREATE TABLE freehold_checkpoint (
    projection TEXT NOT NULL,
    generation INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    position INTEGER NOT NULL,
    state TEXT NOT NULL,
    revision INTEGER NOT NULL DEFAULT 0,
    handled INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    updated_at INTEGER NOT NULL,
    started_position INTEGER NOT NULL DEFAULT -1,
    isolated_position INTEGER NOT NULL DEFAULT 0,
    isolated_attempts INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (projection, generation, partition)
) WITHOUT ROWID;
-- Parked streams. Their number is limited by the projection's `parked_max`.
CREATE TABLE freehold_parked (
    projection TEXT NOT NULL,
    generation INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    stream TEXT NOT NULL,
    position INTEGER NOT NULL,
    version INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    error TEXT NOT NULL,
    detail TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    started_attempts INTEGER NOT NULL,
    parked_at INTEGER NOT NULL,
    due_at INTEGER,
    PRIMARY KEY (projection, generation, stream)
) WITHOUT ROWID;
CREATE INDEX freehold_parked_position ON freehold_parked (projection, generation, position);
-- Projections that an operator, or the projection itself, has paused. Generation 0 means all of them.
CREATE TABLE freehold_projection_pause (
    projection TEXT NOT NULL,
    generation INTEGER NOT NULL,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    paused_at INTEGER NOT NULL,
    PRIMARY KEY (projection, generation)
) WITHOUT ROWID;
