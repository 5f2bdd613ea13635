-- Events are kept for ever. The table contains no transaction ids and nothing depends on a clock, so a dump can be
-- restored.
CREATE TABLE freehold_event (
    position bigint GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME freehold_event_position_seq CACHE 1),
    stream text NOT NULL,
    version bigint NOT NULL,
    category text NOT NULL,
    bucket smallint NOT NULL,
    type text NOT NULL,
    schema_version integer NOT NULL,
    id uuid NOT NULL,
    data bytea NOT NULL,
    correlation_id uuid NOT NULL,
    causation_id uuid,
    hlc bigint NOT NULL,
    trace_parent text,
    subject_key text,
    headers bytea,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (position),
    UNIQUE (stream, version)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);
-- Compression of small documents costs more than it saves.
ALTER TABLE freehold_event ALTER COLUMN data SET STORAGE EXTERNAL;
-- The indexes are on (position + 0), so that the planner cannot use the primary key instead: with old statistics a
-- reader of one type would read the whole store along it.
CREATE INDEX freehold_event_type ON freehold_event (type, (position + 0));
CREATE INDEX freehold_event_category ON freehold_event (category, (position + 0));
CREATE INDEX freehold_event_time ON freehold_event (recorded_at, position);
-- Appends events in one call. In READ COMMITTED each statement of the function has a snapshot of its own, so the
-- versions are read after the locks were acquired. A version conflict is returned, not raised, so that the server logs
-- no error.
-- The shared lock is the marker "this transaction draws positions above this floor". It ends when the commit or the
-- rollback is visible.
CREATE FUNCTION freehold_event_append(
    locks bigint[], names text[], expected bigint[], moment timestamptz, ordinals integer[], offsets bigint[],
    categories text[], buckets smallint[], types text[], schema_versions integer[], ids uuid[], datas bytea[],
    correlations uuid[], causations uuid[], hlcs bigint[], traces text[], subjects text[], headings bytea[],
    OUT conflict integer, OUT versions bigint[], OUT positions bigint[])
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    hash bigint;
    standing bigint;
    floor bigint;
BEGIN
    FOREACH hash IN ARRAY locks LOOP
        PERFORM pg_advisory_xact_lock(hash);
    END LOOP;
    FOR i IN 1 .. cardinality(names) LOOP
        standing := coalesce((
            SELECT e.version FROM freehold_event AS e WHERE e.stream = names[i] ORDER BY e.version DESC LIMIT 1
        ), 0);
        versions[i] := standing;
        IF conflict IS NULL AND standing <> expected[i] AND (expected[i] >= 0 OR (expected[i] = -2 AND standing = 0)) THEN
            conflict := i;
        END IF;
    END LOOP;
    IF conflict IS NOT NULL THEN
        RETURN;
    END IF;
    SELECT s.last_value - CASE WHEN s.is_called THEN 0 ELSE 1 END INTO floor FROM freehold_event_position_seq AS s;
    PERFORM pg_advisory_xact_lock_shared(1179149686, floor::bit(32)::integer);
    WITH inserted AS (
        INSERT INTO freehold_event (stream, version, category, bucket, type, schema_version, id, data, correlation_id,
            causation_id, hlc, trace_parent, subject_key, headers, recorded_at)
        SELECT names[n.ordinal], versions[n.ordinal] + n.number, categories[n.ordinal], buckets[n.ordinal], n.type,
            n.schema_version, n.id, n.data, n.correlation_id, n.causation_id, n.hlc, n.trace_parent, n.subject_key,
            n.headers, moment
        FROM unnest(ordinals, offsets, types, schema_versions, ids, datas, correlations, causations, hlcs, traces,
            subjects, headings) WITH ORDINALITY AS n (ordinal, number, type, schema_version, id, data, correlation_id,
            causation_id, hlc, trace_parent, subject_key, headers, place)
        ORDER BY n.place
        ON CONFLICT (stream, version) DO NOTHING
        RETURNING position
    )
    SELECT array_agg(i.position ORDER BY i.position) INTO positions FROM inserted AS i;
    IF cardinality(positions) IS DISTINCT FROM cardinality(ids) THEN
        RAISE EXCEPTION USING ERRCODE = 'serialization_failure',
            MESSAGE = 'a stream was written to without its lock, while events were appended to it';
    END IF;
