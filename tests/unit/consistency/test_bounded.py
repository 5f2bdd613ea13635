"""A wait for a token ends at its limit, wherever the database hangs: by the clock, to the moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.consistency.lane_services import LANE, Told, overheard, turned

from freehold import Transaction
from freehold.consistency import ConsistencyToken, Fresh, Freshness, PositionLag, Stale
from freehold.consistency.store import PROGRESS
from freehold.projection.store import CHECKPOINTS, GenerationState


async def _ignore(_message: Told, _tx: Transaction) -> None:
    return


class _Hanging:
    """A query whose answer does not come."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def __call__(self, *_: Any, **__: Any) -> Any:
        self.asked.set()
        await asyncio.Event().wait()


async def _turns() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def test_a_wait_for_a_lane_ends_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = _Hanging()
    async with turned(_ignore) as both:
        before = await both.tell("a")
        await both.publish()
        await both.consume()
        assert await both.wait(before) == Fresh()
        token = await both.tell("b")
        monkeypatch.setattr(both.reader.stores[PROGRESS], "progress", hanging)
        waiting = asyncio.create_task(both.reader.freshness.wait(token, limit_seconds=2.0))
        await asyncio.wait_for(hanging.asked.wait(), 30)
        both.clock.advance(1.9)
        await _turns()
        assert not waiting.done()
        both.clock.advance(0.1)
        await _turns()
        assert waiting.done()
        assert await waiting == Stale((PositionLag(LANE, 2, 1, 0.0),))


@pytest.mark.parametrize("query", ["generations", "checkpoints", "parked", "pauses"])
async def test_a_wait_for_a_projection_ends_at_the_same_limit(monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    """What the lanes took is taken off it."""
    hanging = _Hanging()
    async with turned(_ignore) as both:
        monkeypatch.setattr(both.reader.stores[CHECKPOINTS], query, hanging)
        if query == "parked":
            await _begin(both.reader)
        told = await both.tell("a")
        token = told.merged(ConsistencyToken({"listener": 1}))
        found: asyncio.Task[Freshness] = asyncio.create_task(
            both.reader.freshness.wait(token, projections=[overheard.name], limit_seconds=2.0)
        )
        await _turns()
        both.clock.advance(1.5)
        await both.publish()
        await both.consume()
        both.reader.freshness.wake()
        await asyncio.wait_for(hanging.asked.wait(), 30)
        both.clock.advance(0.4)
        await _turns()
        assert not found.done()
        both.clock.advance(0.1)
        await _turns()
        assert found.done()
        assert await found == Stale((PositionLag(overheard.name, 1, 0),))


async def _begin(reader: Any) -> None:
    """A live generation: only of one is it asked what is parked."""
    async with reader.stores.database.begin() as db_tx:
        await reader.stores[CHECKPOINTS].create(
            db_tx, overheard.name, 1, version=1, partitions=1, state=GenerationState.LIVE
        )
