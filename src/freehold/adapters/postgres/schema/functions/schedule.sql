-- Selection of due rows. They are functions, because the table is nearly always empty, and a plan made for an empty
-- table reads a whole backlog.
CREATE OR REPLACE FUNCTION freehold_schedule_claim(moment timestamptz, most integer)
RETURNS SETOF freehold_schedule
LANGUAGE sql VOLATILE SET enable_seqscan = off SET plan_cache_mode = force_custom_plan AS $$
    WITH due AS MATERIALIZED (
        SELECT s.id FROM freehold_schedule AS s WHERE s.due_at <= moment
        ORDER BY s.due_at, s.position LIMIT most FOR UPDATE SKIP LOCKED
    )
    DELETE FROM freehold_schedule AS s WHERE s.id = ANY (ARRAY(SELECT d.id FROM due AS d)) RETURNING s.*
$$;
CREATE OR REPLACE FUNCTION freehold_schedule_next_due()
RETURNS timestamptz
LANGUAGE sql STABLE SET enable_seqscan = off SET plan_cache_mode = force_custom_plan AS $$
    SELECT min(s.due_at) FROM freehold_schedule AS s
$$;
