"""A process that rebuilds a read model dies at random moments; the result is that of a cold fold.

`FREEHOLD_TEST_REBUILD_EVENTS` and `FREEHOLD_TEST_REBUILD_KILLS` make it longer, `FREEHOLD_TEST_REBUILD_SEED` repeats a
run.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.forking import ForkedProcess, forked
from tests.integration.projection.dying import killed
from tests.integration.projection.engines import WITH_MARIADB, empty_database
from tests.integration.projection.rebuilding import append_history, cold_fold, declared, settings_for

from freehold import RunningService
from freehold.eventstore.store import EVENTS
from freehold.projection.store import CHECKPOINTS, Checkpoint, GenerationState

EVENT_COUNT = int(os.environ.get("FREEHOLD_TEST_REBUILD_EVENTS", "10000"))
KILLS = int(os.environ.get("FREEHOLD_TEST_REBUILD_KILLS", "6"))
SEED = int(os.environ.get("FREEHOLD_TEST_REBUILD_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)
LIMIT_SECONDS = 120 + EVENT_COUNT / 500 + KILLS * 5


@pytest.fixture(params=WITH_MARIADB)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    return empty_database(request, tmp_path)


@dataclass
class Watch:
    """What is known of the rebuild from outside, in a process that runs no projections."""

    running: RunningService

    async def building(self) -> list[Checkpoint]:
        found = await self.running.stores[CHECKPOINTS].checkpoints("payments-of")
        return [each for each in found if each.state is GenerationState.BUILDING]

    async def handled(self) -> int:
        return sum(each.handled for each in await self.building())

    async def switched(self) -> bool:
        found = await self.running.stores[CHECKPOINTS].generations("payments-of")
        return any(each.version == 2 and each.state is GenerationState.LIVE for each in found)


@pytest.mark.timeout(LIMIT_SECONDS + 60)
async def test_a_rebuild_that_is_killed_again_and_again_equals_a_cold_fold(url: str) -> None:
    draw = random.Random(SEED)
    print(f"seed {SEED}: {EVENT_COUNT} events, {KILLS} kills")  # noqa: T201 - to repeat it
    first, table = declared(1)
    async with asyncio.timeout(LIMIT_SECONDS):
        async with RunningService(first, settings_for(url), roles=["projections"]) as running:
            history = await append_history(running, EVENT_COUNT, SEED)
            await up_to_date(running)
        second, _ = declared(2)
        async with RunningService(second, settings_for(url), roles=()) as running:
            began = time.monotonic()
            deaths = await kill_again_and_again(url, Watch(running), draw)
            process = await started(url)
            assert await process.stdout.readline() == b"running\n"
            assert await process.stdout.readline() == b"switched\n"
            assert await process.wait() == 0
            seconds = time.monotonic() - began
            async with running.transaction() as tx:
                rows = (await tx.connection.execute(sa.select(table))).all()
            generations = await running.stores[CHECKPOINTS].generations("payments-of")
            checkpoints = await running.stores[CHECKPOINTS].checkpoints("payments-of", 2)
    print(f"killed at {deaths} events; {seconds:.1f} s, {EVENT_COUNT / seconds:.0f} events/s")  # noqa: T201 - to record it
    assert [(each.number, each.version, each.state.value) for each in generations] == [
        (1, 1, "retired"),
        (2, 2, "live"),
    ]
    assert sum(each.handled for each in checkpoints) == EVENT_COUNT
    assert {row[0]: tuple(row[1:]) for row in rows} == cold_fold(history)
    assert len(deaths) == KILLS


async def kill_again_and_again(url: str, watch: Watch, draw: random.Random) -> list[int]:
    """At a random moment after some more has been handled: all kills fall into the rebuild."""
    found: list[int] = []
    while len(found) < KILLS:
        share = int(EVENT_COUNT * (len(found) + draw.random()) / (KILLS + 2))
        process = await started(url, max(1, share - await watch.handled()))
        assert killed(await process.wait())
        assert not await watch.switched(), "it was faster than it was to be killed: take more events"
        found.append(await watch.handled())
    return found


async def started(url: str, dies_after: int = 0) -> ForkedProcess:
    within = EVENT_COUNT // (KILLS + 2)
    return await forked("tests.integration.projection.rebuilding", url, "2", str(dies_after), str(within))


async def up_to_date(running: RunningService) -> None:
    head = await running.stores[EVENTS].high_water_mark()
    while True:
        found = await running.stores[CHECKPOINTS].checkpoints("payments-of")
        if found and all(each.position >= head for each in found):
            return
        assert not await running.stores[CHECKPOINTS].count_parked()
        await asyncio.sleep(0.02)
