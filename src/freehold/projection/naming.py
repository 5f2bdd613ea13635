"""What a name in the database belongs to, and how it is written. Imports SQLAlchemy."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["is_projected", "mark_projected", "place_of", "quoted", "reads", "same_columns"]

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
    kind = await connection.scalar(
        sa.text("SELECT relkind::text FROM pg_class WHERE oid = to_regclass(:name)"),
        {"name": quoted(sa.Table(name, sa.MetaData(), schema=schema))},
    )
    return None if kind is None else _KINDS.get(kind, "relation of another kind")


async def reads(connection: AsyncConnection, view: sa.Table, table: sa.Table) -> bool:
    """Whether a name is a view of ours on a table."""
    if connection.dialect.name == "sqlite":
        statement = sa.text("SELECT sql FROM sqlite_schema WHERE type = 'view' AND name = :name")
        found = await connection.scalar(statement, {"name": view.name})
        return found is not None and str(found).endswith(f" FROM {quoted(table)}")
    statement = sa.text(
        """\
SELECT EXISTS (
    SELECT 1 FROM pg_rewrite AS r JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    WHERE r.ev_class = to_regclass(:view) AND d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(:table)
)"""
    )
    return bool(await connection.scalar(statement, {"view": quoted(view), "table": quoted(table)}))


async def same_columns(connection: AsyncConnection, view: sa.Table, table: sa.Table) -> bool:
    """Whether PostgreSQL can replace a view by one on this table: columns may be added at the end only."""
    statement = sa.text(
        """\
SELECT attname::text, format_type(atttypid, atttypmod), attcollation::int8 FROM pg_attribute
WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
    )
    old = [tuple(row) for row in await connection.execute(statement, {"name": quoted(view)})]
    new = [tuple(row) for row in await connection.execute(statement, {"name": quoted(table)})]
    return new[: len(old)] == old
