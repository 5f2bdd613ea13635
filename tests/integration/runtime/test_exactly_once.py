"""From a transaction in one service to an effect in another, on real engines: once, in order, whatever dies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.forking import ForkedProcess, forked
from tests.integration.runtime.workers import Numbered, settings_for, worker

from freehold import RunningService, Service
from freehold.broker import OutgoingMessage
from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter
from freehold.ids import new_id
from freehold.messages import decode_envelope
from freehold.outbox.store import OUTBOX
from freehold.runtime import DeadLetterActions
from freehold_shop.servers import RunningServer

_KEYS = [f"k{n}" for n in range(8)]


@dataclass(frozen=True)
class Place:
    """Where the two services of a test keep their data."""

    source: str
    worker: str
    broker: str
    prefix: str


@pytest.fixture(params=["embedded", pytest.param("servers", marks=pytest.mark.servers)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "embedded":
        return Place(
            f"sqlite:///{tmp_path}/source.db",
            f"sqlite:///{tmp_path}/worker.db",
            f"embedded:///{tmp_path}/broker.db",
            "t",
        )
    url = request.getfixturevalue("postgres_url")
    return Place(
        f"sqlite:///{tmp_path}/source.db",
        url,
        request.getfixturevalue("nats_url"),
        request.getfixturevalue("nats_prefix"),
    )


@asynccontextmanager
async def _source(place: Place) -> AsyncIterator[RunningService]:
    settings = settings_for("source", place.source, place.broker, place.prefix)
    async with RunningService(Service("source"), settings) as running:
        yield running


@asynccontextmanager
async def _worker(place: Place, *, roles: tuple[str, ...] | None = None) -> AsyncIterator[RunningService]:
    settings = settings_for("worker", place.worker, place.broker, place.prefix)
    async with RunningService(worker, settings, roles=roles) as running:
        yield running


@asynccontextmanager
async def _process(place: Place) -> AsyncIterator[ForkedProcess]:
    process = await forked("tests.integration.runtime.workers", place.worker, place.broker, place.prefix)
    try:
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _publish(source: RunningService, numbers: range, keys: list[str] = _KEYS) -> None:
    for number in numbers:
        async with source.transaction() as tx:
            for key in keys:
                tx.publish(Numbered(key, number))


async def _effects(running: RunningService) -> list[tuple[str, int]]:
    async with running.transaction() as tx:
        rows = await tx.connection.execute(text("SELECT key, number FROM effect ORDER BY position"))
        return [(key, number) for key, number in rows]


async def _wait_for(running: RunningService, wanted: int, seconds: float = 90.0) -> list[tuple[str, int]]:
    async with asyncio.timeout(seconds):
        while len(found := await _effects(running)) < wanted:  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.05)
    return found


def _assert_once_and_in_order(effects: list[tuple[str, int]], count: int, keys: list[str] = _KEYS) -> None:
    for key in keys:
        assert [number for found, number in effects if found == key] == list(range(count))


async def test_effects_happen_once_although_deliveries_come_twice(place: Place) -> None:
    async with _worker(place) as running, _source(place) as source:
        publish, chance = source.broker.publish, random.Random(1)

        async def publish_some_twice(
            messages: list[OutgoingMessage], timeout_seconds: float, *, log: str = ""
        ) -> object:
            await publish([each for each in messages if chance.random() < 0.1], timeout_seconds, log=log)
            return await publish(messages, timeout_seconds, log=log)

        source.broker.publish = publish_some_twice  # type: ignore[method-assign, assignment] # the fault
        await _publish(source, range(25))
        # The last of each key comes behind all that came twice.
        source.broker.publish = publish  # type: ignore[method-assign] # the fault is over
        await _publish(source, range(25, 26))
        effects = await _wait_for(running, 208)
        assert sorted(effects) == sorted((key, number) for key in _KEYS for number in range(26))


@pytest.mark.slow
async def test_two_processes_share_the_work_and_one_may_be_killed(place: Place) -> None:
    async with _worker(place, roles=()) as watching, _source(place) as source:
        async with _process(place) as first, _process(place):
            publishing = asyncio.create_task(_publish(source, range(40)))
            await _wait_for(watching, 60)
            first.kill()
            await publishing
            effects = await _wait_for(watching, 320, seconds=60)
        _assert_once_and_in_order(effects, 40)


@pytest.mark.slow
async def test_a_killed_process_goes_on_where_it_was(place: Place) -> None:
    async with _worker(place, roles=()) as watching, _source(place) as source:
        publishing = asyncio.create_task(_publish(source, range(40)))
        for wanted in (40, 120):
            async with _process(place) as process:
                await _wait_for(watching, wanted)
                process.kill()
        async with _process(place):
            await publishing
            effects = await _wait_for(watching, 320, seconds=60)
            await _drained(watching)
        _assert_once_and_in_order(effects, 40)


async def test_a_poison_message_parks_its_key_alone_and_can_be_replayed(place: Place) -> None:
    async with _worker(place) as running, _source(place) as source:
        await _publish(source, range(2), [*_KEYS, "poison"])
        await _wait_for(running, 16)
        async with asyncio.timeout(60):
            while len(letters := await running.stores[DEAD_LETTERS].find(DeadLetterFilter())) < 2:  # noqa: ASYNC110 - a test looks from outside
                await asyncio.sleep(0.05)
        assert {letter.reason for letter in letters} == {"attempts-exhausted"}
        actions = DeadLetterActions(running.context)
        for letter in letters:
            number = 100 + int(decode_envelope(letter.document).body.rpartition(b":")[2].rstrip(b"}"))
            await actions.edit(letter.id, b'{"key":"healed","number":%d}' % number, actor="ann", reason="test")
            await actions.replay(letter.id, actor="ann", reason="test")
        effects = await _wait_for(running, 18)
        assert {number for key, number in effects if key == "healed"} == {100, 101}


@pytest.mark.servers
async def test_a_broker_that_was_away_is_caught_up_with(
    postgres_url: str, tmp_path: Path, disposable_nats: RunningServer
) -> None:
    place = Place(f"sqlite:///{tmp_path}/source.db", postgres_url, disposable_nats.url, f"p{new_id().hex[:8]}")
    async with _worker(place) as running, _source(place) as source:
        await _publish(source, range(5))
        await _wait_for(running, 40)
        disposable_nats.kill()
        await _publish(source, range(5, 10))
        assert (await source.stores[OUTBOX].stats()).pending > 0
        await asyncio.to_thread(disposable_nats.start)
        _assert_once_and_in_order(await _wait_for(running, 80), 10)


async def _drained(running: RunningService) -> None:
    async with asyncio.timeout(60):
        while (await running.stores[OUTBOX].stats()).pending:  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.05)
