"""What differs between the SQL engines in the stores' statements: how values are bound, and a few expressions.

Imports the foundation. A store is written once, with `$1` placeholders, and asks its dialect for what the engines write
differently. Expressions are built from placeholder numbers and allow-listed names only, never from values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from freehold.clock import Clock
from freehold.ids import stable_hash

__all__ = ["Dialect"]


class Dialect(ABC):
    """One engine's way. A `clock` that is given replaces the engine's own time.

    Column types are UUID, text, integers, bytes, and times. Bind the first and the last through `uuid` and `time`, read
    them through `read_uuid` and `read_time`; the others travel as they are.
    """

    name: ClassVar[str]
    """The key of `Migration.statements`, and the URL's scheme."""
    lock_rows: ClassVar[str]
    """Suffix of a SELECT that locks its rows until the transaction ends: `FOR UPDATE`, or nothing."""
    lock_free_rows: ClassVar[str]
    """The same, passing over rows that others have locked."""
    table_exists_sql: str
    """A statement that says whether the table named by `$1` exists."""
    alters_columns: ClassVar[bool]
    """Whether ALTER TABLE changes a column that is there, and adds a constraint."""
    alone_sql: ClassVar[str]
    """A statement that says whether this transaction is the only one that holds the lock numbered `$1`; never waits."""

    schema: str = ""
    """The schema that Freehold's tables have to themselves; empty for none."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock

    def lock_number(self, name: str) -> int:
        """The number of a lock that the engine keeps by numbers: the same for all who work on the same tables."""
        return stable_hash(f"{self.schema}/{name}" if self.schema else name)

    present_sql: ClassVar[str]
    """The time now, without a parameter: for a script that people run."""

    @abstractmethod
    def uuid(self, value: UUID | None) -> object:
        """The UUID as the driver takes it."""

    @abstractmethod
    def read_uuid(self, raw: Any) -> UUID:
        """The UUID as the driver gave it."""

    def read_uuids(self, raws: Sequence[Any]) -> Sequence[UUID]:
        """A column of them at once."""
        return [self.read_uuid(raw) for raw in raws]

    @abstractmethod
    def time(self, value: datetime | None) -> object:
        """The time (aware) as the driver takes it."""

    @abstractmethod
    def read_time(self, raw: Any) -> datetime:
        """The time as the driver gave it, aware, in UTC."""

    @abstractmethod
    def now(self) -> object:
        """The parameter that `now_sql` reads: None leaves the time to the engine."""

    @abstractmethod
    def now_sql(self, number: int) -> str:
        """The time now; `$number` is bound to `now()`. Constant within a statement, moves on within a transaction."""

    @abstractmethod
    def later_sql(self, time: str, number: int) -> str:
        """`time` plus `$number` seconds (a float, maybe negative)."""

    @abstractmethod
    def seconds_sql(self, later: str, earlier: str) -> str:
        """The seconds between two times, as a float."""

    @abstractmethod
    def list_value(self, values: Iterable[str | int | UUID]) -> object:
        """The parameter that `in_sql` reads."""

    @abstractmethod
    def in_sql(self, number: int, type: str) -> str:
        """The right side of `column …`: one of the values in `$number`, of SQL type `type` (as PostgreSQL names it)."""

    @abstractmethod
    def relation_sql(self, number: int, columns: str) -> str:
        """A table expression (give it an alias) of the rows in `$number`: `columns` is `"name text, n int"`.

        Bind it to `relation_value`.
        """

    def relation_value(self, rows: Sequence[Mapping[str, str | int | None]]) -> str:
        """The parameter that `relation_sql` reads: rows of texts and numbers, no bytes."""
        return msgspec.json.encode(rows).decode()

    @abstractmethod
    def typed(self, number: int, type: str) -> str:
        """`$number`, with its type where the engine cannot see it from the context (PostgreSQL's name of the type)."""
