"""Instances that die, hang, or believe to hold what they lost: the read model and its checkpoint are never apart."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.forking import ForkedProcess, forked
from tests.integration.projection.dying import killed
from tests.integration.projection.models import (
    ReadModel,
    append,
    caught_up,
    read_model,
    rows,
    settings_for,
    until,
)
from tests.integration.projection.unleased import unleased

from freehold import RunningService
from freehold.errors import Unavailable
from freehold.eventstore.store import EVENTS, bucket_of
from freehold.leases.store import LEASES
from freehold.projection.store import CHECKPOINTS

_KILLS = 4
_APPENDS = 60
_EACH = 40


@asynccontextmanager
async def _process(url: str, dies_after: int = 0) -> AsyncIterator[ForkedProcess]:
    process = await forked("tests.integration.projection.models", url, str(dies_after))
    try:
        async with asyncio.timeout(60):
            line = await process.stdout.readline()
        assert line == b"ready\n" or (dies_after and not line)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _stored(running: RunningService) -> dict[int, str]:
    page = await running.stores[EVENTS].read_all(0, limit=100_000)
    return {event.position: event.stream for event in page.events}


async def _assert_together(running: RunningService, model: ReadModel) -> int:
    """A row is there exactly where the checkpoint of its partition has passed it; returns how many there are."""
    checkpoints = {each.partition: each for each in await running.stores[CHECKPOINTS].checkpoints("accounts", 1)}
    entries = {row[0] for row in await rows(running, model.entries)}
    stored = await _stored(running)
    passed = {
        position
        for position, stream in stored.items()
        if position <= checkpoints[bucket_of(stream) % len(checkpoints)].position
    }
    assert entries == passed
    assert sum(each.handled for each in checkpoints.values()) == len(entries)
    return len(entries)


async def _assert_folded(running: RunningService, model: ReadModel) -> None:
    """The read model is what a fold of all events gives."""
    folded: dict[str, int] = {}
    for stream in (await _stored(running)).values():
        folded[stream] = folded.get(stream, 0) + 1
    found = await rows(running, model.accounts)
    assert {f"account-{row[0]}": (row[2], row[3]) for row in found} == {
        stream: (count, count) for stream, count in folded.items()
    }


async def test_a_runner_that_is_killed_at_any_moment_leaves_a_whole(url: str) -> None:
    """And another one goes on from there."""
    model = read_model()
    rolled = random.Random(7)
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        for number in range(_APPENDS):
            await append(running, f"a{number % 9}", *range(_EACH))
        cut_short = 0
        for _ in range(_KILLS):
            before = await _handled(running)
            async with _process(url, rolled.randrange(50, 400)) as process:
                await asyncio.wait_for(process.wait(), 90)
                assert killed(process.returncode)
                count = await _assert_together(running, model)
            cut_short += before < count < _APPENDS * _EACH
        assert cut_short >= 2
        async with RunningService(model.service, settings_for(url)) as last:
            await until(lambda: caught_up(last, model))
        await _assert_together(running, model)
        await _assert_folded(running, model)


async def _handled(running: RunningService) -> int:
    return sum(each.handled for each in await running.stores[CHECKPOINTS].checkpoints())


async def _begun(running: RunningService) -> bool:
    return bool(await running.stores[CHECKPOINTS].checkpoints())


async def test_the_work_of_a_killed_runner_is_taken_over(url: str) -> None:
    """By the other instance, when its leases have run out, while events keep coming."""
    model = read_model()
    async with (
        RunningService(model.service, settings_for(url)) as running,
        _process(url) as process,
    ):
        await until(lambda: _shared(running))
        for number in range(20):
            await append(running, f"a{number % 9}", number)
        process.kill()
        for number in range(20):
            await append(running, f"a{number % 9}", number)
        await until(lambda: caught_up(running, model))
        await _assert_together(running, model)
        await _assert_folded(running, model)


async def _shared(running: RunningService) -> bool:
    leases = await running.stores[LEASES].list("projection/accounts/1/")
    return len({lease.owner for lease in leases if "member" not in lease.name and lease.owner}) == 2


async def _frozen(process: ForkedProcess, running: RunningService) -> bool:
    """Freeze it, but not in the middle of a write: an engine of one file would be locked for as long as that lasts."""
    process.send_signal(signal.SIGSTOP)
    try:
        await append(running, "frozen", 0)
    except Unavailable:
        process.send_signal(signal.SIGCONT)
        return False
    return True


async def test_a_runner_that_wakes_up_late_writes_nothing(url: str) -> None:
    """It hung for longer than its lease, and does not know yet what has happened."""
    model = read_model()
    async with (
        RunningService(model.service, settings_for(url)) as running,
        _process(url) as process,
    ):
        await until(lambda: _shared(running))
        await until(lambda: _frozen(process, running))
        try:
            for number in range(40):
                await append(running, f"a{number % 9}", number)
            await until(lambda: caught_up(running, model))
        finally:
            process.send_signal(signal.SIGCONT)
        for number in range(40):
            await append(running, f"a{number % 9}", number)
        await until(lambda: caught_up(running, model))
        await _assert_together(running, model)
        await _assert_folded(running, model)


async def test_two_that_believe_to_hold_it_do_it_once(url: str) -> None:
    """The checkpoint decides, whatever leases say; whoever is overtaken parks nothing."""
    model = read_model(batch_limit=7)
    async with (
        RunningService(model.service, settings_for(url), roles=("projections",)) as starter,
    ):
        await until(lambda: _begun(starter))
    async with (
        RunningService(model.service, settings_for(url), roles=()) as one,
        RunningService(model.service, settings_for(url), roles=()) as other,
    ):
        for number in range(60):
            await append(one, f"a{number % 9}", *range(5))
        head = await one.stores[EVENTS].high_water_mark()
        runners = [await unleased(each, model, head) for each in (one, other, one)]
        for runner in runners:
            await runner.start()
        await until(lambda: caught_up(one, model))
        for runner in runners:
            await runner.stop()
        await _assert_together(one, model)
        await _assert_folded(one, model)
        assert await one.stores[CHECKPOINTS].parked() == []
