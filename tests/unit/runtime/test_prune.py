"""What is past its retention goes, in chunks, and the rest stays."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from tests.unit.runtime.trial import eventually, settings_for

from freehold.context import ServiceContext
from freehold.inbox.store import INBOX, IncomingMessage, ReceiveStatus
from freehold.runtime.adapters import open_stores
from freehold.runtime.patterns import PATTERNS
from freehold.runtime.prune_runner import PruneRunner


class SteppedClock:
    """Goes on when told; sleeping takes a moment of nobody's time."""

    def __init__(self) -> None:
        self._now = datetime(2024, 5, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.001)

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


async def test_receipts_past_their_window_are_deleted_and_others_stay() -> None:
    clock = SteppedClock()
    stores = open_stores(f"memory://{uuid4().hex}", clock=clock)
    await stores.database.open()
    await stores.database.upgrade()
    settings = settings_for("trial")

    async def receive(key: str, consumer: str = "trial") -> ReceiveStatus:
        async with stores.database.begin() as db_tx:
            return (await stores[INBOX].receive(db_tx, consumer, [IncomingMessage(key, "t.events", key)]))[0].status

    for number in range(1500):
        assert await receive(f"old {number}") is ReceiveStatus.NEW
    assert await receive("old 7", "neighbour") is ReceiveStatus.NEW
    clock.advance(settings.dedup_window_seconds - 1.0)
    assert await receive("young") is ReceiveStatus.NEW
    assert await receive("old 7") is ReceiveStatus.DUPLICATE
    runner = PruneRunner(
        ServiceContext("trial", stores, clock=clock, settings=settings),
        [each for pattern in PATTERNS for each in pattern.pruning],
    )
    clock.advance(2.0)
    await runner.start()
    await eventually(lambda: runner.deleted.get("inbox", 0) == 1500 and "idempotency" in runner.deleted)
    await runner.stop()
    assert set(runner.deleted) >= {"dead-letters", "sagas", "reconciliations", "replays", "idempotency"}
    assert await receive("young") is ReceiveStatus.DUPLICATE
    # A consumer that has its receipts in the same database, with a window of its own.
    assert await receive("old 7", "neighbour") is ReceiveStatus.DUPLICATE
    await stores.database.close()
