-- Before PostgreSQL 17 only the owner of a materialized view may refresh it. This function permits a role with the
-- EXECUTE right to refresh the views that Freehold has built in the same schema, and no others. Names are looked up
-- with the rights of the definer and written with their schema, so the caller's search path and temporary tables have
-- no effect.
CREATE OR REPLACE FUNCTION freehold_view_refresh(relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    place text;
    called text;
    known boolean := false;
BEGIN
    SELECT n.nspname, c.relname INTO place, called
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_roles AS r ON r.oid = c.relowner
    WHERE c.oid = relation AND c.relkind = 'm' AND r.rolname = current_user;
    IF FOUND THEN
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I.freehold_view WHERE name = $1)', place) INTO known USING called;
    END IF;
    IF NOT known THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('permission denied for materialized view %s', relation);
    END IF;
    EXECUTE format('REFRESH MATERIALIZED VIEW CONCURRENTLY %I.%I', place, called);
END
$$;
REVOKE ALL ON FUNCTION freehold_view_refresh(regclass) FROM PUBLIC;
