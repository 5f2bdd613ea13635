"""The read model port: the tables of each generation, and the views by which readers see the live one.

Pattern: imports the database port only.

A projection declares tables by plain names (`order_summary`). It writes to physical tables, one `TableSet` for each
generation and replay: generation 3 of `order_summary` is the table `order_summary__g3`, and `order_summary` itself is a
view on the live generation.
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
        """Its schema; None for the default one."""

    @property
    def fullname(self) -> str:
        """The name with its schema, if it has one."""

    @property
    def columns(self) -> _Columns:
        """Its columns by name."""

    @property
    def foreign_key_constraints(self) -> Collection[Any]:
        """Its foreign keys."""

    @property
    def info(self) -> dict[Any, Any]:
        """Notes on the declaration; the database does not have them."""


T = TypeVar("T", bound=DeclaredTable)


@dataclass(frozen=True, slots=True)
class TableSet:
    """Identifies a set of physical tables: `mark` is `g` for a generation, `r` for a replay."""

    mark: str
    number: int

    @property
    def suffix(self) -> str:
        """What the names of its tables end with."""
        return f"__{self.mark}{self.number}"


class ReadModelStore(Protocol):
    """The store of the tables of read models, and of the views for readers, in a service's own database.

    An implementation keeps:

    1. `create`, `drop`, `show` and `hide` are part of the transaction that is passed in: a rollback undoes all of it.
       On an engine that commits each DDL statement at once (`DatabaseFeatures.transactional_ddl` is false) they take
       effect at once, and the store detects what an interrupted call has left.
    2. Each of these calls may be repeated, on every engine: what is done already is no error.
    3. Tables of several sets exist beside each other, with the declared columns, constraints and indexes. The columns
       may differ from set to set.
    4. The plain name reads the set that is shown, for every instance. Readers see the old set until the commit.
    5. Physical names that are too long are shortened; different names stay different. Reserved words are quoted.
    6. A table of unknown origin is never used, and one with the name of a view is never replaced. Both raise
       `ConfigurationError`.
    7. Tables are dropped by the names that were stored when they were made, whatever is declared now. A view that reads
       one of them is dropped as well; a view on another set stays.
    8. `drop` and `show` wait for readers for a short time, and then raise `ConcurrencyConflict`.
    """

    def physical(self, table: T, table_set: TableSet) -> T:
        """The physical table, of the same class as the declared one, with its columns, constraints and indexes.

        Raises `DeclarationError` for a table of a kind that the engine's adapter does not know.
        """

    def sql_name(self, table: DeclaredTable, table_set: TableSet) -> str:
        """The physical name for the text of a statement: with its schema, quoted if needed."""

    def key_value(self, table: DeclaredTable, column: str, text: str) -> object:
        """The value of a column that a text stands for. Raises `ValueError` for a text that is no value of its type,
        `DeclarationError` for a type that cannot be read from a text.
        """

    async def create(self, db_tx: DatabaseTransaction, tables: Sequence[DeclaredTable], table_set: TableSet) -> None:
        """Create the tables of a set, empty. Raises `ConfigurationError` if one exists that is of unknown origin."""

    async def drop(self, db_tx: DatabaseTransaction, names: Sequence[str], table_set: TableSet | None = None) -> None:
        """Drop the tables of a set by the full names that were declared when they were made; a missing table is no
        error. A view that still reads one of them is dropped as well: no later generation had that table. Without
        `table_set`, `names` are those of physical tables.

        Raises `ConcurrencyConflict` if readers did not end within a short time.
        """

    async def show(self, db_tx: DatabaseTransaction, tables: Sequence[DeclaredTable], table_set: TableSet) -> None:
        """Make the plain names read a set; readers see the old one until the commit. Rights that were granted on a view
        stay.

        Raises `ConfigurationError` if a name belongs to something else than a view, for example a table from before
        there was a projection; `ConcurrencyConflict` as `drop`.
        """

    async def hide(self, db_tx: DatabaseTransaction, tables: Sequence[DeclaredTable]) -> None:
        """Drop the views of a projection that is no longer used. Raises `ConfigurationError` as `show`."""

    async def delete_rows(
        self,
        db_tx: DatabaseTransaction,
        table: DeclaredTable,
        table_set: TableSet,
        column: str,
        values: Sequence[object],
    ) -> int:
        """Delete the rows of a set with one of these values in a column; returns how many."""


READ_MODELS: Final[Port[ReadModelStore]] = Port(
    "read_models",
    "tables of read models",
    ReadModelStore,
    "freehold.conformance.read_models:ReadModelStoreConformance",
)
