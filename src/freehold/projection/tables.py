"""The tables of a read model, once for each generation, and the views under whose names everybody reads them.

Imports the foundation, the database port and SQLAlchemy. Generation 3 of a table `order_summary` is the table
`order_summary__g3`; `order_summary` itself is a view on the generation that is live. All of it is DDL in the caller's
transaction, which PostgreSQL and SQLite both take back with a rollback.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import DropTable

from freehold.database import UnitOfWork
from freehold.errors import ConfigurationError, DeclarationError
from freehold.ids import stable_hash
from freehold.projection.naming import is_visible, mark_projected, place_of, quoted, reads, relation_sql, same_columns

__all__ = ["IDENTIFIER_BYTES_MAX", "GenerationTables", "drop_tables", "fitting"]

IDENTIFIER_BYTES_MAX: Final = 63
"""PostgreSQL cuts longer names off without a word."""
_HURRY_MILLISECONDS: Final = 1000


def fitting(name: str, suffix: str) -> str:
    """`name` with a suffix, shortened where it would be too long; different names stay different."""
    whole = name + suffix
    if len(whole.encode()) <= IDENTIFIER_BYTES_MAX:
        return whole
    mark = f"_{stable_hash(name) & 0xFFFFFFFF:08x}{suffix}"
    kept = name.encode()[: IDENTIFIER_BYTES_MAX - len(mark.encode())].decode(errors="ignore")
    return kept + mark


class GenerationTables:
    """The tables that a projection declares, by their plain names. `mark` begins the suffix of a generation.

    A projection without tables has nothing to make: every call returns at once. Raises `DeclarationError` for tables
    that cannot be kept once a generation.
    """

    def __init__(self, tables: Sequence[sa.Table], *, mark: str = "g") -> None:
        self._tables = tuple(tables)
        self._mark = mark
        self._clones: dict[int, dict[sa.Table, sa.Table]] = {}
        for table in self._tables:
            if table.foreign_key_constraints:
                raise DeclarationError(
                    f"table '{table.name}' of a projection has a foreign key",
                    hint="streams are projected side by side, so rows of two tables come in no order; leave it out",
                )
            mark_projected(table)
        if len({table.fullname for table in self._tables}) != len(self._tables):
            raise DeclarationError("two tables of a projection have one name", hint="give one of them another")

    @property
    def tables(self) -> tuple[sa.Table, ...]:
        """As they were declared."""
        return self._tables

    @property
    def names(self) -> tuple[str, ...]:
        """Their plain names, as they are noted of a generation that is made with them."""
        return tuple(str(table.fullname) for table in self._tables)

    def name(self, table: sa.Table, generation: int) -> str:
        """The physical table's name, without schema and quotes."""
        return fitting(table.name, f"__{self._mark}{generation}")

    def sql_name(self, table: sa.Table, generation: int) -> str:
        """The same for the text of a statement: with its schema, quoted where it must be."""
        return quoted(self.clone(table, generation))

    def clone(self, table: sa.Table, generation: int) -> sa.Table:
        """The physical table, with the columns of the declared one. Raises `DeclarationError` for a foreign table."""
        if table not in self._tables:
            raise DeclarationError(
                f"table '{table.name}' is not declared by this projection", hint="Projection(..., tables=(table,))"
            )
        if generation not in self._clones:
            metadata = sa.MetaData()
            self._clones[generation] = {each: self._copy(each, metadata, generation) for each in self._tables}
        return self._clones[generation][table]

    async def create(self, unit: UnitOfWork, generation: int) -> None:
        """Make the tables of a generation, empty. Raises `ConfigurationError` where one exists."""
        for table in self._tables:
            connection = _native(unit)
            clone = self.clone(table, generation)
            if await place_of(connection, clone.name, clone.schema) is not None:
                raise ConfigurationError(
                    f"a table '{clone.fullname}' exists already, and no generation of it is known",
                    hint="look what it holds, then drop or rename it",
                )
            # What SQLAlchemy would find first may lie further down the search path, and be another service's.
            await connection.run_sync(clone.create, checkfirst=not await is_visible(connection, clone))

    async def drop(self, unit: UnitOfWork, generation: int, names: Sequence[str]) -> None:
        """Drop the tables that a generation was made with, by the plain names that were noted then, whatever is
        declared by now; those that are gone already are passed over. A view that reads one of them still goes along:
        no later generation had that table.
        """
        if names:
            await self.hurry(unit)
        for table in map(_called, names):
            physical = sa.Table(self.name(table, generation), sa.MetaData(), schema=table.schema)
            if await reads(_native(unit), table, physical):
                await _native(unit).execute(sa.text(f"DROP VIEW {quoted(table)}"))
            await _drop(_native(unit), physical)

    async def show(self, unit: UnitOfWork, generation: int) -> None:
        """Have the plain names read this generation, in this transaction: readers see the old one until it commits.

        Rights that were granted on the view stay. Raises `ConfigurationError` where a name belongs to something that is
        no view, a table from before it was a projection for one.
        """
        if self._tables:
            await self.hurry(unit)
        for table in self._tables:
            await self._show(_native(unit), table, self.clone(table, generation))

    @staticmethod
    async def hurry(unit: UnitOfWork) -> None:
        """Wait only shortly for readers from here on: whoever waits to replace a view or to drop a table keeps those
        waiting who come later. `ConcurrencyConflict` is raised then.
        """
        if _native(unit).dialect.name == "postgresql":
            await _native(unit).execute(sa.text(f"SET LOCAL lock_timeout = {_HURRY_MILLISECONDS}"))

    async def hide(self, unit: UnitOfWork) -> None:
        """Drop the views: the projection is given up. Raises `ConfigurationError` as `show` does."""
        for table in self._tables:
            if await self._kind(_native(unit), table) is not None:
                await _native(unit).execute(sa.text(f"DROP VIEW {quoted(table)}"))

    async def _show(self, connection: AsyncConnection, table: sa.Table, clone: sa.Table) -> None:
        columns = ", ".join(connection.dialect.identifier_preparer.quote(column.name) for column in clone.columns)
        body = f"VIEW {quoted(table)} AS SELECT {columns} FROM {quoted(clone)}"  # noqa: S608 - quoted names only
        kind = await self._kind(connection, table)
        if kind is None:
            await connection.execute(sa.text(f"CREATE {body}"))
        elif connection.dialect.name == "postgresql" and await same_columns(connection, table, clone):
            await connection.execute(sa.text(f"CREATE OR REPLACE {body}"))
        else:
            granted = await _granted(connection, table)
            await connection.execute(sa.text(f"DROP VIEW {quoted(table)}"))
            await connection.execute(sa.text(f"CREATE {body}"))
            for statement in granted:
                await connection.execute(sa.text(statement))

    async def _kind(self, connection: AsyncConnection, table: sa.Table) -> str | None:
        kind = await place_of(connection, table.name, table.schema)
        if kind not in {None, "view"}:
            raise ConfigurationError(
                f"'{table.fullname}' is a {kind} of the database, and the projection's view cannot take its name",
                hint="rename it in a migration (ALTER TABLE ... RENAME TO ...), or give the projection another name",
            )
        return kind

    def _copy(self, table: sa.Table, metadata: sa.MetaData, generation: int) -> sa.Table:
        """Copy a table under its physical name; names of indexes and constraints are unique in a database as well."""
        suffix = f"__{self._mark}{generation}"
        clone = table.to_metadata(metadata, name=self.name(table, generation))
        for index in clone.indexes:
            if index.name in {each.name for each in table.indexes}:
                index.name = sa.quoted_name(fitting(str(index.name), suffix), quote=None)
        for constraint in clone.constraints:
            if isinstance(constraint.name, str):
                constraint.name = fitting(constraint.name, suffix)
        return clone


