-- Selection of due rows. They are functions, as those of the outbox: these tables are nearly always empty, and a plan
-- made for an empty table compares every row of a backlog with every other one.
CREATE FUNCTION freehold_deferred_claim(reader text, moment timestamptz, hidden_seconds float8, most integer)
RETURNS SETOF freehold_deferred
LANGUAGE sql VOLATILE SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_custom_plan AS $$
    WITH head AS MATERIALIZED (
        SELECT d.position FROM freehold_deferred AS d
        WHERE d.consumer = reader AND d.due_at <= moment AND NOT EXISTS (
            SELECT 1 FROM freehold_deferred AS e
            WHERE e.consumer = d.consumer AND e.topic = d.topic AND e.key = d.key AND e.position < d.position
        )
        ORDER BY d.due_at, d.position LIMIT most FOR UPDATE OF d SKIP LOCKED
    )
    UPDATE freehold_deferred AS d
    SET attempts = d.attempts + 1, due_at = moment + hidden_seconds * interval '1 second'
    WHERE d.position = ANY (ARRAY(SELECT h.position FROM head AS h))
    RETURNING d.*
$$;
CREATE FUNCTION freehold_deferred_next_due(reader text)
RETURNS timestamptz
LANGUAGE sql STABLE SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_custom_plan AS $$
    SELECT d.due_at FROM freehold_deferred AS d
    WHERE d.consumer = reader AND NOT EXISTS (
        SELECT 1 FROM freehold_deferred AS e
        WHERE e.consumer = d.consumer AND e.topic = d.topic AND e.key = d.key AND e.position < d.position
    )
    ORDER BY d.due_at LIMIT 1
$$;
-- For each key that an earlier deferred message blocks: the place of the first blocked message in the batch.
CREATE FUNCTION freehold_deferred_blocking(reader text, arrivals jsonb)
RETURNS TABLE (topic text, key text, place integer)
LANGUAGE sql STABLE SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_custom_plan AS $$
    SELECT a.topic, a.key, min(a.place)
    FROM jsonb_to_recordset(arrivals) AS a (place integer, topic text, key text, deferred_position bigint)
    WHERE EXISTS (
        SELECT 1 FROM freehold_deferred AS d
        WHERE d.consumer = reader AND d.topic = a.topic AND d.key = a.key
            AND (a.deferred_position IS NULL OR d.position < a.deferred_position)
    )
    GROUP BY a.topic, a.key
$$;
CREATE FUNCTION freehold_schedule_take(moment timestamptz, most integer)
RETURNS SETOF freehold_schedule
LANGUAGE sql VOLATILE SET enable_seqscan = off SET plan_cache_mode = force_custom_plan AS $$
    WITH due AS MATERIALIZED (
        SELECT s.id FROM freehold_schedule AS s WHERE s.due_at <= moment
        ORDER BY s.due_at, s.position LIMIT most FOR UPDATE SKIP LOCKED
    )
    DELETE FROM freehold_schedule AS s WHERE s.id = ANY (ARRAY(SELECT d.id FROM due AS d)) RETURNING s.*
$$;
CREATE FUNCTION freehold_schedule_next_due()
RETURNS timestamptz
LANGUAGE sql STABLE SET enable_seqscan = off SET plan_cache_mode = force_custom_plan AS $$
    SELECT min(s.due_at) FROM freehold_schedule AS s
$$;
CREATE FUNCTION freehold_saga_take(moment timestamptz, most integer)
RETURNS SETOF freehold_saga
LANGUAGE sql VOLATILE SET enable_seqscan = off SET plan_cache_mode = force_custom_plan AS $$
    SELECT s.* FROM freehold_saga AS s WHERE s.due_at <= moment
    ORDER BY s.due_at, s.id LIMIT most FOR UPDATE SKIP LOCKED
$$;
CREATE FUNCTION freehold_saga_next_due()
RETURNS timestamptz
LANGUAGE sql STABLE SET enable_seqscan = off SET plan_cache_mode = force_custom_plan AS $$
    SELECT min(s.due_at) FROM freehold_saga AS s WHERE s.due_at IS NOT NULL
$$;
