"""The embedded broker's file is full, read-only, locked, out of reach or damaged: an outage with its reason, and none
of the messages is rejected."""

from __future__ import annotations

import os
import resource
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from freehold.adapters.embedded import adapter
from freehold.adapters.embedded.broker import EmbeddedBroker
from freehold.broker import BrokerOptions, Subscription
from freehold.conformance.broker_harness import TOPIC, collect, messages, publish
from freehold.errors import Unavailable

OPTIONS = BrokerOptions(partitions=2, lease_seconds=1.5, connect_timeout_seconds=1.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "broker.db"


@pytest.fixture
async def broker(path: Path) -> AsyncIterator[EmbeddedBroker]:
    broker = adapter.broker(f"embedded:///{path}", OPTIONS)
    await broker.open()
    yield broker
    await broker.close()


async def _heals(broker: EmbeddedBroker, first: int = 1) -> None:
    """What waited is stored now, and comes in the order of its key."""
    await publish(broker, messages(["k"], 2, first))
    consumer = await broker.subscribe(Subscription("g", frozenset({TOPIC})))
    assert await collect(consumer, 2 + first) == [f"k:{number}" for number in range(2 + first)]


async def test_a_full_disk(broker: EmbeddedBroker) -> None:
    await publish(broker, messages(["k"], 1))
    _, write = broker._threads()
    pages = await write.run(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
    await write.run(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(Unavailable, match="the broker's file cannot grow: the disk is full") as caught:
        await broker.publish(messages(["k" * 4000], 20), 2.0)
    assert "make room" in caught.value.hint
    await _heals(broker)


async def test_a_read_only_file(broker: EmbeddedBroker) -> None:
    await publish(broker, messages(["k"], 1))
    _, write = broker._threads()
    assert write._open is not None
    write._open.connection.execute("PRAGMA query_only = ON")
    with pytest.raises(Unavailable, match="the broker's file is read-only"):
        await broker.publish(messages(["k"], 1), 2.0)
    await _heals(broker)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
async def test_a_file_and_a_directory_without_the_right_to_write(path: Path) -> None:
    broker = adapter.broker(f"embedded:///{path}", OPTIONS)
    await broker.open()
    await broker.close()
    for target, locked, free in ((path, 0o444, 0o644), (path.parent, 0o555, 0o755)):
        target.chmod(locked)
        with pytest.raises(Unavailable, match=r"read-only|cannot be opened"):
            await broker.open()
        target.chmod(free)
    await broker.open()
    await publish(broker, messages(["k"], 1))
    await _heals(broker)
    await broker.close()


async def test_a_locked_file(broker: EmbeddedBroker, path: Path) -> None:
    await publish(broker, messages(["k"], 1))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="the broker's file is locked by another process"):
            await broker.publish(messages(["k"], 1), 0.1)
        other.execute("ROLLBACK")
    await _heals(broker)


@contextmanager
def _no_descriptors() -> Iterator[None]:
    """Take every file descriptor that this process may still open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    taken: list[int] = []
    try:
        while True:
            try:
                taken.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files by /proc")
async def test_no_file_descriptor(broker: EmbeddedBroker) -> None:
    await publish(broker, messages(["k"], 1))
    read, write = broker._threads()
    read._reset()
    write._reset()
    with _no_descriptors(), pytest.raises(Unavailable, match="no file descriptor is free"):
        await broker.publish(messages(["k"], 1), 1.0)
    await _heals(broker)


async def test_without_descriptors_for_sockets_it_polls(path: Path) -> None:
    """A new file cannot be opened then, but what is open goes on."""
    broker = adapter.broker(f"embedded:///{path}", OPTIONS)
    await broker.open()
    await publish(broker, messages(["k"], 1))
    await broker.ping(5.0)
    with _no_descriptors():
        consumer = await broker.subscribe(Subscription("g", frozenset({TOPIC})))
        await publish(broker, messages(["k"], 1, 1))
        assert await collect(consumer, 2) == ["k:0", "k:1"]
    await broker.close()


async def test_a_file_that_is_no_database_is_an_outage_until_it_is_restored(path: Path) -> None:
    path.write_bytes(b"this is no database at all, but a text of some length" * 50)
    broker = adapter.broker(f"embedded:///{path}", OPTIONS)
    with pytest.raises(Unavailable, match="the broker's file is no SQLite database") as caught:
        await broker.open()
    assert "restore it" in caught.value.hint
    path.unlink()
    await broker.open()
    await publish(broker, messages(["k"], 1))
    await _heals(broker)
    await broker.close()


async def test_a_damaged_file(path: Path) -> None:
    broker = adapter.broker(f"embedded:///{path}", OPTIONS)
    await broker.open()
    await publish(broker, messages([f"k{number}" for number in range(50)], 200))
    await broker.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    with pytest.raises(Unavailable, match="the broker's file is damaged"):
        await broker.open()
        await broker.publish(messages(["k"], 1), 1.0)
    await broker.close()
    path.write_bytes(whole)
    await broker.open()
    await publish(broker, messages(["k"], 1))
    await broker.close()


async def test_a_locked_file_can_be_opened_and_read(broker: EmbeddedBroker, path: Path) -> None:
    """By commands that look at it, and by services that are started: nothing of it has to be written for that."""
    await publish(broker, messages(["k"], 1))
    consumer = await broker.subscribe(Subscription("g", frozenset({TOPIC})))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        another = adapter.broker(f"embedded:///{path}", OPTIONS)
        await another.open()
        assert [each.pending for each in await another.lag("g")] == [1]
        with pytest.raises(Unavailable, match="locked by another process"):
            await another.publish(messages(["k"], 1), 0.2)
        await another.close()
        other.rollback()
    await consumer.close()
