"""The progress of consumers by lane, in memory. Adapter: imports the port, the memory database, and the inbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.inbox import DEFERRED
from freehold.adapters.memory.state import Table, memory_transaction
from freehold.consistency.store import LaneProgress, ProgressStore
from freehold.database import DatabaseTransaction

__all__ = ["MemoryProgressStore"]


@dataclass(frozen=True, slots=True)
class _Row:
    watermark: int
    appended_position: int
    updated_at: datetime


_PROGRESS: Final[Table[tuple[str, str], _Row]] = Table("progress")


class MemoryProgressStore(ProgressStore):
    """Keeps watermarks by consumer and lane."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def advance(
        self, db_tx: DatabaseTransaction, consumer: str, watermarks: Mapping[str, int], *, appended_position: int = 0
    ) -> None:
        """Raise watermarks in the transaction."""
        rows = memory_transaction(db_tx).rows(_PROGRESS)
        for lane, watermark in watermarks.items():
            known = rows.get((consumer, lane))
            if known is None:
                rows.put((consumer, lane), _Row(watermark, appended_position, self._database.now()))
            elif known.watermark < watermark or known.appended_position < appended_position:
                row = _Row(
                    max(watermark, known.watermark),
                    max(appended_position, known.appended_position),
                    self._database.now(),
                )
                rows.put((consumer, lane), row)

    async def progress(self, consumer: str, lanes: Sequence[str] | None = None) -> Sequence[LaneProgress]:
        """The progress of lanes."""
        rows = await self._database.read(_PROGRESS)
        deferred = await self._database.read(DEFERRED)
        blocked: dict[str, int] = {}
        for row in deferred.values():
            if row.message.consumer == consumer and row.lane is not None and row.lane_position is not None:
                blocked[row.lane] = min(row.lane_position, blocked.get(row.lane, row.lane_position))
        return [
            LaneProgress(lane, row.watermark, row.updated_at, blocked.get(lane), row.appended_position)
            for (whose, lane), row in sorted(rows.items())
            if whose == consumer and (lanes is None or lane in lanes)
        ]
