"""The broker's file is deleted, replaced, emptied or moved while processes have it open: all of them go on in what is
there afterwards, nothing is confirmed that went into a file that is gone, and no position of one counts in another."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from tests.integration.looking import STATS_MAX, in_stats

from freehold.adapters.embedded import adapter
from freehold.adapters.embedded.broker import EmbeddedBroker
from freehold.adapters.files.marks import Marks, Paths
from freehold.broker import BrokerOptions, Noticing, PublishConfirmed, Subscription
from freehold.conformance.broker_harness import (
    TOPIC,
    collect,
    eventually,
    fetch,
    key_of,
    members_until,
    messages,
    publish,
)
from freehold.errors import ConfigurationError, LeaseLost, Unavailable

OPTIONS = BrokerOptions(partitions=4, lease_seconds=1.5, connect_timeout_seconds=3.0)
HEALED_SECONDS = 60.0
KEYS = [f"k{number}" for number in range(8)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "broker").mkdir()
    return tmp_path / "broker" / "broker.db"


@pytest.fixture
async def broker(path: Path) -> AsyncIterator[EmbeddedBroker]:
    broker = adapter.broker(f"embedded:///{path}", OPTIONS)
    await broker.open()
    yield broker
    await broker.close()


@pytest.fixture(scope="module")
def process() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.integration.broker.file_worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.fixture
def worker(
    path: Path, broker: EmbeddedBroker, tmp_path: Path, process: subprocess.Popen[str]
) -> Callable[[], list[str]]:
    """Another process that consumes; returns what it was handed."""
    seen = tmp_path / "seen"
    assert process.stdin is not None
    process.stdin.write(f"embedded:///{path} {seen}\n")
    process.stdin.flush()
    deadline = time.monotonic() + 60.0
    while not (seen.exists() and seen.read_text()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return lambda: seen.read_text().split("\n")[1:-1]


async def _confirm(broker: EmbeddedBroker, first: int, count: int) -> list[str]:
    """Publish until every message was confirmed, as a relay does."""
    confirmed: list[str] = []
    for message in messages(KEYS, count, first):
        deadline = time.monotonic() + HEALED_SECONDS
        while True:
            with suppress(Unavailable):
                if isinstance((await broker.publish([message], 2.0))[0], PublishConfirmed):
                    break
            assert time.monotonic() < deadline, "nothing was confirmed in time"
            await asyncio.sleep(0.05)
        confirmed.append(message.document.decode())
    return confirmed


async def _come(worker: Callable[[], list[str]], wanted: list[str]) -> None:
    """See them come within the limit, those of each key in order."""

    async def all_came() -> bool:
        return set(wanted) <= set(worker())

    await eventually(all_came, HEALED_SECONDS)
    came = [document for document in dict.fromkeys(worker()) if document in set(wanted)]
    for key in KEYS:
        of_key = [document for document in came if key_of(document) == key]
        assert of_key == [document for document in wanted if key_of(document) == key]


def _delete(path: Path) -> None:
    path.unlink()


def _delete_all(path: Path) -> None:
    for each in path.parent.glob("broker.db*"):
        if each.is_file():
            each.unlink()


def _delete_directory(path: Path) -> None:
    shutil.rmtree(path.parent)


def _replace_by_empty(path: Path) -> None:
    path.unlink()
    path.touch()


def _truncate(path: Path) -> None:
    os.truncate(path, 0)


LOSING = [_delete, _delete_all, _delete_directory, _replace_by_empty, _truncate]


@pytest.mark.parametrize("lose", LOSING)
async def test_a_file_that_is_gone_is_made_anew_and_all_go_on(
    lose: Callable[[Path], None],
    path: Path,
    broker: EmbeddedBroker,
    worker: Callable[[], list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = await broker.log_identity()
    await _come(worker, await _confirm(broker, 0, 40))
    lose(path)
    await _come(worker, await _confirm(broker, 100, 40))
    assert await broker.log_identity() != log
    (finding,) = [each for each in await broker.run_checks() if each.subject == "broker log"]
    assert "replaced 20" in finding.detail
    assert "freehold outbox resend" in finding.fix
    said = [record.getMessage() for record in caplog.records if "continues in another file" in record.getMessage()]
    assert len(said) == 1, "once for a process and a file"
    # Again, in what was made.
    lose(path)
    await _come(worker, await _confirm(broker, 200, 40))


def _delete_wal(path: Path) -> None:
    Paths.of(path).wal.unlink()


def _delete_shm(path: Path) -> None:
    Paths.of(path).shm.unlink()


def _delete_both(path: Path) -> None:
    _delete_wal(path)
    _delete_shm(path)


def _move_and_put_back(path: Path) -> None:
    away = path.with_name("away")
    path.rename(away)
    time.sleep(0.2)
    away.rename(path)


@pytest.mark.parametrize("lose", [_delete_wal, _delete_shm, _delete_both, _move_and_put_back])
async def test_what_is_only_torn_loses_nothing(
    lose: Callable[[Path], None], path: Path, broker: EmbeddedBroker, worker: Callable[[], list[str]]
) -> None:
    log = await broker.log_identity()
    before = await _confirm(broker, 0, 40)
    lose(path)
    after = await _confirm(broker, 100, 40)
    await _come(worker, [*before, *after])
    assert await broker.log_identity() == log
    late = await broker.subscribe(Subscription("late", frozenset({TOPIC})))
    assert set(await collect(late, 80)) == {*before, *after}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _copied(path: Path, target: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection, closing(sqlite3.connect(target)) as copy:
        connection.backup(copy)
    return target


async def test_an_older_copy_is_another_log(
    path: Path, broker: EmbeddedBroker, worker: Callable[[], list[str]], tmp_path: Path
) -> None:
    """Its numbers are given again: what was known of them in the file that it replaces must not pass over messages."""
    await _come(worker, await _confirm(broker, 0, 16))
    older = _copied(path, tmp_path / "older.db")
    await _come(worker, await _confirm(broker, 100, 40))
    log = await broker.log_identity()
    older.replace(path)
    await _come(worker, await _confirm(broker, 200, 40))
    assert await broker.log_identity() != log


async def test_a_smaller_copy_that_is_written_over_the_file_is_another_log(
    path: Path, broker: EmbeddedBroker, worker: Callable[[], list[str]], tmp_path: Path
) -> None:
    await _come(worker, await _confirm(broker, 0, 16))
    older = _copied(path, tmp_path / "older.db")
    await publish(broker, messages(["k0" * 4000], 200, topic="nobody.reads"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    _, write = broker._threads()
    write._reset()
    await _confirm(broker, 50, 8)
    shutil.copyfile(older, path)
    await _come(worker, await _confirm(broker, 200, 40))


async def test_an_older_copy_of_the_same_size_that_is_written_over_the_file_is_another_log(
    path: Path, broker: EmbeddedBroker, worker: Callable[[], list[str]], tmp_path: Path
) -> None:
    """Nothing but what it holds shows that it is older."""
    await _come(worker, await _confirm(broker, 0, 16))
    await publish(broker, messages(["k0" * 4000], 200, topic="nobody.reads"))
    older = tmp_path / "older.db"
    with closing(sqlite3.connect(path)) as connection, closing(sqlite3.connect(older)) as target:
        connection.execute("DELETE FROM message WHERE topic LIKE '%nobody.reads'")
        connection.commit()
        connection.backup(target)
    log = await broker.log_identity()
    await _come(worker, await _confirm(broker, 100, 40))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    await _come(worker, await _confirm(broker, 150, 8))
    assert older.stat().st_size == path.stat().st_size
    assert await broker.log_identity() == log
    shutil.copyfile(older, path)
    await _come(worker, await _confirm(broker, 200, 40))
    assert await broker.log_identity() != log
    (finding,) = [each for each in await broker.run_checks() if each.subject == "broker log"]
    assert "overwritten by an older copy" in finding.detail
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_foreign_file_is_an_outage_until_it_is_taken_away(
    path: Path, broker: EmbeddedBroker, worker: Callable[[], list[str]], tmp_path: Path
) -> None:
    await _come(worker, await _confirm(broker, 0, 16))
    foreign = tmp_path / "foreign.db"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    shutil.copyfile(foreign, tmp_path / "kept.db")
    foreign.replace(path)
    with pytest.raises(Unavailable, match="the broker's file is the database of another program"):
        await broker.publish(messages(["k0"], 1), 1.0)
    with pytest.raises(Unavailable, match="the database of another program"):
        await broker.ping(1.0)
    with pytest.raises(ConfigurationError, match="the database of another program"):
        await adapter.broker(f"embedded:///{path}", OPTIONS).open()
    assert path.read_bytes() == (tmp_path / "kept.db").read_bytes(), "nothing was written into it"
    path.unlink()
    await _come(worker, await _confirm(broker, 200, 40))


async def test_a_file_that_comes_back_after_another_was_made_is_gone_on_with(
    path: Path, broker: EmbeddedBroker, worker: Callable[[], list[str]]
) -> None:
    log = await broker.log_identity()
    before = await _confirm(broker, 0, 40)
    away = path.with_name("away.db")
    path.rename(away)
    await _come(worker, await _confirm(broker, 100, 16))
    away.rename(path)
    await _come(worker, await _confirm(broker, 200, 40))
    assert await broker.log_identity() == log
    late = await broker.subscribe(Subscription("late", frozenset({TOPIC})))
    assert set(before) <= set(await collect(late, 80)), "what was in its -wal when it was moved is there too"


async def test_a_commit_into_a_file_that_is_gone_is_not_confirmed(path: Path, broker: EmbeddedBroker) -> None:
    _, write = broker._threads()
    blocked = write.run(lambda _: path.unlink())
    stored = broker.publish(messages(["k0"], 1), 2.0)
    told = await asyncio.gather(blocked, stored, return_exceptions=True)
    assert all(isinstance(each, Unavailable) for each in told), told
    assert "did not keep what was written" in str(told[0]), "the other may have been begun later"


async def test_a_batch_of_a_file_that_is_gone_moves_no_position(path: Path, broker: EmbeddedBroker) -> None:
    consumer = await broker.subscribe(Subscription("readers", frozenset({TOPIC})))
    await publish(broker, messages(["k0"], 5))
    batch = await fetch(consumer)
    path.unlink()
    after = await _confirm(broker, 100, 5)
    with pytest.raises(LeaseLost):
        await batch.ack(len(batch.deliveries))
    assert set(await collect(consumer, 5)) == set(after)
    assert isinstance(consumer, Noticing)
    assert "log was replaced" in consumer.notice


async def test_a_position_of_one_log_reads_nothing_of_another(path: Path, broker: EmbeddedBroker) -> None:
    """Without the keeper, which is slower than the reads: what is behind the old position is not delivered."""
    consumer = await broker.subscribe(Subscription("readers", frozenset({TOPIC})))
    await publish(broker, messages(["k0"], 5))
    assert len(await collect(consumer, 5)) == 5
    await consumer.pause()
    path.unlink()
    await _confirm(broker, 100, 80)
    assert await consumer.fetch(100, 1.0) is None
    await consumer.close()


async def test_records_that_are_gone_are_made_again(path: Path, broker: EmbeddedBroker) -> None:
    consumer = await broker.subscribe(Subscription("readers", frozenset({TOPIC})))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM progress")
        connection.execute("DELETE FROM member")
        connection.commit()
    await publish(broker, messages(KEYS, 16))
    assert len(await collect(consumer, 16)) == 16


async def test_tables_that_are_gone_are_made_again(path: Path, broker: EmbeddedBroker) -> None:
    consumer = await broker.subscribe(Subscription("readers", frozenset({TOPIC})))
    with closing(sqlite3.connect(path)) as connection:
        for table in ("progress", "member", "message", "setting"):
            connection.execute(f"DROP TABLE {table}")
        connection.commit()
    wanted = await _confirm(broker, 0, 16)
    seen: list[str] = []

    async def work() -> None:
        await members_until(consumer, seen, lambda: set(wanted) <= set(seen))

    await asyncio.wait_for(work(), HEALED_SECONDS)


async def test_a_process_that_starts_while_the_wal_is_deleted_waits_for_those_who_have_it(
    path: Path, broker: EmbeddedBroker
) -> None:
    before = await _confirm(broker, 0, 20)
    _delete_both(path)
    second = adapter.broker(f"embedded:///{path}", BrokerOptions(partitions=4, connect_timeout_seconds=0.2))
    with pytest.raises(Unavailable, match="other processes have it open"):
        await second.open()
    await broker.ping(2.0)
    await second.open()
    consumer = await second.subscribe(Subscription("late", frozenset({TOPIC})))
    assert set(await collect(consumer, 20)) == set(before)
    await second.close()


async def test_a_look_at_the_file_costs_a_few_microseconds(path: Path, broker: EmbeddedBroker) -> None:
    read, _ = broker._threads()
    await broker.ping(2.0)
    opened = read._open
    assert opened is not None
    assert not opened.change()
    assert in_stats(opened.change, path) < STATS_MAX


def test_what_happened_is_told_in_words() -> None:
    marks = Marks((1, 2), 3, 4, 100)
    assert not marks.change(Marks((1, 2), 3, 4, 200))
    changed = {
        "deleted or moved": None,
        "emptied": Marks((1, 2), 3, 4, 0),
        "replaced": Marks((1, 9), 3, 4, 100),
        "overwritten": Marks((1, 2), 3, 4, 50),
        "the -wal or -shm": Marks((1, 2), None, 4, 100),
        "-shm of its file": Marks((1, 2), 3, 9, 100),
    }
    for words, now in changed.items():
        assert words in marks.change(now)
        assert marks.change(now).endswith("while it was open")
