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
-- The columns of a stream that a fold needs. It uses the index of streams, whatever the statistics are.
CREATE FUNCTION freehold_event_bodies(name text, after bigint, most integer)
RETURNS TABLE (version bigint, type text, schema_version integer, data bytea)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY SELECT e.version, e.type, e.schema_version, e.data FROM freehold_event AS e
        WHERE e.stream = name AND e.version > after ORDER BY e.version LIMIT most;
END
$$;
