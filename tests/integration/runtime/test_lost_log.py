"""A broker that loses everything while services work: what it had confirmed is sent again, and has its effect once."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from freehold import RunningService, Saga, Service, Settings, Transaction, command, event, step
from freehold.broker import BrokerOptions
from freehold.consistency import ConsistencyToken, Fresh, Stale
from freehold.outbox.log_watch import check_logs
from freehold.outbox.operations import Resend, Resent
from freehold.outbox.store import OUTBOX
from freehold.saga.store import SAGAS, SagaFilter

pytestmark = pytest.mark.timeout(240)


@event("store.sold", key="key")
class Sold:
    key: str
    number: int


@command("vault.lock", key="key")
class Lock:
    key: str


@dataclass(frozen=True, slots=True)
class Night:
    key: str


class Closing(Saga[Night], name="store.closing", key="key"):
    lock = step(Lock, no_compensation=True)


@dataclass
class Bench:
    """A store that sells and closes, and a vault that books what was sold; effects are in the vault's own database."""

    store: RunningService
    vault: RunningService
    wipe: Callable[[], None]
    effects: list[tuple[str, int]] = field(default_factory=list)
    token: ConsistencyToken = field(default_factory=ConsistencyToken)

    async def sell(self, *numbers: int) -> None:
        for number in numbers:
            async with self.store.transaction() as tx:
                tx.publish(Sold(f"key-{number % 3}", number))
            self.token = self.token.merged(tx.token)

    async def relayed(self) -> None:
        """Until the outboxes are empty: everything is confirmed."""

        async def empty() -> bool:
            return not any([(await each.stores[OUTBOX].stats()).pending for each in (self.store, self.vault)])

        await _eventually(empty)

    async def resend(self, **options: Any) -> list[Resent]:
        done = []
        for each in (self.store, self.vault):
            resend = Resend(each.context)
            done.append(await resend.run(await resend.plan(), actor="ada", reason="test", **options))
        return done

    async def is_fresh(self) -> bool:
        return await self.vault.freshness.wait(self.token, limit_seconds=0.0) == Fresh()


async def _eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.02)


@pytest.fixture(params=["embedded", pytest.param("servers", marks=pytest.mark.servers)])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    async with _bench(request, tmp_path, retention_seconds=3600.0) as made:
        yield made


def _place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict[str, str], str, Callable[[], None]]:
    """Databases, broker, and what makes it lose everything while it is used."""
    if request.param == "embedded":
        file = tmp_path / "broker.db"

        def delete() -> None:
            for end in ("", "-wal", "-shm"):
                (tmp_path / f"broker.db{end}").unlink(missing_ok=True)

        return {name: f"sqlite:///{tmp_path}/{name}.db" for name in ("store", "vault")}, f"embedded:///{file}", delete
    server = request.getfixturevalue("disposable_nats")
    url = request.getfixturevalue("postgres_url")

    def empty() -> None:
        server.kill()
        shutil.rmtree(server.directory / "jetstream")
        server.start()

    return {"store": url, "vault": f"sqlite:///{tmp_path}/vault.db"}, server.url, empty


def _bench(request: pytest.FixtureRequest, tmp_path: Path, *, retention_seconds: float) -> Any:
    databases, broker, wipe = _place(request, tmp_path)
    prefix = f"t{uuid4().hex[:12]}"

    def settings(name: str) -> Settings:
        return Settings.load(
            name,
            environ={},
            database=databases[name],
            broker=broker,
            broker_options=BrokerOptions(prefix=prefix, partitions=2, connect_timeout_seconds=2.0, lease_seconds=1.0),
            outbox_sent_retention_seconds=retention_seconds,
            poll_seconds=0.1,
        )

    return _Opened(settings, wipe)


class _Opened:
    """The bench as a context: both services run in this process."""

    def __init__(self, settings: Callable[[str], Settings], wipe: Callable[[], None]) -> None:
        effects: list[tuple[str, int]] = []
        store, vault = Service("store"), Service("vault")
        store.orchestrates(Closing)

        @vault.handles(Sold)
        async def sold(message: Sold, tx: Transaction) -> None:
            effects.append((message.key, message.number))

        @vault.handles(Lock)
        async def lock(message: Lock, tx: Transaction) -> None:
            effects.append((message.key, -1))

        self._bench = Bench(
            RunningService(store, settings("store")), RunningService(vault, settings("vault")), wipe, effects
        )

    async def __aenter__(self) -> Bench:
        await self._bench.store.start()
        await self._bench.vault.start()
        return self._bench

    async def __aexit__(self, *_: object) -> None:
        await self._bench.vault.stop()
        await self._bench.store.stop()


async def _noticed(running: RunningService) -> bool:
    running.link.wake()  # it looks by itself every few seconds
    return any("has lost what it had confirmed" in each for each in (await running.readiness()).notices.values())


async def _ready(running: RunningService) -> bool:
    return (await running.readiness()).ready


