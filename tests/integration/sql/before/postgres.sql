--
-- PostgreSQL database dump
--


-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: freehold_deferred_blocking(text, jsonb); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_deferred_blocking(reader text, arrivals jsonb) RETURNS TABLE(topic text, key text, place integer)
    LANGUAGE sql STABLE
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
    SELECT a.topic, a.key, min(a.place)
    FROM jsonb_to_recordset(arrivals) AS a (place integer, topic text, key text, deferred_position bigint)
    WHERE EXISTS (
        SELECT 1 FROM freehold_deferred AS d
        WHERE d.consumer = reader AND d.topic = a.topic AND d.key = a.key
            AND (a.deferred_position IS NULL OR d.position < a.deferred_position)
    )
    GROUP BY a.topic, a.key
$$;


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: freehold_deferred; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_deferred (
    "position" bigint NOT NULL,
    consumer text NOT NULL COLLATE pg_catalog."C",
    topic text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    receipt_key text NOT NULL,
    document bytea NOT NULL,
    attempts integer NOT NULL,
    due_at timestamp with time zone NOT NULL,
    deferred_at timestamp with time zone NOT NULL,
    reason text NOT NULL,
    lane text COLLATE pg_catalog."C",
    lane_position bigint
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='1000');


--
-- Name: freehold_deferred_claim(text, timestamp with time zone, double precision, integer); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_deferred_claim(reader text, moment timestamp with time zone, hidden_seconds double precision, most integer) RETURNS SETOF public.freehold_deferred
    LANGUAGE sql
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
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


--
-- Name: freehold_deferred_next_due(text); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_deferred_next_due(reader text) RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
    SELECT d.due_at FROM freehold_deferred AS d
    WHERE d.consumer = reader AND NOT EXISTS (
        SELECT 1 FROM freehold_deferred AS e
        WHERE e.consumer = d.consumer AND e.topic = d.topic AND e.key = d.key AND e.position < d.position
    )
    ORDER BY d.due_at LIMIT 1
$$;


--
-- Name: freehold_event_append(bigint[], text[], bigint[], timestamp with time zone, integer[], bigint[], text[], smallint[], text[], integer[], uuid[], bytea[], uuid[], uuid[], bigint[], text[], text[], bytea[]); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_event_append(locks bigint[], names text[], expected bigint[], moment timestamp with time zone, ordinals integer[], offsets bigint[], categories text[], buckets smallint[], types text[], schema_versions integer[], ids uuid[], datas bytea[], correlations uuid[], causations uuid[], hlcs bigint[], traces text[], subjects text[], headings bytea[], OUT conflict integer, OUT versions bigint[], OUT positions bigint[]) RETURNS record
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: freehold_event_bodies(text, bigint, integer); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_event_bodies(name text, after bigint, most integer) RETURNS TABLE(version bigint, type text, schema_version integer, data bytea)
    LANGUAGE plpgsql STABLE
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
BEGIN
    RETURN QUERY SELECT e.version, e.type, e.schema_version, e.data FROM freehold_event AS e
        WHERE e.stream = name AND e.version > after ORDER BY e.version LIMIT most;
END
$$;


--
-- Name: freehold_event_count(bigint, bigint, bigint, text[], text[], integer, integer, timestamp with time zone, timestamp with time zone); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_event_count(after bigint, through bigint, most bigint, wanted_types text[], wanted_categories text[], part integer, parts integer, since timestamp with time zone, until timestamp with time zone) RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
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


--
-- Name: freehold_event_first(bigint, bigint, text[], text[]); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_event_first(after bigint, through bigint, wanted_types text[], wanted_categories text[]) RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
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


--
-- Name: freehold_event_head(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_event_head() RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE
    settled bigint := freehold_event_settled();
BEGIN
    IF settled < 0 THEN
        RETURN settled;
    END IF;
    RETURN freehold_event_last(settled);
END
$$;


--
-- Name: freehold_event_last(bigint); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_event_last(ceiling bigint) RETURNS bigint
    LANGUAGE sql STABLE
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    AS $$
    SELECT coalesce((SELECT e.position FROM freehold_event AS e WHERE e.position <= ceiling
        ORDER BY e.position DESC LIMIT 1), 0)
$$;


--
-- Name: freehold_event_settled(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_event_settled() RETURNS bigint
    LANGUAGE plpgsql
    AS $$
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


--
-- Name: freehold_event; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_event (
    "position" bigint NOT NULL,
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
    recorded_at timestamp with time zone NOT NULL
)
WITH (autovacuum_vacuum_insert_scale_factor='0.05', autovacuum_analyze_scale_factor='0.02');
ALTER TABLE ONLY public.freehold_event ALTER COLUMN data SET STORAGE EXTERNAL;


--
-- Name: freehold_event_stream(text, bigint, bigint, integer, boolean); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_event_stream(name text, after bigint, before bigint, most integer, backwards boolean) RETURNS SETOF public.freehold_event
    LANGUAGE plpgsql STABLE
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
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


--
-- Name: freehold_event_tail(bigint, integer, text[], text[], integer, integer, timestamp with time zone, timestamp with time zone); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_event_tail(after bigint, most integer, wanted_types text[], wanted_categories text[], part integer, parts integer, since timestamp with time zone, until timestamp with time zone) RETURNS SETOF public.freehold_event
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
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


--
-- Name: freehold_event_time(bigint, text[], text[], integer, integer, timestamp with time zone, timestamp with time zone); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_event_time(after bigint, wanted_types text[], wanted_categories text[], part integer, parts integer, since timestamp with time zone, until timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
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


--
-- Name: freehold_event_version(text); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_event_version(name text) RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
BEGIN
    RETURN coalesce((
        SELECT e.version FROM freehold_event AS e WHERE e.stream = name ORDER BY e.version DESC LIMIT 1
    ), 0);
END
$$;


--
-- Name: freehold_low_bits(bigint); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_low_bits(value bigint) RETURNS integer
    LANGUAGE sql IMMUTABLE
    AS $$ SELECT (((value + 2147483648) & 4294967295) - 2147483648)::integer $$;


--
-- Name: freehold_outbox_fetch(jsonb, timestamp with time zone, integer); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_outbox_fetch(leases jsonb, moment timestamp with time zone, most integer) RETURNS TABLE(row_position bigint, row_partition integer, row_id uuid, row_topic text, row_key text, row_document bytea, row_attempts integer, row_owed bigint)
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
DECLARE
    drawn bigint;
    bound bigint;
BEGIN
    SELECT CASE WHEN s.is_called THEN s.last_value ELSE s.last_value - 1 END INTO drawn
    FROM freehold_outbox_position_seq AS s;
    SELECT least(drawn, min(drawn + freehold_low_bits(l.objid::bigint - drawn))) INTO bound
    FROM pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.classid = 1179143000 AND l.objsubid = 2 AND l.granted
        AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database());
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        bound := 0;
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
            ORDER BY q.position LIMIT most
        ) AS o
        ORDER BY o.position LIMIT most
    )
    SELECT o.position, o.partition, o.id, o.topic, o.key, o.document, o.attempts, NULL::bigint FROM oldest AS o
    UNION ALL
    SELECT least(bound, CASE WHEN EXISTS (SELECT 1 FROM blocked AS b WHERE b.partition = h.partition) THEN (
            SELECT q.position - 1 FROM freehold_outbox AS q
            WHERE q.partition = h.partition AND EXISTS (SELECT 1 FROM blocked AS b WHERE b.key = q.key)
            ORDER BY q.position LIMIT 1
        ) END),
        h.partition, NULL, NULL, NULL, NULL, NULL, coalesce(w.position, 0)
    FROM held AS h LEFT JOIN freehold_outbox_owed AS w ON w.partition = h.partition;
END
$$;


--
-- Name: freehold_outbox_oldest(jsonb, timestamp with time zone, integer); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_outbox_oldest(leases jsonb, moment timestamp with time zone, most integer) RETURNS TABLE(row_position bigint, row_partition integer, id uuid, topic text, key text, document bytea, attempts integer)
    LANGUAGE sql STABLE
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
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


--
-- Name: freehold_outbox_postpone(jsonb, bigint, timestamp with time zone, text); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_outbox_postpone(leases jsonb, row_position bigint, until timestamp with time zone, why text) RETURNS bigint
    LANGUAGE sql
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
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


--
-- Name: freehold_outbox_remove(jsonb, bigint[]); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_outbox_remove(leases jsonb, positions bigint[]) RETURNS bigint
    LANGUAGE sql
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
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


--
-- Name: freehold_outbox_settle(jsonb, bigint[], jsonb); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_outbox_settle(leases jsonb, positions bigint[], owed jsonb) RETURNS bigint
    LANGUAGE sql
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
    WITH held AS MATERIALIZED (
        SELECT g.partition
        FROM jsonb_to_recordset(leases) AS g (partition integer, token bigint, name text)
        JOIN freehold_lease AS l ON l.name = g.name AND l.token = g.token
        ORDER BY l.name FOR SHARE OF l
    ), noted AS (
        INSERT INTO freehold_outbox_owed AS w (partition, position)
        SELECT n.partition, n.position FROM jsonb_to_recordset(owed) AS n (partition integer, position bigint)
        WHERE n.partition = ANY (ARRAY(SELECT h.partition FROM held AS h)) ORDER BY n.partition
        ON CONFLICT (partition) DO UPDATE SET position = CASE excluded.position
            WHEN 0 THEN 0 ELSE greatest(w.position, excluded.position) END
    ), removed AS (
        DELETE FROM freehold_outbox AS o
        WHERE o.partition = ANY (ARRAY(SELECT h.partition FROM held AS h)) AND o.position = ANY (positions)
        RETURNING 1
    )
    SELECT count(*) FROM removed
$$;


