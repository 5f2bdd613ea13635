"""The physical tables of a projection: a set for each generation and replay. Pattern: imports the port."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from freehold.database import DatabaseTransaction
from freehold.errors import DeclarationError
from freehold.ports import Stores
from freehold.projection.read_model_store import READ_MODELS, DeclaredTable, ReadModelStore, TableSet

__all__ = ["GENERATION_MARK", "REPLAY_MARK", "PlacedTables", "declared", "is_projected"]

T = TypeVar("T", bound=DeclaredTable)
GENERATION_MARK: Final = "g"
REPLAY_MARK: Final = "r"
"""Tables of replay 3 are named `order_summary__r3`."""
_NOTE: Final = "freehold.projected"


def declared(tables: Iterable[DeclaredTable]) -> tuple[DeclaredTable, ...]:
    """Return the tables of one projection, each with a note that its plain name is a view in the database.

    Raises `DeclarationError` for tables with foreign keys, and for two tables of one name.
    """
    found = tuple(tables)
    for table in found:
        if table.foreign_key_constraints:
            raise DeclarationError(
                f"table '{table.name}' of a projection has a foreign key",
                hint="leave it out: streams are projected in parallel, so rows of two tables have no order",
            )
        table.info[_NOTE] = True
    if len({table.fullname for table in found}) != len(found):
        raise DeclarationError("two tables of a projection have one name", hint="give one of them another")
    return found


def is_projected(table: object) -> bool:
    """Whether a table was declared by a projection."""
    info = getattr(table, "info", None)
    return isinstance(info, dict) and bool(info.get(_NOTE))


class PlacedTables:
    """The physical tables of one projection, in numbered sets of one kind: of generations, or of replays.

    Without tables every call returns at once, and the engine need not have the port. With tables, a call raises
    `MissingPort` if the engine does not have it.
    """

    def __init__(self, stores: Stores, tables: Sequence[DeclaredTable], *, mark: str = GENERATION_MARK) -> None:
        self._stores = stores
        self._tables = tuple(tables)
        self._mark = mark

    @property
    def names(self) -> tuple[str, ...]:
        """Their plain names, which are stored with a generation."""
        return tuple(str(table.fullname) for table in self._tables)

    def physical(self, table: T, number: int) -> T:
        """The physical table in a set. Raises `DeclarationError` for a table of another projection."""
        self._check(table)
        return self._store.physical(table, TableSet(self._mark, number))

    def sql_name(self, table: DeclaredTable, number: int) -> str:
        """The physical name for the text of a statement. Raises `DeclarationError` as `physical`."""
        self._check(table)
        return self._store.sql_name(table, TableSet(self._mark, number))

    def key_value(self, table: DeclaredTable, column: str, text: str) -> object:
        """As `ReadModelStore.key_value`."""
        return self._store.key_value(table, column, text)

    async def create(self, db_tx: DatabaseTransaction, number: int) -> None:
        """As `ReadModelStore.create`."""
        if self._tables:
            await self._store.create(db_tx, self._tables, TableSet(self._mark, number))

    async def drop(self, db_tx: DatabaseTransaction, number: int, names: Sequence[str]) -> None:
        """As `ReadModelStore.drop`."""
        if names:
            await self._store.drop(db_tx, names, TableSet(self._mark, number))

    async def show(self, db_tx: DatabaseTransaction, number: int) -> None:
        """As `ReadModelStore.show`."""
        if self._tables:
            await self._store.show(db_tx, self._tables, TableSet(self._mark, number))

    async def delete_rows(
        self, db_tx: DatabaseTransaction, number: int, table: DeclaredTable, column: str, values: Sequence[object]
    ) -> int:
        """As `ReadModelStore.delete_rows`."""
        return await self._store.delete_rows(db_tx, table, TableSet(self._mark, number), column, values)

    @property
    def _store(self) -> ReadModelStore:
        return self._stores[READ_MODELS]

    def _check(self, table: DeclaredTable) -> None:
        if not any(table is each for each in self._tables):
            raise DeclarationError(
                f"table '{table.name}' is not declared by this projection", hint="Projection(..., tables=(table,))"
            )
