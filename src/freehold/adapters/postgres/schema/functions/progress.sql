-- Raises the watermarks of lanes, and returns how many rows it changed. In order of lane: two transactions that advance
-- the same lanes may wait for each other, but cannot deadlock. It is a function because it is sent with the COMMIT, as a
-- text, which would be planned anew each time.
CREATE OR REPLACE FUNCTION freehold_progress_advance(
    reader text, lanes text[], watermarks bigint[], appended bigint, moment timestamptz)
RETURNS integer
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    changed integer;
BEGIN
    INSERT INTO freehold_progress AS old (consumer, lane, watermark, appended_position, updated_at)
    SELECT reader, g.lane, g.watermark, appended, coalesce(moment, statement_timestamp())
    FROM unnest(lanes, watermarks) AS g (lane, watermark)
    ORDER BY g.lane
    ON CONFLICT (consumer, lane) DO UPDATE SET
        updated_at = excluded.updated_at,
        watermark = greatest(old.watermark, excluded.watermark),
        appended_position = greatest(old.appended_position, excluded.appended_position)
    WHERE old.watermark < excluded.watermark OR old.appended_position < excluded.appended_position;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$$;
