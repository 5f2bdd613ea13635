"""What a process held is taken over at once where its death is provable, and given back where it stops: with leases
that last ten minutes, nothing here could pass by waiting for them.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.forking import ForkedProcess, forked
from tests.integration.runtime.living import lasting
from tests.integration.runtime.workers import Counted, Numbered, worker

from freehold import Outbox, RunningService, Service, Settings, Transaction
from freehold.leases.store import LEASES, Vouching
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/worker.db"


@asynccontextmanager
async def _process(*arguments: str) -> AsyncIterator[ForkedProcess]:
    process = await forked("tests.integration.runtime.living", *arguments)
    try:
        async with asyncio.timeout(120):
            assert await process.stdout.readline() == b"ready\n", "it ended"
        yield process
    finally:
        await process.end()


@asynccontextmanager
async def _stores(url: str) -> AsyncIterator[tuple[Stores, Vouching]]:
    stores = open_stores(url)
    await stores.database.open()
    await stores.database.upgrade()
    leases = stores[LEASES]
    assert isinstance(leases, Vouching)
    yield stores, leases
    await stores.database.close()


async def _eventually(condition: Callable[[], Any], seconds: float = 90.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.05)


async def test_a_killed_process_is_gone_and_a_frozen_one_is_not(database: str) -> None:
    async with _stores(database) as (_, vouching), _process("vouch", database, "other") as process:
        assert await vouching.gone(["other"]) == set()
        process.send_signal(signal.SIGSTOP)
        for _ in range(5):
            assert await vouching.gone(["other"]) == set()
            await asyncio.sleep(0.05)
        process.kill()
        await _eventually(lambda: _is_gone(vouching, "other"))
        for _ in range(2):
            assert await vouching.gone(["other", "stranger"]) == {"other"}, "whoever asks next is told as well"


async def test_nothing_is_said_of_a_process_that_ended_by_itself(database: str) -> None:
    async with _stores(database) as (_, vouching), _process("vouch", database, "other") as process:
        process.stdin.close()
        assert await process.wait() == 0
        assert await vouching.gone(["other"]) == set()


async def test_a_child_that_lives_on_is_no_proof(tmp_path: Path) -> None:
    """It has its parent's file open: nothing is proved then."""
    url = f"sqlite:///{tmp_path}/worker.db"
    async with _stores(url) as (_, vouching), _process("fork", url, "other") as process:
        process.kill()
        await process.wait()
        assert await vouching.gone(["other"]) == set()
        for pid in _with_open(tmp_path / "worker.db.alive"):
            os.kill(pid, signal.SIGKILL)
        await _eventually(lambda: _is_gone(vouching, "other"))


@pytest.mark.servers
async def test_a_session_that_is_lost_is_made_anew_while_the_process_lives(postgres_url: str) -> None:
    async with _stores(postgres_url) as (_, vouching), _stores(postgres_url) as (_, others):
        vouch = await vouching.vouch("me")
        assert vouch is not None
        connection = await asyncpg.connect(postgres_url)
        await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted"
        )
        await connection.close()
        await _eventually(lambda: _is_gone(others, "me"))
        await _eventually(lambda: _lost(vouch))
        again = await vouching.vouch("me")
        assert again is not None
        assert await others.gone(["me"]) == set()
        await vouch.release()
        assert await again.is_valid(), "what was lost cannot be released"
        await again.release()


@pytest.mark.servers
async def test_behind_a_proxy_nothing_is_proved(postgres_url: str) -> None:
    async with _stores(f"{postgres_url}?statement_cache_size=0") as (stores, vouching):
        assert await vouching.vouch("me") is None
        assert await vouching.gone(["me"]) == set()
        assert not stores.database.features.proves_death


@pytest.mark.servers
async def test_rows_of_the_dead_are_deleted_once_no_lease_names_them(postgres_url: str) -> None:
    async with _stores(postgres_url) as (stores, vouching):
        async with _process("vouch", postgres_url, "other") as process:
            await stores[LEASES].ensure(["outbox/0"])
            (seen,) = await stores[LEASES].list("outbox/")
            assert await stores[LEASES].acquire(seen, "other")
            process.kill()
            await process.wait()
        await _eventually(lambda: _is_gone(vouching, "other"))
        first = await vouching.vouch("first")
        assert [each.name for each in await stores[LEASES].list("alive/")] == ["alive/first", "alive/other"]
        (seen,) = await stores[LEASES].list("outbox/")
        assert await stores[LEASES].acquire(seen, "first")
        second = await vouching.vouch("second")
        assert [each.name for each in await stores[LEASES].list("alive/")] == ["alive/first", "alive/second"]
        assert first is not None
        assert second is not None
        await first.release()
        await second.release()
        assert await stores[LEASES].list("alive/") == []


