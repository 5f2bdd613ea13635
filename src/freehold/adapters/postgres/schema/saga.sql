-- One row for each instance, updated at every step. `due_at` is its timer; it is indexed, so an update seldom stays
-- within the page.
CREATE TABLE freehold_saga (
    id uuid PRIMARY KEY,
    definition text NOT NULL,
    definition_version integer NOT NULL,
    key text NOT NULL,
    correlation_id uuid NOT NULL,
    status text NOT NULL,
    version bigint NOT NULL,
    document bytea NOT NULL,
    failure text,
    due_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 1000);
CREATE INDEX freehold_saga_due ON freehold_saga (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX freehold_saga_newest ON freehold_saga (created_at, id);
-- Sagas are searched by status or definition, the newest first, and by their cause.
CREATE INDEX freehold_saga_status ON freehold_saga (definition, status, created_at, id);
CREATE INDEX freehold_saga_state ON freehold_saga (status, created_at, id);
CREATE INDEX freehold_saga_correlation ON freehold_saga (correlation_id);
CREATE INDEX freehold_saga_key ON freehold_saga (key);
CREATE INDEX freehold_saga_ended ON freehold_saga (updated_at)
    WHERE status IN ('completed', 'compensated', 'terminated');
CREATE TABLE freehold_saga_journal (
    saga_id uuid NOT NULL,
    ordinal bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    step text NOT NULL,
    what text NOT NULL,
    attempt integer NOT NULL,
    detail text NOT NULL,
    PRIMARY KEY (saga_id, ordinal)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
