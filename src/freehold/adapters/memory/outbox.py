"""The outbox in memory. Adapter: imports the outbox port and the memory database.

Writers take turns, so positions are drawn in the order of commit for every key.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.deadletters import keep_letter
from freehold.adapters.memory.leases import LEASES
from freehold.adapters.memory.state import MemoryUnit, Table, memory_unit
from freehold.broker import Outgoing
from freehold.database import UnitOfWork
from freehold.deadletters.store import DeadLetter, DeadLetterStatus, Direction
from freehold.ids import new_id, stable_hash
from freehold.leases.store import LeaseRecord
from freehold.outbox.store import Fetched, OutboxStats, OutboxStore, StagedMessage, lease_name

__all__ = ["MemoryOutboxStore", "stage_messages"]


@dataclass(frozen=True, slots=True)
class _OutboxRow:
    staged: StagedMessage
    staged_at: datetime
    blocked_until: datetime | None = None


_OUTBOX: Final[Table[int, _OutboxRow]] = Table("outbox")
_DEBTS: Final[Table[int, int]] = Table("outbox_owed")
_DRAWN: Final = -1
"""In the place of a partition: the greatest position that was committed."""


class MemoryOutboxStore(OutboxStore):
    """Rows by position."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @property
    def partitions(self) -> int:
        """How many partitions there are."""
        return self._database.partitions

    async def stage(self, unit: UnitOfWork, messages: Sequence[Outgoing]) -> Sequence[int]:
        """Add messages to the transaction."""
        return stage_messages(self._database, memory_unit(unit), messages)

    async def fetch(self, leases: Mapping[int, int], limit: int) -> Fetched:
        """The oldest rows of partitions leased, without the keys that are blocked."""
        now = self._database.now()
        # Views of what is committed: looked at together, after the last await.
        records = await self._database.read(LEASES)
        committed = await self._database.read(_OUTBOX)
        debts = await self._database.read(_DEBTS)
        held = {partition for partition in leases if _is_valid(records.get(lease_name(partition)), leases, partition)}
        rows = sorted(committed.values(), key=lambda row: row.staged.position)
        blocked = {row.staged.message.key for row in rows if _is_blocked(row, now)}
        ready = [row.staged for row in rows if row.staged.partition in held and row.staged.message.key not in blocked]
        settled = dict.fromkeys(held, debts.get(_DRAWN, 0))
        for row in reversed(rows):
            if row.staged.message.key in blocked and row.staged.partition in held:
                settled[row.staged.partition] = row.staged.position - 1
        return Fetched.of(ready[:limit], limit, settled, {partition: debts.get(partition, 0) for partition in held})

    async def remove(
        self,
        leases: Mapping[int, int],
        messages: Collection[StagedMessage],
        owed: Mapping[int, int] | None = None,
    ) -> int:
        """Delete rows under valid tokens."""
        async with self._database.begin() as unit:
            debts = unit.rows(_DEBTS)
            for partition, position in (owed or {}).items():
                if _holds(unit, leases, partition):
                    debts.put(partition, position and max(position, debts.get(partition) or 0))
            return sum(
                unit.rows(_OUTBOX).remove(message.position)
                for message in messages
                if _holds(unit, leases, message.partition)
            )

    async def postpone(
        self, leases: Mapping[int, int], message: StagedMessage, delay_seconds: float, reason: str
    ) -> bool:
        """Block the row's key."""
        async with self._database.begin() as unit:
            rows = unit.rows(_OUTBOX)
            row = rows.get(message.position)
            if row is None or not _holds(unit, leases, message.partition):
                return False
            counted = replace(row.staged, attempts=row.staged.attempts + 1)
            until = self._database.later(delay_seconds)
            rows.put(message.position, replace(row, staged=counted, blocked_until=until))
            return True

    async def bury(self, leases: Mapping[int, int], message: StagedMessage, reason: str) -> bool:
        """Move a row to the dead letters."""
        async with self._database.begin() as unit:
            if not _holds(unit, leases, message.partition) or not unit.rows(_OUTBOX).remove(message.position):
                return False
            debts = unit.rows(_DEBTS)
            debts.put(message.partition, max(message.position, debts.get(message.partition) or 0))
            keep_letter(unit, _letter(message, reason, self._database.now()))
            return True

    async def stats(self) -> OutboxStats:
        """How much waits."""
        now = self._database.now()
        rows = (await self._database.read(_OUTBOX)).values()
        return OutboxStats(
            pending=len(rows),
            blocked_keys=len({row.staged.message.key for row in rows if _is_blocked(row, now)}),
            oldest_seconds=max(((now - row.staged_at).total_seconds() for row in rows), default=0.0),
        )


def stage_messages(database: MemoryDatabase, unit: MemoryUnit, messages: Sequence[Outgoing]) -> list[int]:
    """Add messages to the outbox in this order; the scheduler does so too. Returns their positions."""
    rows = unit.rows(_OUTBOX)
    positions: list[int] = []
    for message in messages:
        position = unit.draw()
        partition = stable_hash(message.key) % database.partitions
        staged = StagedMessage(position=position, partition=partition, message=message, attempts=0)
        rows.put(position, _OutboxRow(staged=staged, staged_at=database.now()))
        positions.append(position)
    if positions:
        unit.rows(_DEBTS).put(_DRAWN, positions[-1])
    return positions


def _holds(unit: MemoryUnit, leases: Mapping[int, int], partition: int) -> bool:
    return _is_valid(unit.rows(LEASES).get(lease_name(partition)), leases, partition)


def _is_valid(lease: LeaseRecord | None, leases: Mapping[int, int], partition: int) -> bool:
    return lease is not None and lease.token == leases.get(partition)


def _is_blocked(row: _OutboxRow, now: datetime) -> bool:
    return row.blocked_until is not None and row.blocked_until > now


def _letter(message: StagedMessage, reason: str, now: datetime) -> DeadLetter:
    return DeadLetter(
        id=new_id(),
        direction=Direction.OUTBOUND,
        consumer="",
        topic=message.message.topic,
        key=message.message.key,
        message_id=message.message.id,
        type="",
        reason="refused",
        error_type="MessageRejected",
        detail=reason,
        attempts=message.attempts + 1,
        failed_at=now,
        status=DeadLetterStatus.DEAD,
        document=message.message.document,
    )
