"""The port of read models: the tables of each generation, and the views under whose names everybody reads them.

Pattern: imports the database port only.

A projection declares tables by plain names (`order_summary`). What it writes are physical tables, one set in each
`TableSet`: generation 3 of `order_summary` is the table `order_summary__g3`, and `order_summary` itself is a view on
the generation that is live.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from freehold.database import DatabaseTransaction
from freehold.ports import Port

__all__ = ["READ_MODELS", "DeclaredTable", "ReadModelStore", "TableSet"]


class _Columns(Protocol):
    def keys(self) -> Collection[str]:
        """Their names."""


class DeclaredTable(Protocol):
    """A table as a projection declares it. SQLAlchemy's `Table` is one."""

    @property
    def name(self) -> str:
        """Its plain name."""

    @property
    def schema(self) -> str | None:
        """Its schema; None for the database's own."""

    @property
    def fullname(self) -> str:
        """The name behind its schema, if it has one."""

    @property
    def columns(self) -> _Columns:
        """Its columns by name."""

    @property
    def foreign_key_constraints(self) -> Collection[Any]:
        """Its foreign keys."""

    @property
    def info(self) -> dict[Any, Any]:
        """Notes on it; not for the database."""


T = TypeVar("T", bound=DeclaredTable)


@dataclass(frozen=True, slots=True)
class TableSet:
    """Where a set of physical tables belongs: `mark` is `g` for a generation, `r` for a replay."""

    mark: str
    number: int

    @property
    def suffix(self) -> str:
        """What the names of its tables end with."""
        return f"__{self.mark}{self.number}"


class ReadModelStore(Protocol):
    """The store of read models' tables, and of the views that readers use, in a service's own database.

    An implementation keeps:

    1. What `create`, `drop`, `show` and `hide` do is a part of the transaction that is passed in: a rollback undoes all
       of it. On an engine that commits each DDL statement by itself (`DatabaseFeatures.transactional_ddl` is false) it
       takes effect at once, and the store tells by itself what a call that was cut short has left.
    2. Each of these calls may be repeated, on every engine: what is done already is no error.
    3. Tables of several places stand beside each other, with the columns, constraints and indexes that were declared.
       Columns may come and go from place to place.
    4. The plain name reads the place that is shown, for every instance. Readers see the old place until the commit.
    5. Physical names that are too long are shortened; different names stay different. Reserved words are quoted.
    6. A table that nobody knows of is not taken, and one in the way of a view is left alone. Both raise
       `ConfigurationError`.
    7. Tables are dropped by the names that were noted when they were made, whatever is declared by now. A view that
       reads one of them goes along; a view on another place stays.
    8. `drop` and `show` wait for readers for a short time at most, and then raise `ConcurrencyConflict`.
    """

    def physical(self, table: T, place: TableSet) -> T:
        """The physical table, of the declared one's kind, with its columns, constraints and indexes. Names that would
        be too long are shortened; different names stay different.

        Raises `DeclarationError` for a table of a kind that the engine's adapter does not know.
        """

    def sql_name(self, table: DeclaredTable, place: TableSet) -> str:
        """Its name for the text of a statement: with its schema, quoted where it must be."""

    def key_value(self, table: DeclaredTable, column: str, text: str) -> object:
        """The value of a column that a text stands for. Raises `ValueError` where it is none of the column's type,
        `DeclarationError` for a type that is not read from texts.
        """

    async def create(self, db_tx: DatabaseTransaction, tables: Sequence[DeclaredTable], place: TableSet) -> None:
        """Make the tables of a place, empty. Raises `ConfigurationError` where one exists that nobody knows of."""

    async def drop(self, db_tx: DatabaseTransaction, names: Sequence[str], place: TableSet | None = None) -> None:
        """Drop the tables of a place by the full names that were declared when they were made, whatever is declared by
        now; those that are gone already are passed over. A view that still reads one of them goes along: no later
        generation had that table. Without a place, `names` are those of the physical tables.

        Raises `ConcurrencyConflict` where readers did not end within a short time.
        """

    async def show(self, db_tx: DatabaseTransaction, tables: Sequence[DeclaredTable], place: TableSet) -> None:
        """Have the plain names read a place; readers see the old one until the commit. Rights that were granted on the
        view stay.

        Raises `ConfigurationError` where a name belongs to something that is no view, a table from before it was a
        projection for one; `ConcurrencyConflict` as `drop` does.
        """

    async def hide(self, db_tx: DatabaseTransaction, tables: Sequence[DeclaredTable]) -> None:
        """Drop the views: the projection is given up. Raises `ConfigurationError` as `show` does."""

    async def delete_rows(
        self, db_tx: DatabaseTransaction, table: DeclaredTable, place: TableSet, column: str, values: Sequence[object]
    ) -> int:
        """Delete the rows of a place that have one of these values in a column; returns how many."""


READ_MODELS: Final[Port[ReadModelStore]] = Port(
    "read_models",
    "tables of read models",
    ReadModelStore,
    "freehold.conformance.read_models:ReadModelStoreConformance",
)
