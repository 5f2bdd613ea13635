-- The last published position of a partition, which no message on the broker has announced yet. One row for each
-- partition.
CREATE TABLE freehold_outbox_owed (
    partition integer PRIMARY KEY,
    position bigint NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000);
-- The low 32 bits of a position: the second number of an advisory lock.
CREATE FUNCTION freehold_low_bits(value bigint) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$ SELECT (((value + 2147483648) & 4294967295) - 2147483648)::integer $$;
-- Returns the rows for the relay. It reads, in this order, each by a statement with a snapshot of its own (volatile,
-- read committed):
-- 1. the last drawn position;
-- 2. the lowest floor of the markers of staging transactions, which take them before they draw;
-- 3. the rows, with blocked keys and watermarks, in one statement.
-- A position at or below 1 and 2 was drawn before 1, by a transaction that had ended before 2. So its row is in 3, or
-- was removed, or rolled back.
-- The high-water mark is 0 where statements have no snapshots of their own.
-- JIT is off: without sequential scans the planner's cost of the sequence alone would be high enough to start it.
CREATE FUNCTION freehold_outbox_fetch(leases jsonb, moment timestamptz, most integer)
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
    IF current_setting('transaction_isolation') <> 'read committed' THEN
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
-- As freehold_outbox_remove; also writes the pending watermarks of the partitions; 0 clears one.
CREATE FUNCTION freehold_outbox_settle(leases jsonb, positions bigint[], owed jsonb)
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
        RETURNING 1
    )
    SELECT count(*) FROM removed
$$;
