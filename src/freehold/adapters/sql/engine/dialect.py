"""The parts of the stores' statements that differ between SQL engines: how values are bound, and some expressions.

Imports the foundation. A store is written once, with `$1` placeholders, and takes from its dialect what the engines
write differently. Expressions are built from placeholder numbers and allow-listed names only, never from values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from freehold.clock import Clock
from freehold.errors import DatabaseError
from freehold.ids import stable_hash

__all__ = ["Dialect"]


class Dialect(ABC):
    """The expressions and conversions of one engine. A `clock`, where given, replaces the engine's own time.

    Column types are UUID, text, integers, bytes, and times. UUIDs and times are bound through `uuid` and `time` and
    read through `read_uuid` and `read_time`; values of the other types are passed unchanged.
    """

    name: ClassVar[str]
    """The key of `Migration.statements`, and the URL's scheme."""
    lock_rows: ClassVar[str]
    """Suffix of a SELECT that locks its rows until the transaction ends: `FOR UPDATE`, or nothing."""
    lock_free_rows: ClassVar[str]
    """The same, but rows that others have locked are skipped."""
    table_exists_sql: str
    """A statement that returns whether the table named by `$1` exists."""
    alters_columns: ClassVar[bool]
    """Whether ALTER TABLE can change an existing column and add a constraint."""
    upserts_on_conflict: ClassVar[bool] = True
    """Whether INSERT has ON CONFLICT. Without it, ON DUPLICATE KEY UPDATE is used, whose row count does not tell an
    inserted row from an existing one.
    """
    materialized: ClassVar[str] = "AS MATERIALIZED"
    """What is written between the name of a common table expression that must be read once, and its query."""
    lock_shared: ClassVar[str] = ""
    """Suffix of a SELECT that must return what is committed now, even if its transaction has an older snapshot."""
    deletes_chosen: ClassVar[bool] = True
    """Whether the keys of a DELETE may come from a SELECT with a LIMIT."""
    returns_updated: ClassVar[bool] = True
    """Whether an UPDATE returns the rows that it has changed."""
    alone_sql: ClassVar[str]
    """A statement that tries to take the lock numbered `$1` for this transaction, and returns whether it has it. Never
    waits.
    """

    schema: str = ""
    """The schema that only Freehold's tables are in; empty for none."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock

    def lock_number(self, name: str) -> int:
        """The number of a named lock, for engines whose locks have numbers; it depends on the name and the schema."""
        return stable_hash(f"{self.schema}/{name}" if self.schema else name)

    present_sql: ClassVar[str]
    """The current time as an expression without a parameter, for a script that a user runs."""

    def is_duplicate(self, error: DatabaseError) -> bool:
        """Whether an INSERT was refused because its key is there; where the engine has no form that leaves the row."""
        return False

    @abstractmethod
    def uuid(self, value: UUID | None) -> object:
        """The UUID as the driver takes it."""

    @abstractmethod
    def read_uuid(self, raw: Any) -> UUID:
        """The UUID from what the driver returned."""

    def read_uuids(self, raws: Sequence[Any]) -> Sequence[UUID]:
        """The UUIDs of a whole column."""
        return [self.read_uuid(raw) for raw in raws]

    @abstractmethod
    def time(self, value: datetime | None) -> object:
        """The time (aware) as the driver takes it."""

    @abstractmethod
    def read_time(self, raw: Any) -> datetime:
        """The time, aware and in UTC, from what the driver returned."""

    @abstractmethod
    def now(self) -> object:
        """The parameter that `now_sql` reads; None stands for the engine's time."""

    @abstractmethod
    def now_sql(self, number: int) -> str:
        """The current time; bind `$number` to `now()`. Constant within a statement; later statements of the same
        transaction get a later time.
        """

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
        """The condition that follows a column: its value is in the list `$number`, of `type` (PostgreSQL's name)."""

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
        """`$number`, with a type where the engine cannot derive it from the context; `type` is PostgreSQL's name."""
