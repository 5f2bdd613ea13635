-- Snapshots: one row for each stream and kind, replaced in place. They are a cache: all may be deleted at any time.
CREATE TABLE freehold_snapshot (
    kind text COLLATE "C" NOT NULL,
    stream text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    schema_version integer NOT NULL,
    fingerprint text NOT NULL,
    data bytea NOT NULL,
    saved_at timestamptz NOT NULL,
    PRIMARY KEY (kind, stream)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
