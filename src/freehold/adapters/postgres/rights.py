"""The rights of a role in a service's schema: statements that grant what run time needs, and a check for missing ones.

Imports the ports. Run time reads and writes rows. It creates, changes and drops objects only to rebuild a read model.
"""

from __future__ import annotations

import shlex
from typing import Final

from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.database import CheckResult
from freehold.errors import ConfigurationError

__all__ = ["examine_rights", "grants"]

_LEDGER: Final = "freehold_migration"
_READ_ONLY: Final = (_LEDGER, "freehold_meta", "freehold_object")
"""Tables that only upgrades write: the applied steps and functions, and the owner of the database."""
_NAME_BYTES_MAX: Final = 63
_SHOWN_MAX: Final = 5
_PLACE: Final = f"""
SELECT coalesce(n.nspname::text, current_schema()::text), coalesce(r.rolname::text, current_user::text),
    current_database()::text
FROM (SELECT to_regclass('{_LEDGER}') AS oid) AS l
LEFT JOIN pg_class AS c ON c.oid = l.oid LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_roles AS r ON r.oid = c.relowner"""
_OF_FREEHOLD: Final = r"(c.relname LIKE 'freehold\_%' OR c.relname ~ '__[gr][1-9][0-9]*$')"
_MISSING: Final = f"""
WITH place AS (SELECT relnamespace AS oid FROM pg_class WHERE oid = to_regclass('{_LEDGER}'))
SELECT p.wanted || ' on ' || c.relname FROM place JOIN pg_class AS c ON c.relnamespace = place.oid
CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS p (wanted)
WHERE c.relkind IN ('r', 'p') AND {_OF_FREEHOLD} AND NOT has_table_privilege(c.oid, p.wanted)
    AND (p.wanted = 'SELECT' OR c.relname NOT IN {_READ_ONLY})
UNION ALL
SELECT 'USAGE on ' || c.relname FROM place JOIN pg_class AS c ON c.relnamespace = place.oid
WHERE {_OF_FREEHOLD} AND CASE c.relkind WHEN 'S' THEN NOT has_sequence_privilege(c.oid, 'USAGE') END
UNION ALL
SELECT 'SELECT on ' || c.relname FROM place JOIN pg_class AS c ON c.relnamespace = place.oid
WHERE {_OF_FREEHOLD} AND CASE c.relkind WHEN 'S' THEN NOT has_sequence_privilege(c.oid, 'SELECT') END
UNION ALL
SELECT 'EXECUTE on ' || f.proname FROM place JOIN pg_proc AS f ON f.pronamespace = place.oid
WHERE f.proname LIKE 'freehold\\_%' AND NOT has_function_privilege(f.oid, 'EXECUTE')
UNION ALL
SELECT 'SELECT on ' || c.relname FROM place JOIN pg_class AS c ON c.relnamespace = place.oid
WHERE c.relkind IN ('v', 'm') AND NOT has_table_privilege(c.oid, 'SELECT')
ORDER BY 1"""
_HIDDEN: Final = f"""
SELECT n.nspname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = '{_LEDGER}' AND NOT has_schema_privilege(n.oid, 'USAGE') AND n.nspname IN (
    SELECT replace(btrim(s.name, ' "'), '$user', current_user)
    FROM unnest(string_to_array(current_setting('search_path'), ',')) AS s (name)
) ORDER BY 1 LIMIT 1"""
_MAY_CREATE: Final = """
SELECT current_schema() IS NOT NULL AND has_schema_privilege(current_schema(), 'CREATE'), current_schema()::text,
    current_user::text"""


async def grants(sql: SqlConnection, role: str, schema: str | None) -> list[str]:
    """The GRANT statements, which the owner of the tables must run. They permit reads and writes of rows in all tables
    of the schema, also in those of later upgrades, and no CREATE. Raises `ConfigurationError` for an invalid name.
    """
    found, owner, database = (await sql.fetch(_PLACE))[0]
    place = schema or found
    if place is None:
        raise ConfigurationError("the connection has no schema", hint="name one: --schema")
    to, at, by = _quoted(role, "role"), _quoted(place, "schema"), _quoted(owner, "role")
    future = f"ALTER DEFAULT PRIVILEGES FOR ROLE {by} IN SCHEMA {at}"
    return [
        f"GRANT CONNECT ON DATABASE {_quoted(database, 'database')} TO {to}",
        f"GRANT USAGE ON SCHEMA {at} TO {to}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {at} TO {to}",
        *(f"REVOKE INSERT, UPDATE, DELETE ON {at}.{name} FROM {to}" for name in _READ_ONLY),
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {at} TO {to}",
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {at} TO {to}",
        f"{future} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {to}",
        f"{future} GRANT USAGE, SELECT ON SEQUENCES TO {to}",
        f"{future} GRANT EXECUTE ON FUNCTIONS TO {to}",
    ]


async def examine_rights(sql: SqlConnection) -> list[CheckResult]:
    """Check the rights of this connection's role: those that run time needs, and the right to create tables."""
    may_create, place, role = (await sql.fetch(_MAY_CREATE))[0]
    hidden = await sql.fetch(_HIDDEN)
    made = (await sql.fetch(f"SELECT to_regclass('{_LEDGER}') IS NOT NULL"))[0][0]
    missing = [row[0] for row in await sql.fetch(_MISSING)]
    if not made and hidden:
        missing = [f"USAGE on schema {hidden[0][0]}"]
    fix = f"as the owner of the tables: freehold db grants --role {shlex.quote(role)} | psql"
    return [
        CheckResult("rights", ok=not missing, detail=_told(missing), fix=fix if missing else ""),
        _making(place, may_create=bool(may_create), made=bool(made) or bool(hidden)),
    ]


def _told(missing: list[str]) -> str:
    if not missing:
        return "has all rights that run time needs"
    more = f", and {len(missing) - _SHOWN_MAX} more" if len(missing) > _SHOWN_MAX else ""
    return f"missing: {', '.join(missing[:_SHOWN_MAX])}{more}"


def _making(place: str | None, *, may_create: bool, made: bool) -> CheckResult:
    """The check of the right to create tables; a missing one is no defect once the tables exist."""
    if may_create:
        return CheckResult("making tables", ok=True, detail=f"permitted in schema {place}")
    return CheckResult(
        "making tables",
        ok=made,
        detail=f"not permitted{f' in schema {place}' if place else ''}: upgrades and rebuilds need another role",
        fix="" if made else "run freehold db upgrade as a role that has CREATE on the schema",
    )


def _quoted(name: str, kind: str) -> str:
    if not name or not name.isprintable() or len(name.encode()) > _NAME_BYTES_MAX:
        raise ConfigurationError(
            f"the name of the {kind} is not valid", hint=f"it has 1 to {_NAME_BYTES_MAX} bytes, all printable"
        )
    return '"' + name.replace('"', '""') + '"'
