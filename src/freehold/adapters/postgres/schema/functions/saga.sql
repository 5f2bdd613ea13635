-- Selection of due rows. They are functions, because the table is nearly always empty, and a plan made for an empty
-- table reads a whole backlog.
CREATE OR REPLACE FUNCTION freehold_saga_claim(moment timestamptz, most integer)
RETURNS SETOF freehold_saga
LANGUAGE sql VOLATILE SET enable_seqscan = off SET plan_cache_mode = force_custom_plan AS $$
    SELECT s.* FROM freehold_saga AS s WHERE s.due_at <= moment
    ORDER BY s.due_at, s.id LIMIT most FOR UPDATE SKIP LOCKED
$$;
CREATE OR REPLACE FUNCTION freehold_saga_next_due()
RETURNS timestamptz
LANGUAGE sql STABLE SET enable_seqscan = off SET plan_cache_mode = force_custom_plan AS $$
    SELECT min(s.due_at) FROM freehold_saga AS s WHERE s.due_at IS NOT NULL
$$;
