"""Tables of read models on MariaDB, which commits at each statement that defines a table. Imports the base of the SQL
adapters, SQLAlchemy, and its siblings.

Tables are created and dropped at once, on a connection of their own, while the caller's transaction is open. A rollback
leaves a table that no generation has recorded. Its comment marks it, and it is replaced when the same set is created
again.

Which table set a view reads changes with the caller's transaction, although DDL does not:

1. before the commit, the view becomes a union of the old set and the new one. Each part has the condition that the row
   of `freehold_read_model` names it.
2. The transaction changes that row. A statement reads the row and the tables in one snapshot: readers see the old set
   until the commit, the new one after it, and the old one after a rollback.
3. After the commit, the view becomes one on the new set alone. Where a reader blocks that, or the process dies, the
   union stays: it is slower, and correct. The next `show` of the set, or the `drop` of the other one, replaces it.

The row is locked from the first step to the commit, and during the third: two changes of one view do not overlap.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import ClassVar, Final

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import DATETIME
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect
from sqlalchemy.exc import CompileError
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from freehold.adapters.mariadb.database import MariaDbDatabase
from freehold.adapters.mariadb.dialect import COLLATION
from freehold.adapters.mariadb.marks import MARK, is_marked
from freehold.adapters.sql.engine.connection import SqlConnection, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.read_models import (
    SqlReadModelStore,
    called,
    declared_by_alchemy,
    fitting,
    native_of,
    quoted,
)
from freehold.database import DatabaseTransaction
from freehold.errors import ConfigurationError, DeclarationError, FreeholdError
from freehold.projection.read_model_store import DeclaredTable, TableSet

__all__ = ["MariaDbReadModelStore"]

_HURRY_SECONDS: Final = 1
_KEY_CHARACTERS_MAX: Final = 512
"""As long as the name of a stream: a text without a length cannot be a key, or be in an index."""
_DIALECT: Final = MariaDBDialect()
_OPTIONS: Final = {"mariadb_engine": "InnoDB", "mariadb_charset": "utf8mb4", "mariadb_collate": COLLATION}
_NAMED: Final = "TABLE_SCHEMA = coalesce($1, DATABASE()) AND TABLE_NAME = $2"
_KIND: Final = f"SELECT TABLE_TYPE FROM information_schema.TABLES WHERE {_NAMED}"
_COLUMNS: Final = f"SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE {_NAMED} ORDER BY ORDINAL_POSITION"
_DEFINITION: Final = f"SELECT VIEW_DEFINITION, coalesce($3, DATABASE()) FROM information_schema.VIEWS WHERE {_NAMED}"
_KINDS: Final = {"BASE TABLE": "table", "VIEW": "view"}
_SHOWN: Final = "SELECT table_set FROM freehold_read_model WHERE name = $1 FOR UPDATE"
_SHOWN_NOW: Final = "SELECT table_set FROM freehold_read_model WHERE name = $1 FOR UPDATE SKIP LOCKED"
_WRITE_SHOWN: Final = """\
INSERT INTO freehold_read_model (name, table_set) VALUES ($1, $2)
ON DUPLICATE KEY UPDATE table_set = VALUES(table_set)"""
_FORGET: Final = "DELETE FROM freehold_read_model WHERE name = $1"


class MariaDbReadModelStore(SqlReadModelStore):
    """Tables compare texts by code points, keep microseconds, and have 512 characters in a key's text, unless they are
    declared otherwise.
    """

    quote: ClassVar[str] = "`"

    def __init__(self, database: MariaDbDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        self._mariadb = database

    async def create(self, db_tx: DatabaseTransaction, tables: Sequence[DeclaredTable], table_set: TableSet) -> None:
        """Create the tables at once; replaces those that an earlier attempt left."""
        dialect = native_of(db_tx).dialect
        made = [self._physical(table, table_set) for table in tables]
        statements = [_ddl(each, dialect) for each in made]
        async with self._defining() as sql:
            for table, ddl in zip(made, statements, strict=True):
                kind = await self._kind(sql, table)
                if kind is not None and not await is_marked(sql, table.schema, table.name):
                    raise ConfigurationError(
                        f"a table '{table.fullname}' exists already, and no generation of it is known",
                        hint="look what it holds, then drop or rename it",
                    )
                if kind is not None:
                    await sql.execute(f"DROP TABLE {self._quoted(table)}")
                for statement in ddl:
                    await sql.execute(statement)

    async def drop(self, db_tx: DatabaseTransaction, names: Sequence[str], table_set: TableSet | None = None) -> None:
        """Drop the tables at once: a generation is forgotten after its tables are gone."""
        async with self._defining() as sql:
            for declared in map(called, names):
                made = declared
                if table_set is not None:
                    made = _in_set(declared, table_set.suffix)
                    if await self._reads(sql, declared, made):
                        await self._leave(sql_of(db_tx), sql, declared, table_set)
                if await self._kind(sql, made) == "table":
                    await sql.execute(f"DROP TABLE IF EXISTS {self._quoted(made)}")

    async def show(self, db_tx: DatabaseTransaction, tables: Sequence[DeclaredTable], table_set: TableSet) -> None:
        """Make the views read both sets at once, and the row name the new one with the transaction."""
        own = sql_of(db_tx)
        async with self._defining() as sql:
            for view in map(declared_by_alchemy, tables):
                self._mariadb.after_commit(db_tx, partial(self._settle, view))
                new = _in_set(view, table_set.suffix)
                is_view = await self._is_view(sql, view)
                shown = await _shown(own, view) if is_view else None
                old = None if shown is None else _in_set(view, shown)
                if old is None or await self._kind(sql, old) is None:
                    await self._define(sql, view, await self._on(sql, new))
                elif shown != table_set.suffix:
                    await self._define(sql, view, await self._on_both(sql, view, old, new))
                await own.execute(_WRITE_SHOWN, (view.fullname, table_set.suffix))

    async def hide(self, db_tx: DatabaseTransaction, tables: Sequence[DeclaredTable]) -> None:
        """Drop the views with the declared names, at once."""
        async with self._defining() as sql:
            for view in map(declared_by_alchemy, tables):
                if await self._is_view(sql, view):
                    await sql.execute(f"DROP VIEW IF EXISTS {self._quoted(view)}")
                await sql_of(db_tx).execute(_FORGET, (view.fullname,))

    async def _leave(self, own: SqlConnection, sql: SqlConnection, view: sa.Table, gone: TableSet) -> None:
        """Remove a set from a view, which then reads the one that is shown; without one, drop the view."""
        shown = await _shown(own, view)
        kept = None if shown in {None, gone.suffix} else _in_set(view, str(shown))
        if kept is not None and await self._kind(sql, kept) is not None:
            await self._define(sql, view, await self._on(sql, kept))
            return
        await sql.execute(f"DROP VIEW {self._quoted(view)}")
        await own.execute(_FORGET, (view.fullname,))

    async def _settle(self, view: sa.Table) -> None:
        """Make a view read only the set that is shown, unless another transaction is changing that."""
        with contextlib.suppress(FreeholdError):
            async with self._database.begin() as db_tx, self._defining() as sql:
                rows = await db_tx.sql.fetch(_SHOWN_NOW, (view.fullname,))
                if rows and await self._is_union(sql, view):
                    await self._define(sql, view, await self._on(sql, _in_set(view, rows[0][0])))

    async def _on(self, sql: SqlConnection, table: sa.Table) -> str:
        columns = ", ".join(map(self._name, await _columns(sql, table)))
        return f"SELECT {columns} FROM {self._quoted(table)}"

    async def _on_both(self, sql: SqlConnection, view: sa.Table, old: sa.Table, new: sa.Table) -> str:
        """All columns of both sets; NULL for a column that one of them does not have."""
        columns = {old: await _columns(sql, old), new: await _columns(sql, new)}
        names = dict.fromkeys([*columns[old], *columns[new]])
        counts = "EXISTS (SELECT 1 FROM freehold_read_model AS m WHERE m.name = '{}' AND m.table_set = '{}')"
        parts = []
        for table, there in columns.items():
            selected = [self._name(name) if name in there else f"NULL AS {self._name(name)}" for name in names]
            suffix = str(table.info["table_set"])
            named = counts.format(view.fullname.replace("\\", "\\\\").replace("'", "''"), suffix)
            parts.append(f"SELECT {', '.join(selected)} FROM {self._quoted(table)} WHERE {named}")
        return " UNION ALL ".join(parts)

    async def _define(self, sql: SqlConnection, view: sa.Table, query: str) -> None:
        await sql.execute(f"CREATE OR REPLACE VIEW {self._quoted(view)} AS {query}")

    async def _kind(self, sql: SqlConnection, table: sa.Table) -> str | None:
        rows = await sql.fetch(_KIND, (table.schema, table.name))
        return _KINDS.get(str(rows[0][0]), "relation of another kind") if rows else None

    async def _is_union(self, sql: SqlConnection, view: sa.Table) -> bool:
        rows = await sql.fetch(_DEFINITION, (view.schema, view.name, view.schema))
        return bool(rows) and " union all " in str(rows[0][0])

    async def _reads(self, sql: SqlConnection, view: sa.Table, table: sa.Table) -> bool:
        rows = await sql.fetch(_DEFINITION, (view.schema, view.name, table.schema))
        return bool(rows) and f"{self._name(rows[0][1])}.{self._name(table.name)}" in str(rows[0][0])

    def _defining(self) -> AbstractAsyncContextManager[SqlConnection]:
        """A connection with a short lock timeout: a statement that waits to change a table blocks all later readers."""
        return self._mariadb.defining(lock_seconds=_HURRY_SECONDS, reserved=True)

    def _copy(self, table: sa.Table, table_set: TableSet) -> sa.Table:
        made = super()._copy(table, table_set)
        made.comment = f"{made.comment}; {MARK}" if made.comment else MARK
        for option, value in _OPTIONS.items():
            made.dialect_kwargs.setdefault(option, value)
        constraints = [
            each for each in made.constraints if isinstance(each, sa.PrimaryKeyConstraint | sa.UniqueConstraint)
        ]
        keys = {column.name for group in (*constraints, *made.indexes) for column in group.columns}
        for column in made.columns:
            if type(column.type.dialect_impl(_DIALECT)) is sa.DateTime:  # with a variant for MariaDB it is another
                column.type = DATETIME(fsp=6)
            elif column.name in keys and isinstance(column.type, sa.String) and _is_unbounded(column.type):
                column.type = sa.String(_KEY_CHARACTERS_MAX, collation=column.type.collation)
        return made

    def _quoted(self, table: sa.Table) -> str:
        return quoted(table, self.quote)

    def _name(self, name: str) -> str:
        return f"`{name.replace('`', '``')}`"


def _is_unbounded(kind: sa.String) -> bool:
    """Whether a type is a text without a length, by its variant for MariaDB where it has one."""
    here = kind.dialect_impl(_DIALECT)
    return isinstance(here, sa.String) and here.length is None


async def _shown(own: SqlConnection, view: sa.Table) -> str | None:
    """The set that the row names, as the transaction sees it. Locks the row until its end."""
    rows = await own.fetch(_SHOWN, (view.fullname,))
    return str(rows[0][0]) if rows else None


async def _columns(sql: SqlConnection, table: sa.Table) -> list[str]:
    return [str(row[0]) for row in await sql.fetch(_COLUMNS, (table.schema, table.name))]


def _in_set(table: sa.Table, suffix: str) -> sa.Table:
    """The physical table of a set, without columns."""
    return sa.Table(fitting(table.name, suffix), sa.MetaData(), schema=table.schema, info={"table_set": suffix})


def _ddl(table: sa.Table, dialect: sa.Dialect) -> list[str]:
    """The statements that make a table; the driver does not put parameters in, so `%` is written once."""
    try:
        made: list[ExecutableDDLElement] = [
            CreateTable(table),
            *map(CreateIndex, sorted(table.indexes, key=lambda each: str(each.name))),
        ]
        return [str(each.compile(dialect=dialect)) % () for each in made]
    except CompileError as error:
        raise DeclarationError(
            f"table '{table.name}' cannot be made on MariaDB: {error}",
            hint="a String has a length there; Text has none, and is no key",
        ) from error
