"""What is particular to the broker in a file: its bounds, its sockets, its threads."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from freehold.adapters.embedded import adapter
from freehold.adapters.embedded.log import EmbeddedLog
from freehold.adapters.embedded.threads import ReadThread
from freehold.adapters.embedded.wake import MESSAGES, REGROUP, WakeListener, WakeNotifier, wake_directory
from freehold.broker import BrokerOptions, Subscription
from freehold.conformance.broker_harness import TOPIC, collect, eventually, messages, publish
from freehold.errors import ConfigurationError, Unavailable
from freehold.groups.log import TopicPartition

OPTIONS = BrokerOptions(partitions=2, lease_seconds=1.5, connect_timeout_seconds=6.0)


def _count(path: Path, topic: str = "") -> int:
    with sqlite3.connect(path) as connection:
        found: int = connection.execute("SELECT count(*) FROM message WHERE topic LIKE ?", (f"%{topic}",)).fetchone()[0]
    return found


async def test_above_the_number_to_keep_only_what_somebody_needs_stays(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    broker = adapter.broker(f"embedded:///{path}?keep=20", OPTIONS)
    await broker.open()
    slow = await broker.subscribe(Subscription("slow", frozenset({"conformance.events"})))
    fast = await broker.subscribe(Subscription("fast", frozenset({"conformance.events"})))
    await publish(broker, messages(["a", "b"], 100))
    await collect(fast, 100)
    await publish(broker, messages(["unread"], 1, topic="nobody.reads"))
    assert _count(path) == 101
    assert len(await collect(slow, 100)) == 100

    async def pruned() -> bool:
        await publish(broker, messages(["unread"], 1, topic="nobody.reads"))
        return _count(path, "conformance.events") == 0

    await eventually(pruned)
    assert _count(path, "nobody.reads") > 1
    await broker.close()


async def test_many_writes_at_once_share_commits(tmp_path: Path) -> None:
    broker = adapter.broker(f"embedded:///{tmp_path}/broker.db", OPTIONS)
    await broker.open()
    await asyncio.gather(*(publish(broker, messages([f"k{number}"], 1)) for number in range(200)))
    consumer = await broker.subscribe(Subscription("g", frozenset({"conformance.events"})))
    assert len(await collect(consumer, 200)) == 200
    await broker.close()
    with pytest.raises(Unavailable):
        await broker.publish(messages(["k"], 1), 1.0)


async def test_a_path_too_long_for_a_socket_still_wakes(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    directory = wake_directory(deep / "broker.db")
    assert len(str(directory)) < 60
    heard = asyncio.Event()
    listener, notifier = WakeListener(directory), WakeNotifier(directory)
    listener.open("m" * 36, lambda: None, heard.set)
    notifier.notify(["m" * 36], REGROUP)
    await asyncio.wait_for(heard.wait(), 60.0)
    listener.close()
    notifier.close()
    assert not directory.exists()


async def test_the_last_to_leave_takes_the_directory_away(tmp_path: Path) -> None:
    directory = tmp_path / "broker.db.wake"
    first, last = WakeListener(directory), WakeListener(directory)
    first.open("first", lambda: None, lambda: None)
    last.open("last", lambda: None, lambda: None)
    first.close()
    assert [each.name for each in directory.iterdir()] == ["last"]
    last.close()
    assert not directory.exists()
    last.close()


async def test_who_comes_when_the_last_leaves_is_still_woken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory goes away between its making and the binding, and while it is looked at whether it is there."""
    directory, make, left = tmp_path / "broker.db.wake", Path.mkdir, [FileNotFoundError, FileExistsError]

    def made_in_vain(path: Path, **options: Any) -> None:
        make(path, **options)
        if left:
            path.rmdir()
            if left.pop() is FileExistsError:
                raise FileExistsError

    monkeypatch.setattr(Path, "mkdir", made_in_vain)
    heard = asyncio.Event()
    listener, notifier = WakeListener(directory), WakeNotifier(directory)
    listener.open("member", heard.set, lambda: None)
    notifier.notify(["member"], MESSAGES)
    await asyncio.wait_for(heard.wait(), 60.0)
    listener.close()
    notifier.close()
    assert not left


async def test_a_socket_that_nobody_listens_at_is_removed(tmp_path: Path) -> None:
    dead = tmp_path / "dead"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(dead))
    listener.close()
    notifier = WakeNotifier(tmp_path)
    notifier.notify(["dead", "never-there"], REGROUP)
    notifier.close()
    assert not dead.exists()


async def test_without_sockets_it_polls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WakeNotifier, "notify", lambda *_: None)
    broker = adapter.broker(f"embedded:///{tmp_path}/broker.db", OPTIONS)
    await broker.open()
    consumer = await broker.subscribe(Subscription("g", frozenset({"conformance.events"})))
    waiting = asyncio.create_task(collect(consumer, 1))
    await asyncio.sleep(0.05)
    await publish(broker, messages(["k"], 1))
    assert await waiting == ["k:0"]
    await broker.close()


