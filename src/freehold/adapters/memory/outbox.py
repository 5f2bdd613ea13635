"""The outbox in memory. Adapter: imports the outbox port and the memory database.

One transaction writes at a time, so positions are in the order of commit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.leases import LEASES
from freehold.adapters.memory.state import MemoryTransaction, Table, memory_transaction
from freehold.broker import OutgoingMessage
from freehold.database import DatabaseTransaction
from freehold.ids import stable_hash
from freehold.leases.store import LeaseRecord
from freehold.outbox.log import BrokerLog
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

__all__ = ["LOGS", "LOG_MARKS", "OUTBOX", "SENT", "MemoryOutboxStore", "OutboxRow", "has_staged", "stage_messages"]


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A row of the outbox or of the sent messages.

    sent_at  the time of its first confirmation; None where it has none.
    losses   the number of recorded losses when it was published last.
    """

    staged: StagedMessage
    staged_at: datetime
    blocked_until: datetime | None = None
    sent_at: datetime | None = None
    reason: str = ""
    losses: int = 0


OUTBOX: Final[Table[int, OutboxRow]] = Table("outbox")
SENT: Final[Table[int, OutboxRow]] = Table("outbox_sent")
LOGS: Final[Table[str, BrokerLog]] = Table("outbox_log")
LOG_MARKS: Final[Table[str, str]] = Table("outbox_log_mark")
_WATERMARKS: Final[Table[int, int]] = Table("outbox_watermark")
_DRAWN: Final = -1
"""The key, instead of a partition, of the highest committed position."""


class MemoryOutboxStore(OutboxStore):
    """Keeps staged messages by position."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @property
    def partitions(self) -> int:
        """The number of partitions."""
        return self._database.partitions

    async def stage(self, db_tx: DatabaseTransaction, messages: Sequence[OutgoingMessage]) -> Sequence[int]:
        """Add messages to the transaction."""
        return stage_messages(self._database, memory_transaction(db_tx), messages)

    async def fetch(
        self, leases: Mapping[int, int], limit: int, *, recall_seconds: float = EVER_SECONDS
    ) -> OutboxBatch:
        """The oldest rows of the leased partitions, without blocked keys, and the high-water marks."""
        now = self._database.now()
        records = await self._database.read(LEASES)
        # In the same round trip, like one statement of a server: nothing is awaited from here on.
        committed, watermarks = self._database.committed(OUTBOX), self._database.committed(_WATERMARKS)
        loss = loss_state(self._database.committed(LOGS).values())
        taken = taken_by_key(self._database.committed(SENT), loss, self._database.later(-recall_seconds))
        held = {partition for partition in leases if is_valid(records.get(lease_name(partition)), leases, partition)}
        rows = sorted(committed.values(), key=lambda row: row.staged.position)
        blocked = {row.staged.message.key for row in rows if is_blocked(row, now)}
        oldest = [row for row in rows if row.staged.partition in held and row.staged.message.key not in blocked][:limit]
        high_water_marks = dict.fromkeys(held, watermarks.get(_DRAWN, 0))
        for row in reversed(rows):
            if row.staged.message.key in blocked and row.staged.partition in held:
                high_water_marks[row.staged.partition] = row.staged.position - 1
        if loss.open:
            high_water_marks = dict.fromkeys(held, 0)
        pending_watermarks = {partition: watermarks.get(partition, 0) for partition in held}
        ready = [row.staged for row in oldest if not waits(row, taken)]
        return OutboxBatch.of(ready, limit, high_water_marks, pending_watermarks, loss)

    async def remove(
        self,
        leases: Mapping[int, int],
        messages: Collection[StagedMessage],
        pending_watermarks: Mapping[int, int] | None = None,
        *,
        keep: LossState | None = None,
    ) -> int:
        """Delete confirmed rows under valid tokens; with `keep`, move them to the sent messages."""
        async with self._database.begin() as db_tx:
            watermarks = db_tx.rows(_WATERMARKS)
            for partition, position in (pending_watermarks or {}).items():
                if holds(db_tx, leases, partition):
                    watermarks.put(partition, position and max(position, watermarks.get(partition) or 0))
            held = [message.position for message in messages if holds(db_tx, leases, message.partition)]
            for position in held if keep else ():
                row = db_tx.rows(OUTBOX).get(position)
                if row is not None and keep is not None:
                    sent_at = row.sent_at or self._database.now()
                    db_tx.rows(SENT).put(
                        position, replace(row, blocked_until=None, sent_at=sent_at, losses=keep.number)
                    )
            return sum(db_tx.rows(OUTBOX).remove(position) for position in held)

    async def reschedule(
        self, leases: Mapping[int, int], message: StagedMessage, delay_seconds: float, reason: str
    ) -> bool:
        """Block the row's key for some time; False where the lease was lost."""
        async with self._database.begin() as db_tx:
            rows = db_tx.rows(OUTBOX)
            row = rows.get(message.position)
            if row is None or not holds(db_tx, leases, message.partition):
                return False
            counted = replace(row.staged, attempts=row.staged.attempts + 1)
            until = self._database.later(delay_seconds)
            rows.put(message.position, replace(row, staged=counted, blocked_until=until, reason=reason))
            return True

    async def take(self, db_tx: DatabaseTransaction, leases: Mapping[int, int], message: StagedMessage) -> bool:
        """Delete one row under its token and raise the pending watermark; False where the lease was lost."""
        memory = memory_transaction(db_tx)
        if not holds(memory, leases, message.partition) or not memory.rows(OUTBOX).remove(message.position):
            return False
        watermarks = memory.rows(_WATERMARKS)
        watermarks.put(message.partition, max(message.position, watermarks.get(message.partition) or 0))
        return True

    async def unsent(self, limit: int) -> Sequence[UnsentMessage]:
        """The rows in order of position."""
        now = self._database.now()
        rows = sorted((await self._database.read(OUTBOX)).values(), key=lambda row: row.staged.position)
        return [
            UnsentMessage(
                row.staged,
                max(0.0, (now - row.staged_at).total_seconds()),
                max(0.0, (row.blocked_until - now).total_seconds()) if row.blocked_until else 0.0,
                row.reason,
            )
            for row in rows[:limit]
        ]

    async def stats(self) -> OutboxStats:
        """The number of rows, of blocked keys, and the age of the oldest row in seconds."""
        now = self._database.now()
        rows = (await self._database.read(OUTBOX)).values()
        return OutboxStats(
            pending=len(rows),
            blocked_keys=len({row.staged.message.key for row in rows if is_blocked(row, now)}),
            oldest_seconds=max(((now - row.staged_at).total_seconds() for row in rows), default=0.0),
        )


