-- Moves sent messages back to the outbox, in order of position; those of another time are skipped. `seen` counts the
-- matching rows, also those that a concurrent call moves.
CREATE OR REPLACE FUNCTION freehold_outbox_send_again(
    since timestamptz, after bigint, through bigint, most integer, moment timestamptz)
RETURNS TABLE (moved bigint, seen bigint, last_position bigint)
LANGUAGE sql VOLATILE SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_hashjoin = off
    SET plan_cache_mode = force_custom_plan AS $$
    WITH wanted AS MATERIALIZED (
        SELECT s.position FROM freehold_outbox_sent AS s
        WHERE s.position > after AND s.position <= through AND s.sent_at >= since
        ORDER BY s.position LIMIT most
    ), taken AS (
        DELETE FROM freehold_outbox_sent AS s WHERE s.position = ANY (ARRAY(SELECT w.position FROM wanted AS w))
        RETURNING s.position, s.partition, s.id, s.topic, s.key, s.document, s.sent_at
    ), staged AS (
        INSERT INTO freehold_outbox (position, partition, id, topic, key, document, staged_at, sent_at)
        OVERRIDING SYSTEM VALUE
        SELECT t.position, t.partition, t.id, t.topic, t.key, t.document, moment, t.sent_at FROM taken AS t
        ON CONFLICT DO NOTHING
    )
    SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM wanted), (SELECT max(w.position) FROM wanted AS w)
$$;
CREATE OR REPLACE FUNCTION freehold_outbox_prune_sent(before timestamptz, most integer)
RETURNS bigint
LANGUAGE sql VOLATILE SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET plan_cache_mode = force_custom_plan AS $$
    WITH old AS MATERIALIZED (
        SELECT s.position FROM freehold_outbox_sent AS s WHERE s.sent_at < before
        ORDER BY s.sent_at LIMIT most FOR UPDATE SKIP LOCKED
    ), pruned AS (
        DELETE FROM freehold_outbox_sent AS s WHERE s.position = ANY (ARRAY(SELECT o.position FROM old AS o)) RETURNING 1
    )
    SELECT count(*) FROM pruned
$$;