async def test_what_was_confirmed_and_not_handled_is_sent_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    await bench.sell(*range(6))
    await _eventually(lambda: _has(bench, 6))
    await _eventually(bench.is_fresh)
    await bench.vault.pause("consumer")
    await bench.sell(*range(6, 12))
    await bench.relayed()
    with caplog.at_level(logging.ERROR, "freehold.runtime"):
        bench.wipe()
        await _eventually(lambda: _noticed(bench.store))
    told = [each.getMessage() for each in caplog.records if "another log" in each.getMessage()]
    assert len([each for each in told if each.startswith("store: ")]) == 1
    assert "freehold outbox resend" in told[0]
    await _eventually(lambda: _ready(bench.store))
    finding = await check_logs(bench.store.stores, bench.store.settings)
    assert (finding.ok, "freehold outbox resend" in finding.fix) == (False, True)

    # What is published now is handled, behind what was lost of its key, and says nothing of what is missing elsewhere.
    await bench.vault.resume("consumer")
    await bench.sell(12)
    await _eventually(lambda: _has(bench, 9))
    assert [number for key, number in bench.effects if key == "key-0"] == [0, 3, 6, 9, 12]
    assert isinstance(await bench.vault.freshness.wait(bench.token, limit_seconds=0.2), Stale)

    done = await bench.resend()
    assert (done[0].sent_again, done[0].losses_ended, done[0].losses_open) == (13, 1, 0)
    await _eventually(lambda: _has(bench, 13))
    await _eventually(bench.is_fresh)
    assert sorted(number for _, number in bench.effects) == list(range(13))
    for key in {key for key, _ in bench.effects}:
        of_key = [number for each, number in bench.effects if each == key]
        assert of_key == sorted(of_key)
    await _eventually(lambda: _not(_noticed(bench.store)))
    assert (await check_logs(bench.store.stores, bench.store.settings)).ok


async def test_the_order_of_a_key_holds_although_its_newer_message_waited_in_the_outbox(bench: Bench) -> None:
    """One is confirmed and lost, the next waits in the outbox: it meets the new log before anybody has noticed that."""
    await bench.sell(0, 1)
    await _eventually(lambda: _has(bench, 2))
    await bench.vault.pause("consumer")
    for turn in range(1, 4):
        await bench.sell(*(6 * turn + number for number in range(3)))
        await bench.relayed()
        await bench.store.pause("relay")
        await bench.sell(*(6 * turn + 3 + number for number in range(3)))
        bench.wipe()
        await bench.store.resume("relay")
        await bench.relayed()
    await bench.vault.resume("consumer")
    await _eventually(lambda: _has(bench, 20))
    await bench.resend()
    await bench.relayed()
    await bench.sell(24)
    await _eventually(lambda: _has(bench, 21))
    for key in range(3):
        of_key = [number for each, number in bench.effects if each == f"key-{key}"]
        assert of_key == sorted(of_key)


async def test_a_saga_gets_the_reply_that_was_lost(bench: Bench) -> None:
    """The participant has handled the command: the reply is among what it has published."""
    await bench.store.pause("consumer")
    async with bench.store.transaction() as tx:
        await bench.store.sagas.start(tx, Closing, Night("k"))
    await _eventually(lambda: _has(bench, 1))
    await bench.relayed()
    bench.wipe()
    await _eventually(lambda: _noticed(bench.vault))
    await bench.store.resume("consumer")
    done = await bench.resend()
    assert [each.sent_again > 0 for each in done] == [True, True]

    async def completed() -> bool:
        (found,) = await bench.store.stores[SAGAS].find(SagaFilter(limit=10))
        return found.status.value == "completed"

    await _eventually(completed)
    assert bench.effects == [("k", -1)]


async def test_a_resend_where_nothing_was_lost_has_no_effect(bench: Bench) -> None:
    """And it may be repeated."""
    await bench.sell(*range(8))
    await _eventually(lambda: _has(bench, 8))
    await bench.relayed()
    for _ in range(2):
        done = await bench.resend()
        assert [each.losses_ended for each in done] == [0, 0]
        await bench.relayed()
    await bench.sell(8)
    await _eventually(lambda: _has(bench, 9))
    await _eventually(bench.is_fresh)
    assert sorted(number for _, number in bench.effects) == list(range(9))


@pytest.mark.parametrize("request_param", ["embedded"])
async def test_what_is_not_kept_is_told_and_given_up_by_a_person(
    request_param: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    request.param = request_param
    async with _bench(request, tmp_path, retention_seconds=0.0) as bench:
        await bench.sell(1)
        await _eventually(lambda: _has(bench, 1))
        await bench.vault.pause("consumer")
        await bench.sell(2)
        await bench.relayed()
        bench.wipe()
        await _eventually(lambda: _noticed(bench.store))
        detail = (await check_logs(bench.store.stores, bench.store.settings)).detail
        assert "no confirmed message is kept (outbox_sent_retention_seconds is 0)" in detail
        assert (await bench.resend())[0].losses_open == 1
        await bench.vault.resume("consumer")
        assert (await bench.resend(acknowledge=True))[0].losses_ended == 1
        # It is lost, and nobody waits for it.
        await _eventually(bench.is_fresh)
        assert bench.effects == [("key-1", 1)]


async def _has(bench: Bench, count: int) -> bool:
    return len(bench.effects) >= count


async def _not(holds: Awaitable[bool]) -> bool:
    return not await holds
