-- The relay's statements. They are functions, because a table that is nearly always empty misleads the planner: with
-- the statistics of an empty table, or a plan made for one, each statement would read the whole table once a backlog
-- has grown.
-- `leases` are rows of partition, token and lease name; a row with a stale token has no effect. The rows of the leases
-- are locked, in order of name, until the rows are deleted: no other relay can take the lease over in between.
CREATE OR REPLACE FUNCTION freehold_outbox_remove(leases jsonb, positions bigint[])
RETURNS bigint
LANGUAGE sql VOLATILE SET enable_seqscan = off SET plan_cache_mode = force_custom_plan AS $$
    WITH held AS MATERIALIZED (
        SELECT g.partition
        FROM jsonb_to_recordset(leases) AS g (partition integer, token bigint, name text)
        JOIN freehold_lease AS l ON l.name = g.name AND l.token = g.token
        ORDER BY l.name FOR SHARE OF l
    ), removed AS (
        DELETE FROM freehold_outbox AS o
        WHERE o.partition = ANY (ARRAY(SELECT h.partition FROM held AS h)) AND o.position = ANY (positions)
        RETURNING 1
    )
    SELECT count(*) FROM removed
$$;
CREATE OR REPLACE FUNCTION freehold_outbox_reschedule(leases jsonb, row_position bigint, until timestamptz, why text)
RETURNS bigint
LANGUAGE sql VOLATILE SET enable_seqscan = off SET plan_cache_mode = force_custom_plan AS $$
    WITH held AS MATERIALIZED (
        SELECT g.partition
        FROM jsonb_to_recordset(leases) AS g (partition integer, token bigint, name text)
        JOIN freehold_lease AS l ON l.name = g.name AND l.token = g.token
        ORDER BY l.name FOR SHARE OF l
    ), rescheduled AS (
        UPDATE freehold_outbox AS o
        SET blocked_until = until, attempts = o.attempts + 1, reason = why
        WHERE o.partition = ANY (ARRAY(SELECT h.partition FROM held AS h)) AND o.position = row_position
        RETURNING 1
    )
    SELECT count(*) FROM rescheduled