@pytest.mark.parametrize("url", ["embedded://", "embedded:///", "embedded:///a.db?sync=full", "embedded://host/a.db"])
def test_a_url_that_cannot_be_meant_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="embedded:///relative"):
        adapter.broker(url, OPTIONS)


async def test_other_places_are_read_ahead_and_what_was_not_acknowledged_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hop reads for all; what was read ahead is never delivered from where the place does not stand any more."""
    reads: list[object] = []
    run = ReadThread.run

    async def counted(lane: ReadThread, work: Any, limit_seconds: float | None = None) -> Any:
        reads.append(work)
        return await run(lane, work, limit_seconds)

    broker = adapter.broker(f"embedded:////{tmp_path}/broker.db", BrokerOptions(partitions=8, lease_seconds=60.0))
    await broker.open()
    consumer = await broker.subscribe(Subscription(group="readers", topics=frozenset({TOPIC})))
    await publish(broker, messages([f"k{number}" for number in range(16)], 160))
    monkeypatch.setattr(ReadThread, "run", counted)
    seen: dict[int, list[int]] = {}
    while sum(map(len, seen.values())) < 160:
        batch = await consumer.fetch(200, 30.0)
        assert batch is not None
        numbers = [int(each.document.rpartition(b":")[2]) for each in batch.deliveries]
        done = len(numbers) if batch.partition in seen else len(numbers) // 2
        seen.setdefault(batch.partition, []).extend(numbers[:done])
        await batch.ack(done)
    await broker.close()
    assert sorted(number for numbers in seen.values() for number in numbers) == list(range(160))
    assert all(numbers == sorted(numbers) for numbers in seen.values())
    assert len(reads) < 2 * len(seen)


@dataclass
class Log:
    """The log of a consumer, and what its places hold; `hops` counts the reads of messages, `between` goes along."""

    log: EmbeddedLog
    stored: dict[TopicPartition, list[int]]
    hops: int = 0
    between: Callable[[], Awaitable[None]] | None = None

    async def read(self, place: TopicPartition, after: int, limit: int) -> list[int]:
        return [entry.number for entry in await self.log.read(place, after, limit)]

    @property
    def ahead(self) -> dict[TopicPartition, int]:
        return {place: len(entries) for place, (_, entries) in self.log._ahead.items()}


@pytest.fixture
async def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Log]:
    path = tmp_path / "broker.db"
    broker = adapter.broker(f"embedded:///{path}", BrokerOptions(partitions=4, lease_seconds=60.0))
    await broker.open()
    consumer = await broker.subscribe(Subscription("g", frozenset({TOPIC})))
    await publish(broker, messages([f"k{number}" for number in range(16)], 160))
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT part, seq FROM message ORDER BY seq").fetchall()
    stored = {TopicPartition(TOPIC, part): [seq for each, seq in rows if each == part] for part, _ in rows}
    assert isinstance(consumer._log, EmbeddedLog)
    await consumer._log.refresh()
    reading = Log(consumer._log, stored)
    run = ReadThread.run

    async def counted(lane: ReadThread, work: Any, limit_seconds: float | None = None) -> Any:
        result = await run(lane, work, limit_seconds)
        if work.__qualname__.startswith("EmbeddedLog.read."):
            reading.hops += 1
            if reading.between is not None:
                await reading.between()
        return result

    monkeypatch.setattr(ReadThread, "run", counted)
    yield reading
    await broker.close()


async def test_what_was_read_ahead_is_for_who_stands_there(reading: Log) -> None:
    stored = reading.stored
    first, *_ = stored
    assert await reading.read(first, 0, 3) == stored[first][:3]
    ((second, number),) = reading.ahead.items()
    assert number == 3
    third, *_ = stored.keys() - {first, second}
    assert await reading.read(third, 0, 4) == stored[third][:4]
    assert reading.ahead[second] == 3
    assert sum(reading.ahead.values()) == 7, "of others than those that were read ahead already"
    assert await reading.read(second, 0, 2) == stored[second][:2]
    assert reading.hops == 2
    assert await reading.read(first, stored[first][2], 4) == stored[first][3:7]
    before = reading.hops
    assert await reading.read(second, stored[second][1], 1) == stored[second][2:3]
    assert reading.hops == before, "what is read ahead begins behind what was delivered"
    assert await reading.read(third, stored[third][3], 4) == stored[third][4:8]
    assert await reading.read(second, 0, 2) == stored[second][:2], "nothing was acknowledged, so it comes again"
    assert await reading.read(third, stored[third][7], 2) == stored[third][8:10]


async def test_what_is_read_ahead_is_bounded_and_goes_with_its_place(reading: Log) -> None:
    first, *others = reading.stored
    limit = sum(len(reading.stored[each]) for each in others) - 5
    await reading.read(first, 0, limit)
    assert reading.ahead.keys() == set(others)
    assert sum(reading.ahead.values()) == limit, "of all others together as many as were asked for"
    for place in others:
        await reading.log.stop_reading(place)
        assert place not in reading.ahead
        await reading.log.start_reading(place, 0)

    async def lose() -> None:
        await reading.log.stop_reading(others[0])

    reading.between = lose
    await reading.read(first, 0, limit)
    assert reading.ahead.keys() == set(others[1:])
