-- The generations of read models. The row of a retired one is deleted when its tables are dropped.
CREATE TABLE freehold_projection (
    projection text COLLATE "C" NOT NULL,
    generation integer NOT NULL,
    version integer NOT NULL,
    partitions integer NOT NULL,
    state text NOT NULL CHECK (state IN ('building', 'live', 'retired')),
    reason text NOT NULL,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    tables text NOT NULL,
    PRIMARY KEY (projection, generation)
);
CREATE UNIQUE INDEX freehold_projection_live ON freehold_projection (projection) WHERE state = 'live';
-- One row for each partition, updated with every batch: pages keep room for updates.
CREATE TABLE freehold_checkpoint (
    projection text COLLATE "C" NOT NULL,
    generation integer NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    state text NOT NULL,
    revision bigint NOT NULL DEFAULT 0,
    handled bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL,
    started_position bigint NOT NULL DEFAULT -1,
    isolated_position bigint NOT NULL DEFAULT 0,
    isolated_attempts integer NOT NULL DEFAULT 0,
    PRIMARY KEY (projection, generation, partition)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
-- Parked streams. Their number is limited by the projection's `parked_max`.
CREATE TABLE freehold_parked (
    projection text COLLATE "C" NOT NULL,
    generation integer NOT NULL,
    partition integer NOT NULL,
    stream text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    version bigint NOT NULL,
    event_id uuid NOT NULL,
    type text NOT NULL,
    error text NOT NULL,
    detail text NOT NULL,
    attempts integer NOT NULL,
    started_attempts integer NOT NULL,
    parked_at timestamptz NOT NULL,
    due_at timestamptz,
    PRIMARY KEY (projection, generation, stream)
);
CREATE INDEX freehold_parked_position ON freehold_parked (projection, generation, position);
-- Projections that an operator, or the projection itself, has paused. Generation 0 means all of them.
CREATE TABLE freehold_projection_pause (
    projection text COLLATE "C" NOT NULL,
    generation integer NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    paused_at timestamptz NOT NULL,
    PRIMARY KEY (projection, generation)
);
