-- Events are kept for ever. The table contains no transaction ids and nothing depends on a clock, so a dump can be
-- restored.
CREATE TABLE freehold_event (
    position bigint GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME freehold_event_position_seq CACHE 1),
    stream text NOT NULL,
    version bigint NOT NULL,
    category text NOT NULL,
    bucket smallint NOT NULL,
    type text NOT NULL,
    schema_version integer NOT NULL,
    id uuid NOT NULL,
    data bytea NOT NULL,
    correlation_id uuid NOT NULL,
    causation_id uuid,
    hlc bigint NOT NULL,
    trace_parent text,
    subject_key text,
    headers bytea,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (position),
    UNIQUE (stream, version)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);
-- Compression of small documents costs more than it saves.
ALTER TABLE freehold_event ALTER COLUMN data SET STORAGE EXTERNAL;
-- The indexes are on (position + 0), so that the planner cannot use the primary key instead: with old statistics a
-- reader of one type would read the whole store along it.
CREATE INDEX freehold_event_type ON freehold_event (type, (position + 0));
CREATE INDEX freehold_event_category ON freehold_event (category, (position + 0));
CREATE INDEX freehold_event_time ON freehold_event (recorded_at, position);