$$;
-- The low 32 bits of a position: the second number of an advisory lock.
CREATE OR REPLACE FUNCTION freehold_low_bits(value bigint) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$ SELECT (((value + 2147483648) & 4294967295) - 2147483648)::integer $$;
-- Stages a message. Each statement has a snapshot of its own, and they run in this order: the lock of the key, which
-- ends with the transaction; the marker, a shared lock whose number is the last position drawn; the row, which draws the
-- next one. Returns the position.
CREATE OR REPLACE FUNCTION freehold_outbox_stage(
    key_lock bigint, in_partition integer, message_id uuid, to_topic text, by_key text, body bytea, moment timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    drawn bigint;
    called boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(key_lock);
    SELECT s.last_value, s.is_called INTO drawn, called FROM freehold_outbox_position_seq AS s;
    PERFORM pg_advisory_xact_lock_shared(1179143000, freehold_low_bits(CASE WHEN called THEN drawn ELSE drawn - 1 END));
    INSERT INTO freehold_outbox (partition, id, topic, key, document, staged_at)
    VALUES (in_partition, message_id, to_topic, by_key, body, coalesce(moment, statement_timestamp()))
    RETURNING position INTO drawn;
    RETURN drawn;
END
$$;
-- As freehold_outbox_stage, for any number of messages in the order given. `key_locks` are in ascending order, so that
-- two transactions with several keys do not wait for each other.
CREATE OR REPLACE FUNCTION freehold_outbox_stage_all(
    key_locks bigint[], in_partitions integer[], message_ids uuid[], to_topics text[], by_keys text[], bodies bytea[],
    moment timestamptz)
RETURNS bigint[]
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    key_lock bigint;
    floor bigint;
    called boolean;
    drawn bigint[];
BEGIN
    FOREACH key_lock IN ARRAY key_locks LOOP
        PERFORM pg_advisory_xact_lock(key_lock);
    END LOOP;
    SELECT s.last_value, s.is_called INTO floor, called FROM freehold_outbox_position_seq AS s;
    PERFORM pg_advisory_xact_lock_shared(1179143000, freehold_low_bits(CASE WHEN called THEN floor ELSE floor - 1 END));
    WITH staged AS (
        INSERT INTO freehold_outbox (partition, id, topic, key, document, staged_at)
        SELECT m.partition, m.id, m.topic, m.key, m.document, coalesce(moment, statement_timestamp())
        FROM unnest(in_partitions, message_ids, to_topics, by_keys, bodies)
            WITH ORDINALITY AS m (partition, id, topic, key, document, ordinal)
        ORDER BY m.ordinal
        RETURNING position
    )
    SELECT array_agg(s.position ORDER BY s.position) INTO drawn FROM staged AS s;
    RETURN drawn;
END
$$;
-- Returns the rows for the relay. It reads, in this order, each by a statement with a snapshot of its own (volatile,
-- read committed):
-- 1. the last drawn position;
-- 2. the lowest floor of the markers of staging transactions, which take them before they draw;
-- 3. the losses of brokers' logs;
-- 4. the rows, with blocked keys and watermarks, in one statement.
-- A position at or below 1 and 2 was drawn before 1, by a transaction that had ended before 2. So its row is in 4, or
-- was removed, or rolled back.
-- The high-water mark is 0 where statements have no snapshots of their own, or while a loss is open: messages that may
-- be on no broker must not be reported as published.
-- While a loss is open, a row is left out if its key has an earlier message that the broker may have lost and that was
-- confirmed at `since` or later. Both tables are read in one snapshot, so a message that another transaction moves is
-- in one of them. Only the oldest rows are checked, the same ones as in freehold_outbox_recall, which moves those
-- earlier messages back.
-- Of each partition `share` rows at most are read, and of these the oldest `most` are returned: to read `most` of each
-- would be many times as many as are returned. The caller knows which partitions were cut off.
-- JIT is off: without sequential scans the planner's cost of the sequence alone would be high enough to start it.
-- Only a relay with a valid token blocks a key, and only between its rounds: no key of a leased partition becomes blocked
-- between the look for blocked keys and the statement after it.
CREATE OR REPLACE FUNCTION freehold_outbox_next(
    leases jsonb, moment timestamptz, most integer, share integer, since timestamptz)
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
    IF NOT lost AND NOT EXISTS (SELECT 1 FROM freehold_outbox AS b WHERE b.blocked_until > moment) THEN
        RETURN QUERY
        WITH held AS MATERIALIZED (
            SELECT g.partition
            FROM jsonb_to_recordset(leases) AS g (partition integer, token bigint, name text)
            JOIN freehold_lease AS l ON l.name = g.name AND l.token = g.token
        )
        (SELECT o.position, o.partition, o.id, o.topic, o.key, o.document, o.attempts,
            NULL::bigint, NULL::bigint, NULL::boolean
        FROM held AS h
        CROSS JOIN LATERAL (
            SELECT q.position, q.partition, q.id, q.topic, q.key, q.document, q.attempts
            FROM freehold_outbox AS q WHERE q.partition = h.partition ORDER BY q.position LIMIT share
        ) AS o
        ORDER BY o.position LIMIT most)
        UNION ALL
        SELECT bound, h.partition, NULL, NULL, NULL, NULL, NULL, coalesce(w.position, 0), written, lost
        FROM held AS h LEFT JOIN freehold_outbox_watermark AS w ON w.partition = h.partition;
        RETURN;
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
            ORDER BY q.position LIMIT share
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
    FROM held AS h LEFT JOIN freehold_outbox_watermark AS w ON w.partition = h.partition;
END
$$;
-- As freehold_outbox_remove, for many rows; also writes the pending watermarks of the partitions, in the same statement;
-- 0 clears one. Rows are found by partition and position, one by one, and deleted where they were found: a condition on
-- all partitions and all positions would look for each position in each partition. Unless `written` is NULL, the removed
-- rows are kept as sent messages, with this number of losses, that of the time when they were fetched.
CREATE OR REPLACE FUNCTION freehold_outbox_settle(
    leases jsonb, partitions integer[], positions bigint[], owed jsonb, moment timestamptz, written bigint)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    number bigint;
BEGIN
    WITH held AS MATERIALIZED (
        SELECT g.partition
        FROM jsonb_to_recordset(leases) AS g (partition integer, token bigint, name text)
        JOIN freehold_lease AS l ON l.name = g.name AND l.token = g.token
        ORDER BY l.name FOR SHARE OF l
    ), noted AS (
        INSERT INTO freehold_outbox_watermark AS w (partition, position)
        SELECT n.partition, n.position FROM jsonb_to_recordset(owed) AS n (partition integer, position bigint)
        WHERE n.partition = ANY (ARRAY(SELECT h.partition FROM held AS h)) ORDER BY n.partition
        ON CONFLICT (partition) DO UPDATE SET position = CASE excluded.position
            WHEN 0 THEN 0 ELSE greatest(w.position, excluded.position) END
    ), removed AS (
        DELETE FROM freehold_outbox AS o WHERE o.ctid = ANY (ARRAY(
            SELECT f.place FROM unnest(partitions, positions) AS r (partition, position)
            CROSS JOIN LATERAL (
                SELECT q.ctid AS place FROM freehold_outbox AS q
                WHERE q.partition = r.partition AND q.position = r.position LIMIT 1
            ) AS f
            WHERE r.partition = ANY (ARRAY(SELECT h.partition FROM held AS h))
        ))
        RETURNING o.position, o.partition, o.id, o.topic, o.key, o.document, o.sent_at
    ), kept AS (
        INSERT INTO freehold_outbox_sent AS s (position, partition, id, topic, key, document, sent_at, losses)
        SELECT r.position, r.partition, r.id, r.topic, r.key, r.document, coalesce(r.sent_at, moment), written
        FROM removed AS r WHERE written IS NOT NULL
        ON CONFLICT (position) DO UPDATE SET partition = excluded.partition, id = excluded.id, topic = excluded.topic,
            key = excluded.key, document = excluded.document, sent_at = excluded.sent_at, losses = excluded.losses
    )
    SELECT count(*) INTO number FROM removed;
    RETURN number;
END
$$;
-- While a loss is open, moves the sent messages that the oldest rows wait for back to the outbox, in order of position,
-- as freehold_outbox_send_again does. So concurrent calls lock rows in one order, and each row is moved once. Within a
-- key the ORDER BY is that of the index: otherwise the planner would read all kept messages.
CREATE OR REPLACE FUNCTION freehold_outbox_recall(leases jsonb, since timestamptz, most integer, moment timestamptz)
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
