"""Brokers that cannot be reached when a service starts: the embedded file's directory, and a NATS that is down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from tests.integration.runtime.workers import Numbered

from freehold import ConfigurationError, Outbox, RunningService, Service, Settings, Transaction
from freehold.broker import BrokerOptions
from freehold.errors import Unavailable
from freehold.outbox.store import OUTBOX
from freehold.runtime.adapters import open_broker
from freehold_shop.servers import RunningServer


def _service() -> tuple[Service, list[int]]:
    service, seen = Service("source"), list[int]()

    @service.handles(Numbered)
    async def numbered(event: Numbered, tx: Transaction) -> None:
        seen.append(event.number)

    return service, seen


def _settings(tmp_path: Path, broker: str, prefix: str = "t") -> Settings:
    return Settings.load(
        "source",
        environ={},
        database=f"sqlite:///{tmp_path}/source.db",
        broker=broker,
        broker_options=BrokerOptions(prefix=prefix, connect_timeout_seconds=2.0),
    )


async def _eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.02)


async def _stages_then_relays(settings: Settings, mend: Callable[[], None], seen: list[int], service: Service) -> None:
    async with RunningService(service, settings) as running:
        async with running.transaction() as tx:
            tx.publish(Numbered("k", 1))
        found = await running.readiness()
        assert not found.ready
        assert "; the outbox keeps 1 message" in found.problems["broker"]
        mend()
        await _eventually(lambda: seen == [1])
        async with asyncio.timeout(60):
            while not (await running.readiness()).ready:  # noqa: ASYNC110 - a test looks from outside
                await asyncio.sleep(0.02)


async def test_a_directory_that_is_missing_and_cannot_be_made(tmp_path: Path) -> None:
    service, seen = _service()
    place = tmp_path / "volume"
    place.write_text("not mounted yet")

    def mount() -> None:
        place.unlink()
        place.mkdir()

    await _stages_then_relays(_settings(tmp_path, f"embedded:///{place}/deep/broker.db"), mount, seen, service)


async def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    service, seen = _service()
    file = tmp_path / "broker.db"
    file.mkdir()
    await _stages_then_relays(_settings(tmp_path, f"embedded:///{file}"), file.rmdir, seen, service)


async def test_without_its_relay_an_outbox_needs_no_broker(tmp_path: Path) -> None:
    place = tmp_path / "volume"
    place.write_text("no directory")
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/source.db")
    for broker in (f"embedded:///{place}/broker.db", "nats://127.0.0.1:9", f"embedded:///{tmp_path}/unused.db"):
        async with Outbox("source", f"sqlite:///{tmp_path}/source.db", broker, relay=False) as outbox:
            async with AsyncSession(engine) as session, session.begin():
                await outbox.publish(session, Numbered("k", 1))
            readiness = await outbox.running.readiness()
            assert (readiness.ready, readiness.problems) == (True, {})
            assert (await outbox.running.health()).ok
    assert not (tmp_path / "unused.db").exists()
    await engine.dispose()
    async with Outbox("source", f"sqlite:///{tmp_path}/source.db", f"embedded:///{tmp_path}/real.db") as outbox:
        async with asyncio.timeout(60):
            while (await outbox.running.stores[OUTBOX].stats()).pending:  # noqa: ASYNC110 - looks from outside
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("url", ["nats://", "nats://host:port", "nats://[half", "nats://a:4222,http://b"])
def test_a_malformed_url_is_refused_at_once(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        RunningService(Service("source"), _settings(tmp_path, url))


@pytest.mark.servers
async def test_a_nats_that_comes_later(disposable_nats: RunningServer, nats_prefix: str, tmp_path: Path) -> None:
    service, seen = _service()
    disposable_nats.kill()
    settings = _settings(tmp_path, disposable_nats.url, nats_prefix)
    await _stages_then_relays(settings, disposable_nats.start, seen, service)


@pytest.mark.servers
async def test_a_nats_that_refuses_is_told_as_soon_as_it_does(disposable_nats: RunningServer) -> None:
    disposable_nats.kill()
    broker = open_broker(disposable_nats.url, BrokerOptions(connect_timeout_seconds=60.0))
    begun = time.monotonic()
    with pytest.raises(Unavailable):
        await broker.open()
    assert time.monotonic() - begun < 30.0
    await broker.close()


@pytest.mark.servers
async def test_a_connection_that_nats_closes_for_good_is_made_anew(
    nats_url: str, nats_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold.runtime.broker_link._LOOK_SECONDS", 0.05)
    service, seen = _service()
    async with RunningService(service, _settings(tmp_path, nats_url, nats_prefix)) as running:
        async with running.transaction() as tx:
            tx.publish(Numbered("k", 1))
        await _eventually(lambda: seen == [1])
        client = running.broker._connection._client  # type: ignore[attr-defined] # what the server's error does to it
        await client._process_err("'User Authentication Expired'")
        await _eventually(lambda: bool(client.is_closed))
        async with running.transaction() as tx:
            tx.publish(Numbered("k", 2))
        await _eventually(lambda: seen == [1, 2])
        async with asyncio.timeout(60):
            while not (await running.readiness()).ready:  # noqa: ASYNC110 - a test looks from outside
                await asyncio.sleep(0.02)