END
$$;
-- The high-water mark: no event can still appear at or below this position, because an open transaction that could
-- insert one would have a marker.
-- Call it in a statement before the one that reads: an event at or below the mark may be missing from an older
-- snapshot. A marker has only the low 32 bits of its floor; one above the last drawn position blocks nothing. Returns
-- -1 where the transaction has one snapshot for all its statements, and -2 on a standby, which does not see the
-- markers.
CREATE FUNCTION freehold_event_settled()
RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    high bigint;
    drawn bigint;
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RETURN -1;
    ELSIF pg_is_in_recovery() THEN
        RETURN -2;
    END IF;
    SELECT s.last_value - CASE WHEN s.is_called THEN 0 ELSE 1 END INTO high FROM freehold_event_position_seq AS s;
    SELECT max((high - l.objid::bigint) & 4294967295) INTO drawn
    FROM pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.classid = 1179149686 AND l.objsubid = 2 AND l.granted
        AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
        AND (high - l.objid::bigint) & 4294967295 < 2147483648;
    RETURN high - coalesce(drawn, 0);
END
$$;
-- The position of the last committed event at or below this one. A number that was only drawn does not count: after a
-- crash the sequence may give it to another event.
CREATE FUNCTION freehold_event_last(ceiling bigint)
RETURNS bigint
LANGUAGE sql STABLE SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
    SELECT coalesce((SELECT e.position FROM freehold_event AS e WHERE e.position <= ceiling
        ORDER BY e.position DESC LIMIT 1), 0)
$$;
-- The first position in a range with an event of these types, or, without types, of these categories, or, without both,
-- any event; the end of the range where there is none.
CREATE FUNCTION freehold_event_first(after bigint, through bigint, wanted_types text[], wanted_categories text[])
RETURNS bigint
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF cardinality(wanted_types) > 0 THEN
        RETURN coalesce((
            SELECT min(r.position)
            FROM unnest(wanted_types) AS w (name) CROSS JOIN LATERAL (
                SELECT e.position FROM freehold_event AS e
                WHERE e.type = w.name AND e.position + 0 > after AND e.position + 0 <= through
                ORDER BY e.position + 0 LIMIT 1
            ) AS r
        ), through);
    ELSIF cardinality(wanted_categories) > 0 THEN
        RETURN coalesce((
            SELECT min(r.position)
            FROM unnest(wanted_categories) AS w (name) CROSS JOIN LATERAL (
                SELECT e.position FROM freehold_event AS e
                WHERE e.category = w.name AND e.position + 0 > after AND e.position + 0 <= through
                ORDER BY e.position + 0 LIMIT 1
            ) AS r
        ), through);
    END IF;
    RETURN coalesce((
        SELECT e.position FROM freehold_event AS e
        WHERE e.position > after AND e.position <= through ORDER BY e.position LIMIT 1
    ), through);
END
$$;
-- Returns a page of events. Where the page is not full, its last row has no stream: its position is the end of the
-- page.
-- A filter with several conditions is read along one index, and each row is checked. So one call covers a limited
-- number of positions, from the first row on. Events before a time span are skipped by the index on times.
-- Several types (or categories) are first searched row by row in the next few positions. Where most events match, that
-- fills the page in order. Their indexes would give a whole page of each type, which must be sorted.
CREATE FUNCTION freehold_event_tail(
    after bigint, most integer, wanted_types text[], wanted_categories text[], part integer, parts integer,
    since timestamptz, until timestamptz)
RETURNS SETOF freehold_event
LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    settled bigint := freehold_event_settled();
    types CONSTANT integer := cardinality(wanted_types);
    categories CONSTANT integer := cardinality(wanted_categories);
    by_time CONSTANT boolean := since IS NOT NULL OR until IS NOT NULL;
    ceiling bigint := settled;
    near bigint := after;
    given bigint := 0;
    remaining bigint := most;
    through freehold_event;
