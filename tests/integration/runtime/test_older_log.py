"""A broker's log that was restored from an older copy bears the same name: that it has not come as far is noticed, and
what it had confirmed since is sent again."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from freehold import RunningService, Service, Settings, Transaction, event
from freehold.broker import BrokerOptions
from freehold.database import CheckResult
from freehold.outbox.log import BROKER_LOGS
from freehold.outbox.log_watch import check_log_mark, check_logs, place_of
from freehold.outbox.operations import Resend
from freehold.outbox.store import OUTBOX
from freehold.runtime.adapters import open_broker, open_stores

pytestmark = pytest.mark.timeout(240)


@event("kiosk.sold", key="key")
class Sold:
    key: str
    number: int


@dataclass
class Kiosk:
    """A service that handles what it publishes, and its broker, of which copies are made while nobody is there."""

    database: str
    broker: str
    copy: Callable[[], object]
    restore: Callable[[], object]
    effects: list[int] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RunningService]:
        service = Service("kiosk")

        @service.handles(Sold)
        async def sold(message: Sold, tx: Transaction) -> None:
            self.effects.append(message.number)

        settings = Settings.load(
            "kiosk",
            environ={},
            database=self.database,
            broker=self.broker,
            broker_options=BrokerOptions(partitions=2, connect_timeout_seconds=5.0, lease_seconds=1.0),
            outbox_sent_retention_seconds=3600.0,
            poll_seconds=0.1,
        )
        async with RunningService(service, settings) as running:
            yield running


@pytest.fixture(params=["embedded", pytest.param("servers", marks=pytest.mark.servers)])
def kiosk(request: pytest.FixtureRequest, tmp_path: Path) -> Kiosk:
    database, copied = f"sqlite:///{tmp_path}/kiosk.db", tmp_path / "copy"
    if request.param == "embedded":
        file = tmp_path / "broker.db"
        # Over the file that is there: it is the same one, by its inode.
        return Kiosk(
            database,
            f"embedded:///{file}",
            partial(shutil.copyfile, file, copied),
            partial(shutil.copyfile, copied, file),
        )
    server = request.getfixturevalue("disposable_nats")
    store = server.directory / "jetstream"

    def copy() -> None:
        server.kill()
        shutil.copytree(store, copied)
        server.start()

    def restore() -> None:
        server.kill()
        shutil.rmtree(store)
        shutil.copytree(copied, store)
        server.start()

    return Kiosk(database, server.url, copy, restore)


async def test_what_an_older_copy_lacks_is_noticed_and_sent_again(
    kiosk: Kiosk, caplog: pytest.LogCaptureFixture
) -> None:
    async with kiosk.running() as running:
        await _sell(running, 0, 1, 2)
        await _until(lambda: _are(kiosk.effects, [0, 1, 2]))
    kiosk.copy()
    async with kiosk.running() as running:
        assert (await check_logs(running.stores, running.settings)).ok
        await running.pause("consumer")
        before = await _mark(running)  # as far as the log has come: the service has looked when it connected
        await _sell(running, 3, 4, 5)
        running.link.wake()  # it looks by itself every few seconds
        await _until(lambda: _has_moved(running, before))
        assert not await _noticed(running)
    kiosk.restore()
    assert not (await _examined(running.settings)).ok
    with caplog.at_level(logging.ERROR, "freehold.runtime"):
        async with kiosk.running() as running:
            await _until(lambda: _noticed(running))
            assert len([each for each in caplog.messages if "continues with an older copy of its log" in each]) == 1
            finding = await check_logs(running.stores, running.settings)
            assert (finding.ok, "freehold outbox resend" in finding.fix) == (False, True)
            resend = Resend(running.context)
            done = await resend.run(await resend.plan(), actor="ada", reason="test")
            assert (done.losses_ended, done.losses_open) == (1, 0)
            await _until(lambda: _are(kiosk.effects, [0, 1, 2, 3, 4, 5]))
            running.link.wake()
            await _until(lambda: _is_over(running))
    assert (await _examined(running.settings)).ok


async def _sell(running: RunningService, *numbers: int) -> None:
    """Publish, until all is confirmed."""
    for number in numbers:
        async with running.transaction() as tx:
            tx.publish(Sold(f"key-{number % 2}", number))

    async def confirmed() -> bool:
        return not (await running.stores[OUTBOX].stats()).pending

    await _until(confirmed)


async def _examined(settings: Settings) -> CheckResult:
    """As doctor looks, whoever runs."""
    stores = open_stores(settings.database, settings.database_options)
    broker = open_broker(settings.broker, settings.broker_options)
    await stores.database.open()
    await broker.open()
    try:
        return await check_log_mark(broker, stores, settings)
    finally:
        await broker.close()
        await stores.database.close()


async def _mark(running: RunningService) -> str:
    return await running.stores[BROKER_LOGS].mark(place_of(running.settings))


async def _has_moved(running: RunningService, before: str) -> bool:
    return await _mark(running) != before


async def _noticed(running: RunningService) -> bool:
    return any("has lost what it had confirmed" in each for each in (await running.readiness()).notices.values())


async def _is_over(running: RunningService) -> bool:
    return not await _noticed(running)


async def _are(effects: list[int], wanted: list[int]) -> bool:
    return sorted(effects) == wanted


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.02)
