-- The time of the first confirmation, of a message that is sent again; else NULL.
ALTER TABLE freehold_outbox ADD COLUMN sent_at timestamptz;
-- Sent messages, kept as long as they may be sent again. Rows are inserted and deleted in order, and never updated.
CREATE TABLE freehold_outbox_sent (
    position bigint PRIMARY KEY,
    partition integer NOT NULL,
    id uuid NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    document bytea NOT NULL,
    sent_at timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000);
ALTER TABLE freehold_outbox_sent ALTER COLUMN document SET STORAGE EXTERNAL;
CREATE INDEX freehold_outbox_sent_at ON freehold_outbox_sent (sent_at);
-- As freehold_outbox_settle; the removed rows are kept as sent messages. A service that keeps no sent messages calls
-- the older functions.
CREATE FUNCTION freehold_outbox_keep(leases jsonb, positions bigint[], owed jsonb, moment timestamptz)
RETURNS bigint
LANGUAGE sql VOLATILE SET enable_seqscan = off SET plan_cache_mode = force_custom_plan AS $$
    WITH held AS MATERIALIZED (
        SELECT g.partition
        FROM jsonb_to_recordset(leases) AS g (partition integer, token bigint, name text)
        JOIN freehold_lease AS l ON l.name = g.name AND l.token = g.token
        ORDER BY l.name FOR SHARE OF l
    ), noted AS (
        INSERT INTO freehold_outbox_owed AS w (partition, position)
        SELECT n.partition, n.position FROM jsonb_to_recordset(owed) AS n (partition integer, position bigint)
        WHERE n.partition = ANY (ARRAY(SELECT h.partition FROM held AS h)) ORDER BY n.partition
        ON CONFLICT (partition) DO UPDATE SET position = CASE excluded.position
            WHEN 0 THEN 0 ELSE greatest(w.position, excluded.position) END
    ), removed AS (
        DELETE FROM freehold_outbox AS o
        WHERE o.partition = ANY (ARRAY(SELECT h.partition FROM held AS h)) AND o.position = ANY (positions)
        RETURNING o.position, o.partition, o.id, o.topic, o.key, o.document, o.sent_at
    ), kept AS (
        INSERT INTO freehold_outbox_sent AS s (position, partition, id, topic, key, document, sent_at)
        SELECT r.position, r.partition, r.id, r.topic, r.key, r.document, coalesce(r.sent_at, moment) FROM removed AS r
        ON CONFLICT (position) DO UPDATE SET partition = excluded.partition, id = excluded.id, topic = excluded.topic,
            key = excluded.key, document = excluded.document, sent_at = excluded.sent_at
    )
    SELECT count(*) FROM removed
$$;
-- Moves sent messages back to the outbox, in order of position; those of another time are skipped. `seen` counts the
-- matching rows, also those that a concurrent call moves.
CREATE FUNCTION freehold_outbox_send_again(
    since timestamptz, after bigint, through bigint, most integer, moment timestamptz)
RETURNS TABLE (moved bigint, seen bigint, last_position bigint)
LANGUAGE sql VOLATILE SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_hashjoin = off
    SET plan_cache_mode = force_custom_plan AS $$
    WITH wanted AS MATERIALIZED (
        SELECT s.position FROM freehold_outbox_sent AS s
        WHERE s.position > after AND s.position <= through AND s.sent_at >= since
        ORDER BY s.position LIMIT most
    ), taken AS (
        DELETE FROM freehold_outbox_sent AS s WHERE s.position = ANY (ARRAY(SELECT w.position FROM wanted AS w))
        RETURNING s.position, s.partition, s.id, s.topic, s.key, s.document, s.sent_at
    ), staged AS (
        INSERT INTO freehold_outbox (position, partition, id, topic, key, document, staged_at, sent_at)
        OVERRIDING SYSTEM VALUE
        SELECT t.position, t.partition, t.id, t.topic, t.key, t.document, moment, t.sent_at FROM taken AS t
        ON CONFLICT DO NOTHING
    )
    SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM wanted), (SELECT max(w.position) FROM wanted AS w)
$$;
CREATE FUNCTION freehold_outbox_prune_sent(before timestamptz, most integer)
RETURNS bigint
LANGUAGE sql VOLATILE SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET plan_cache_mode = force_custom_plan AS $$
    WITH old AS MATERIALIZED (
        SELECT s.position FROM freehold_outbox_sent AS s WHERE s.sent_at < before
        ORDER BY s.sent_at LIMIT most FOR UPDATE SKIP LOCKED
    ), pruned AS (
        DELETE FROM freehold_outbox_sent AS s WHERE s.position = ANY (ARRAY(SELECT o.position FROM old AS o)) RETURNING 1
    )
    SELECT count(*) FROM pruned
$$;