async def drop_tables(unit: UnitOfWork, names: Sequence[str]) -> None:
    """Drop physical tables by the names that were noted when they were made; those that are gone are passed over."""
    for table in map(_called, names):
        await _drop(_native(unit), table)


async def _drop(connection: AsyncConnection, table: sa.Table) -> None:
    """Drop a table where it would be made, and no other of its name further down the search path."""
    if await place_of(connection, table.name, table.schema) is not None:
        await connection.execute(DropTable(table, if_exists=True))


def _called(name: str) -> sa.Table:
    """A table by a name that was noted. Not to be dropped by `Table.drop`: that takes types of columns along."""
    schema, _, plain = name.rpartition(".")
    return sa.Table(plain, sa.MetaData(), schema=schema or None)


async def _granted(connection: AsyncConnection, table: sa.Table) -> list[str]:
    """Statements that grant again what is granted on a view; SQLite knows no rights."""
    if connection.dialect.name != "postgresql":
        return []
    statement = sa.text(
        f"""\
SELECT format('GRANT %s ON %s TO %s', a.privilege_type, c.oid::regclass,
              CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
FROM pg_class AS c, aclexplode(c.relacl) AS a WHERE c.oid = {relation_sql()} AND a.grantee <> c.relowner"""  # noqa: S608 - an expression of ours
    )
    return [
        str(row[0]) for row in await connection.execute(statement, {"schema": table.schema, "name": str(table.name)})
    ]


def _native(unit: UnitOfWork) -> AsyncConnection:
    if not isinstance(unit.native, AsyncConnection):
        raise ConfigurationError(
            f"a projection's tables cannot be made through a {type(unit.native).__name__}",
            hint="they live on PostgreSQL and SQLite, in a transaction of Freehold's own",
        )
    return unit.native
