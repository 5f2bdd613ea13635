"""MariaDB's way of writing statements: UUIDs are 16 bytes, times DATETIME(6) in UTC, lists are written out.

Imports the base of the SQL adapters. Texts have a collation that compares bytes and pads nothing, so that `a`, `A` and
`a ` are three keys; the default one takes them for one. `UTC_TIMESTAMP(6)` is the time at which a statement began.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from freehold.adapters.mariadb.errors import DUPLICATE, number_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.clock import Clock
from freehold.errors import DatabaseError

__all__ = ["COLLATION", "LOCKS", "STREAMS", "MariaDbDialect"]

LOCKS = 4096
"""How many rows of `freehold_lock` are for keys of the outbox. Behind them are 256 for names, and as many as for keys
for streams: a transaction may lock of each kind.
"""
STREAMS = LOCKS + 256

COLLATION = "utf8mb4_nopad_bin"
_TYPES = {
    "text": f"LONGTEXT CHARACTER SET utf8mb4 COLLATE {COLLATION}",
    "bigint": "BIGINT",
    "integer": "INT",
    "smallint": "INT",
    "timestamptz": "DATETIME(6)",
    "boolean": "BOOLEAN",
}


class MariaDbDialect(Dialect):
    """MariaDB 10.11 and later."""

    name: ClassVar[str] = "mariadb"
    lock_rows: ClassVar[str] = "FOR UPDATE"
    lock_free_rows: ClassVar[str] = "FOR UPDATE SKIP LOCKED"
    alters_columns: ClassVar[bool] = True
    upserts_on_conflict: ClassVar[bool] = False
    materialized: ClassVar[str] = "AS"
    lock_shared: ClassVar[str] = "LOCK IN SHARE MODE"
    deletes_chosen: ClassVar[bool] = False
    returns_updated: ClassVar[bool] = False
    present_sql: ClassVar[str] = "UTC_TIMESTAMP(6)"
    alone_sql: ClassVar[str] = (
        f"SELECT count(*) FROM freehold_lock WHERE number = {LOCKS} + MOD(ABS($1), 256) FOR UPDATE SKIP LOCKED"
    )
    table_exists_sql: str = (
        "SELECT EXISTS (SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = $1)"
    )

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)

    def is_duplicate(self, error: DatabaseError) -> bool:
        """By the number of its cause."""
        return error.__cause__ is not None and number_of(error.__cause__) == DUPLICATE

    def uuid(self, value: UUID | None) -> object:
        """Its bytes."""
        return None if value is None else value.bytes

    def read_uuid(self, raw: Any) -> UUID:
        """From bytes."""
        return UUID(bytes=raw)

    def time(self, value: datetime | None) -> object:
        """In UTC, without saying so."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def read_time(self, raw: Any) -> datetime:
        """It is UTC."""
        time: datetime = raw
        return time.replace(tzinfo=UTC)

    def now(self) -> object:
        """None, so that the server's time is taken, or the clock's."""
        return None if self.clock is None else self.time(self.clock.now())

    def now_sql(self, number: int) -> str:
        """The server's time, where no clock was given."""
        return f"coalesce(CAST(${number} AS DATETIME(6)), UTC_TIMESTAMP(6))"

    def later_sql(self, time: str, number: int) -> str:
        """Microseconds are added."""
        return f"({time} + INTERVAL CAST(${number} * 1000000 AS SIGNED) MICROSECOND)"

    def seconds_sql(self, later: str, earlier: str) -> str:
        """The microseconds between, divided."""
        return f"(TIMESTAMPDIFF(MICROSECOND, {earlier}, {later}) / 1000000e0)"

    def list_value(self, values: Iterable[str | int | UUID]) -> object:
        """A tuple, which is written out; of none, one that nothing is equal to."""
        return tuple(value.bytes if isinstance(value, UUID) else value for value in values) or (None,)

    def in_sql(self, number: int, type: str) -> str:
        """A list in parentheses."""
        return f"IN ${number}"

    def relation_sql(self, number: int, columns: str) -> str:
        """A JSON array of objects as a table."""
        pairs = [column.split() for column in columns.split(",")]
        paths = ", ".join(f"{name} {_TYPES[kind]} PATH '$.{name}'" for name, kind in pairs)
        names = ", ".join(name for name, _ in pairs)
        return f"(SELECT {names} FROM JSON_TABLE(${number}, '$[*]' COLUMNS ({paths})) AS given)"

    def typed(self, number: int, type: str) -> str:
        """MariaDB takes values as they come."""
        return f"${number}"

    def read_uuids(self, raws: Sequence[Any]) -> Sequence[UUID]:
        """From bytes."""
        return [UUID(bytes=raw) for raw in raws]
