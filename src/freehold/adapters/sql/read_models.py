"""Tables of read models on an SQL database, declared as SQLAlchemy's `Table`. Base of the SQL engines: imports its
siblings, the port and SQLAlchemy, which writes the DDL.

The engine's package looks up names in the engine's catalogue, and replaces views.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar, Final, TypeVar, cast
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

__all__ = [
    "IDENTIFIER_BYTES_MAX",
    "SqlReadModelStore",
    "TransactionalReadModelStore",
    "called",
    "declared_by_alchemy",
    "fitting",
    "native_of",
    "quoted",
]

T = TypeVar("T", bound=DeclaredTable)
IDENTIFIER_BYTES_MAX: Final = 63
"""PostgreSQL cuts longer names off without an error."""
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
    """`name` with a suffix. A name that would be too long is shortened, with a hash that keeps names different."""
    whole = name + suffix
    if len(whole.encode()) <= IDENTIFIER_BYTES_MAX:
        return whole
    mark = f"_{stable_hash(name) & 0xFFFFFFFF:08x}{suffix}"
    kept = name.encode()[: IDENTIFIER_BYTES_MAX - len(mark.encode())].decode(errors="ignore")
    return kept + mark


def quoted(table: sa.Table, quote: str = '"') -> str:
    """A table's name for a statement, always quoted: each engine has reserved words of its own."""
    parts = [table.name] if table.schema is None else [table.schema, table.name]
    return ".".join(quote + part.replace(quote, quote * 2) + quote for part in parts)


class SqlReadModelStore(SqlStore, ReadModelStore, ABC):
    """Knows the physical tables of read models, and deletes their rows."""

    quote: ClassVar[str] = '"'
    """The character around a quoted name."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        self._made: dict[tuple[sa.Table, TableSet], sa.Table] = {}

    @abstractmethod
    async def _kind(self, sql: SqlConnection, table: sa.Table) -> str | None:
        """The kind of object that has the table's name in the schema where the table would be created: table, view,
        materialized view …; None where there is none.
        """

    def physical(self, table: T, table_set: TableSet) -> T:
        """A copy of the table with its physical name."""
        return cast("T", self._physical(table, table_set))

    def sql_name(self, table: DeclaredTable, table_set: TableSet) -> str:
        """The physical name, quoted."""
        return quoted(self._physical(table, table_set), self.quote)

    def key_value(self, table: DeclaredTable, column: str, text: str) -> object:
        """The value of a key column, read from a text by the column's Python type."""
        declared = declared_by_alchemy(table).c[column]
        try:
            read = _READERS[declared.type.python_type]
        except (KeyError, NotImplementedError) as error:
            raise DeclarationError(
                f"a value of column '{column}' of table '{table.name}' cannot be read from the name of a stream:"
                " its type is not supported",
                hint="Projection(..., key_of=lambda stream: ...)",
            ) from error
        try:
            return read(text)
        except ArithmeticError as error:
            raise ValueError(column) from error

    async def delete_rows(
        self,
        db_tx: DatabaseTransaction,
        table: DeclaredTable,
        table_set: TableSet,
        column: str,
        values: Sequence[object],
    ) -> int:
        """Delete the rows with these values in a column, some hundred values a statement; returns their number."""
        made = self._physical(table, table_set)
        count = 0
        for start in range(0, len(values), _DELETED_AT_ONCE):
            some = values[start : start + _DELETED_AT_ONCE]
            count += (await native_of(db_tx).execute(made.delete().where(made.c[column].in_(some)))).rowcount
        return count

    async def _is_view(self, sql: SqlConnection, table: sa.Table) -> bool:
        """Whether a view has the table's name. Raises `ConfigurationError` where another kind of object has it."""
        kind = await self._kind(sql, table)
        if kind not in {None, "view"}:
            raise ConfigurationError(
                f"'{table.fullname}' is a {kind} in the database, so the projection's view cannot have this name",
                hint="rename it in a migration (ALTER TABLE ... RENAME TO ...), or give the projection another name",
            )
        return kind is not None

    def _physical(self, table: DeclaredTable, table_set: TableSet) -> sa.Table:
        declared = declared_by_alchemy(table)
        made = self._made.get((declared, table_set))
        if made is None:
            made = self._made[declared, table_set] = self._copy(declared, table_set)
        return made

    def _copy(self, table: sa.Table, table_set: TableSet) -> sa.Table:
        """Copy a table with its physical name. Indexes and constraints get the suffix too: their names must be
        unique.
        """
        made = table.to_metadata(sa.MetaData(), name=fitting(table.name, table_set.suffix))
        for index in made.indexes:
            if index.name in {each.name for each in table.indexes}:
                index.name = sa.quoted_name(fitting(str(index.name), table_set.suffix), quote=None)
        for constraint in made.constraints:
            if isinstance(constraint.name, str):
                constraint.name = fitting(constraint.name, table_set.suffix)
        return made


