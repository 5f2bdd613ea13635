-- Staged messages; the relay deletes them. The table fills and empties many times a day, so autovacuum starts after a
-- number of dead rows, not after a share of the table.
CREATE TABLE freehold_outbox (
    position bigint GENERATED ALWAYS AS IDENTITY,
    partition integer NOT NULL,
    id uuid NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    document bytea NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    blocked_until timestamptz,
    reason text,
    staged_at timestamptz NOT NULL,
    PRIMARY KEY (partition, position)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
-- Documents are JSON of a few hundred bytes: compression costs more than it saves.
ALTER TABLE freehold_outbox ALTER COLUMN document SET STORAGE EXTERNAL;
CREATE INDEX freehold_outbox_blocked ON freehold_outbox (key, blocked_until) WHERE blocked_until IS NOT NULL;