BEGIN
    IF settled < 0 THEN
        through.position := settled;
        RETURN NEXT through;
        RETURN;
    END IF;
    IF parts > 1 OR by_time OR (types > 0 AND categories > 0) THEN
        ceiling := least(settled, freehold_event_first(after, settled, wanted_types, wanted_categories) - 1
            + greatest(20000, 2 * most * parts));
    END IF;
    IF types > 1 OR (types = 0 AND categories > 1) THEN
        near := least(ceiling, after + 2 * most * parts);
        RETURN QUERY SELECT e.* FROM freehold_event AS e
            WHERE e.position > after AND e.position <= near
                AND (types = 0 OR e.type = ANY (wanted_types))
                AND (categories = 0 OR e.category = ANY (wanted_categories))
                AND (parts = 1 OR e.bucket % parts = part)
                AND (e.recorded_at < since) IS NOT TRUE AND (e.recorded_at >= until) IS NOT TRUE
            ORDER BY e.position LIMIT most;
        GET DIAGNOSTICS given = ROW_COUNT;
        remaining := most - given;
    END IF;
    IF remaining = 0 THEN
        RETURN;
    ELSIF types = 1 THEN
        RETURN QUERY SELECT e.* FROM freehold_event AS e
            WHERE e.type = wanted_types[1] AND e.position + 0 > after AND e.position + 0 <= ceiling
                AND (categories = 0 OR e.category = ANY (wanted_categories))
                AND (parts = 1 OR e.bucket % parts = part)
                AND (e.recorded_at < since) IS NOT TRUE AND (e.recorded_at >= until) IS NOT TRUE
            ORDER BY e.position + 0 LIMIT remaining;
    ELSIF types > 1 THEN
        RETURN QUERY SELECT r.*
            FROM unnest(wanted_types) AS w (name) CROSS JOIN LATERAL (
                SELECT e.* FROM freehold_event AS e
                WHERE e.type = w.name AND e.position + 0 > near AND e.position + 0 <= ceiling
                AND (categories = 0 OR e.category = ANY (wanted_categories))
                AND (parts = 1 OR e.bucket % parts = part)
                AND (e.recorded_at < since) IS NOT TRUE AND (e.recorded_at >= until) IS NOT TRUE
                ORDER BY e.position + 0 LIMIT remaining
            ) AS r
            ORDER BY r.position LIMIT remaining;
    ELSIF categories = 1 THEN
        RETURN QUERY SELECT e.* FROM freehold_event AS e
            WHERE e.category = wanted_categories[1] AND e.position + 0 > after AND e.position + 0 <= ceiling
                AND (parts = 1 OR e.bucket % parts = part)
                AND (e.recorded_at < since) IS NOT TRUE AND (e.recorded_at >= until) IS NOT TRUE
            ORDER BY e.position + 0 LIMIT remaining;
    ELSIF categories > 1 THEN
        RETURN QUERY SELECT r.*
            FROM unnest(wanted_categories) AS w (name) CROSS JOIN LATERAL (
                SELECT e.* FROM freehold_event AS e
                WHERE e.category = w.name AND e.position + 0 > near AND e.position + 0 <= ceiling
                AND (parts = 1 OR e.bucket % parts = part)
                AND (e.recorded_at < since) IS NOT TRUE AND (e.recorded_at >= until) IS NOT TRUE
                ORDER BY e.position + 0 LIMIT remaining
            ) AS r
            ORDER BY r.position LIMIT remaining;
    ELSE
        RETURN QUERY SELECT e.* FROM freehold_event AS e
            WHERE e.position > after AND e.position <= ceiling
                AND (parts = 1 OR e.bucket % parts = part)
                AND (e.recorded_at < since) IS NOT TRUE AND (e.recorded_at >= until) IS NOT TRUE
            ORDER BY e.position LIMIT remaining;
    END IF;
    GET DIAGNOSTICS remaining = ROW_COUNT;
    given := given + remaining;
    IF given < most THEN
        IF by_time AND given = 0 AND ceiling < settled THEN
            ceiling := coalesce((
                SELECT min(e.position) - 1 FROM freehold_event AS e
                WHERE e.recorded_at >= coalesce(since, '-infinity') AND e.recorded_at < coalesce(until, 'infinity')
                    AND e.position + 0 > ceiling AND e.position + 0 <= settled
            ), settled);
        END IF;
        through.position := greatest(after, freehold_event_last(ceiling));
        RETURN NEXT through;
    END IF;
END
$$;
CREATE FUNCTION freehold_event_stream(name text, after bigint, before bigint, most integer, backwards boolean)
RETURNS SETOF freehold_event
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF backwards THEN
        RETURN QUERY SELECT e.* FROM freehold_event AS e
            WHERE e.stream = name AND e.version > after AND e.version < before ORDER BY e.version DESC LIMIT most;
    ELSE
        RETURN QUERY SELECT e.* FROM freehold_event AS e
            WHERE e.stream = name AND e.version > after AND e.version < before ORDER BY e.version LIMIT most;
    END IF;
END
$$;
CREATE FUNCTION freehold_event_version(name text)
RETURNS bigint
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN coalesce((
        SELECT e.version FROM freehold_event AS e WHERE e.stream = name ORDER BY e.version DESC LIMIT 1
    ), 0);