async def test_the_work_of_a_killed_service_goes_on_at_once(database: str, tmp_path: Path) -> None:
    broker = f"embedded:///{tmp_path}/broker.db"
    async with _source(tmp_path, broker) as (source, heard):
        async with _process("work", database, broker) as process:
            await _tell(source, 1)
            await _eventually(lambda: heard == [1])
            process.kill()
            await process.wait()
        await _tell(source, 2)
        async with RunningService(worker, lasting("worker", database, broker)):
            await _eventually(lambda: heard == [1, 2])


async def test_a_service_that_a_signal_stops_gives_everything_back(database: str, tmp_path: Path) -> None:
    broker = f"embedded:///{tmp_path}/broker.db"
    async with _source(tmp_path, broker) as (source, heard):
        for number in (1, 2):
            async with _process("work", database, broker) as process:
                await _tell(source, number)
                await _eventually(partial(_heard, heard, number))
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 60) == 0
            async with _stores(database) as (stores, _):
                assert {(each.name, each.owner) for each in await stores[LEASES].list("") if each.owner} == set()
    assert [path.name for path in tmp_path.iterdir() if path.suffix in {".alive", ".wake"}] == []


async def test_an_outbox_that_is_opened_again_relays_at_once(database: str, tmp_path: Path) -> None:
    broker = f"embedded:///{tmp_path}/broker.db"
    for _ in range(3):
        async with Outbox("worker", database, broker, lease_seconds=600.0) as outbox:
            async with outbox.running.transaction() as tx:
                tx.publish(Counted("k", 1))
            await _eventually(lambda: _relayed(outbox.running))


async def test_a_frozen_service_keeps_its_leases_and_is_named(tmp_path: Path) -> None:
    database, broker = f"sqlite:///{tmp_path}/worker.db", f"embedded:///{tmp_path}/broker.db"
    settings = Settings.load("worker", environ={}, database=database, broker=broker, lease_seconds=6.0)
    async with _process("work", database, broker) as process:
        async with _stores(database) as (stores, _):
            await _eventually(lambda: _all_held(stores))
        await asyncio.sleep(0.5)  # it is not to be frozen in the middle of a write: nobody could write then
        process.send_signal(signal.SIGSTOP)
        async with RunningService(worker, settings, roles=("relay",)) as running:
            async with running.transaction() as tx:
                tx.publish(Counted("k", 1))

            async def told() -> bool:
                readiness = await running.readiness()
                return readiness.ready and "silent for" in readiness.notices.get("leases outbox/", "")

            await _eventually(told)
            await _eventually(lambda: _relayed(running))
        process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def _source(tmp_path: Path, broker: str) -> AsyncIterator[tuple[RunningService, list[int]]]:
    """A service beside, which tells numbers and hears that they were counted."""
    service, heard = Service("source"), list[int]()

    @service.handles(Counted)
    async def counted(event: Counted, tx: Transaction) -> None:
        heard.append(event.number)

    async with RunningService(service, lasting("source", f"sqlite:///{tmp_path}/source.db", broker)) as source:
        yield source, heard


async def _tell(source: RunningService, number: int) -> None:
    async with source.transaction() as tx:
        tx.publish(Numbered("k", number))


async def _all_held(stores: Stores) -> bool:
    return all(each.owner for each in await stores[LEASES].list("outbox/"))


def _heard(heard: list[int], number: int) -> bool:
    return number in heard


async def _relayed(running: RunningService) -> bool:
    return (await running.stores[OUTBOX].stats()).pending == 0


async def _is_gone(vouching: Vouching, owner: str) -> bool:
    return owner in await vouching.gone([owner])


async def _lost(vouch: Any) -> bool:
    return not await vouch.is_valid()


def _with_open(directory: Path) -> list[int]:
    """Processes that have a file of a directory open."""
    found = []
    for place in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if place.readlink().is_relative_to(directory) and int(place.parts[2]) != os.getpid():
                found.append(int(place.parts[2]))
    return found
