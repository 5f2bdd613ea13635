-- The logs of brokers that this service has used: one row for each broker. `lost_at`: another log was found in its
-- place, and the messages that the lost one had confirmed were not all sent again yet.
CREATE TABLE freehold_outbox_log (
    place text PRIMARY KEY,
    identity text NOT NULL,
    noted_at timestamptz NOT NULL,
    lost_at timestamptz
);
CREATE INDEX freehold_outbox_log_lost ON freehold_outbox_log (place) WHERE lost_at IS NOT NULL;
-- As in 025; while a loss is open the high-water mark is 0, because messages may be on no broker. The loss is read
-- before the rows: the transaction that ends a loss has moved the kept messages back before.
CREATE OR REPLACE FUNCTION freehold_outbox_fetch(leases jsonb, moment timestamptz, most integer)
RETURNS TABLE (row_position bigint, row_partition integer, row_id uuid, row_topic text, row_key text,
    row_document bytea, row_attempts integer, row_owed bigint)
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
    SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    drawn bigint;
    bound bigint;
BEGIN
    SELECT CASE WHEN s.is_called THEN s.last_value ELSE s.last_value - 1 END INTO drawn
    FROM freehold_outbox_position_seq AS s;
    SELECT least(drawn, min(drawn + freehold_low_bits(l.objid::bigint - drawn))) INTO bound
    FROM pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.classid = 1179143000 AND l.objsubid = 2 AND l.granted
        AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database());
    IF current_setting('transaction_isolation') <> 'read committed'
        OR EXISTS (SELECT 1 FROM freehold_outbox_log AS g WHERE g.lost_at IS NOT NULL) THEN
        bound := 0;
    END IF;
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT g.partition
        FROM jsonb_to_recordset(leases) AS g (partition integer, token bigint, name text)
        JOIN freehold_lease AS l ON l.name = g.name AND l.token = g.token
    ), blocked AS MATERIALIZED (
        SELECT DISTINCT b.partition, b.key FROM freehold_outbox AS b WHERE b.blocked_until > moment
    ), oldest AS MATERIALIZED (
        SELECT o.* FROM held AS h
        CROSS JOIN LATERAL (
            SELECT q.position, q.partition, q.id, q.topic, q.key, q.document, q.attempts
            FROM freehold_outbox AS q
            WHERE q.partition = h.partition AND NOT EXISTS (
                SELECT 1 FROM freehold_outbox AS b WHERE b.key = q.key AND b.blocked_until > moment
            )
            ORDER BY q.position LIMIT most
        ) AS o
        ORDER BY o.position LIMIT most
    )
    SELECT o.position, o.partition, o.id, o.topic, o.key, o.document, o.attempts, NULL::bigint FROM oldest AS o
    UNION ALL
    SELECT least(bound, CASE WHEN EXISTS (SELECT 1 FROM blocked AS b WHERE b.partition = h.partition) THEN (
            SELECT q.position - 1 FROM freehold_outbox AS q
            WHERE q.partition = h.partition AND EXISTS (SELECT 1 FROM blocked AS b WHERE b.key = q.key)
            ORDER BY q.position LIMIT 1
        ) END),
        h.partition, NULL, NULL, NULL, NULL, NULL, coalesce(w.position, 0)
    FROM held AS h LEFT JOIN freehold_outbox_owed AS w ON w.partition = h.partition;
END
$$;
