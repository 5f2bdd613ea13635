"""No loop of a service ends, or stands still, while the service says that it is ready."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.projection.models import read_model
from tests.unit.runtime.trial import Happened, envelope_of, eventually, memory_broker, put, settings_for
from tests.unit.saga.shapes import Checkout

from freehold import RunningService, Service, Transaction, lifecycle
from freehold.groups.coordinator import GroupCoordinator
from freehold.lifecycle import Runner
from freehold.policy import Backoff
from freehold.projection.service_runner import ProjectionCoordinator
from freehold.projection.view_store import MaterializedView
from freehold.runtime import Readiness


class _Gate:
    """Loops that were passed through end as `how` says, for as long as it is shut."""

    def __init__(self, how: Callable[[], Awaitable[None]], spared: type[Runner] | None = None) -> None:
        self.how = how
        self.spared = spared
        self.shut = True
        self.names: set[str] = set()

    def before(self, run: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        async def gated(runner: Runner) -> None:
            if self.spared is not None and isinstance(runner, self.spared):
                await run(runner)
                return
            self.names.add(runner.name)
            if self.shut:
                await self.how()
                return
            await run(runner)

        return gated


def _kinds(of: type[Runner] = Runner) -> list[type[Runner]]:
    """Every kind of loop that there is."""
    kinds = [kind for kind in of.__subclasses__() if kind.__module__.startswith("freehold.")]
    return kinds + [below for kind in kinds for below in _kinds(kind)]


async def _raises() -> None:
    raise ValueError("planned")


async def _returns() -> None:
    return


async def _leaves() -> None:
    raise GeneratorExit


async def _is_cancelled() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("spared", [None, ProjectionCoordinator], ids=["all", "those-of-projections"])
@pytest.mark.parametrize("how", [_raises, _returns, _leaves, _is_cancelled])
async def test_every_loop_that_ends_is_named_by_readiness_and_goes_on(
    how: Callable[[], Awaitable[None]],
    spared: type[Runner] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifecycle, "FAILING_SECONDS_MAX", 0.0)
    monkeypatch.setattr(lifecycle, "RESTART", Backoff(0.05, 10.0))
    gate = _Gate(how, spared)
    kinds = [kind for kind in _kinds() if "run" in vars(kind) and kind is not GroupCoordinator]
    for kind in kinds:
        monkeypatch.setattr(kind, "run", gate.before(vars(kind)["run"]))
    service = read_model().service
    service.views(MaterializedView("ones", "SELECT 1 AS one", key=("one",), refresh_seconds=600))
    service.orchestrates(Checkout)

    @service.handles(Happened)
    async def happened(event: Happened, tx: Transaction) -> None:
        return

    settings, broker = settings_for(service.name, database=f"sqlite:///{tmp_path}/bank.db"), memory_broker()
    async with RunningService(service, settings, broker=broker) as running:
        wanted = 2 if spared else 0
        await eventually(
            lambda: (
                len([each for each in running.watched if "accounts" in each.name]) >= wanted
                and all(each.trouble for each in running.watched if spared is None or not isinstance(each, spared))
            )
        )
        readiness = await running.readiness()
        assert not readiness.ready
        assert readiness.problems.keys() == gate.names
        others = {runner.name for runner in running.watched} - gate.names
        assert others == ({"projections bank"} if spared else set())
        assert not (await running.health()).ok
        gate.shut = False
        # A consumer with nothing to do notes after five seconds that all is well.
        await put(broker, envelope_of(Happened("a", 1)))
        await _until(running, lambda readiness: readiness.ready)
        assert (await running.health()).ok
        missing = {kind.__name__ for kind in kinds} - {type(runner).__name__ for runner in running.watched}
        assert missing <= {"ReconcileRunner"}, "a kind of loop that this test does not see"


@pytest.mark.parametrize("how", [_raises, _leaves, _is_cancelled])
async def test_a_consumer_without_the_keeper_of_its_leases_is_named_and_comes_back(
    how: Callable[[], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "FAILING_SECONDS_MAX", 0.0)
    monkeypatch.setattr(lifecycle, "RESTART", Backoff(0.05, 10.0))
    service, seen = _consuming()
    broker = memory_broker()
    async with RunningService(service, settings_for("trial"), broker=broker) as running:
        await put(broker, envelope_of(Happened("a", 1)))
        await eventually(lambda: seen == ["a"])
        gate = _Gate(how)
        whole = GroupCoordinator.round

        async def round_(keeper: GroupCoordinator) -> None:
            if gate.shut:
                await how()
            await whole(keeper)

        monkeypatch.setattr(GroupCoordinator, "round", round_)
        for member in broker._members:
            member._coordinator.wake()
        await _until(running, lambda readiness: "consumer trial" in readiness.problems)
        gate.shut = False
        await _until(running, lambda readiness: readiness.ready)
        await put(broker, envelope_of(Happened("b", 2)))
        await eventually(lambda: seen == ["a", "b"])


async def test_a_worker_that_is_cancelled_by_what_it_waits_for_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    service, seen = _consuming()
    broker = memory_broker()
    subscribe = broker.subscribe
    cancelled = 0

    async def subscribed(subscription: Any) -> Any:
        consumer = await subscribe(subscription)
        fetch = consumer.fetch

        async def fetched(limit: int, wait_seconds: float) -> Any:
            nonlocal cancelled
            if cancelled < 8:
                cancelled += 1
                raise asyncio.CancelledError
            return await fetch(limit, wait_seconds)

        monkeypatch.setattr(consumer, "fetch", fetched)
        return consumer

    monkeypatch.setattr(broker, "subscribe", subscribed)
    async with RunningService(service, settings_for("trial"), broker=broker) as running:
        await put(broker, envelope_of(Happened("a", 1)))
        await eventually(lambda: seen == ["a"])
        await eventually(lambda: (len(_workers()), cancelled) == (running.settings.workers, 8))


async def _until(running: RunningService, wanted: Callable[[Readiness], bool]) -> None:
    async with asyncio.timeout(60):
        while not wanted(await running.readiness()):  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.02)


def _workers() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("consumer trial ")]


def _consuming() -> tuple[Service, list[str]]:
    service, seen = Service("trial"), list[str]()

    @service.handles(Happened)
    async def happened(event: Happened, tx: Transaction) -> None:
        seen.append(event.key)

    return service, seen
