"""Tables of read models on PostgreSQL. Imports the base of the SQL adapters."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.adapters.sql.read_models import TransactionalReadModelStore, quoted

__all__ = ["PostgresReadModelStore"]

_HURRY_MILLISECONDS: Final = 1000
_KINDS: Final = {"r": "table", "p": "table", "v": "view", "m": "materialized view", "f": "foreign table"}
_IN_PLACE: Final = "to_regclass(quote_ident(coalesce({0}::text, current_schema())) || '.' || quote_ident({1}::text))"
"""A relation in the schema where it would be created: its own, or else the first of the search path. Later schemas of
the search path may have a relation of another service with the same name.
"""
_RELATION: Final = _IN_PLACE.format("$1", "$2")
_KIND: Final = f"SELECT relkind::text FROM pg_class WHERE oid = {_RELATION}"
_READS: Final = f"""\
SELECT EXISTS (
    SELECT 1 FROM pg_rewrite AS r JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    WHERE r.ev_class = {_RELATION} AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid = {_IN_PLACE.format("$3", "$4")}
)"""
_COLUMNS: Final = f"""\
SELECT attname::text, format_type(atttypid, atttypmod), attcollation::int8 FROM pg_attribute
WHERE attrelid = {_RELATION} AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
_GRANTS: Final = f"""\
SELECT format('GRANT %s ON %s TO %s', a.privilege_type, c.oid::regclass,
              CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
FROM pg_class AS c, aclexplode(c.relacl) AS a WHERE c.oid = {_RELATION} AND a.grantee <> c.relowner"""


class PostgresReadModelStore(TransactionalReadModelStore):
    """Replaces a view that keeps its columns; otherwise drops it, creates it, and grants the same rights again."""

    async def _kind(self, sql: SqlConnection, table: sa.Table) -> str | None:
        rows = await sql.fetch(_KIND, _named(table))
        return _KINDS.get(rows[0][0], "relation of another kind") if rows else None

    async def _is_visible(self, sql: SqlConnection, table: sa.Table) -> bool:
        return bool((await sql.fetch("SELECT to_regclass($1::text) IS NOT NULL", (quoted(table),)))[0][0])

    async def _reads(self, sql: SqlConnection, view: sa.Table, table: sa.Table) -> bool:
        return bool((await sql.fetch(_READS, (*_named(view), *_named(table))))[0][0])

    async def _hurry(self, sql: SqlConnection) -> None:
        await sql.execute(f"SET LOCAL lock_timeout = {_HURRY_MILLISECONDS}")

    async def _replace(self, sql: SqlConnection, view: sa.Table, table: sa.Table, body: str) -> None:
        if await _same_columns(sql, view, table):
            await sql.execute(f"CREATE OR REPLACE {body}")
            return
        granted = await sql.fetch(_GRANTS, _named(view))
        await sql.execute(f"DROP VIEW {quoted(view)}")
        await sql.execute(f"CREATE {body}")
        for row in granted:
            await sql.execute(str(row[0]))


async def _same_columns(sql: SqlConnection, view: sa.Table, table: sa.Table) -> bool:
    """Whether CREATE OR REPLACE VIEW can make the view read this table: it only allows new columns at the end."""
    old, new = [[tuple(row) for row in await sql.fetch(_COLUMNS, _named(each))] for each in (view, table)]
    return new[: len(old)] == old


def _named(table: sa.Table) -> tuple[str | None, str]:
    return (None if table.schema is None else str(table.schema)), str(table.name)
