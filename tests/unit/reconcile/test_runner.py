"""The schedule of comparisons, with time that is set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import pairwise
from uuid import uuid4

import pytest

from freehold import Settings
from freehold.conformance.harness import StoresHarness
from freehold.errors import Unavailable
from freehold.reconcile import Dataset, Reconciliation, Replica
from freehold.reconcile.pattern import PATTERN, _lease_seconds
from freehold.reconcile.reconcile_runner import ReconcileRunner, lease_of
from freehold.reconcile.store import RECONCILIATIONS, ReconciliationRecord

REPLICA = Replica(Dataset("crm.people", "person", ("name",)), "people", every_seconds=60)


@pytest.fixture
async def harness() -> AsyncIterator[StoresHarness]:
    async with StoresHarness.on(f"memory://{uuid4().hex}") as harness:
        yield harness


async def until(holds: Callable[[], bool], advance: Callable[[float], None] = lambda _: None) -> None:
    async with asyncio.timeout(60):
        while not holds():
            advance(5.0)
            await asyncio.sleep(0)


async def test_a_copy_is_compared_when_its_time_has_come(harness: StoresHarness) -> None:
    store, times = harness.first[RECONCILIATIONS], list[float]()

    async def compare(replica: Replica) -> Reconciliation:
        times.append(harness.clock.monotonic())
        return Reconciliation(replica.dataset.name, compared=7)

    runner = ReconcileRunner("desk", [REPLICA], store, compare, lambda: {lease_of(REPLICA): 1}, harness.clock)
    await runner.start()
    await until(lambda: len(times) == 3, harness.clock.advance)
    await runner.stop()
    assert all(later - earlier >= 60 for earlier, later in pairwise(times))
    last = await store.last("crm.people")
    assert last is not None
    assert last.compared == 7


async def test_the_store_is_asked_when_a_copy_is_due_and_not_every_few_seconds(
    harness: StoresHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, compared, asked = harness.first[RECONCILIATIONS], list[str](), list[float]()
    last = store.last

    async def noting(dataset: str) -> ReconciliationRecord | None:
        asked.append(harness.clock.monotonic())
        return await last(dataset)

    async def compare(replica: Replica) -> Reconciliation:
        compared.append(replica.dataset.name)
        return Reconciliation(replica.dataset.name)

    monkeypatch.setattr(store, "last", noting)
    runner = ReconcileRunner("desk", [REPLICA], store, compare, lambda: {lease_of(REPLICA): 1}, harness.clock)
    await runner.start()
    await until(lambda: len(compared) == 1)
    for _ in range(11):
        harness.clock.advance(5.0)
        for _ in range(50):
            await asyncio.sleep(0)
    await runner.stop()
    assert compared == ["crm.people"]
    assert len(asked) == 2


async def test_a_failure_is_kept_and_tried_again_at_the_next_turn(harness: StoresHarness) -> None:
    calls: list[float] = []

    async def compare(replica: Replica) -> Reconciliation:
        calls.append(harness.clock.monotonic())
        if len(calls) == 1:
            raise Unavailable("the source is away")
        return Reconciliation(replica.dataset.name)

    store = harness.first[RECONCILIATIONS]
    runner = ReconcileRunner("desk", [REPLICA], store, compare, lambda: {lease_of(REPLICA): 1}, harness.clock)
    await runner.start()
    await until(lambda: len(calls) == 2, harness.clock.advance)
    await runner.stop()
    assert [each.error for each in await store.recent(10)][-1] == "Unavailable"
    assert calls[1] >= 60


async def test_who_does_not_hold_the_lease_compares_nothing(harness: StoresHarness) -> None:
    held: dict[str, int] = {}
    calls: list[Replica] = []

    async def compare(replica: Replica) -> Reconciliation:
        calls.append(replica)
        return Reconciliation(replica.dataset.name)

    store = harness.first[RECONCILIATIONS]
    runner = ReconcileRunner("desk", [REPLICA], store, compare, lambda: held, harness.clock)
    await runner.start()
    await until(lambda: harness.clock.monotonic() > 600, harness.clock.advance)
    assert calls == []
    held[lease_of(REPLICA)] = 1
    await until(lambda: len(calls) == 1, harness.clock.advance)
    await runner.stop()


async def test_a_stop_ends_a_comparison(harness: StoresHarness) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def compare(replica: Replica) -> Reconciliation:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return Reconciliation(replica.dataset.name)

    store = harness.first[RECONCILIATIONS]
    runner = ReconcileRunner("desk", [REPLICA], store, compare, lambda: {lease_of(REPLICA): 1}, harness.clock)
    await runner.start()
    await asyncio.wait_for(begun.wait(), 60)
    await asyncio.wait_for(runner.stop(5), 60)
    assert ended.is_set()
    assert await store.last("crm.people") is None


def test_results_are_pruned_by_the_retention_of_what_has_finished() -> None:
    settings = Settings.load("desk", environ={}, finished_retention_seconds=5.0, dead_letter_retention_seconds=7.0)
    assert [each.keep_seconds(settings) for each in PATTERN.pruning] == [5.0]


def test_a_lease_lasts_as_long_as_the_schedule_permits() -> None:
    def lease_seconds(every_seconds: float) -> float:
        return _lease_seconds(
            6.0, [replace(REPLICA, every_seconds=900.0), replace(REPLICA, every_seconds=every_seconds)]
        )

    assert [lease_seconds(each) for each in (1.0, 300.0, 900.0, 86400.0)] == [6.0, 10.0, 30.0, 30.0]
