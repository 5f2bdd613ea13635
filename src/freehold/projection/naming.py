"""What a name in the database belongs to, and how it is written. Imports SQLAlchemy."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = [
    "is_projected",
    "is_visible",
    "mark_projected",
    "place_of",
    "quoted",
    "reads",
    "relation_sql",
    "same_columns",
]

_IN_PLACE: Final = "to_regclass(quote_ident(coalesce({0}, current_schema())) || '.' || quote_ident({1}))"
"""A relation where it is made: in its own schema, or else the first of the search path, and not in any further one,
where another service may have a relation of the same name.
"""
_KINDS: Final = {"r": "table", "p": "table", "v": "view", "m": "materialised view", "f": "foreign table"}

_MARK: Final = "freehold.projected"


def mark_projected(table: sa.Table) -> None:
    """Note on a table that it is a projection's: what bears its name in the database is a view."""
    table.info[_MARK] = True


def is_projected(table: object) -> bool:
    """Whether a table was declared by a projection."""
    return isinstance(table, sa.Table) and bool(table.info.get(_MARK))


def quoted(table: sa.Table) -> str:
    """A table's name for the text of a statement; quoted always, since each engine has reserved words of its own."""
    parts = [table.name] if table.schema is None else [table.schema, table.name]
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


async def place_of(connection: AsyncConnection, name: str, schema: str | None) -> str | None:
    """What bears a name: table, view, materialised view, index …; None where nothing does."""
    if connection.dialect.name == "sqlite":
        found = await connection.scalar(sa.text("SELECT type FROM sqlite_schema WHERE name = :name"), {"name": name})
        return None if found is None else str(found)
    statement = f"SELECT relkind::text FROM pg_class WHERE oid = {relation_sql()}"  # noqa: S608 - an expression of ours
    kind = await connection.scalar(sa.text(statement), {"schema": schema, "name": str(name)})
    return None if kind is None else _KINDS.get(kind, "relation of another kind")


async def is_visible(connection: AsyncConnection, table: sa.Table) -> bool:
    """Whether a table of this name is found along the search path, wherever."""
    if connection.dialect.name == "sqlite":
        return await place_of(connection, table.name, table.schema) is not None
    return bool(await connection.scalar(sa.text("SELECT to_regclass(:name) IS NOT NULL"), {"name": quoted(table)}))


async def reads(connection: AsyncConnection, view: sa.Table, table: sa.Table) -> bool:
    """Whether a name is a view of ours on a table."""
    if connection.dialect.name == "sqlite":
        statement = sa.text("SELECT sql FROM sqlite_schema WHERE type = 'view' AND name = :name")
        found = await connection.scalar(statement, {"name": view.name})
        return found is not None and str(found).endswith(f" FROM {quoted(table)}")
    statement = sa.text(
        f"""\
SELECT EXISTS (
    SELECT 1 FROM pg_rewrite AS r JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    WHERE r.ev_class = {relation_sql("view_")} AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid = {relation_sql()}
)"""  # noqa: S608 - expressions of ours
    )
    return bool(await connection.scalar(statement, {**_named(view, "view_"), **_named(table)}))


async def same_columns(connection: AsyncConnection, view: sa.Table, table: sa.Table) -> bool:
    """Whether PostgreSQL can replace a view by one on this table: columns may be added at the end only."""
    statement = sa.text(
        f"""\
SELECT attname::text, format_type(atttypid, atttypmod), attcollation::int8 FROM pg_attribute
WHERE attrelid = {relation_sql()} AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""  # noqa: S608 - an expression of ours
    )
    old = [tuple(row) for row in await connection.execute(statement, _named(view))]
    new = [tuple(row) for row in await connection.execute(statement, _named(table))]
    return new[: len(old)] == old


def relation_sql(prefix: str = "") -> str:
    """The relation of a name and a schema that are bound as `:name` and `:schema`, with a prefix."""
    return _IN_PLACE.format(f"CAST(:{prefix}schema AS text)", f"CAST(:{prefix}name AS text)")


def _named(table: sa.Table, prefix: str = "") -> dict[str, str | None]:
    return {f"{prefix}schema": table.schema, f"{prefix}name": str(table.name)}