END
$$;
CREATE FUNCTION freehold_event_head()
RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    settled bigint := freehold_event_settled();
BEGIN
    IF settled < 0 THEN
        RETURN settled;
    END IF;
    RETURN freehold_event_last(settled);
END
$$;
-- Counts for display: the number and age of events. All committed events count, also those above the high-water mark.
CREATE FUNCTION freehold_event_count(
    after bigint, through bigint, most bigint, wanted_types text[], wanted_categories text[], part integer,
    parts integer, since timestamptz, until timestamptz)
RETURNS bigint
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF cardinality(wanted_types) > 0 THEN
        RETURN (
            SELECT least(most, count(*)) FROM unnest(wanted_types) AS w (name) CROSS JOIN LATERAL (
                SELECT e.position, e.recorded_at FROM freehold_event AS e
                WHERE e.type = w.name AND e.position + 0 > after AND e.position + 0 <= through
                AND (cardinality(wanted_categories) = 0 OR e.category = ANY (wanted_categories))
                AND (parts = 1 OR e.bucket % parts = part)
                AND (e.recorded_at < since) IS NOT TRUE AND (e.recorded_at >= until) IS NOT TRUE
                ORDER BY e.position + 0 LIMIT most
            ) AS r
        );
    ELSIF cardinality(wanted_categories) > 0 THEN
        RETURN (
            SELECT least(most, count(*)) FROM unnest(wanted_categories) AS w (name) CROSS JOIN LATERAL (
                SELECT e.position, e.recorded_at FROM freehold_event AS e
                WHERE e.category = w.name AND e.position + 0 > after AND e.position + 0 <= through
                AND (parts = 1 OR e.bucket % parts = part)
                AND (e.recorded_at < since) IS NOT TRUE AND (e.recorded_at >= until) IS NOT TRUE
                ORDER BY e.position + 0 LIMIT most
            ) AS r
        );
    END IF;
    RETURN (
            SELECT least(most, count(*)) FROM (
                SELECT e.position, e.recorded_at FROM freehold_event AS e
                WHERE e.position > after AND e.position <= through
                AND (parts = 1 OR e.bucket % parts = part)
                AND (e.recorded_at < since) IS NOT TRUE AND (e.recorded_at >= until) IS NOT TRUE
                ORDER BY e.position LIMIT most
            ) AS r
        );
END
$$;
CREATE FUNCTION freehold_event_time(
    after bigint, wanted_types text[], wanted_categories text[], part integer, parts integer, since timestamptz,
    until timestamptz)
RETURNS timestamptz
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    through CONSTANT bigint := 9223372036854775807;
    most CONSTANT bigint := 1;
BEGIN
    IF cardinality(wanted_types) > 0 THEN
        RETURN (
            SELECT r.recorded_at FROM unnest(wanted_types) AS w (name) CROSS JOIN LATERAL (
                SELECT e.position, e.recorded_at FROM freehold_event AS e
                WHERE e.type = w.name AND e.position + 0 > after AND e.position + 0 <= through
                AND (cardinality(wanted_categories) = 0 OR e.category = ANY (wanted_categories))
                AND (parts = 1 OR e.bucket % parts = part)
                AND (e.recorded_at < since) IS NOT TRUE AND (e.recorded_at >= until) IS NOT TRUE
                ORDER BY e.position + 0 LIMIT most
            ) AS r ORDER BY r.position LIMIT 1
        );
    ELSIF cardinality(wanted_categories) > 0 THEN
        RETURN (
            SELECT r.recorded_at FROM unnest(wanted_categories) AS w (name) CROSS JOIN LATERAL (
                SELECT e.position, e.recorded_at FROM freehold_event AS e
                WHERE e.category = w.name AND e.position + 0 > after AND e.position + 0 <= through
                AND (parts = 1 OR e.bucket % parts = part)
                AND (e.recorded_at < since) IS NOT TRUE AND (e.recorded_at >= until) IS NOT TRUE
                ORDER BY e.position + 0 LIMIT most
            ) AS r ORDER BY r.position LIMIT 1
        );
    END IF;
    RETURN (
            SELECT r.recorded_at FROM (
                SELECT e.position, e.recorded_at FROM freehold_event AS e
                WHERE e.position > after AND e.position <= through
                AND (parts = 1 OR e.bucket % parts = part)
                AND (e.recorded_at < since) IS NOT TRUE AND (e.recorded_at >= until) IS NOT TRUE
                ORDER BY e.position LIMIT most
            ) AS r ORDER BY r.position LIMIT 1
        );
END
$$;
