-- The number of times that this broker is known to have lost its log.
ALTER TABLE freehold_outbox_log ADD COLUMN losses bigint NOT NULL DEFAULT 0;
UPDATE freehold_outbox_log SET losses = 1 WHERE lost_at IS NOT NULL;
-- The number of losses that were recorded, of all brokers, when the message was fetched. While a loss is open, a
-- message with a lower number may be lost, and is sent again before anything newer of its key.
ALTER TABLE freehold_outbox_sent ADD COLUMN losses bigint NOT NULL DEFAULT 0;
CREATE INDEX freehold_outbox_sent_by_key ON freehold_outbox_sent (key, losses, position);
-- As in 034. While a loss is open, a row is left out if its key has an earlier message that the broker may have lost
-- and that was confirmed at `since` or later. Both tables are read in one snapshot, so a message that another
-- transaction moves is in one of them. Only the oldest rows are checked, the same ones as in freehold_outbox_recall,
-- which moves those earlier messages back.
CREATE FUNCTION freehold_outbox_fetch(leases jsonb, moment timestamptz, most integer, since timestamptz)
RETURNS TABLE (row_position bigint, row_partition integer, row_id uuid, row_topic text, row_key text,
    row_document bytea, row_attempts integer, row_owed bigint, row_losses bigint, row_lost boolean)
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
    SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    drawn bigint;
    bound bigint;
    lost boolean;
    written bigint;
BEGIN
    SELECT CASE WHEN s.is_called THEN s.last_value ELSE s.last_value - 1 END INTO drawn
    FROM freehold_outbox_position_seq AS s;
    SELECT least(drawn, min(drawn + freehold_low_bits(l.objid::bigint - drawn))) INTO bound
    FROM pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.classid = 1179143000 AND l.objsubid = 2 AND l.granted
        AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database());
    SELECT coalesce(sum(g.losses), 0), coalesce(bool_or(g.lost_at IS NOT NULL), false) INTO written, lost
    FROM freehold_outbox_log AS g;
    IF lost OR current_setting('transaction_isolation') <> 'read committed' THEN
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
        WHERE NOT (lost AND EXISTS (
            SELECT 1 FROM freehold_outbox_sent AS s
            WHERE s.key = o.key AND s.losses < written AND s.position < o.position AND s.sent_at >= since
        ))
        ORDER BY o.position LIMIT most
    )
    SELECT o.position, o.partition, o.id, o.topic, o.key, o.document, o.attempts, NULL::bigint, NULL::bigint, NULL::boolean
    FROM oldest AS o
    UNION ALL
    SELECT least(bound, CASE WHEN EXISTS (SELECT 1 FROM blocked AS b WHERE b.partition = h.partition) THEN (
            SELECT q.position - 1 FROM freehold_outbox AS q
            WHERE q.partition = h.partition AND EXISTS (SELECT 1 FROM blocked AS b WHERE b.key = q.key)
            ORDER BY q.position LIMIT 1
        ) END),
        h.partition, NULL, NULL, NULL, NULL, NULL, coalesce(w.position, 0), written, lost
    FROM held AS h LEFT JOIN freehold_outbox_owed AS w ON w.partition = h.partition;
END
$$;
-- As in 033; the kept messages have the number of losses at the time when they were fetched.
CREATE FUNCTION freehold_outbox_keep(
    leases jsonb, positions bigint[], owed jsonb, moment timestamptz, written bigint)
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
        INSERT INTO freehold_outbox_sent AS s (position, partition, id, topic, key, document, sent_at, losses)
        SELECT r.position, r.partition, r.id, r.topic, r.key, r.document, coalesce(r.sent_at, moment), written
        FROM removed AS r
        ON CONFLICT (position) DO UPDATE SET partition = excluded.partition, id = excluded.id, topic = excluded.topic,
            key = excluded.key, document = excluded.document, sent_at = excluded.sent_at, losses = excluded.losses
    )
    SELECT count(*) FROM removed
$$;
-- While a loss is open, moves the sent messages that the oldest rows wait for back to the outbox, in order of position,
-- as freehold_outbox_send_again does. So concurrent calls lock rows in one order, and each row is moved once. Within a
-- key the ORDER BY is that of the index: otherwise the planner would read all kept messages.
CREATE FUNCTION freehold_outbox_recall(leases jsonb, since timestamptz, most integer, moment timestamptz)
RETURNS bigint
LANGUAGE sql VOLATILE SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
    SET enable_mergejoin = off SET enable_sort = off SET plan_cache_mode = force_custom_plan AS $$
    WITH loss AS MATERIALIZED (
        SELECT sum(g.losses)::bigint AS written FROM freehold_outbox_log AS g HAVING bool_or(g.lost_at IS NOT NULL)
    ), held AS MATERIALIZED (
        SELECT g.partition
        FROM jsonb_to_recordset(leases) AS g (partition integer, token bigint, name text)
        JOIN freehold_lease AS l ON l.name = g.name AND l.token = g.token
    ), oldest AS MATERIALIZED (
        SELECT o.key, max(o.position) AS position FROM loss CROSS JOIN held AS h
        CROSS JOIN LATERAL (
            SELECT q.position, q.key FROM freehold_outbox AS q
            WHERE q.partition = h.partition AND NOT EXISTS (
                SELECT 1 FROM freehold_outbox AS b WHERE b.key = q.key AND b.blocked_until > moment
            )
            ORDER BY q.position LIMIT most
        ) AS o
        GROUP BY o.key
    ), wanted AS MATERIALIZED (
        SELECT k.position FROM loss CROSS JOIN oldest AS o
        CROSS JOIN LATERAL (
            SELECT s.position FROM freehold_outbox_sent AS s
            WHERE s.key = o.key AND s.losses < loss.written AND s.position < o.position AND s.sent_at >= since
            ORDER BY s.key, s.losses, s.position LIMIT most
        ) AS k
        ORDER BY k.position LIMIT most
    ), taken AS (
        DELETE FROM freehold_outbox_sent AS s WHERE s.position = ANY (ARRAY(SELECT w.position FROM wanted AS w))
        RETURNING s.position, s.partition, s.id, s.topic, s.key, s.document, s.sent_at
    ), staged AS (
        INSERT INTO freehold_outbox (position, partition, id, topic, key, document, staged_at, sent_at)
        OVERRIDING SYSTEM VALUE
        SELECT t.position, t.partition, t.id, t.topic, t.key, t.document, moment, t.sent_at FROM taken AS t
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) FROM taken
$$;
