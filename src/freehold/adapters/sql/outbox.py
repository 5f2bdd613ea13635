"""The outbox on an SQL database. Base of the SQL engines: imports its siblings and the ports.

The engines stage, fetch and delete rows in different ways (see each one's `outbox`); the rest is here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from freehold.adapters.sql.engine.connection import Row, SqlConnection, SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.store import SqlStore
from freehold.broker import OutgoingMessage
from freehold.database import DatabaseTransaction
from freehold.ids import stable_hash
from freehold.outbox.store import (
    EVER_SECONDS,
    LossState,
    OutboxBatch,
    OutboxStats,
    OutboxStore,
    StagedMessage,
    UnsentMessage,
    lease_name,
)

__all__ = ["REASON_CHARACTERS_MAX", "SqlOutboxStore", "leases_value"]

REASON_CHARACTERS_MAX: Final = 500


class SqlOutboxStore(SqlStore, OutboxStore):
    """Stores staged messages by partition and position."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        self._unsent = f"""
SELECT position, partition, id, topic, key, document, attempts, {dialect.seconds_sql(now, "staged_at")},
    {dialect.seconds_sql("blocked_until", now)}, reason
FROM freehold_outbox ORDER BY position LIMIT $2"""
        self._stats = f"""
SELECT (SELECT count(*) FROM freehold_outbox),
    (SELECT count(DISTINCT key) FROM freehold_outbox WHERE blocked_until > {now}),
    {dialect.seconds_sql(now, self._oldest(2))}"""

    @property
    def partitions(self) -> int:
        """The number of partitions."""
        return self._database.partitions

    @abstractmethod
    def _oldest(self, number: int) -> str:
        """A subquery for the time when the oldest row was staged, by the primary key; `$number` is the number of
        partitions.
        """

    @abstractmethod
    async def stage(self, db_tx: DatabaseTransaction, messages: Sequence[OutgoingMessage]) -> Sequence[int]:
        """As the port says."""

    @abstractmethod
    async def fetch(
        self, leases: Mapping[int, int], limit: int, *, recall_seconds: float = EVER_SECONDS
    ) -> OutboxBatch:
        """As the port says."""

    @abstractmethod
    async def reschedule(
        self, leases: Mapping[int, int], message: StagedMessage, delay_seconds: float, reason: str
    ) -> bool:
        """As the port says."""

    @abstractmethod
    async def _remove(self, sql: SqlConnection, leases: str, positions: Collection[int]) -> int:
        """Delete rows of leased partitions, in one statement."""

    @abstractmethod
    async def _raise_pending(self, sql: SqlConnection, partition: int, position: int) -> None:
        """Raise the pending watermark of a partition; a higher one stays."""

    @abstractmethod
    async def remove(
        self,
        leases: Mapping[int, int],
        messages: Collection[StagedMessage],
        pending_watermarks: Mapping[int, int] | None = None,
        *,
        keep: LossState | None = None,
    ) -> int:
        """As the port says."""

    async def take(self, db_tx: DatabaseTransaction, leases: Mapping[int, int], message: StagedMessage) -> bool:
        """Delete one row under its token and raise the pending watermark; False where the lease was lost."""
        sql = sql_of(db_tx)
        if await self._remove(sql, self._leases(leases), [message.position]) == 0:
            return False
        await self._raise_pending(sql, message.partition, message.position)
        return True

    async def unsent(self, limit: int) -> Sequence[UnsentMessage]:
        """The rows in order of position."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(self._unsent, (self._dialect.now(), limit))
        return [
            UnsentMessage(self._staged(row[:7]), max(0.0, float(row[7])), max(0.0, float(row[8] or 0.0)), row[9] or "")
            for row in rows
        ]

    async def stats(self) -> OutboxStats:
        """The number of rows, of blocked keys, and the age of the oldest row in seconds."""
        async with self._database.direct() as sql:
            ((pending, blocked, oldest),) = await sql.fetch(self._stats, (self._dialect.now(), self.partitions))
        return OutboxStats(pending, blocked, max(0.0, float(oldest or 0.0)))

    def _partition(self, key: str) -> int:
        return stable_hash(key) % self._database.partitions

    def _leases(self, leases: Mapping[int, int]) -> str:
        return leases_value(self._dialect, leases)

    def _positions_json(self, pending_watermarks: Mapping[int, int]) -> str:
        return self._dialect.relation_value(
            [{"partition": partition, "position": position} for partition, position in pending_watermarks.items()]
        )

    def _fetched(self, found: Iterable[Row], limit: int) -> OutboxBatch:
        """Separate the messages from the rows about partitions, which have no id."""
        rows: list[StagedMessage] = []
        high_water_marks: dict[int, int] = {}
        pending_watermarks: dict[int, int] = {}
        loss = LossState()
        for row in found:
            if row[2] is None:
                high_water_marks[row[1]], pending_watermarks[row[1]] = row[0], row[7]
                loss = LossState(row[8], bool(row[9]))
            else:
                rows.append(self._staged(row[:7]))
        rows.sort(key=lambda row: row.position)
        return OutboxBatch.of(rows, limit, high_water_marks, pending_watermarks, loss)

    def _staged(self, row: Row) -> StagedMessage:
        position, partition, message_id, topic, key, document, attempts = row
        message = OutgoingMessage(self._dialect.read_uuid(message_id), topic, key, bytes(document))
        return StagedMessage(position, partition, message, attempts)


def leases_value(dialect: Dialect, leases: Mapping[int, int]) -> str:
    """Leases on partitions as the parameter of a relation: partition, token, name."""
    rows: list[Mapping[str, str | int | None]] = [
        {"partition": partition, "token": token, "name": lease_name(partition)} for partition, token in leases.items()
    ]
    return dialect.relation_value(rows)
