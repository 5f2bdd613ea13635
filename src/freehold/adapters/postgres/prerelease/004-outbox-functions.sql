-- The relay's statements. They are functions, because a table that is nearly always empty misleads the planner: with
-- the statistics of an empty table, or a plan made for one, each statement would read the whole table once a backlog
-- has grown. `leases` are rows of partition, token and lease name; a row with a stale token has no effect.
CREATE FUNCTION freehold_outbox_oldest(leases jsonb, moment timestamptz, most integer)
RETURNS TABLE (row_position bigint, row_partition integer, id uuid, topic text, key text, document bytea, attempts integer)
LANGUAGE sql STABLE SET enable_seqscan = off SET plan_cache_mode = force_custom_plan AS $$
    SELECT o.position, o.partition, o.id, o.topic, o.key, o.document, o.attempts
    FROM jsonb_to_recordset(leases) AS g (partition integer, token bigint, name text)
    JOIN freehold_lease AS l ON l.name = g.name AND l.token = g.token
    CROSS JOIN LATERAL (
        SELECT q.position, q.partition, q.id, q.topic, q.key, q.document, q.attempts
        FROM freehold_outbox AS q
        WHERE q.partition = g.partition AND NOT EXISTS (
            SELECT 1 FROM freehold_outbox AS b WHERE b.key = q.key AND b.blocked_until > moment
        )
        ORDER BY q.position LIMIT most
    ) AS o
    ORDER BY o.position LIMIT most
$$;
-- The rows of the leases are locked, in order of name, until the rows are deleted: no other relay can take the lease
-- over in between.
CREATE FUNCTION freehold_outbox_remove(leases jsonb, positions bigint[])
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
CREATE FUNCTION freehold_outbox_postpone(leases jsonb, row_position bigint, until timestamptz, why text)
RETURNS bigint
LANGUAGE sql VOLATILE SET enable_seqscan = off SET plan_cache_mode = force_custom_plan AS $$
    WITH held AS MATERIALIZED (
        SELECT g.partition
        FROM jsonb_to_recordset(leases) AS g (partition integer, token bigint, name text)
        JOIN freehold_lease AS l ON l.name = g.name AND l.token = g.token
        ORDER BY l.name FOR SHARE OF l
    ), postponed AS (
        UPDATE freehold_outbox AS o
        SET blocked_until = until, attempts = o.attempts + 1, reason = why
        WHERE o.partition = ANY (ARRAY(SELECT h.partition FROM held AS h)) AND o.position = row_position
        RETURNING 1
    )
    SELECT count(*) FROM postponed
$$;
