"""An event store that delays projections while a brake is on. Imports the event store port and the stores.

Only the reads of projections are delayed, before a batch's transaction begins: appends, aggregates and other readers
of the database are not slower, and no lock is held longer.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from freehold.database import DatabaseTransaction
from freehold.eventstore import (
    EVENTS,
    EVERYTHING,
    Append,
    AppendResult,
    Body,
    EventFilter,
    EventStore,
    Page,
    RecordedEvent,
)
from freehold.runtime import Stores

__all__ = ["Brake", "BrakedEvents", "braked"]

LATE_SECONDS: Final = (0.025, 0.075)


@dataclass(slots=True)
class Brake:
    """A switch, on or off; read before each batch."""

    on: bool = False
    _source: random.Random = field(default_factory=lambda: random.Random(4))

    async def hold(self) -> None:
        """Return after a delay while the brake is on, else at once."""
        if self.on:
            await asyncio.sleep(self._source.uniform(*LATE_SECONDS))  # the delay itself, not a wait for something


def braked(stores: Stores, brake: Brake) -> Stores:
    """The same stores, with an event store that delays projections while the brake is on."""
    return stores.replacing(EVENTS, BrakedEvents(stores[EVENTS], brake))


class BrakedEvents:
    """Passes everything on to another event store; `read_all`, which projections use, waits for the brake."""

    def __init__(self, events: EventStore, brake: Brake) -> None:
        self._events = events
        self._brake = brake

    async def append(self, db_tx: DatabaseTransaction, appends: Sequence[Append]) -> Sequence[AppendResult]:
        """Append."""
        return await self._events.append(db_tx, appends)

    async def append_now(self, appends: Sequence[Append]) -> Sequence[AppendResult]:
        """Append."""
        return await self._events.append_now(appends)

    async def read_stream(
        self,
        stream: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 1000,
        backwards: bool = False,
        db_tx: DatabaseTransaction | None = None,
    ) -> Sequence[RecordedEvent]:
        """Read."""
        return await self._events.read_stream(
            stream, after=after, before=before, limit=limit, backwards=backwards, db_tx=db_tx
        )

    async def read_bodies(
        self, stream: str, *, after: int = 0, limit: int = 1000, db_tx: DatabaseTransaction | None = None
    ) -> Sequence[Body]:
        """Read."""
        return await self._events.read_bodies(stream, after=after, limit=limit, db_tx=db_tx)

    async def version(self, stream: str, *, db_tx: DatabaseTransaction | None = None) -> int:
        """Read."""
        return await self._events.version(stream, db_tx=db_tx)

    async def read_all(self, after: int, *, limit: int = 1000, event_filter: EventFilter = EVERYTHING) -> Page:
        """Read, after the brake's delay."""
        await self._brake.hold()
        return await self._events.read_all(after, limit=limit, event_filter=event_filter)

    async def high_water_mark(self) -> int:
        """Read."""
        return await self._events.high_water_mark()

    async def count(
        self, after: int, through: int, event_filter: EventFilter = EVERYTHING, *, limit: int = 100_000
    ) -> int:
        """Count."""
        return await self._events.count(after, through, event_filter, limit=limit)

    async def recorded_at(self, after: int, event_filter: EventFilter = EVERYTHING) -> datetime | None:
        """Read."""
        return await self._events.recorded_at(after, event_filter)
