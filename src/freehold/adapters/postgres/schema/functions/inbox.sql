-- Selection of due rows. They are functions, because these tables are nearly always empty, and a plan made for an empty
-- table compares every row of a backlog with every other one.
-- freehold_deferred_claim claims at most `most` due messages that are the first of their key, and marks the others
-- among `look` due rows as waiting. A row whose mark was removed since this statement began has another version. It is
-- skipped, because the message that was seen before it no longer exists.
CREATE OR REPLACE FUNCTION freehold_deferred_claim(
    reader text, moment timestamptz, hidden_seconds float8, most integer, look integer)
RETURNS SETOF freehold_deferred
LANGUAGE sql VOLATILE SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_custom_plan AS $$
    WITH seen AS MATERIALIZED (
        SELECT d.position, d.due_at, d.xmin AS version, NOT EXISTS (
            SELECT 1 FROM freehold_deferred AS e
            WHERE e.consumer = d.consumer AND e.topic = d.topic AND e.key = d.key AND e.position < d.position
        ) AS head
        FROM freehold_deferred AS d
        WHERE d.consumer = reader AND NOT d.waiting AND d.due_at <= moment
        ORDER BY d.due_at, d.position LIMIT look
    ), wanted AS MATERIALIZED (
        SELECT s.position, s.version, s.head FROM seen AS s WHERE NOT s.head
        UNION ALL
        (SELECT s.position, s.version, s.head FROM seen AS s WHERE s.head ORDER BY s.due_at, s.position LIMIT most)
    ), held AS MATERIALIZED (
        SELECT d.position, w.head FROM wanted AS w
        JOIN freehold_deferred AS d ON d.position = w.position AND d.xmin = w.version
        FOR UPDATE OF d SKIP LOCKED
    )
    UPDATE freehold_deferred AS d
    SET attempts = d.attempts + CASE WHEN h.head THEN 1 ELSE 0 END,
        due_at = CASE WHEN h.head THEN moment + hidden_seconds * interval '1 second' ELSE d.due_at END,
        waiting = NOT h.head
    FROM held AS h WHERE d.position = h.position
    RETURNING d.*
$$;
CREATE OR REPLACE FUNCTION freehold_deferred_next_due(reader text)
RETURNS timestamptz
LANGUAGE sql STABLE SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_custom_plan AS $$
    SELECT d.due_at FROM freehold_deferred AS d
    WHERE d.consumer = reader AND NOT d.waiting AND NOT EXISTS (
        SELECT 1 FROM freehold_deferred AS e
        WHERE e.consumer = d.consumer AND e.topic = d.topic AND e.key = d.key AND e.position < d.position
    )
    ORDER BY d.due_at LIMIT 1
$$;
-- One index look-up for each message. An EXISTS would be planned as a join: with the statistics of an empty table that
-- reads all deferred messages of the consumer. So it is a subquery with a limit. Nothing is deferred most of the time:
-- then one look-up is enough. The plan does not depend on the statistics, so it is made once for each session.
CREATE OR REPLACE FUNCTION freehold_deferred_blocking(reader text, arrivals jsonb)
RETURNS TABLE (topic text, key text, place integer)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    PERFORM 1 FROM freehold_deferred AS d WHERE d.consumer = reader
    ORDER BY d.consumer, d.topic, d.key, d.position LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT a.topic, a.key, min(a.place)
    FROM jsonb_to_recordset(arrivals) AS a (place integer, topic text, key text, deferred_position bigint)
    CROSS JOIN LATERAL (
        SELECT d.position FROM freehold_deferred AS d
        WHERE d.consumer = reader AND d.topic = a.topic AND d.key = a.key
        ORDER BY d.consumer, d.topic, d.key, d.position LIMIT 1
    ) AS first
    WHERE a.deferred_position IS NULL OR first.position < a.deferred_position
    GROUP BY a.topic, a.key;
END
$$;
-- Deletes a claimed message, then removes the waiting mark of the key's next message. The order matters: each statement
-- has a snapshot of its own, so the second one sees a message that was marked until the deletion. The next message is
-- always updated, so that a concurrent claim that still sees the deleted message finds another version of it.
CREATE OR REPLACE FUNCTION freehold_deferred_finish(claimed_position bigint, claimed_attempts integer)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET enable_bitmapscan = off
    SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    gone record;
BEGIN
    DELETE FROM freehold_deferred AS d WHERE d.position = claimed_position AND d.attempts = claimed_attempts
    RETURNING d.consumer, d.topic, d.key INTO gone;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE freehold_deferred AS d SET waiting = false WHERE d.position = (
        SELECT e.position FROM freehold_deferred AS e
        WHERE e.consumer = gone.consumer AND e.topic = gone.topic AND e.key = gone.key
        ORDER BY e.consumer, e.topic, e.key, e.position LIMIT 1
    );
    RETURN true;
END
$$;
-- Stores replies in the receipts that this transaction has written, by one look-up for each. It is a function because it
-- is sent with the COMMIT.
CREATE OR REPLACE FUNCTION freehold_inbox_answer(reader text, receipt_keys text[], replies bytea[])
RETURNS integer
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET enable_bitmapscan = off
    SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    FOR place IN 1 .. cardinality(receipt_keys) LOOP
        UPDATE freehold_inbox AS i SET answer = replies[place]
        WHERE i.consumer = reader AND i.receipt_key = receipt_keys[place];
    END LOOP;
    RETURN cardinality(receipt_keys);
END
$$;
