"""A service starts, takes requests and stages messages while its broker is away; its loops come to it later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest
from tests.unit.runtime.trial import Happened, eventually, memory_broker, read_topic, settings_for

from freehold import ConfigurationError, RunningService, Runtime, Service, Transaction, event
from freehold.adapters.memory.broker import MemoryBroker
from freehold.broker import BrokerOptions
from freehold.clock import SystemClock
from freehold.http import Tx, create_app
from freehold.runtime import Readiness, process
from freehold.runtime import broker_link as linking

AWAY = "Unavailable: the memory broker is interrupted"


@event("trial.stated", key="key")
class Stated:
    key: str


def _consuming() -> tuple[Service, list[str]]:
    service, seen = Service("trial"), list[str]()

    @service.handles(Stated)
    async def stated(event: Stated, tx: Transaction) -> None:
        seen.append(event.key)

    return service, seen


async def _stage(running: RunningService, *keys: str) -> None:
    async with running.transaction() as tx:
        for key in keys:
            tx.publish(Stated(key))


async def _until(running: RunningService, wanted: Callable[[Readiness], bool]) -> Readiness:
    async with asyncio.timeout(60):
        while not wanted(found := await running.readiness()):  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.02)
    return found


async def test_a_service_starts_and_stages_while_the_broker_is_away_and_catches_up() -> None:
    (service, seen), broker = _consuming(), memory_broker()
    broker.interrupt()
    async with RunningService(service, settings_for("trial"), broker=broker) as running:
        await _stage(running, "a", "b")
        readiness = await running.readiness()
        assert not readiness.ready
        assert readiness.problems == {"broker": f"{AWAY}; the outbox keeps 2 messages"}
        health = await running.health()
        assert (health.broker, health.lag, health.metrics["outbox"].pending) == ("Unavailable", (), 2)
        broker.restore()
        await eventually(lambda: sorted(seen) == ["a", "b"])
        assert (await _until(running, lambda found: found.ready)).problems == {}
        assert (await running.health()).broker == ""


async def test_readiness_is_kept_without_the_broker_where_what_is_published_may_wait() -> None:
    broker = memory_broker()
    broker.interrupt()
    settings = settings_for("trial", ready_without_broker=True)
    async with RunningService(Service("trial"), settings, broker=broker) as running:
        await _stage(running, "a")
        readiness = await running.readiness()
        assert (readiness.ready, readiness.problems) == (True, {})
        assert readiness.notices == {"broker": f"{AWAY}; the outbox keeps 1 message"}


async def test_a_role_that_is_paused_or_resumed_meanwhile_is_as_it_was_left() -> None:
    (service, seen), broker = _consuming(), memory_broker()
    broker.interrupt()
    async with RunningService(service, settings_for("trial"), broker=broker) as running:
        await running.pause("relay")
        await running.pause("consumer")
        await running.resume("consumer")
        await _stage(running, "a")
        broker.restore()
        await _until(running, lambda found: found.ready)
        await eventually(lambda: "consumer" in running.loops.running)
        assert "relay" not in running.loops.running
        assert seen == []
        await running.resume("relay")
        await eventually(lambda: seen == ["a"])


async def test_a_broker_that_does_not_fit_is_refused_as_soon_as_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linking, "_REFUSED_SECONDS", 0.05)
    broker = MemoryBroker(BrokerOptions(partitions=3), SystemClock())
    settings = settings_for("trial", token_secret="s" * 32)
    with pytest.raises(ConfigurationError, match="no multiple"):
        await RunningService(Service("trial"), settings, broker=broker).start()
    broker.interrupt()
    settings = settings_for("trial", token_secret="s" * 32, ready_without_broker=True)
    async with RunningService(Service("trial"), settings, broker=broker) as running:
        assert (await running.readiness()).notices.keys() == {"broker"}
        broker.restore()
        found = await _until(running, lambda found: not found.ready)
        assert "ConfigurationError: service 'trial': its outbox has 8 partitions" in found.problems["broker"]
        assert "relay" not in running.loops.running
        broker._options = BrokerOptions(partitions=4)
        await _until(running, lambda found: found.ready)
        assert "relay" in running.loops.running


async def test_a_stop_while_the_broker_is_away_ends_at_once_and_another_start_goes_on(tmp_path: object) -> None:
    broker = memory_broker()
    broker.interrupt()
    settings = settings_for("trial", database=f"sqlite:///{tmp_path}/trial.db")
    async with RunningService(Service("trial"), settings, broker=broker) as running:
        await _stage(running, "a")
    broker.restore()
    async with RunningService(Service("trial"), settings, broker=broker):
        assert [each.key for each in await read_topic(broker, "trial.events", 1)] == ["a"]


async def test_several_services_start_without_the_broker_that_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    (service, seen), broker = _consuming(), memory_broker()
    broker.interrupt()
    monkeypatch.setattr(process, "open_broker", lambda *_: broker)
    settings = {"trial": settings_for("trial"), "other": settings_for("other")}
    async with Runtime(service, Service("other"), settings=settings) as runtime:
        await _stage(runtime["trial"], "a")
        assert "broker" in (await runtime["other"].readiness()).problems
        broker.restore()
        await eventually(lambda: seen == ["a"])
        await _until(runtime["other"], lambda found: found.ready)


async def test_an_api_takes_requests_without_the_broker() -> None:
    broker = memory_broker()
    broker.interrupt()
    app = create_app(RunningService(Service("trial"), settings_for("trial"), broker=broker))

    @app.post("/state/{key}", status_code=201)
    async def state(key: str, tx: Tx) -> None:
        tx.publish(Stated(key))

    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        assert (await client.post("/state/a")).status_code == 201
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["problems"] == {"broker": f"{AWAY}; the outbox keeps 1 message"}
        broker.restore()
        assert [each.key for each in await read_topic(broker, "trial.events", 1)] == ["a"]


async def test_messages_of_others_come_once_the_broker_is_there() -> None:
    service, seen, broker = Service("trial"), list[str](), memory_broker()

    @service.handles(Happened)
    async def happened(event: Happened, tx: Transaction) -> None:
        seen.append(event.key)

    broker.interrupt()
    async with RunningService(service, settings_for("trial"), broker=broker):
        broker.restore()
        await eventually(lambda: len(broker._members) == 1)
