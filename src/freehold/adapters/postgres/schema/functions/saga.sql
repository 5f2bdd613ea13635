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
-- Saves instances with their journal entries, in the order of their ids. It is written into the text of a COMMIT, of
-- which nothing is read before the transaction has ended: so it raises where somebody else has saved an instance.
CREATE OR REPLACE FUNCTION freehold_saga_save(
    ids uuid[], versions bigint[], dues float8[], statuses text[], documents bytea[], failures text[], entries jsonb,
    moment timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    saved_at timestamptz := coalesce(moment, statement_timestamp());
BEGIN
    FOR place IN 1 .. cardinality(ids) LOOP
        UPDATE freehold_saga AS s
        SET updated_at = saved_at, due_at = saved_at + dues[place] * interval '1 second', status = statuses[place],
            document = documents[place], failure = failures[place], version = s.version + 1
        WHERE s.id = ids[place] AND s.version = versions[place];
        IF NOT FOUND THEN
            RAISE EXCEPTION 'a saga is no longer at the version from which it was changed' USING ERRCODE = '40001';
        END IF;
    END LOOP;
    INSERT INTO freehold_saga_journal (saga_id, at, step, what, attempt, detail)
    SELECT e.saga_id, e.at, e.step, e.what, e.attempt, e.detail
    FROM jsonb_to_recordset(entries) AS e (
        saga_id uuid, place integer, at timestamptz, step text, what text, attempt integer, detail text)
    ORDER BY e.place;
    RETURN cardinality(ids);
END
$$;
