-- Scheduled messages; they are moved to the outbox when they are due. The position orders messages with the same due
-- time.
CREATE TABLE freehold_schedule (
    id uuid PRIMARY KEY,
    position bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    document bytea NOT NULL,
    due_at timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 2000);
CREATE INDEX freehold_schedule_due ON freehold_schedule (due_at, position);
CREATE INDEX freehold_schedule_name ON freehold_schedule (name, due_at);