class TransactionalReadModelStore(SqlReadModelStore, ABC):
    """Creates, shows and drops the tables of read models by DDL in the caller's transaction."""

    @abstractmethod
    async def _is_visible(self, sql: SqlConnection, table: sa.Table) -> bool:
        """Whether a statement that names the table finds one, in any schema of the search path."""

    @abstractmethod
    async def _reads(self, sql: SqlConnection, view: sa.Table, table: sa.Table) -> bool:
        """Whether `view` is a view that Freehold made, and reads `table`."""

    @abstractmethod
    async def _hurry(self, sql: SqlConnection) -> None:
        """Set a short lock timeout for the rest of the transaction.

        A statement that waits to replace a view or to drop a table blocks all readers that come after it.
        """

    @abstractmethod
    async def _replace(self, sql: SqlConnection, view: sa.Table, table: sa.Table, body: str) -> None:
        """Make a view read another table; `body` is the statement behind CREATE or CREATE OR REPLACE."""

    async def create(self, db_tx: DatabaseTransaction, tables: Sequence[DeclaredTable], table_set: TableSet) -> None:
        """Create the physical tables. Raises `ConfigurationError` where a name is in use."""
        sql, native = sql_of(db_tx), native_of(db_tx)
        for table in tables:
            made = self._physical(table, table_set)
            if await self._kind(sql, made) is not None:
                raise ConfigurationError(
                    f"a table '{made.fullname}' exists already, but belongs to no known generation",
                    hint="check what is in it, then drop or rename it",
                )
            # SQLAlchemy's own check would also find a table of another service later in the search path.
            await native.run_sync(made.create, checkfirst=not await self._is_visible(sql, made))

    async def drop(self, db_tx: DatabaseTransaction, names: Sequence[str], table_set: TableSet | None = None) -> None:
        """Drop the tables in the schema where they are created; not tables of these names later in the search path."""
        sql, native = sql_of(db_tx), native_of(db_tx)
        if table_set is not None:
            await self._hurry(sql)
        for declared in map(called, names):
            made = declared
            if table_set is not None:
                made = sa.Table(fitting(declared.name, table_set.suffix), sa.MetaData(), schema=declared.schema)
                if await self._reads(sql, declared, made):
                    await sql.execute(f"DROP VIEW {quoted(declared)}")
            if await self._kind(sql, made) is not None:
                await native.execute(DropTable(made, if_exists=True))

    async def show(self, db_tx: DatabaseTransaction, tables: Sequence[DeclaredTable], table_set: TableSet) -> None:
        """Make the views with the declared names read the physical tables."""
        sql, native = sql_of(db_tx), native_of(db_tx)
        await self._hurry(sql)
        for table in tables:
            view, made = declared_by_alchemy(table), self._physical(table, table_set)
            columns = ", ".join(native.dialect.identifier_preparer.quote(column.name) for column in made.columns)
            body = f"VIEW {quoted(view)} AS SELECT {columns} FROM {quoted(made)}"
            if await self._is_view(sql, view):
                await self._replace(sql, view, made, body)
            else:
                await sql.execute(f"CREATE {body}")

    async def hide(self, db_tx: DatabaseTransaction, tables: Sequence[DeclaredTable]) -> None:
        """Drop the views with the declared names."""
        sql = sql_of(db_tx)
        for view in map(declared_by_alchemy, tables):
            if await self._is_view(sql, view):
                await sql.execute(f"DROP VIEW {quoted(view)}")


def called(name: str) -> sa.Table:
    """A table with a recorded name. Do not use `Table.drop` on it: that would also drop the types of columns."""
    schema, _, plain = name.rpartition(".")
    return sa.Table(plain, sa.MetaData(), schema=schema or None)


def declared_by_alchemy(table: DeclaredTable) -> sa.Table:
    """The table as SQLAlchemy's. Raises `DeclarationError` for one of another kind."""
    if not isinstance(table, sa.Table):
        raise DeclarationError(
            f"table '{table.name}' of a projection is a {type(table).__name__}", hint="declare it by SQLAlchemy's Table"
        )
    return table


def native_of(db_tx: DatabaseTransaction) -> AsyncConnection:
    """SQLAlchemy's connection of a transaction. Raises `ConfigurationError` where there is none."""
    if not isinstance(db_tx.native, AsyncConnection):
        raise ConfigurationError(
            f"a projection's tables cannot be created through a {type(db_tx.native).__name__}",
            hint="create them in a transaction that Freehold began",
        )
    return db_tx.native
