"""The outbox on an SQL database. Base of the SQL engines: imports its siblings and the ports.

How rows are staged, found and removed differs between the engines (see each one's `outbox`); the rest is here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from freehold.adapters.sql.connection import Row, SqlConnection, SqlDatabase
from freehold.adapters.sql.deadletters import SqlDeadLetterStore
from freehold.adapters.sql.dialect import Dialect
from freehold.adapters.sql.store import SqlStore
from freehold.broker import Outgoing
from freehold.clock import SystemClock
from freehold.database import UnitOfWork
from freehold.deadletters.store import DeadLetter, DeadLetterStatus, Direction
from freehold.errors import CodecError
from freehold.ids import new_id, stable_hash
from freehold.messages import decode_envelope
from freehold.outbox.store import Fetched, OutboxStats, OutboxStore, StagedMessage, lease_name

__all__ = ["REASON_CHARACTERS_MAX", "SqlOutboxStore"]

REASON_CHARACTERS_MAX: Final = 500


class SqlOutboxStore(SqlStore, OutboxStore):
    """Rows by partition and position."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        self._letters = SqlDeadLetterStore(database, dialect)
        self._clock = dialect.clock or SystemClock()
        now = dialect.now_sql(1)
        self._stats = f"""
SELECT (SELECT count(*) FROM freehold_outbox),
    (SELECT count(DISTINCT key) FROM freehold_outbox WHERE blocked_until > {now}),
    {dialect.seconds_sql(now, self._oldest(2))}"""

    @property
    def partitions(self) -> int:
        """How many partitions the rows are divided into."""
        return self._database.partitions

    @abstractmethod
    def _oldest(self, number: int) -> str:
        """A subquery: when the oldest row was staged, along the primary key; `$number` is how many partitions are."""

    @abstractmethod
    async def stage(self, unit: UnitOfWork, messages: Sequence[Outgoing]) -> Sequence[int]:
        """As the port says."""

    @abstractmethod
    async def fetch(self, leases: Mapping[int, int], limit: int) -> Fetched:
        """As the port says."""

    @abstractmethod
    async def postpone(
        self, leases: Mapping[int, int], message: StagedMessage, delay_seconds: float, reason: str
    ) -> bool:
        """As the port says."""

    @abstractmethod
    async def _remove(self, sql: SqlConnection, leases: str, positions: Collection[int]) -> int:
        """Delete rows of leased partitions, in one statement."""

    @abstractmethod
    async def _settle(self, leases: str, positions: Collection[int], owed: Mapping[int, int]) -> int:
        """Delete rows of leased partitions and note what these owe, in one transaction."""

    @abstractmethod
    async def _owe(self, sql: SqlConnection, partition: int, position: int) -> None:
        """Note what a partition owes; a greater debt stays."""

    async def remove(
        self,
        leases: Mapping[int, int],
        messages: Collection[StagedMessage],
        owed: Mapping[int, int] | None = None,
    ) -> int:
        """Delete confirmed rows under valid tokens, in one statement where no debt changes."""
        positions = [message.position for message in messages]
        if owed:
            return await self._settle(self._leases(leases), positions, owed)
        if not positions:
            return 0
        async with self._database.direct() as sql:
            return await self._remove(sql, self._leases(leases), positions)

    async def bury(self, leases: Mapping[int, int], message: StagedMessage, reason: str) -> bool:
        """Move a row to the dead letters, in one transaction."""
        async with self._database.begin() as unit:
            if await self._remove(unit.sql, self._leases(leases), [message.position]) == 0:
                return False
            await self._owe(unit.sql, message.partition, message.position)
            await self._letters.add(unit, self._letter(message, reason))
        return True

    async def stats(self) -> OutboxStats:
        """How much waits, and for how long."""
        async with self._database.direct() as sql:
            ((pending, blocked, oldest),) = await sql.fetch(self._stats, (self._dialect.now(), self.partitions))
        return OutboxStats(pending, blocked, max(0.0, float(oldest or 0.0)))

    def _partition(self, key: str) -> int:
        return stable_hash(key) % self._database.partitions

    def _leases(self, leases: Mapping[int, int]) -> str:
        return self._dialect.relation_value(
            [
                {"partition": partition, "token": token, "name": lease_name(partition)}
                for partition, token in leases.items()
            ]
        )

    def _fetched(self, found: Iterable[Row], limit: int) -> Fetched:
        """Tell the rows from what is said of their partitions: those have no id."""
        rows: list[StagedMessage] = []
        settled: dict[int, int] = {}
        owed: dict[int, int] = {}
        for row in found:
            if row[2] is None:
                settled[row[1]], owed[row[1]] = row[0], row[7]
            else:
                rows.append(self._staged(row[:7]))
        rows.sort(key=lambda row: row.position)
        return Fetched.of(rows, limit, settled, owed)

    def _staged(self, row: Row) -> StagedMessage:
        position, partition, message_id, topic, key, document, attempts = row
        message = Outgoing(self._dialect.read_uuid(message_id), topic, key, bytes(document))
        return StagedMessage(position, partition, message, attempts)

    def _letter(self, message: StagedMessage, reason: str) -> DeadLetter:
        outgoing = message.message
        return DeadLetter(
            id=new_id(),
            direction=Direction.OUTBOUND,
            consumer="",
            topic=outgoing.topic,
            key=outgoing.key,
            message_id=outgoing.id,
            type=_type_of(outgoing.document),
            reason="refused",
            error_type="MessageRejected",
            detail=reason[:REASON_CHARACTERS_MAX],
            attempts=message.attempts + 1,
            failed_at=self._clock.now(),
            status=DeadLetterStatus.DEAD,
            document=outgoing.document,
        )


def _type_of(document: bytes) -> str:
    try:
        return decode_envelope(document).type
    except CodecError:
        return ""
