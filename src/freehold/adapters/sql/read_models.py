"""Tables of read models on an SQL database, declared as SQLAlchemy's `Table`. Base of the SQL engines: imports its
siblings, the port and SQLAlchemy, which writes the DDL.

The engine's package says what bears a name in its catalogue, and what of a view outlives its replacement.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, TypeVar, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import DropTable

from freehold.adapters.sql.engine.connection import SqlConnection, SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.store import SqlStore
from freehold.database import DatabaseTransaction
from freehold.errors import ConfigurationError, DeclarationError
from freehold.ids import stable_hash
from freehold.projection.read_model_store import DeclaredTable, ReadModelStore, TableSet

__all__ = ["IDENTIFIER_BYTES_MAX", "SqlReadModelStore", "fitting", "quoted"]

T = TypeVar("T", bound=DeclaredTable)
IDENTIFIER_BYTES_MAX: Final = 63
"""PostgreSQL cuts longer names off without a word."""
_DELETED_AT_ONCE: Final = 500
_READERS: Final[dict[type[Any], Callable[[str], Any]]] = {
    str: str,
    int: int,
    UUID: UUID,
    Decimal: Decimal,
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
}


def fitting(name: str, suffix: str) -> str:
    """`name` with a suffix, shortened where it would be too long; different names stay different."""
    whole = name + suffix
    if len(whole.encode()) <= IDENTIFIER_BYTES_MAX:
        return whole
    mark = f"_{stable_hash(name) & 0xFFFFFFFF:08x}{suffix}"
    kept = name.encode()[: IDENTIFIER_BYTES_MAX - len(mark.encode())].decode(errors="ignore")
    return kept + mark


def quoted(table: sa.Table) -> str:
    """A table's name for the text of a statement; quoted always, since each engine has reserved words of its own."""
    parts = [table.name] if table.schema is None else [table.schema, table.name]
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