def stage_messages(
    database: MemoryDatabase, db_tx: MemoryTransaction, messages: Sequence[OutgoingMessage]
) -> list[int]:
    """Add messages to the outbox in this order; returns their positions."""
    rows = db_tx.rows(OUTBOX)
    positions: list[int] = []
    for message in messages:
        position = db_tx.draw()
        partition = stable_hash(message.key) % database.partitions
        staged = StagedMessage(position=position, partition=partition, message=message, attempts=0)
        rows.put(position, OutboxRow(staged=staged, staged_at=database.now()))
        positions.append(position)
    if positions:
        db_tx.rows(_WATERMARKS).put(_DRAWN, positions[-1])
    return positions


def has_staged(db_tx: MemoryTransaction) -> bool:
    """Whether the outbox has ever had a row."""
    return bool(db_tx.rows(_WATERMARKS).get(_DRAWN))


def loss_state(logs: Collection[BrokerLog]) -> LossState:
    """The number of recorded losses, and whether one is open."""
    return LossState(sum(log.losses for log in logs), any(log.lost_at is not None for log in logs))


def taken_by_key(sent: Mapping[int, OutboxRow], loss: LossState, since: datetime) -> Mapping[str, list[int]]:
    """The positions of sent messages that the broker may have lost in an open loss, by key."""
    taken: dict[str, list[int]] = {}
    for position, row in sorted(sent.items()):
        if loss.open and row.losses < loss.number and row.sent_at is not None and row.sent_at >= since:
            taken.setdefault(row.staged.message.key, []).append(position)
    return taken


def waits(row: OutboxRow, taken: Mapping[str, list[int]]) -> bool:
    """Whether a lost message of the same key must be published before this row."""
    positions = taken.get(row.staged.message.key)
    return positions is not None and positions[0] < row.staged.position


def holds(db_tx: MemoryTransaction, leases: Mapping[int, int], partition: int) -> bool:
    return is_valid(db_tx.rows(LEASES).get(lease_name(partition)), leases, partition)


def is_valid(lease: LeaseRecord | None, leases: Mapping[int, int], partition: int) -> bool:
    return lease is not None and lease.token == leases.get(partition)


def is_blocked(row: OutboxRow, now: datetime) -> bool:
    return row.blocked_until is not None and row.blocked_until > now
