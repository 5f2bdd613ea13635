"""The dialect of PostgreSQL: native types, arrays for lists, the server's time.

Imports the base of the SQL adapters. The time is `statement_timestamp()`: unlike `now()` it differs between the
statements of a transaction, and unlike `clock_timestamp()` it is stable, so that an index on a time can be used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID, SafeUUID

import msgspec

from freehold.adapters.sql.engine.dialect import Dialect
from freehold.clock import Clock

__all__ = ["PostgresDialect"]

_slots: Any = UUID
_new, _set_int, _set_is_safe = object.__new__, _slots.int.__set__, _slots.is_safe.__set__
_UNKNOWN = SafeUUID.unknown
_Uuids = list[UUID]


class PostgresDialect(Dialect):
    """The dialect of PostgreSQL 13 and later."""

    name: ClassVar[str] = "postgresql"
    lock_rows: ClassVar[str] = "FOR UPDATE"
    lock_free_rows: ClassVar[str] = "FOR UPDATE SKIP LOCKED"
    alters_columns: ClassVar[bool] = True
    present_sql: ClassVar[str] = "statement_timestamp()"
    alone_sql: ClassVar[str] = "SELECT pg_try_advisory_xact_lock($1)"
    table_exists_sql: str = "SELECT to_regclass($1) IS NOT NULL"

    def __init__(self, clock: Clock | None = None, schema: str = "") -> None:
        super().__init__(clock)
        self.schema = schema
        if schema:
            self.table_exists_sql = f"SELECT to_regclass('\"{schema}\".' || $1::text) IS NOT NULL"

    def uuid(self, value: UUID | None) -> object:
        """The value itself."""
        return value

    def read_uuid(self, raw: Any) -> UUID:
        """A UUID of the standard library; drivers return subclasses of it.

        Its slots are written directly: the constructor takes several times as long, and an event has three UUIDs.
        """
        made = _new(UUID)
        _set_int(made, raw.int)
        _set_is_safe(made, _UNKNOWN)
        return made

    def read_uuids(self, raws: Sequence[Any]) -> Sequence[UUID]:
        """The UUIDs from their bytes, by one call of the codec: three times as fast as one by one."""
        return msgspec.convert([raw.bytes for raw in raws], _Uuids)

    def time(self, value: datetime | None) -> object:
        """The value itself."""
        return value

    def read_time(self, raw: Any) -> datetime:
        """The time in UTC; a driver may return it in the session's time zone."""
        time: datetime = raw
        return time.astimezone(UTC)

    def now(self) -> object:
        """The clock's time; None, for the server's time, without a clock."""
        return None if self.clock is None else self.clock.now()

    def now_sql(self, number: int) -> str:
        """The parameter, or the server's time where it is NULL."""
        return f"coalesce(${number}::timestamptz, statement_timestamp())"

    def later_sql(self, time: str, number: int) -> str:
        """The sum of a time and an interval."""
        return f"({time} + ${number}::float8 * interval '1 second')"

    def seconds_sql(self, later: str, earlier: str) -> str:
        """The interval between two times, in seconds."""
        return f"extract(epoch FROM {later} - {earlier})::float8"

    def list_value(self, values: Iterable[str | int | UUID]) -> object:
        """An array."""
        return list(values)

    def in_sql(self, number: int, type: str) -> str:
        """A comparison with the elements of the array."""
        return f"= ANY(${number}::{type}[])"

    def relation_sql(self, number: int, columns: str) -> str:
        """A subquery over a JSON array of objects."""
        names = ", ".join(column.split()[0] for column in columns.split(","))
        return f"(SELECT {names} FROM jsonb_to_recordset(${number}::jsonb) AS given({columns}))"

    def typed(self, number: int, type: str) -> str:
        """The parameter with a cast."""
        return f"${number}::{type}"