class SqlReadModelStore(SqlStore, ReadModelStore, ABC):
    """DDL in the caller's transaction."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        self._made: dict[tuple[sa.Table, TableSet], sa.Table] = {}

    @abstractmethod
    async def _kind(self, sql: SqlConnection, table: sa.Table) -> str | None:
        """What bears a table's name where it is made: table, view, materialised view …; None where nothing does."""

    @abstractmethod
    async def _is_visible(self, sql: SqlConnection, table: sa.Table) -> bool:
        """Whether a statement that names the table finds one, wherever."""

    @abstractmethod
    async def _reads(self, sql: SqlConnection, view: sa.Table, table: sa.Table) -> bool:
        """Whether a name is a view of ours on a table."""

    @abstractmethod
    async def _hurry(self, sql: SqlConnection) -> None:
        """Wait only shortly for readers from here on: whoever waits to replace a view or to drop a table keeps those
        waiting who come later.
        """

    @abstractmethod
    async def _replace(self, sql: SqlConnection, view: sa.Table, table: sa.Table, body: str) -> None:
        """Have a view read another table: `body` is what follows CREATE, or CREATE OR REPLACE."""

    def physical(self, table: T, place: TableSet) -> T:
        """A copy under its physical name."""
        return cast("T", self._physical(table, place))

    def sql_name(self, table: DeclaredTable, place: TableSet) -> str:
        """Quoted."""
        return quoted(self._physical(table, place))

    def key_value(self, table: DeclaredTable, column: str, text: str) -> object:
        """By the Python type of the column's."""
        declared = _declared(table).c[column]
        try:
            read = _READERS[declared.type.python_type]
        except (KeyError, NotImplementedError) as error:
            raise DeclarationError(
                f"column '{column}' of table '{table.name}' has a type that no stream's name is read as",
                hint="Projection(..., key_of=lambda stream: ...)",
            ) from error
        try:
            return read(text)
        except ArithmeticError as error:
            raise ValueError(column) from error

    async def create(self, db_tx: DatabaseTransaction, tables: Sequence[DeclaredTable], place: TableSet) -> None:
        """One by one."""
        sql, native = sql_of(db_tx), _native(db_tx)
        for table in tables:
            made = self._physical(table, place)
            if await self._kind(sql, made) is not None:
                raise ConfigurationError(
                    f"a table '{made.fullname}' exists already, and no generation of it is known",
                    hint="look what it holds, then drop or rename it",
                )
            # What SQLAlchemy would find first may lie further down the search path, and be another service's.
            await native.run_sync(made.create, checkfirst=not await self._is_visible(sql, made))

    async def drop(self, db_tx: DatabaseTransaction, names: Sequence[str], place: TableSet | None = None) -> None:
        """Where they would be made, and no others of their names further down a search path."""
        sql, native = sql_of(db_tx), _native(db_tx)
        if place is not None:
            await self._hurry(sql)
        for declared in map(_called, names):
            made = declared
            if place is not None:
                made = sa.Table(fitting(declared.name, place.suffix), sa.MetaData(), schema=declared.schema)
                if await self._reads(sql, declared, made):
                    await sql.execute(f"DROP VIEW {quoted(declared)}")
            if await self._kind(sql, made) is not None:
                await native.execute(DropTable(made, if_exists=True))

    async def show(self, db_tx: DatabaseTransaction, tables: Sequence[DeclaredTable], place: TableSet) -> None:
        """One by one."""
        sql, native = sql_of(db_tx), _native(db_tx)
        await self._hurry(sql)
        for table in tables:
            view, made = _declared(table), self._physical(table, place)
            columns = ", ".join(native.dialect.identifier_preparer.quote(column.name) for column in made.columns)
            body = f"VIEW {quoted(view)} AS SELECT {columns} FROM {quoted(made)}"
            if await self._is_view(sql, view):
                await self._replace(sql, view, made, body)
            else:
                await sql.execute(f"CREATE {body}")

    async def hide(self, db_tx: DatabaseTransaction, tables: Sequence[DeclaredTable]) -> None:
        """One by one."""
        sql = sql_of(db_tx)
        for view in map(_declared, tables):
            if await self._is_view(sql, view):
                await sql.execute(f"DROP VIEW {quoted(view)}")

    async def delete_rows(
        self, db_tx: DatabaseTransaction, table: DeclaredTable, place: TableSet, column: str, values: Sequence[object]
    ) -> int:
        """Some hundred values in a statement."""
        made = self._physical(table, place)
        count = 0
        for start in range(0, len(values), _DELETED_AT_ONCE):
            some = values[start : start + _DELETED_AT_ONCE]
            count += (await _native(db_tx).execute(made.delete().where(made.c[column].in_(some)))).rowcount
        return count

    async def _is_view(self, sql: SqlConnection, table: sa.Table) -> bool:
        """Whether there is a view of a table's name. Raises `ConfigurationError` where the name is something else's."""
        kind = await self._kind(sql, table)
        if kind not in {None, "view"}:
            raise ConfigurationError(
                f"'{table.fullname}' is a {kind} of the database, and the projection's view cannot take its name",
                hint="rename it in a migration (ALTER TABLE ... RENAME TO ...), or give the projection another name",
            )
        return kind is not None

    def _physical(self, table: DeclaredTable, place: TableSet) -> sa.Table:
        declared = _declared(table)
        made = self._made.get((declared, place))
        if made is None:
            made = self._made[declared, place] = _copy(declared, place)
        return made


def _copy(table: sa.Table, place: TableSet) -> sa.Table:
    """Copy a table under its physical name; names of indexes and constraints are unique in a database as well."""
    made = table.to_metadata(sa.MetaData(), name=fitting(table.name, place.suffix))
    for index in made.indexes:
        if index.name in {each.name for each in table.indexes}:
            index.name = sa.quoted_name(fitting(str(index.name), place.suffix), quote=None)
    for constraint in made.constraints:
        if isinstance(constraint.name, str):
            constraint.name = fitting(constraint.name, place.suffix)
    return made


def _called(name: str) -> sa.Table:
    """A table by a name that was noted. Not to be dropped by `Table.drop`: that takes types of columns along."""
    schema, _, plain = name.rpartition(".")
    return sa.Table(plain, sa.MetaData(), schema=schema or None)


def _declared(table: DeclaredTable) -> sa.Table:
    if not isinstance(table, sa.Table):
        raise DeclarationError(
            f"table '{table.name}' of a projection is a {type(table).__name__}", hint="declare it by SQLAlchemy's Table"
        )
    return table


def _native(db_tx: DatabaseTransaction) -> AsyncConnection:
    if not isinstance(db_tx.native, AsyncConnection):
        raise ConfigurationError(
            f"a projection's tables cannot be made through a {type(db_tx.native).__name__}",
            hint="make them in a transaction of Freehold's own",
        )
    return db_tx.native