--
-- Name: freehold_saga_next_due(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_saga_next_due() RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
    SELECT min(s.due_at) FROM freehold_saga AS s WHERE s.due_at IS NOT NULL
$$;


--
-- Name: freehold_saga; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_saga (
    id uuid NOT NULL,
    definition text NOT NULL,
    definition_version integer NOT NULL,
    key text NOT NULL,
    correlation_id uuid NOT NULL,
    status text NOT NULL,
    version bigint NOT NULL,
    document bytea NOT NULL,
    failure text,
    due_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000', autovacuum_analyze_scale_factor='0.02', autovacuum_analyze_threshold='1000');


--
-- Name: freehold_saga_take(timestamp with time zone, integer); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_saga_take(moment timestamp with time zone, most integer) RETURNS SETOF public.freehold_saga
    LANGUAGE sql
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
    SELECT s.* FROM freehold_saga AS s WHERE s.due_at <= moment
    ORDER BY s.due_at, s.id LIMIT most FOR UPDATE SKIP LOCKED
$$;


--
-- Name: freehold_schedule_next_due(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_schedule_next_due() RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
    SELECT min(s.due_at) FROM freehold_schedule AS s
$$;


--
-- Name: freehold_schedule; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_schedule (
    id uuid NOT NULL,
    "position" bigint NOT NULL,
    name text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    document bytea NOT NULL,
    due_at timestamp with time zone NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='2000');


--
-- Name: freehold_schedule_take(timestamp with time zone, integer); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.freehold_schedule_take(moment timestamp with time zone, most integer) RETURNS SETOF public.freehold_schedule
    LANGUAGE sql
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
    WITH due AS MATERIALIZED (
        SELECT s.id FROM freehold_schedule AS s WHERE s.due_at <= moment
        ORDER BY s.due_at, s.position LIMIT most FOR UPDATE SKIP LOCKED
    )
    DELETE FROM freehold_schedule AS s WHERE s.id = ANY (ARRAY(SELECT d.id FROM due AS d)) RETURNING s.*
$$;


--
-- Name: done; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.done (
    ship text NOT NULL,
    what text NOT NULL
);


--
-- Name: freehold_audit; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_audit (
    ordinal bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    reason text NOT NULL
);


--
-- Name: freehold_audit_ordinal_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.freehold_audit ALTER COLUMN ordinal ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.freehold_audit_ordinal_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: freehold_checkpoint; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_checkpoint (
    projection text NOT NULL COLLATE pg_catalog."C",
    generation integer NOT NULL,
    partition integer NOT NULL,
    "position" bigint NOT NULL,
    state text NOT NULL,
    revision bigint DEFAULT 0 NOT NULL,
    handled bigint DEFAULT 0 NOT NULL,
    failed bigint DEFAULT 0 NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    begun bigint DEFAULT '-1'::integer NOT NULL,
    alone bigint DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL
)
WITH (fillfactor='20', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='500');


--
-- Name: freehold_dead_letter; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_dead_letter (
    id uuid NOT NULL,
    direction text NOT NULL,
    consumer text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    message_id uuid,
    type text NOT NULL,
    reason text NOT NULL,
    error_type text NOT NULL,
    detail text NOT NULL,
    attempts integer NOT NULL,
    failed_at timestamp with time zone NOT NULL,
    status text DEFAULT 'dead'::text NOT NULL,
    document bytea NOT NULL,
    edited bytea,
    replayed_as uuid,
    ended_at timestamp with time zone,
    CONSTRAINT freehold_dead_letter_status_check CHECK ((status = ANY (ARRAY['dead'::text, 'replayed'::text, 'dropped'::text])))
);


--
-- Name: freehold_deferred_position_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.freehold_deferred ALTER COLUMN "position" ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.freehold_deferred_position_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: freehold_event_position_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.freehold_event ALTER COLUMN "position" ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.freehold_event_position_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: freehold_idempotency; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_idempotency (
    scope text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    fingerprint text NOT NULL,
    status integer,
    content_type text,
    body bytea,
    claimed_at timestamp with time zone NOT NULL,
    token text
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000');


--
-- Name: freehold_inbox; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_inbox (
    consumer text NOT NULL COLLATE pg_catalog."C",
    receipt_key text NOT NULL COLLATE pg_catalog."C",
    barred boolean NOT NULL,
    answer bytea,
    received_at timestamp with time zone NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000', autovacuum_analyze_scale_factor='0.02', autovacuum_analyze_threshold='5000');


--
-- Name: freehold_lease; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_lease (
    name text NOT NULL COLLATE pg_catalog."C",
    owner text DEFAULT ''::text NOT NULL,
    token bigint DEFAULT 0 NOT NULL,
    beat bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='20', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='500');


--
-- Name: freehold_meta; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_meta (
    name text NOT NULL,
    value text NOT NULL
);


--
-- Name: freehold_migration; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_migration (
    owner text NOT NULL,
    name text NOT NULL,
    digest text NOT NULL,
    applied_at timestamp with time zone NOT NULL
);


--
-- Name: freehold_outbox; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_outbox (
    "position" bigint NOT NULL,
    partition integer NOT NULL,
    id uuid NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    document bytea NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    blocked_until timestamp with time zone,
    reason text,
    staged_at timestamp with time zone NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_insert_scale_factor='0', autovacuum_vacuum_insert_threshold='20000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='5000', autovacuum_vacuum_cost_delay='0');
ALTER TABLE ONLY public.freehold_outbox ALTER COLUMN document SET STORAGE EXTERNAL;


--
-- Name: freehold_outbox_owed; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_outbox_owed (
    partition integer NOT NULL,
    "position" bigint NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='1000');


--
-- Name: freehold_outbox_position_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.freehold_outbox ALTER COLUMN "position" ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.freehold_outbox_position_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: freehold_parked; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_parked (
    projection text NOT NULL COLLATE pg_catalog."C",
    generation integer NOT NULL,
    partition integer NOT NULL,
    stream text NOT NULL COLLATE pg_catalog."C",
    "position" bigint NOT NULL,
    version bigint NOT NULL,
    event_id uuid NOT NULL,
    type text NOT NULL,
    error text NOT NULL,
    detail text NOT NULL,
    attempts integer NOT NULL,
    begun integer NOT NULL,
    parked_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone
);


--
-- Name: freehold_progress; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_progress (
    consumer text NOT NULL COLLATE pg_catalog."C",
    lane text NOT NULL COLLATE pg_catalog."C",
    watermark bigint NOT NULL,
    kept bigint NOT NULL,
    updated_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='1000');


--
-- Name: freehold_projection; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_projection (
    projection text NOT NULL COLLATE pg_catalog."C",
    generation integer NOT NULL,
    version integer NOT NULL,
    partitions integer NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    tables text NOT NULL,
    CONSTRAINT freehold_projection_state_check CHECK ((state = ANY (ARRAY['building'::text, 'live'::text, 'retired'::text])))
);


--
-- Name: freehold_projection_pause; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_projection_pause (
    projection text NOT NULL COLLATE pg_catalog."C",
    generation integer NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    paused_at timestamp with time zone NOT NULL
);


--
-- Name: freehold_reconciliation; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_reconciliation (
    ordinal bigint NOT NULL,
    dataset text NOT NULL,
    finished_at timestamp with time zone NOT NULL,
    seconds double precision NOT NULL,
    compared bigint NOT NULL,
    drifted bigint NOT NULL,
    repaired bigint NOT NULL,
    unsettled bigint NOT NULL,
    error text NOT NULL
);


--
-- Name: freehold_reconciliation_ordinal_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.freehold_reconciliation ALTER COLUMN ordinal ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.freehold_reconciliation_ordinal_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: freehold_replay; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_replay (
    number bigint NOT NULL,
    projection text NOT NULL,
    generation integer,
    recorded_from timestamp with time zone,
    recorded_to timestamp with time zone,
    "position" bigint NOT NULL,
    end_position bigint NOT NULL,
    applied bigint NOT NULL,
    failed bigint NOT NULL,
    state text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    tables text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    begun bigint DEFAULT '-1'::integer NOT NULL,
    alone bigint DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL
);


--
-- Name: freehold_replay_error; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_replay_error (
    replay bigint NOT NULL,
    "position" bigint NOT NULL,
    stream text NOT NULL,
    version bigint NOT NULL,
    event_id uuid NOT NULL,
    type text NOT NULL,
    error text NOT NULL,
    detail text NOT NULL
);


--
-- Name: freehold_replay_number_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.freehold_replay ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.freehold_replay_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: freehold_saga_journal; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_saga_journal (
    saga_id uuid NOT NULL,
    ordinal bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    step text NOT NULL,
    what text NOT NULL,
    attempt integer NOT NULL,
    detail text NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000');


--
-- Name: freehold_saga_journal_ordinal_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.freehold_saga_journal ALTER COLUMN ordinal ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.freehold_saga_journal_ordinal_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: freehold_schedule_position_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.freehold_schedule ALTER COLUMN "position" ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.freehold_schedule_position_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: freehold_snapshot; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_snapshot (
    kind text NOT NULL COLLATE pg_catalog."C",
    stream text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    schema_version integer NOT NULL,
    fingerprint text NOT NULL,
    data bytea NOT NULL,
    saved_at timestamp with time zone NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_threshold='1000');


--
-- Name: freehold_view; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.freehold_view (
    name text NOT NULL,
    digest text NOT NULL,
    refreshed_at timestamp with time zone,
    duration_seconds double precision,
    attempted_at timestamp with time zone NOT NULL,
    failures integer NOT NULL,
    error text NOT NULL
);


--
-- Name: tonnage__g1; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.tonnage__g1 (
    ship text NOT NULL,
    tons bigint NOT NULL
);


--
-- Name: tonnage; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.tonnage AS
 SELECT tonnage__g1.ship,
    tonnage__g1.tons
   FROM public.tonnage__g1;


--
-- Name: tonnage__r1; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.tonnage__r1 (
    ship text NOT NULL,
    tons bigint NOT NULL
);


--
-- Data for Name: done; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.done VALUES ('calm', 'arrived 1');
INSERT INTO public.done VALUES ('waiting', 'reserved');
INSERT INTO public.done VALUES ('refused', 'reserved');
INSERT INTO public.done VALUES ('loaded', 'reserved');
INSERT INTO public.done VALUES ('loaded', 'loaded');


--
-- Data for Name: freehold_audit; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_audit OVERRIDING SYSTEM VALUE VALUES (1, '2026-01-01 00:00:00+00', 'somebody', 'did', 'something', 'because');
INSERT INTO public.freehold_audit OVERRIDING SYSTEM VALUE VALUES (2, '2026-11-30 10:00:44.361041+00', 'somebody', 'projection.replay', 'weights/r1', 'because');


--
-- Data for Name: freehold_checkpoint; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_checkpoint VALUES ('weights', 1, 0, 23, 'live', 1, 11, 1, '2026-11-30 10:00:38.314186+00', 0, 0, 0);
INSERT INTO public.freehold_checkpoint VALUES ('weights', 1, 1, 23, 'live', 0, 10, 0, '2026-11-30 10:00:38.314186+00', 23, 0, 0);


--
-- Data for Name: freehold_dead_letter; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_dead_letter VALUES ('01a22be6-39cd-7017-a71c-d1778d8aed35', 'inbound', 'harbor', 'harbor.events', 'lost', '01a22be6-3838-707a-92bf-45ccba7f2490', 'harbor.arrived', 'not-retried', 'ValueError', 'ValueError in arrived, make_database.py:87', 1, '2026-11-30 10:00:38.094125+00', 'dead', '\x7b226964223a2230316132326265362d333833382d373037612d393262662d343563636261376632343930222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e61727269766564222c2274696d65223a22323032362d31312d33305431303a30303a33372e3638383139315a222c22736368656d6176657273696f6e223a312c226b696e64223a226576656e74222c22746f706963223a22686172626f722e6576656e7473222c22706172746974696f6e6b6579223a226c6f7374222c22686c63223a22313137373034383038303530373230373639222c22636f7272656c6174696f6e6964223a2230316132326265362d333833382d373037612d393262662d343563636261376632343930222c2264617461223a7b2273686970223a226c6f7374222c226e223a2d317d2c227370656376657273696f6e223a22312e30222c226c616e65223a22686172626f722f37222c2273657175656e6365223a2232222c2277617465726d61726b223a2232227d', NULL, NULL, NULL);


--
-- Data for Name: freehold_deferred; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_deferred OVERRIDING SYSTEM VALUE VALUES (1, 'harbor', 'harbor.events', 'stormy', '01a22be6-3838-707b-938b-e23b9472b140', '\x7b226964223a2230316132326265362d333833382d373037622d393338622d653233623934373262313430222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e61727269766564222c2274696d65223a22323032362d31312d33305431303a30303a33372e3638383232355a222c22736368656d6176657273696f6e223a312c226b696e64223a226576656e74222c22746f706963223a22686172626f722e6576656e7473222c22706172746974696f6e6b6579223a2273746f726d79222c22686c63223a22313137373034383038303530373230373730222c22636f7272656c6174696f6e6964223a2230316132326265362d333833382d373037622d393338622d653233623934373262313430222c2264617461223a7b2273686970223a2273746f726d79222c226e223a317d2c227370656376657273696f6e223a22312e30222c226c616e65223a22686172626f722f37222c2273657175656e6365223a2233222c2277617465726d61726b223a2231227d', 1, '2026-11-30 10:53:10.336571+00', '2026-11-30 10:00:38.138629+00', 'RuntimeError', 'harbor/7', 3);
INSERT INTO public.freehold_deferred OVERRIDING SYSTEM VALUE VALUES (2, 'harbor', 'harbor.events', 'stormy', '01a22be6-3838-707c-9405-80bd08f39aef', '\x7b226964223a2230316132326265362d333833382d373037632d393430352d383062643038663339616566222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e61727269766564222c2274696d65223a22323032362d31312d33305431303a30303a33372e3638383235325a222c22736368656d6176657273696f6e223a312c226b696e64223a226576656e74222c22746f706963223a22686172626f722e6576656e7473222c22706172746974696f6e6b6579223a2273746f726d79222c22686c63223a22313137373034383038303530373230373731222c22636f7272656c6174696f6e6964223a2230316132326265362d333833382d373037632d393430352d383062643038663339616566222c2264617461223a7b2273686970223a2273746f726d79222c226e223a327d2c227370656376657273696f6e223a22312e30222c226c616e65223a22686172626f722f37222c2273657175656e6365223a2234222c2277617465726d61726b223a2231227d', 0, '2026-11-30 10:00:38.155203+00', '2026-11-30 10:00:38.155203+00', 'waits behind an earlier message of its key', 'harbor/7', 4);
INSERT INTO public.freehold_deferred OVERRIDING SYSTEM VALUE VALUES (3, 'harbor', 'harbor.commands', 'waiting', 'a8d6d9d6-d187-8db1-beab-4b909d46a209', '\x7b226964223a2230316132326265362d333966652d373030352d613862372d633138386262353065643363222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e6c6f6164222c2274696d65223a22323032362d31312d33305431303a30303a33382e3134333033345a222c22736368656d6176657273696f6e223a312c226b696e64223a22636f6d6d616e64222c22746f706963223a22686172626f722e636f6d6d616e6473222c22706172746974696f6e6b6579223a2277616974696e67222c22686c63223a22313137373034383038303830353339363438222c22636f7272656c6174696f6e6964223a2230303030303030302d303030302d303030302d303030302d303030303030303030303032222c2264617461223a7b2273686970223a2277616974696e67227d2c227370656376657273696f6e223a22312e30222c22636175736174696f6e6964223a2230316132326265362d333932642d373032642d613939622d353138346165616239303962222c227265706c79746f223a22686172626f722e7265706c696573222c226964656d706f74656e63796b6579223a2261386436643964362d643138372d386462312d626561622d346239303964343661323039222c2268656164657273223a7b2266726565686f6c642d73616761223a2230303030303030302d303030302d303030302d303030302d303030303030303030303032222c2266726565686f6c642d73746570223a226c6f6164222c2266726565686f6c642d617474656d7074223a2231222c2266726565686f6c642d646972656374696f6e223a22616374696f6e227d7d', 1, '2026-11-30 10:38:28.621979+00', '2026-11-30 10:00:38.193434+00', 'RuntimeError', NULL, NULL);
INSERT INTO public.freehold_deferred OVERRIDING SYSTEM VALUE VALUES (4, 'harbor', 'harbor.commands', 'refused', 'd5df40fe-5646-88b5-b7e2-a4a4b6b1f04a', '\x7b226964223a2230316132326265362d336138352d373037652d616231372d613233636632633434316435222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e72656c65617365222c2274696d65223a22323032362d31312d33305431303a30303a33382e3237373033305a222c22736368656d6176657273696f6e223a312c226b696e64223a22636f6d6d616e64222c22746f706963223a22686172626f722e636f6d6d616e6473222c22706172746974696f6e6b6579223a2272656675736564222c22686c63223a22313137373034383038303839333231343732222c22636f7272656c6174696f6e6964223a2230303030303030302d303030302d303030302d303030302d303030303030303030303033222c2264617461223a7b2273686970223a2272656675736564227d2c227370656376657273696f6e223a22312e30222c22636175736174696f6e6964223a2230316132326265362d336133662d373035302d623532662d613736376662636239643064222c227265706c79746f223a22686172626f722e7265706c696573222c226964656d706f74656e63796b6579223a2264356466343066652d353634362d383862352d623765322d613461346236623166303461222c2262617273223a2232343632323063392d633139352d386366342d616432622d373365363461643534393234222c2268656164657273223a7b2266726565686f6c642d73616761223a2230303030303030302d303030302d303030302d303030302d303030303030303030303033222c2266726565686f6c642d73746570223a2272657365727665222c2266726565686f6c642d617474656d7074223a2231222c2266726565686f6c642d646972656374696f6e223a22756e646f227d7d', 1, '2026-11-30 10:48:16.126571+00', '2026-11-30 10:00:38.322074+00', 'RuntimeError', NULL, NULL);


--
-- Data for Name: freehold_event; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (1, 'ship-s1', 1, 'ship', 90, 'harbor.weighed', 1, '01a22be6-3912-7022-a541-89716ae9a71c', '\x7b2273686970223a227331222c22746f6e73223a317d', '01a22be6-3912-7022-a541-89716ae9a71c', NULL, 117704808065007616, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (2, 'ship-s1', 2, 'ship', 90, 'harbor.weighed', 1, '01a22be6-3912-7026-a19e-b9c3ccf88094', '\x7b2273686970223a227331222c22746f6e73223a357d', '01a22be6-3912-7026-a19e-b9c3ccf88094', NULL, 117704808065007620, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (3, 'ship-s1', 3, 'ship', 90, 'harbor.weighed', 1, '01a22be6-3912-702a-bafe-aa731ba04157', '\x7b2273686970223a227331222c22746f6e73223a397d', '01a22be6-3912-702a-bafe-aa731ba04157', NULL, 117704808065007624, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (4, 'ship-s1', 4, 'ship', 90, 'harbor.weighed', 1, '01a22be6-3912-702e-8849-0f1a0a7a413d', '\x7b2273686970223a227331222c22746f6e73223a31337d', '01a22be6-3912-702e-8849-0f1a0a7a413d', NULL, 117704808065007628, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (5, 'ship-s1', 5, 'ship', 90, 'harbor.weighed', 1, '01a22be6-3912-7032-b961-2675714aac9f', '\x7b2273686970223a227331222c22746f6e73223a31377d', '01a22be6-3912-7032-b961-2675714aac9f', NULL, 117704808065007632, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (6, 'ship-s2', 1, 'ship', 229, 'harbor.weighed', 1, '01a22be6-3912-7023-9c2b-9b6ccce7ee6e', '\x7b2273686970223a227332222c22746f6e73223a327d', '01a22be6-3912-7023-9c2b-9b6ccce7ee6e', NULL, 117704808065007617, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (7, 'ship-s2', 2, 'ship', 229, 'harbor.weighed', 1, '01a22be6-3912-7027-95ca-1b3f36616c85', '\x7b2273686970223a227332222c22746f6e73223a367d', '01a22be6-3912-7027-95ca-1b3f36616c85', NULL, 117704808065007621, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (8, 'ship-s2', 3, 'ship', 229, 'harbor.weighed', 1, '01a22be6-3912-702b-bb55-9e3e741b20ed', '\x7b2273686970223a227332222c22746f6e73223a31307d', '01a22be6-3912-702b-bb55-9e3e741b20ed', NULL, 117704808065007625, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (9, 'ship-s2', 4, 'ship', 229, 'harbor.weighed', 1, '01a22be6-3912-702f-8f79-279e7cac7f00', '\x7b2273686970223a227332222c22746f6e73223a31347d', '01a22be6-3912-702f-8f79-279e7cac7f00', NULL, 117704808065007629, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (10, 'ship-s2', 5, 'ship', 229, 'harbor.weighed', 1, '01a22be6-3912-7033-9df6-932900d06890', '\x7b2273686970223a227332222c22746f6e73223a31387d', '01a22be6-3912-7033-9df6-932900d06890', NULL, 117704808065007633, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (11, 'ship-s3', 1, 'ship', 178, 'harbor.weighed', 1, '01a22be6-3912-7024-a8fc-0bcb53adc692', '\x7b2273686970223a227333222c22746f6e73223a337d', '01a22be6-3912-7024-a8fc-0bcb53adc692', NULL, 117704808065007618, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (12, 'ship-s3', 2, 'ship', 178, 'harbor.weighed', 1, '01a22be6-3912-7028-8832-c073dca84dd1', '\x7b2273686970223a227333222c22746f6e73223a377d', '01a22be6-3912-7028-8832-c073dca84dd1', NULL, 117704808065007622, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (13, 'ship-s3', 3, 'ship', 178, 'harbor.weighed', 1, '01a22be6-3912-702c-9134-f3a695b8222a', '\x7b2273686970223a227333222c22746f6e73223a31317d', '01a22be6-3912-702c-9134-f3a695b8222a', NULL, 117704808065007626, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (14, 'ship-s3', 4, 'ship', 178, 'harbor.weighed', 1, '01a22be6-3912-7030-83fc-77110837cb1d', '\x7b2273686970223a227333222c22746f6e73223a31357d', '01a22be6-3912-7030-83fc-77110837cb1d', NULL, 117704808065007630, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (15, 'ship-s3', 5, 'ship', 178, 'harbor.weighed', 1, '01a22be6-3912-7034-93eb-42ccab73c7fb', '\x7b2273686970223a227333222c22746f6e73223a31397d', '01a22be6-3912-7034-93eb-42ccab73c7fb', NULL, 117704808065007634, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (16, 'ship-s0', 1, 'ship', 241, 'harbor.weighed', 1, '01a22be6-3912-7025-941c-1bcb90d9d2e8', '\x7b2273686970223a227330222c22746f6e73223a347d', '01a22be6-3912-7025-941c-1bcb90d9d2e8', NULL, 117704808065007619, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (17, 'ship-s0', 2, 'ship', 241, 'harbor.weighed', 1, '01a22be6-3912-7029-9851-0b318fb060e4', '\x7b2273686970223a227330222c22746f6e73223a387d', '01a22be6-3912-7029-9851-0b318fb060e4', NULL, 117704808065007623, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (18, 'ship-s0', 3, 'ship', 241, 'harbor.weighed', 1, '01a22be6-3912-702d-b1fe-7763d8bc8e0f', '\x7b2273686970223a227330222c22746f6e73223a31327d', '01a22be6-3912-702d-b1fe-7763d8bc8e0f', NULL, 117704808065007627, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (19, 'ship-s0', 4, 'ship', 241, 'harbor.weighed', 1, '01a22be6-3912-7031-acec-c9d44fa43244', '\x7b2273686970223a227330222c22746f6e73223a31367d', '01a22be6-3912-7031-acec-c9d44fa43244', NULL, 117704808065007631, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (20, 'ship-s0', 5, 'ship', 241, 'harbor.weighed', 1, '01a22be6-3912-7035-83c1-949d861cad3b', '\x7b2273686970223a227330222c22746f6e73223a32307d', '01a22be6-3912-7035-83c1-949d861cad3b', NULL, 117704808065007635, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (21, 'ship-heavy', 1, 'ship', 12, 'harbor.weighed', 1, '01a22be6-3912-7036-82c9-a3ea19d49675', '\x7b2273686970223a226865617679222c22746f6e73223a3130307d', '01a22be6-3912-7036-82c9-a3ea19d49675', NULL, 117704808065007636, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (22, 'ship-heavy', 2, 'ship', 12, 'harbor.weighed', 1, '01a22be6-3912-7037-a4c1-f7b0557e0431', '\x7b2273686970223a226865617679222c22746f6e73223a2d317d', '01a22be6-3912-7037-a4c1-f7b0557e0431', NULL, 117704808065007637, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (23, 'ship-heavy', 3, 'ship', 12, 'harbor.weighed', 1, '01a22be6-3912-7038-a9ca-facba978935a', '\x7b2273686970223a226865617679222c22746f6e73223a31307d', '01a22be6-3912-7038-a9ca-facba978935a', NULL, 117704808065007638, NULL, NULL, NULL, '2026-11-30 10:00:37.974088+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (24, 'ship-s1', 6, 'ship', 90, 'harbor.weighed', 1, '01a22be6-51b2-7028-9051-6638d55e5c25', '\x7b2273686970223a227331222c22746f6e73223a32317d', '01a22be6-51b2-7028-9051-6638d55e5c25', NULL, 117704808478146560, NULL, NULL, NULL, '2026-11-30 10:00:44.226068+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (25, 'ship-s1', 7, 'ship', 90, 'harbor.weighed', 1, '01a22be6-51b2-702c-828d-76f41970c8e0', '\x7b2273686970223a227331222c22746f6e73223a32357d', '01a22be6-51b2-702c-828d-76f41970c8e0', NULL, 117704808478146564, NULL, NULL, NULL, '2026-11-30 10:00:44.226068+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (26, 'ship-s1', 8, 'ship', 90, 'harbor.weighed', 1, '01a22be6-51b2-7030-9544-0dc5a2cea95c', '\x7b2273686970223a227331222c22746f6e73223a32397d', '01a22be6-51b2-7030-9544-0dc5a2cea95c', NULL, 117704808478146568, NULL, NULL, NULL, '2026-11-30 10:00:44.226068+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (27, 'ship-s2', 6, 'ship', 229, 'harbor.weighed', 1, '01a22be6-51b2-7029-92c5-82fa324bd885', '\x7b2273686970223a227332222c22746f6e73223a32327d', '01a22be6-51b2-7029-92c5-82fa324bd885', NULL, 117704808478146561, NULL, NULL, NULL, '2026-11-30 10:00:44.226068+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (28, 'ship-s2', 7, 'ship', 229, 'harbor.weighed', 1, '01a22be6-51b2-702d-bb7a-5a3cb16797ab', '\x7b2273686970223a227332222c22746f6e73223a32367d', '01a22be6-51b2-702d-bb7a-5a3cb16797ab', NULL, 117704808478146565, NULL, NULL, NULL, '2026-11-30 10:00:44.226068+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (29, 'ship-s2', 8, 'ship', 229, 'harbor.weighed', 1, '01a22be6-51b2-7031-ba17-ce9cb82f2689', '\x7b2273686970223a227332222c22746f6e73223a33307d', '01a22be6-51b2-7031-ba17-ce9cb82f2689', NULL, 117704808478146569, NULL, NULL, NULL, '2026-11-30 10:00:44.226068+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (30, 'ship-s3', 6, 'ship', 178, 'harbor.weighed', 1, '01a22be6-51b2-702a-bccf-dcf3cd8d4da0', '\x7b2273686970223a227333222c22746f6e73223a32337d', '01a22be6-51b2-702a-bccf-dcf3cd8d4da0', NULL, 117704808478146562, NULL, NULL, NULL, '2026-11-30 10:00:44.226068+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (31, 'ship-s3', 7, 'ship', 178, 'harbor.weighed', 1, '01a22be6-51b2-702e-ac4a-fee2a1bfaf0f', '\x7b2273686970223a227333222c22746f6e73223a32377d', '01a22be6-51b2-702e-ac4a-fee2a1bfaf0f', NULL, 117704808478146566, NULL, NULL, NULL, '2026-11-30 10:00:44.226068+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (32, 'ship-s0', 6, 'ship', 241, 'harbor.weighed', 1, '01a22be6-51b2-702b-9377-836c46ca9703', '\x7b2273686970223a227330222c22746f6e73223a32347d', '01a22be6-51b2-702b-9377-836c46ca9703', NULL, 117704808478146563, NULL, NULL, NULL, '2026-11-30 10:00:44.226068+00');
INSERT INTO public.freehold_event OVERRIDING SYSTEM VALUE VALUES (33, 'ship-s0', 7, 'ship', 241, 'harbor.weighed', 1, '01a22be6-51b2-702f-8829-eefdbb57efdc', '\x7b2273686970223a227330222c22746f6e73223a32387d', '01a22be6-51b2-702f-8829-eefdbb57efdc', NULL, 117704808478146567, NULL, NULL, NULL, '2026-11-30 10:00:44.226068+00');


--
-- Data for Name: freehold_idempotency; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_idempotency VALUES ('api', 'key-1', 'print', 201, 'application/json', '\x7b226f6b223a747275657d', '2026-11-30 10:00:44.234536+00', 'token-1');


--
-- Data for Name: freehold_inbox; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_inbox VALUES ('harbor', '01a22be6-3838-7079-8038-c27a31454c41', false, NULL, '2026-11-30 10:00:37.910907+00');
INSERT INTO public.freehold_inbox VALUES ('harbor', 'ff979ce2-1969-89c7-ba6a-3670dd34c635', false, '\x7b226964223a2230316132326265362d333932642d373032642d613939622d353138346165616239303962222c22736f75726365223a22686172626f72222c2274797065223a2266726565686f6c642e7265706c79222c2274696d65223a22323032362d31312d33305431303a30303a33372e3933333938345a222c22736368656d6176657273696f6e223a312c226b696e64223a227265706c79222c22746f706963223a22686172626f722e7265706c696573222c22706172746974696f6e6b6579223a2277616974696e67222c22686c63223a22313137373034383038303636373737303838222c22636f7272656c6174696f6e6964223a2230303030303030302d303030302d303030302d303030302d303030303030303030303032222c2264617461223a7b7d2c227370656376657273696f6e223a22312e30222c22636175736174696f6e6964223a2230316132326265362d333835342d373037372d613237302d393137623762623533663038222c2268656164657273223a7b2266726565686f6c642d73616761223a2230303030303030302d303030302d303030302d303030302d303030303030303030303032222c2266726565686f6c642d73746570223a2272657365727665222c2266726565686f6c642d617474656d7074223a2231222c2266726565686f6c642d646972656374696f6e223a22616374696f6e222c2266726565686f6c642d6f7574636f6d65223a22646f6e65227d7d', '2026-11-30 10:00:37.908337+00');
INSERT INTO public.freehold_inbox VALUES ('harbor', '7b8e820a-b430-833d-a89e-2f2ccc2d1b72', false, '\x7b226964223a2230316132326265362d333936662d373035622d393635612d376435363837343663313235222c22736f75726365223a22686172626f72222c2274797065223a2266726565686f6c642e7265706c79222c2274696d65223a22323032362d31312d33305431303a30303a33372e3939393836375a222c22736368656d6176657273696f6e223a312c226b696e64223a227265706c79222c22746f706963223a22686172626f722e7265706c696573222c22706172746974696f6e6b6579223a226c6f61646564222c22686c63223a22313137373034383038303731313032343634222c22636f7272656c6174696f6e6964223a2230303030303030302d303030302d303030302d303030302d303030303030303030303031222c2264617461223a7b7d2c227370656376657273696f6e223a22312e30222c22636175736174696f6e6964223a2230316132326265362d333834662d373035382d623865302d353638336264396361353536222c2268656164657273223a7b2266726565686f6c642d73616761223a2230303030303030302d303030302d303030302d303030302d303030303030303030303031222c2266726565686f6c642d73746570223a2272657365727665222c2266726565686f6c642d617474656d7074223a2231222c2266726565686f6c642d646972656374696f6e223a22616374696f6e222c2266726565686f6c642d6f7574636f6d65223a22646f6e65227d7d', '2026-11-30 10:00:37.980645+00');
INSERT INTO public.freehold_inbox VALUES ('harbor', '246220c9-c195-8cf4-ad2b-73e64ad54924', false, '\x7b226964223a2230316132326265362d333936642d373034312d393733362d373433623832643261653063222c22736f75726365223a22686172626f72222c2274797065223a2266726565686f6c642e7265706c79222c2274696d65223a22323032362d31312d33305431303a30303a33372e3939383031345a222c22736368656d6176657273696f6e223a312c226b696e64223a227265706c79222c22746f706963223a22686172626f722e7265706c696573222c22706172746974696f6e6b6579223a2272656675736564222c22686c63223a22313137373034383038303731303336393238222c22636f7272656c6174696f6e6964223a2230303030303030302d303030302d303030302d303030302d303030303030303030303033222c2264617461223a7b7d2c227370656376657273696f6e223a22312e30222c22636175736174696f6e6964223a2230316132326265362d333835642d373033622d383162662d316561623437396333393962222c2268656164657273223a7b2266726565686f6c642d73616761223a2230303030303030302d303030302d303030302d303030302d303030303030303030303033222c2266726565686f6c642d73746570223a2272657365727665222c2266726565686f6c642d617474656d7074223a2231222c2266726565686f6c642d646972656374696f6e223a22616374696f6e222c2266726565686f6c642d6f7574636f6d65223a22646f6e65227d7d', '2026-11-30 10:00:37.97672+00');
INSERT INTO public.freehold_inbox VALUES ('harbor', '01a22be6-396f-705b-965a-7d568746c125', false, NULL, '2026-11-30 10:00:38.082514+00');
INSERT INTO public.freehold_inbox VALUES ('harbor', '01a22be6-3838-707a-92bf-45ccba7f2490', false, NULL, '2026-11-30 10:00:38.090246+00');
INSERT INTO public.freehold_inbox VALUES ('harbor', '01a22be6-392d-702d-a99b-5184aeab909b', false, NULL, '2026-11-30 10:00:38.139204+00');
INSERT INTO public.freehold_inbox VALUES ('harbor', '01a22be6-396d-7041-9736-743b82d2ae0c', false, NULL, '2026-11-30 10:00:38.139933+00');
INSERT INTO public.freehold_inbox VALUES ('harbor', 'ed7695d6-4839-817e-975a-14723db37a23', false, '\x7b226964223a2230316132326265362d336130362d373035322d626162632d323834333864313462336238222c22736f75726365223a22686172626f72222c2274797065223a2266726565686f6c642e7265706c79222c2274696d65223a22323032362d31312d33305431303a30303a33382e3135303035375a222c22736368656d6176657273696f6e223a312c226b696e64223a227265706c79222c22746f706963223a22686172626f722e7265706c696573222c22706172746974696f6e6b6579223a226c6f61646564222c22686c63223a22313137373034383038303830393938343030222c22636f7272656c6174696f6e6964223a2230303030303030302d303030302d303030302d303030302d303030303030303030303031222c2264617461223a7b7d2c227370656376657273696f6e223a22312e30222c22636175736174696f6e6964223a2230316132326265362d333963612d373030652d393964382d646164656137333032336366222c2268656164657273223a7b2266726565686f6c642d73616761223a2230303030303030302d303030302d303030302d303030302d303030303030303030303031222c2266726565686f6c642d73746570223a226c6f6164222c2266726565686f6c642d617474656d7074223a2231222c2266726565686f6c642d646972656374696f6e223a22616374696f6e222c2266726565686f6c642d6f7574636f6d65223a22646f6e65227d7d', '2026-11-30 10:00:38.137625+00');
INSERT INTO public.freehold_inbox VALUES ('harbor', '1f44495f-74ac-8e37-9c0b-295912f6d03d', false, '\x7b226964223a2230316132326265362d336133662d373035302d623532662d613736376662636239643064222c22736f75726365223a22686172626f72222c2274797065223a2266726565686f6c642e7265706c79222c2274696d65223a22323032362d31312d33305431303a30303a33382e3230373035345a222c22736368656d6176657273696f6e223a312c226b696e64223a227265706c79222c22746f706963223a22686172626f722e7265706c696573222c22706172746974696f6e6b6579223a2272656675736564222c22686c63223a22313137373034383038303834373333393532222c22636f7272656c6174696f6e6964223a2230303030303030302d303030302d303030302d303030302d303030303030303030303033222c2264617461223a7b22636f6465223a2266756c6c222c2264657461696c223a22227d2c227370656376657273696f6e223a22312e30222c22636175736174696f6e6964223a2230316132326265362d333966662d373037632d623231652d626630616430653162616631222c2268656164657273223a7b2266726565686f6c642d73616761223a2230303030303030302d303030302d303030302d303030302d303030303030303030303033222c2266726565686f6c642d73746570223a226c6f6164222c2266726565686f6c642d617474656d7074223a2231222c2266726565686f6c642d646972656374696f6e223a22616374696f6e222c2266726565686f6c642d6f7574636f6d65223a2272656a6563746564227d7d', '2026-11-30 10:00:38.205847+00');
INSERT INTO public.freehold_inbox VALUES ('harbor', '01a22be6-3a06-7052-babc-28438d14b3b8', false, NULL, '2026-11-30 10:00:38.245815+00');
INSERT INTO public.freehold_inbox VALUES ('harbor', '01a22be6-3a3f-7050-b52f-a767fbcb9d0d', false, NULL, '2026-11-30 10:00:38.274075+00');
INSERT INTO public.freehold_inbox VALUES ('harbor', 'action-1', true, NULL, '2026-11-30 10:00:44.23313+00');
INSERT INTO public.freehold_inbox VALUES ('harbor', 'undo-1', false, NULL, '2026-11-30 10:00:44.23313+00');


--
-- Data for Name: freehold_lease; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_lease VALUES ('outbox/0', 'a-host-of-before', 2, 14);
INSERT INTO public.freehold_lease VALUES ('outbox/1', 'a-host-of-before', 2, 14);
INSERT INTO public.freehold_lease VALUES ('outbox/2', 'a-host-of-before', 2, 14);
INSERT INTO public.freehold_lease VALUES ('outbox/3', 'a-host-of-before', 2, 14);
INSERT INTO public.freehold_lease VALUES ('outbox/4', 'a-host-of-before', 2, 14);
INSERT INTO public.freehold_lease VALUES ('outbox/5', 'a-host-of-before', 2, 14);
INSERT INTO public.freehold_lease VALUES ('outbox/6', 'a-host-of-before', 2, 14);
INSERT INTO public.freehold_lease VALUES ('outbox/7', 'a-host-of-before', 2, 14);
INSERT INTO public.freehold_lease VALUES ('projection/weights/1/0', '', 1, 4);
INSERT INTO public.freehold_lease VALUES ('projection/weights/1/1', '', 1, 4);


--
-- Data for Name: freehold_meta; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_meta VALUES ('partitions', '8');


--
-- Data for Name: freehold_migration; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_migration VALUES ('freehold', '001-outbox', '09d12e2c175231302491d83cc83185263b06717d96fefca5ce5676f6532d0378', '2026-11-30 10:00:37.285727+00');
INSERT INTO public.freehold_migration VALUES ('freehold', '002-leases', 'c1a836e6976d2efcac74008388e705310fa10b45779183e8eb9d7753100858dc', '2026-11-30 10:00:37.287801+00');
INSERT INTO public.freehold_migration VALUES ('freehold', '003-schedule', '8478d7d70c62c341adc901ab2b64ddbacf255b7946c46a8c3171892bf8ac8ace', '2026-11-30 10:00:37.299848+00');
INSERT INTO public.freehold_migration VALUES ('freehold', '004-outbox-functions', '5999dbce22f4a78ce155f245c3b77ef09624133377af182a5bc7219b312ba6ed', '2026-11-30 10:00:37.322859+00');
INSERT INTO public.freehold_migration VALUES ('freehold', '010-inbox', 'e0447bbc072350542a8ea9edb8be641629a24e430828c6a295f30657697dd586', '2026-11-30 10:00:37.345145+00');
INSERT INTO public.freehold_migration VALUES ('freehold', '011-dead-letters', 'b9a3dc9347e85d3b261172023d46827608a9753229674c05f5b39dee3fcb23c2', '2026-11-30 10:00:37.370213+00');
INSERT INTO public.freehold_migration VALUES ('freehold', '012-saga', '7fe0e4a9f0e7d8c75ed53c25ba6a5b8970272853d260c6c57e291b880f704c05', '2026-11-30 10:00:37.401621+00');
INSERT INTO public.freehold_migration VALUES ('freehold', '013-idempotency', '639036c5abc0bbcd900b29d62ddbf1fece9cb34a4bbb3fedd924d1b8ad5ed6e1', '2026-11-30 10:00:37.4145+00');
INSERT INTO public.freehold_migration VALUES ('freehold', '014-audit', '0b0f5f28cf0f22fb410f334441d5dc5a93a810fd37d7a4c4a517ca6f25390548', '2026-11-30 10:00:37.432515+00');
INSERT INTO public.freehold_migration VALUES ('freehold', '015-timer-functions', 'b9efc1b820dce93ce067c72c120cd6aa4f9eb8db4430c14cf7e8174db77eb948', '2026-11-30 10:00:37.44588+00');
INSERT INTO public.freehold_migration VALUES ('freehold', '020-events', '582cdcda54945a6dd4a616bb4e7191cd4d69b4f44f11720ca9fbc5eb1023b90a', '2026-11-30 10:00:37.488426+00');
INSERT INTO public.freehold_migration VALUES ('freehold', '021-snapshots', 'a6c4799cc61b37d504f09b50214f1e8e33d400518673e8da9148b0a04091263f', '2026-11-30 10:00:37.497595+00');
INSERT INTO public.freehold_migration VALUES ('freehold', '022-projections', '43ef34c80380c14fd0277754c459fafcf6e0e6df0ef7358203c32e3221272e9e', '2026-11-30 10:00:37.541434+00');
INSERT INTO public.freehold_migration VALUES ('freehold', '023-progress', '498aa1a99d36262e63fef700a06b7d2316eb877498034d58736fdd105c36fec4', '2026-11-30 10:00:37.551148+00');
INSERT INTO public.freehold_migration VALUES ('freehold', '024-replay', '871e5e57af743812cea3472acf4d3e768c892da51d5e002db55cc42157bceceb', '2026-11-30 10:00:37.569997+00');
INSERT INTO public.freehold_migration VALUES ('freehold', '025-outbox-settled', '0e9b5ca3248b807e790bf9fc386eaafaecd625ce16467bffc37b82b185adf7e1', '2026-11-30 10:00:37.595768+00');
INSERT INTO public.freehold_migration VALUES ('freehold', '026-reconcile', 'b2820b6c9b2de4dd4016f4b7373b68a14c151e3089972a526fa34f6974011114', '2026-11-30 10:00:37.611733+00');
INSERT INTO public.freehold_migration VALUES ('freehold', '027-views', '0a439980f9ad7ef4a9f37c8afdfd4d2f8b26977f299b5abe6d80e797f3490dce', '2026-11-30 10:00:37.614206+00');
INSERT INTO public.freehold_migration VALUES ('service', '001-done', '66660472c66391221f546810492d45b037ed8a0c1196f28987776b7bd02df648', '2026-11-30 10:00:37.637417+00');


--
-- Data for Name: freehold_outbox; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_outbox OVERRIDING SYSTEM VALUE VALUES (17, 7, '01a22be6-517b-7048-925a-7378240bc58c', 'harbor.events', 'a', '\x7b226964223a2230316132326265362d353137622d373034382d393235612d373337383234306263353863222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e61727269766564222c2274696d65223a22323032362d31312d33305431303a30303a34342e3135353435335a222c22736368656d6176657273696f6e223a312c226b696e64223a226576656e74222c22746f706963223a22686172626f722e6576656e7473222c22706172746974696f6e6b6579223a2261222c22686c63223a22313137373034383038343734353432303830222c22636f7272656c6174696f6e6964223a2230316132326265362d353137622d373034382d393235612d373337383234306263353863222c2264617461223a7b2273686970223a2261222c226e223a317d2c227370656376657273696f6e223a22312e30227d', 0, NULL, NULL, '2026-11-30 10:00:44.201779+00');
INSERT INTO public.freehold_outbox OVERRIDING SYSTEM VALUE VALUES (18, 5, '01a22be6-517b-7049-8111-f8164c3421b7', 'harbor.events', 'b', '\x7b226964223a2230316132326265362d353137622d373034392d383131312d663831363463333432316237222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e61727269766564222c2274696d65223a22323032362d31312d33305431303a30303a34342e3135353533385a222c22736368656d6176657273696f6e223a312c226b696e64223a226576656e74222c22746f706963223a22686172626f722e6576656e7473222c22706172746974696f6e6b6579223a2262222c22686c63223a22313137373034383038343734353432303831222c22636f7272656c6174696f6e6964223a2230316132326265362d353137622d373034392d383131312d663831363463333432316237222c2264617461223a7b2273686970223a2262222c226e223a317d2c227370656376657273696f6e223a22312e30227d', 0, NULL, NULL, '2026-11-30 10:00:44.201779+00');
INSERT INTO public.freehold_outbox OVERRIDING SYSTEM VALUE VALUES (19, 3, '01a22be6-517b-704a-badb-20922b41eff0', 'harbor.events', 'c', '\x7b226964223a2230316132326265362d353137622d373034612d626164622d323039323262343165666630222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e61727269766564222c2274696d65223a22323032362d31312d33305431303a30303a34342e3135353536355a222c22736368656d6176657273696f6e223a312c226b696e64223a226576656e74222c22746f706963223a22686172626f722e6576656e7473222c22706172746974696f6e6b6579223a2263222c22686c63223a22313137373034383038343734353432303832222c22636f7272656c6174696f6e6964223a2230316132326265362d353137622d373034612d626164622d323039323262343165666630222c2264617461223a7b2273686970223a2263222c226e223a317d2c227370656376657273696f6e223a22312e30227d', 0, NULL, NULL, '2026-11-30 10:00:44.201779+00');
INSERT INTO public.freehold_outbox OVERRIDING SYSTEM VALUE VALUES (20, 7, '01a22be6-517b-704b-a246-a10a75e96dac', 'harbor.events', 'a', '\x7b226964223a2230316132326265362d353137622d373034622d613234362d613130613735653936646163222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e61727269766564222c2274696d65223a22323032362d31312d33305431303a30303a34342e3135353539305a222c22736368656d6176657273696f6e223a312c226b696e64223a226576656e74222c22746f706963223a22686172626f722e6576656e7473222c22706172746974696f6e6b6579223a2261222c22686c63223a22313137373034383038343734353432303833222c22636f7272656c6174696f6e6964223a2230316132326265362d353137622d373034622d613234362d613130613735653936646163222c2264617461223a7b2273686970223a2261222c226e223a327d2c227370656376657273696f6e223a22312e30227d', 0, NULL, NULL, '2026-11-30 10:00:44.201779+00');
INSERT INTO public.freehold_outbox OVERRIDING SYSTEM VALUE VALUES (21, 5, '01a22be6-517b-704c-8f79-72f0f0dfc270', 'harbor.events', 'b', '\x7b226964223a2230316132326265362d353137622d373034632d386637392d373266306630646663323730222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e61727269766564222c2274696d65223a22323032362d31312d33305431303a30303a34342e3135353631305a222c22736368656d6176657273696f6e223a312c226b696e64223a226576656e74222c22746f706963223a22686172626f722e6576656e7473222c22706172746974696f6e6b6579223a2262222c22686c63223a22313137373034383038343734353432303834222c22636f7272656c6174696f6e6964223a2230316132326265362d353137622d373034632d386637392d373266306630646663323730222c2264617461223a7b2273686970223a2262222c226e223a327d2c227370656376657273696f6e223a22312e30227d', 0, NULL, NULL, '2026-11-30 10:00:44.201779+00');
INSERT INTO public.freehold_outbox OVERRIDING SYSTEM VALUE VALUES (22, 3, '01a22be6-517b-704d-93a6-b240a0b0cdf6', 'harbor.events', 'c', '\x7b226964223a2230316132326265362d353137622d373034642d393361362d623234306130623063646636222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e61727269766564222c2274696d65223a22323032362d31312d33305431303a30303a34342e3135353632395a222c22736368656d6176657273696f6e223a312c226b696e64223a226576656e74222c22746f706963223a22686172626f722e6576656e7473222c22706172746974696f6e6b6579223a2263222c22686c63223a22313137373034383038343734353432303835222c22636f7272656c6174696f6e6964223a2230316132326265362d353137622d373034642d393361362d623234306130623063646636222c2264617461223a7b2273686970223a2263222c226e223a327d2c227370656376657273696f6e223a22312e30227d', 0, NULL, NULL, '2026-11-30 10:00:44.201779+00');
INSERT INTO public.freehold_outbox OVERRIDING SYSTEM VALUE VALUES (23, 7, '01a22be6-517b-704e-a857-94914b558de8', 'harbor.events', 'a', '\x7b226964223a2230316132326265362d353137622d373034652d613835372d393439313462353538646538222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e61727269766564222c2274696d65223a22323032362d31312d33305431303a30303a34342e3135353635385a222c22736368656d6176657273696f6e223a312c226b696e64223a226576656e74222c22746f706963223a22686172626f722e6576656e7473222c22706172746974696f6e6b6579223a2261222c22686c63223a22313137373034383038343734353432303836222c22636f7272656c6174696f6e6964223a2230316132326265362d353137622d373034652d613835372d393439313462353538646538222c2264617461223a7b2273686970223a2261222c226e223a337d2c227370656376657273696f6e223a22312e30227d', 0, NULL, NULL, '2026-11-30 10:00:44.201779+00');
INSERT INTO public.freehold_outbox OVERRIDING SYSTEM VALUE VALUES (24, 5, '01a22be6-517b-704f-91fe-cbfc44b71659', 'harbor.events', 'b', '\x7b226964223a2230316132326265362d353137622d373034662d393166652d636266633434623731363539222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e61727269766564222c2274696d65223a22323032362d31312d33305431303a30303a34342e3135353637375a222c22736368656d6176657273696f6e223a312c226b696e64223a226576656e74222c22746f706963223a22686172626f722e6576656e7473222c22706172746974696f6e6b6579223a2262222c22686c63223a22313137373034383038343734353432303837222c22636f7272656c6174696f6e6964223a2230316132326265362d353137622d373034662d393166652d636266633434623731363539222c2264617461223a7b2273686970223a2262222c226e223a337d2c227370656376657273696f6e223a22312e30227d', 0, NULL, NULL, '2026-11-30 10:00:44.201779+00');
INSERT INTO public.freehold_outbox OVERRIDING SYSTEM VALUE VALUES (25, 3, '01a22be6-517b-7050-823d-0dd78ca7ec9d', 'harbor.events', 'c', '\x7b226964223a2230316132326265362d353137622d373035302d383233642d306464373863613765633964222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e61727269766564222c2274696d65223a22323032362d31312d33305431303a30303a34342e3135353639355a222c22736368656d6176657273696f6e223a312c226b696e64223a226576656e74222c22746f706963223a22686172626f722e6576656e7473222c22706172746974696f6e6b6579223a2263222c22686c63223a22313137373034383038343734353432303838222c22636f7272656c6174696f6e6964223a2230316132326265362d353137622d373035302d383233642d306464373863613765633964222c2264617461223a7b2273686970223a2263222c226e223a337d2c227370656376657273696f6e223a22312e30227d', 0, NULL, NULL, '2026-11-30 10:00:44.201779+00');
INSERT INTO public.freehold_outbox OVERRIDING SYSTEM VALUE VALUES (26, 6, '01a22be6-517b-7051-9de5-c0de47d1a22a', 'harbor.events', 'blocked', '\x7b226964223a2230316132326265362d353137622d373035312d396465352d633064653437643161323261222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e61727269766564222c2274696d65223a22323032362d31312d33305431303a30303a34342e3135353731345a222c22736368656d6176657273696f6e223a312c226b696e64223a226576656e74222c22746f706963223a22686172626f722e6576656e7473222c22706172746974696f6e6b6579223a22626c6f636b6564222c22686c63223a22313137373034383038343734353432303839222c22636f7272656c6174696f6e6964223a2230316132326265362d353137622d373035312d396465352d633064653437643161323261222c2264617461223a7b2273686970223a22626c6f636b6564222c226e223a317d2c227370656376657273696f6e223a22312e30227d', 3, '2026-11-30 10:00:44.201779+00', 'BrokerError', '2026-11-30 10:00:44.201779+00');
INSERT INTO public.freehold_outbox OVERRIDING SYSTEM VALUE VALUES (28, 6, '01a22be6-5182-702e-a2cb-869e3066c14a', 'harbor.commands', 'fresh', '\x7b226964223a2230316132326265362d353138322d373032652d613263622d383639653330363663313461222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e72657365727665222c2274696d65223a22323032362d31312d33305431303a30303a34342e3136323439395a222c22736368656d6176657273696f6e223a312c226b696e64223a22636f6d6d616e64222c22746f706963223a22686172626f722e636f6d6d616e6473222c22706172746974696f6e6b6579223a226672657368222c22686c63223a22313137373034383038343735303030383332222c22636f7272656c6174696f6e6964223a2230303030303030302d303030302d303030302d303030302d303030303030303030303034222c2264617461223a7b2273686970223a226672657368227d2c227370656376657273696f6e223a22312e30222c227265706c79746f223a22686172626f722e7265706c696573222c226964656d706f74656e63796b6579223a2263393834383331342d313934322d383233612d613835622d613230656133383533373335222c2268656164657273223a7b2266726565686f6c642d73616761223a2230303030303030302d303030302d303030302d303030302d303030303030303030303034222c2266726565686f6c642d73746570223a2272657365727665222c2266726565686f6c642d617474656d7074223a2231222c2266726565686f6c642d646972656374696f6e223a22616374696f6e227d7d', 0, NULL, NULL, '2026-11-30 10:00:44.201779+00');
INSERT INTO public.freehold_outbox OVERRIDING SYSTEM VALUE VALUES (27, 6, '01a22be6-517b-7052-b094-dbce6d6aa927', 'harbor.events', 'blocked', '\x7b226964223a2230316132326265362d353137622d373035322d623039342d646263653664366161393237222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e61727269766564222c2274696d65223a22323032362d31312d33305431303a30303a34342e3135353733355a222c22736368656d6176657273696f6e223a312c226b696e64223a226576656e74222c22746f706963223a22686172626f722e6576656e7473222c22706172746974696f6e6b6579223a22626c6f636b6564222c22686c63223a22313137373034383038343734353432303930222c22636f7272656c6174696f6e6964223a2230316132326265362d353137622d373035322d623039342d646263653664366161393237222c2264617461223a7b2273686970223a22626c6f636b6564222c226e223a327d2c227370656376657273696f6e223a22312e30227d', 3, '2026-11-30 10:00:44.201779+00', 'BrokerError', '2026-11-30 10:00:44.201779+00');


--
-- Data for Name: freehold_outbox_owed; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_outbox_owed VALUES (0, 1);
INSERT INTO public.freehold_outbox_owed VALUES (1, 1);
INSERT INTO public.freehold_outbox_owed VALUES (2, 1);
INSERT INTO public.freehold_outbox_owed VALUES (3, 1);
INSERT INTO public.freehold_outbox_owed VALUES (4, 1);
INSERT INTO public.freehold_outbox_owed VALUES (5, 1);
INSERT INTO public.freehold_outbox_owed VALUES (6, 1);
INSERT INTO public.freehold_outbox_owed VALUES (7, 1);


--
-- Data for Name: freehold_parked; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_parked VALUES ('weights', 1, 0, 'ship-heavy', 22, 2, '01a22be6-3912-7037-a4c1-f7b0557e0431', 'harbor.weighed', 'ValueError', 'ValueError in weighed, make_database.py:125', 1, 1, '2026-11-30 10:00:38.303581+00', '2026-11-30 10:54:38.862909+00');


--
-- Data for Name: freehold_progress; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_progress VALUES ('harbor', 'harbor/1', 1, 0, '2026-11-30 10:00:37.937585+00');
INSERT INTO public.freehold_progress VALUES ('harbor', 'harbor/7', 4, 0, '2026-11-30 10:00:38.192065+00');
INSERT INTO public.freehold_progress VALUES ('harbor', 'pier:1', 17, 3, '2026-11-30 10:00:44.254499+00');


--
-- Data for Name: freehold_projection; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_projection VALUES ('weights', 1, 1, 2, 'live', 'first start', '2026-11-30 10:00:37.82271+00', '2026-11-30 10:00:37.82271+00', '["tonnage"]');


--
-- Data for Name: freehold_projection_pause; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: freehold_reconciliation; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_reconciliation OVERRIDING SYSTEM VALUE VALUES (1, 'ships', '2026-01-01 00:00:00+00', 1.5, 10, 2, 1, 1, '');


--
-- Data for Name: freehold_replay; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_replay OVERRIDING SYSTEM VALUE VALUES (1, 'weights', NULL, NULL, NULL, 10, 33, 10, 0, 'running', 'somebody', 'because', '["tonnage__r1"]', '2026-11-30 10:00:44.330116+00', '2026-11-30 10:00:44.397547+00', 10, 0, 0);


--
-- Data for Name: freehold_replay_error; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: freehold_saga; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_saga VALUES ('00000000-0000-0000-0000-000000000002', 'harbor.loading', 1, 'waiting', '00000000-0000-0000-0000-000000000002', 'running', 2, '\x7b22666f726d6174223a312c226d6f6465223a2272756e6e696e67222c227374617465223a7b2273686970223a2277616974696e67227d2c227374657073223a7b2272657365727665223a7b227068617365223a22646f6e65222c22617474656d7074223a312c227472696573223a312c22726f756e645f7374617274223a317d2c226c6f6164223a7b227068617365223a22616374696e67222c226177616974696e67223a22616e73776572222c22617474656d7074223a312c227472696573223a312c22726f756e645f7374617274223a312c22756e74696c223a22323032362d31312d33305431303a30313a30382e3134313836395a227d7d2c22647565223a22323032362d31312d33305431303a30313a30382e3134313836395a227d', NULL, '2026-11-30 10:01:08.1436+00', '2026-11-30 10:00:37.711953+00', '2026-11-30 10:00:38.1436+00');
INSERT INTO public.freehold_saga VALUES ('00000000-0000-0000-0000-000000000001', 'harbor.loading', 1, 'loaded', '00000000-0000-0000-0000-000000000001', 'completed', 3, '\x7b22666f726d6174223a312c226d6f6465223a22636f6d706c65746564222c227374617465223a7b2273686970223a226c6f61646564227d2c227374657073223a7b2272657365727665223a7b227068617365223a22646f6e65222c22617474656d7074223a312c227472696573223a312c22726f756e645f7374617274223a317d2c226c6f6164223a7b227068617365223a22646f6e65222c22617474656d7074223a312c227472696573223a312c22726f756e645f7374617274223a317d7d7d', NULL, NULL, '2026-11-30 10:00:37.70737+00', '2026-11-30 10:00:38.258499+00');
INSERT INTO public.freehold_saga VALUES ('00000000-0000-0000-0000-000000000003', 'harbor.loading', 1, 'refused', '00000000-0000-0000-0000-000000000003', 'compensating', 3, '\x7b22666f726d6174223a312c226d6f6465223a22636f6d70656e736174696e67222c227374617465223a7b2273686970223a2272656675736564227d2c227374657073223a7b2272657365727665223a7b227068617365223a22756e646f696e67222c226177616974696e67223a22616e73776572222c22617474656d7074223a312c227472696573223a312c22726f756e645f7374617274223a312c22756e74696c223a22323032362d31312d33305431303a30313a30382e3236343133385a227d2c226c6f6164223a7b227068617365223a2272656675736564222c22617474656d7074223a312c227472696573223a312c22726f756e645f7374617274223a317d7d2c22647565223a22323032362d31312d33305431303a30313a30382e3236343133385a227d', 'full', '2026-11-30 10:01:08.281323+00', '2026-11-30 10:00:37.717301+00', '2026-11-30 10:00:38.281323+00');
INSERT INTO public.freehold_saga VALUES ('00000000-0000-0000-0000-000000000004', 'harbor.loading', 1, 'fresh', '00000000-0000-0000-0000-000000000004', 'running', 1, '\x7b22666f726d6174223a312c226d6f6465223a2272756e6e696e67222c227374617465223a7b2273686970223a226672657368227d2c227374657073223a7b2272657365727665223a7b227068617365223a22616374696e67222c226177616974696e67223a22616e73776572222c22617474656d7074223a312c227472696573223a312c22726f756e645f7374617274223a312c22756e74696c223a22323032362d31312d33305431303a30313a31342e3135353738325a227d2c226c6f6164223a7b7d7d2c22647565223a22323032362d31312d33305431303a30313a31342e3135353738325a227d', NULL, '2026-11-30 10:01:14.161792+00', '2026-11-30 10:00:44.161792+00', '2026-11-30 10:00:44.161792+00');


--
-- Data for Name: freehold_saga_journal; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000001', 1, '2026-11-30 10:00:37.688292+00', '', 'started', 0, '');
INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000001', 2, '2026-11-30 10:00:37.688292+00', 'reserve', 'requested', 1, '');
INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000002', 3, '2026-11-30 10:00:37.71136+00', '', 'started', 0, '');
INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000002', 4, '2026-11-30 10:00:37.71136+00', 'reserve', 'requested', 1, '');
INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000003', 5, '2026-11-30 10:00:37.716807+00', '', 'started', 0, '');
INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000003', 6, '2026-11-30 10:00:37.716807+00', 'reserve', 'requested', 1, '');
INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000001', 7, '2026-11-30 10:00:38.090443+00', 'reserve', 'done', 1, '');
INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000001', 8, '2026-11-30 10:00:38.090443+00', 'load', 'requested', 1, '');
INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000002', 9, '2026-11-30 10:00:38.143127+00', 'reserve', 'done', 1, '');
INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000002', 10, '2026-11-30 10:00:38.143127+00', 'load', 'requested', 1, '');
INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000003', 11, '2026-11-30 10:00:38.143655+00', 'reserve', 'done', 1, '');
INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000003', 12, '2026-11-30 10:00:38.143655+00', 'load', 'requested', 1, '');
INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000001', 13, '2026-11-30 10:00:38.254295+00', 'load', 'done', 1, '');
INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000001', 14, '2026-11-30 10:00:38.254295+00', '', 'completed', 0, '');
INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000003', 15, '2026-11-30 10:00:38.277106+00', 'load', 'rejected', 1, 'full');
INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000003', 16, '2026-11-30 10:00:38.277106+00', '', 'compensating', 0, 'full');
INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000003', 17, '2026-11-30 10:00:38.277106+00', 'reserve', 'undo-requested', 1, '');
INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000004', 18, '2026-11-30 10:00:44.155782+00', '', 'started', 0, '');
INSERT INTO public.freehold_saga_journal OVERRIDING SYSTEM VALUE VALUES ('00000000-0000-0000-0000-000000000004', 19, '2026-11-30 10:00:44.155782+00', 'reserve', 'requested', 1, '');


--
-- Data for Name: freehold_schedule; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_schedule OVERRIDING SYSTEM VALUE VALUES ('01a22be6-5182-702f-ab2a-ad9ea1bcdf43', 1, 'harbor.arrived', 'harbor.events', 'due', '\x7b226964223a2230316132326265362d353138322d373032662d616232612d616439656131626364663433222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e61727269766564222c2274696d65223a22323032362d31312d33305431303a30303a34342e3136323631385a222c22736368656d6176657273696f6e223a312c226b696e64223a226576656e74222c22746f706963223a22686172626f722e6576656e7473222c22706172746974696f6e6b6579223a22647565222c22686c63223a22313137373034383038343735303030383333222c22636f7272656c6174696f6e6964223a2230316132326265362d353138322d373032662d616232612d616439656131626364663433222c2264617461223a7b2273686970223a22647565222c226e223a317d2c227370656376657273696f6e223a22312e30227d', '2026-11-30 10:01:44.205685+00');
INSERT INTO public.freehold_schedule OVERRIDING SYSTEM VALUE VALUES ('01a22be6-5182-7030-85fe-7353917c8798', 2, 'harbor.arrived', 'harbor.events', 'far', '\x7b226964223a2230316132326265362d353138322d373033302d383566652d373335333931376338373938222c22736f75726365223a22686172626f72222c2274797065223a22686172626f722e61727269766564222c2274696d65223a22323032362d31312d33305431303a30303a34342e3136323634395a222c22736368656d6176657273696f6e223a312c226b696e64223a226576656e74222c22746f706963223a22686172626f722e6576656e7473222c22706172746974696f6e6b6579223a22666172222c22686c63223a22313137373034383038343735303030383334222c22636f7272656c6174696f6e6964223a2230316132326265362d353138322d373033302d383566652d373335333931376338373938222c2264617461223a7b2273686970223a22666172222c226e223a317d2c227370656376657273696f6e223a22312e30227d', '2126-11-06 10:00:44.20949+00');


--
-- Data for Name: freehold_snapshot; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.freehold_snapshot VALUES ('vessel', 'ship-s1', 2, 1, 'shape', '\x7b22746f6e73223a317d', '2026-11-30 10:00:44.261536+00');


--
-- Data for Name: freehold_view; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: tonnage__g1; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.tonnage__g1 VALUES ('s1', 45);
INSERT INTO public.tonnage__g1 VALUES ('s2', 50);
INSERT INTO public.tonnage__g1 VALUES ('s3', 55);
INSERT INTO public.tonnage__g1 VALUES ('s0', 60);
INSERT INTO public.tonnage__g1 VALUES ('heavy', 100);


--
-- Data for Name: tonnage__r1; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.tonnage__r1 VALUES ('s1', 45);
INSERT INTO public.tonnage__r1 VALUES ('s2', 50);


--
-- Name: freehold_audit_ordinal_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.freehold_audit_ordinal_seq', 2, true);


--
-- Name: freehold_deferred_position_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.freehold_deferred_position_seq', 4, true);


--
-- Name: freehold_event_position_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.freehold_event_position_seq', 33, true);


--
-- Name: freehold_outbox_position_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.freehold_outbox_position_seq', 28, true);


--
-- Name: freehold_reconciliation_ordinal_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.freehold_reconciliation_ordinal_seq', 1, true);


--
-- Name: freehold_replay_number_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.freehold_replay_number_seq', 1, true);


--
-- Name: freehold_saga_journal_ordinal_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.freehold_saga_journal_ordinal_seq', 19, true);


--
-- Name: freehold_schedule_position_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.freehold_schedule_position_seq', 2, true);


--
-- Name: freehold_audit freehold_audit_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_audit
    ADD CONSTRAINT freehold_audit_pkey PRIMARY KEY (ordinal);


--
-- Name: freehold_checkpoint freehold_checkpoint_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_checkpoint
    ADD CONSTRAINT freehold_checkpoint_pkey PRIMARY KEY (projection, generation, partition);


--
-- Name: freehold_dead_letter freehold_dead_letter_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_dead_letter
    ADD CONSTRAINT freehold_dead_letter_pkey PRIMARY KEY (id);


--
-- Name: freehold_deferred freehold_deferred_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_deferred
    ADD CONSTRAINT freehold_deferred_pkey PRIMARY KEY ("position");


--
-- Name: freehold_event freehold_event_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_event
    ADD CONSTRAINT freehold_event_pkey PRIMARY KEY ("position");


--
-- Name: freehold_event freehold_event_stream_version_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_event
    ADD CONSTRAINT freehold_event_stream_version_key UNIQUE (stream, version);


--
-- Name: freehold_idempotency freehold_idempotency_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_idempotency
    ADD CONSTRAINT freehold_idempotency_pkey PRIMARY KEY (scope, key);


--
-- Name: freehold_inbox freehold_inbox_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_inbox
    ADD CONSTRAINT freehold_inbox_pkey PRIMARY KEY (consumer, receipt_key);


--
-- Name: freehold_lease freehold_lease_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_lease
    ADD CONSTRAINT freehold_lease_pkey PRIMARY KEY (name);


--
-- Name: freehold_meta freehold_meta_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_meta
    ADD CONSTRAINT freehold_meta_pkey PRIMARY KEY (name);


--
-- Name: freehold_migration freehold_migration_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_migration
    ADD CONSTRAINT freehold_migration_pkey PRIMARY KEY (owner, name);


--
-- Name: freehold_outbox_owed freehold_outbox_owed_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_outbox_owed
    ADD CONSTRAINT freehold_outbox_owed_pkey PRIMARY KEY (partition);


--
-- Name: freehold_outbox freehold_outbox_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_outbox
    ADD CONSTRAINT freehold_outbox_pkey PRIMARY KEY (partition, "position");


--
-- Name: freehold_parked freehold_parked_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_parked
    ADD CONSTRAINT freehold_parked_pkey PRIMARY KEY (projection, generation, stream);


--
-- Name: freehold_progress freehold_progress_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_progress
    ADD CONSTRAINT freehold_progress_pkey PRIMARY KEY (consumer, lane);


--
-- Name: freehold_projection_pause freehold_projection_pause_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_projection_pause
    ADD CONSTRAINT freehold_projection_pause_pkey PRIMARY KEY (projection, generation);


--
-- Name: freehold_projection freehold_projection_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_projection
    ADD CONSTRAINT freehold_projection_pkey PRIMARY KEY (projection, generation);


--
-- Name: freehold_reconciliation freehold_reconciliation_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_reconciliation
    ADD CONSTRAINT freehold_reconciliation_pkey PRIMARY KEY (ordinal);


--
-- Name: freehold_replay_error freehold_replay_error_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_replay_error
    ADD CONSTRAINT freehold_replay_error_pkey PRIMARY KEY (replay, "position");


--
-- Name: freehold_replay freehold_replay_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_replay
    ADD CONSTRAINT freehold_replay_pkey PRIMARY KEY (number);


--
-- Name: freehold_saga_journal freehold_saga_journal_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_saga_journal
    ADD CONSTRAINT freehold_saga_journal_pkey PRIMARY KEY (saga_id, ordinal);


--
-- Name: freehold_saga freehold_saga_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_saga
    ADD CONSTRAINT freehold_saga_pkey PRIMARY KEY (id);


--
-- Name: freehold_schedule freehold_schedule_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_schedule
    ADD CONSTRAINT freehold_schedule_pkey PRIMARY KEY (id);


--
-- Name: freehold_snapshot freehold_snapshot_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_snapshot
    ADD CONSTRAINT freehold_snapshot_pkey PRIMARY KEY (kind, stream);


--
-- Name: freehold_view freehold_view_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.freehold_view
    ADD CONSTRAINT freehold_view_pkey PRIMARY KEY (name);


--
-- Name: tonnage__g1 tonnage__g1_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.tonnage__g1
    ADD CONSTRAINT tonnage__g1_pkey PRIMARY KEY (ship);


--
-- Name: tonnage__r1 tonnage__r1_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.tonnage__r1
    ADD CONSTRAINT tonnage__r1_pkey PRIMARY KEY (ship);


--
-- Name: freehold_audit_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_audit_at ON public.freehold_audit USING btree (at, ordinal);


--
-- Name: freehold_audit_subject; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_audit_subject ON public.freehold_audit USING btree (subject, at, ordinal);


--
-- Name: freehold_dead_letter_ended; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_dead_letter_ended ON public.freehold_dead_letter USING btree (ended_at) WHERE (ended_at IS NOT NULL);


--
-- Name: freehold_dead_letter_newest; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_dead_letter_newest ON public.freehold_dead_letter USING btree (failed_at, id);


--
-- Name: freehold_dead_letter_reason; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_dead_letter_reason ON public.freehold_dead_letter USING btree (reason) WHERE (status = 'dead'::text);


--
-- Name: freehold_dead_letter_status; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_dead_letter_status ON public.freehold_dead_letter USING btree (status, failed_at, id);


--
-- Name: freehold_deferred_due; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_deferred_due ON public.freehold_deferred USING btree (consumer, due_at);


--
-- Name: freehold_deferred_key; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_deferred_key ON public.freehold_deferred USING btree (consumer, topic, key, "position");


--
-- Name: freehold_deferred_lane; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_deferred_lane ON public.freehold_deferred USING btree (consumer, lane, lane_position) WHERE (lane IS NOT NULL);


--
-- Name: freehold_event_category; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_event_category ON public.freehold_event USING btree (category, (("position" + 0)));


--
-- Name: freehold_event_time; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_event_time ON public.freehold_event USING btree (recorded_at, "position");


--
-- Name: freehold_event_type; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_event_type ON public.freehold_event USING btree (type, (("position" + 0)));


--
-- Name: freehold_idempotency_claimed; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_idempotency_claimed ON public.freehold_idempotency USING btree (claimed_at);


--
-- Name: freehold_inbox_received; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_inbox_received ON public.freehold_inbox USING btree (received_at);


--
-- Name: freehold_outbox_blocked; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_outbox_blocked ON public.freehold_outbox USING btree (key, blocked_until) WHERE (blocked_until IS NOT NULL);


--
-- Name: freehold_parked_position; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_parked_position ON public.freehold_parked USING btree (projection, generation, "position");


--
-- Name: freehold_projection_live; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX freehold_projection_live ON public.freehold_projection USING btree (projection) WHERE (state = 'live'::text);


--
-- Name: freehold_reconciliation_dataset; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_reconciliation_dataset ON public.freehold_reconciliation USING btree (dataset, ordinal);


--
-- Name: freehold_reconciliation_finished; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_reconciliation_finished ON public.freehold_reconciliation USING btree (finished_at);


--
-- Name: freehold_replay_projection; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_replay_projection ON public.freehold_replay USING btree (projection, number);


--
-- Name: freehold_saga_due; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_saga_due ON public.freehold_saga USING btree (due_at) WHERE (due_at IS NOT NULL);


--
-- Name: freehold_saga_ended; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_saga_ended ON public.freehold_saga USING btree (updated_at) WHERE (status = ANY (ARRAY['completed'::text, 'compensated'::text, 'abandoned'::text]));


--
-- Name: freehold_saga_key; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_saga_key ON public.freehold_saga USING btree (key);


--
-- Name: freehold_saga_newest; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_saga_newest ON public.freehold_saga USING btree (created_at, id);


--
-- Name: freehold_saga_status; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_saga_status ON public.freehold_saga USING btree (definition, status);


--
-- Name: freehold_schedule_due; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_schedule_due ON public.freehold_schedule USING btree (due_at, "position");


--
-- Name: freehold_schedule_name; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX freehold_schedule_name ON public.freehold_schedule USING btree (name, due_at);


--
-- PostgreSQL database dump complete
--


