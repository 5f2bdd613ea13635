"""Outcomes that are recorded together: each once, whatever becomes of the others in its group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest
from tests.integration.saga.bench import Bench, bench
from tests.integration.saga.lost_answer import lose_answer
from tests.unit.saga.shapes import ORDER, Order

from freehold.saga import CallContext, Saga, call
from freehold.saga.document import read_instance
from freehold.saga.exchange import CallEnded
from freehold.saga.saga_runner import SagaRunner
from freehold.saga.store import SAGAS, SagaStatus
from freehold.transaction import Transaction

LIMIT_SECONDS = 60.0
NUMBER = 50


@dataclass
class Provider:
    """The other side of the calls: they return when told."""

    asked: list[tuple[str, str]] = field(default_factory=list)
    waiting: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, state: Order, context: CallContext) -> None:
        self.asked.append((state.order_id, context.step))
        self.waiting += 1
        await self.go.wait()
        self.waiting -= 1


provider = Provider()


async def ask(state: Order, context: CallContext) -> None:
    await provider.ask(state, context)


class Two(Saga[Order], name="orders.two", key="order_id"):
    first = call(ask, compensation=ask, timeout_seconds=5)
    second = call(ask, compensation=ask, after=first, timeout_seconds=5)


class Beside(Saga[Order], name="orders.both", key="order_id"):
    left = call(ask, compensation=ask, timeout_seconds=5)
    right = call(ask, compensation=ask, timeout_seconds=5)
    joined = call(ask, compensation=ask, after=(left, right), timeout_seconds=5)


@pytest.fixture
async def at(database_url: str) -> AsyncIterator[Bench]:
    provider.__init__()  # type: ignore[misc] # a fresh one, in the same place
    async with bench(database_url, Two, Beside) as ready:
        yield ready


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.005)


async def calling(at: Bench, saga: type[Saga[Any]] = Two, number: int = NUMBER) -> tuple[SagaRunner, list[UUID]]:
    """Instances whose first calls are in progress, and the runner that makes them."""
    ids = [await at.start(saga, replace(ORDER, order_id=f"order-{each}")) for each in range(number)]
    runner = at.runner()
    await runner.take_due()
    await until(lambda: provider.waiting == number * (2 if saga is Beside else 1))
    return runner, ids


async def counts(at: Bench, ids: list[UUID], what: str) -> set[int]:
    return {(await at.words(each)).count(what) for each in ids}


async def test_outcomes_that_arrive_together_share_a_transaction(at: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, ids = await calling(at)
    saved: list[int] = []
    real = at.engine.store.save_last

    async def save_last(db_tx: Any, changes: Any) -> None:
        saved.append(len(changes))
        await real(db_tx, changes)

    async def not_loaded(*_: object) -> None:
        raise AssertionError("what this process has saved is loaded again")

    monkeypatch.setattr(at.engine.store, "save_last", save_last)
    monkeypatch.setattr(at.engine.store, "load", not_loaded)
    monkeypatch.setattr(at.engine.store, "load_many", not_loaded)
    provider.go.set()
    await runner.finish_calls()
    assert await at.stores[SAGAS].count() == {("orders.two", SagaStatus.COMPLETED): NUMBER}
    assert (len(saved), sum(saved)) == (2, 2 * NUMBER)
    assert await counts(at, ids, "first:done") == await counts(at, ids, "second:done") == {1}
    assert len(provider.asked) == len(set(provider.asked)) == 2 * NUMBER
    assert runner.calls._saved == {}


async def test_an_instance_that_somebody_else_saved_meanwhile_is_recorded_alone(at: Bench) -> None:
    """Its group conflicts, and each outcome is recorded once."""
    runner, ids = await calling(at)
    async with at.transactions.begin() as tx:
        await at.engine.terminate(tx, ids[7], reason="the customer called")
    provider.go.set()
    await runner.finish_calls()
    others = [each for each in ids if each != ids[7]]
    assert await counts(at, others, "second:done") == await counts(at, others, "first:done") == {1}
    assert (await at.words(ids[7]))[-1] == "first:late"
    assert (await at.record(ids[7])).status is SagaStatus.TERMINATED
    assert len(provider.asked) == len(set(provider.asked)) == 2 * NUMBER - 1


async def test_one_outcome_that_cannot_be_recorded_costs_the_others_nothing(
    at: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runner, ids = await calling(at)
    real = at.engine.on_call_ended

    async def broken(tx: Transaction, saga_id: UUID, ended: CallEnded) -> bool:
        if saga_id == ids[7]:
            raise LookupError
        return await real(tx, saga_id, ended)

    monkeypatch.setattr(at.engine, "on_call_ended", broken)  # a bug of ours
    provider.go.set()
    await runner.finish_calls()
    others = [each for each in ids if each != ids[7]]
    assert await counts(at, others, "second:done") == await counts(at, others, "first:done") == {1}
    assert "first:done" not in await at.words(ids[7])
    assert caplog.text.count("was not recorded") == 1
    assert (await at.record(ids[7])).due_seconds == pytest.approx(7, abs=0.1)


async def test_parallel_calls_of_one_instance_in_a_group_are_both_recorded(at: Bench) -> None:
    runner, ids = await calling(at, Beside, 10)
    before = [(await at.record(each)).version for each in ids]
    provider.go.set()
    await runner.finish_calls()
    assert await at.stores[SAGAS].count() == {("orders.both", SagaStatus.COMPLETED): 10}
    for step in ("left", "right", "joined"):
        assert await counts(at, ids, f"{step}:done") == {1}
    assert [(await at.record(each)).version for each in ids] == [version + 2 for version in before]
    assert len(provider.asked) == len(set(provider.asked)) == 30


async def test_a_group_whose_commit_had_no_answer_records_each_outcome_once(
    at: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was committed: what follows is begun once, although each outcome is tried again alone."""
    runner, ids = await calling(at)
    await lose_answer(at, monkeypatch)
    provider.go.set()
    await runner.finish_calls()
    assert await at.stores[SAGAS].count() == {("orders.two", SagaStatus.COMPLETED): NUMBER}
    assert await counts(at, ids, "first:done") == await counts(at, ids, "second:done") == {1}
    assert len(provider.asked) == len(set(provider.asked)) == 2 * NUMBER


async def test_a_cancelled_group_leaves_its_calls_overdue(at: Bench) -> None:
    """They are repeated after their time limits; those who wait for the record do not wait for ever."""
    runner, ids = await calling(at, number=5)
    provider.go.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    async with asyncio.timeout(LIMIT_SECONDS):
        await runner.calls.cancel()
    at.clock.advance(8)
    await at.rounds()
    at.clock.advance(60)
    await at.rounds()
    assert await at.stores[SAGAS].count() == {("orders.two", SagaStatus.COMPLETED): 5}
    assert await counts(at, ids, "first:done") == {1}


async def test_the_timer_of_an_instance_that_was_not_loaded_is_right(at: Bench) -> None:
    """The time that passed during the call is taken from what was left."""
    runner, (saga_id,) = await calling(at, number=1)
    at.clock.advance(3)
    provider.go.set()
    provider.go = asyncio.Event()
    await until(lambda: ("order-0", "second") in provider.asked)
    record = await at.record(saga_id)
    instance = read_instance(record, Two.definition())
    assert record.due_seconds == pytest.approx(7)
    assert instance.due is not None
    assert (instance.due - at.clock.now()).total_seconds() == pytest.approx(7)
    provider.go.set()
    await runner.finish_calls()


async def quoted(state: Order, context: CallContext) -> dict[str, Any]:
    provider.asked.append((state.order_id, context.step))
    return {"hold_id": "h-1"}


async def priced(state: Exact, context: CallContext) -> dict[str, Any]:
    provider.asked.append((state.order_id, context.step))
    return {"price": 1.5}


@dataclass(frozen=True, slots=True)
class Exact:
    """Code of the definition runs when one is made."""

    order_id: str
    price: float | None = None

    def __post_init__(self) -> None:
        if self.price is not None:
            raise ArithmeticError


class Quoting(Saga[Order], name="orders.quoting", key="order_id"):
    first = call(quoted, compensation=ask, timeout_seconds=5)
    second = call(quoted, compensation=ask, after=first, timeout_seconds=5)


class Pricing(Saga[Exact], name="orders.pricing", key="order_id"):
    first = call(priced, no_compensation=True, timeout_seconds=5)
    second = call(priced, no_compensation=True, after=first, timeout_seconds=5)


async def misfit(state: Order, context: CallContext) -> dict[str, Any]:
    return {"quantity": "many"}


class Misfitting(Saga[Order], name="orders.misfitting", key="order_id"):
    first = call(misfit, compensation=ask, timeout_seconds=5)


async def test_what_a_call_returned_is_merged_in_the_transaction_that_records_it(at: Bench) -> None:
    """Where the class of the state was generated: no code of the definition runs."""
    at.engine = at.engine_for(Quoting)
    saga_id = await at.start(Quoting, ORDER)
    await at.rounds()
    record = await at.record(saga_id)
    assert (record.status, record.version) == (SagaStatus.COMPLETED, 4)  # start, intention, two outcomes
    assert b"h-1" in record.document


async def test_the_outcome_is_on_record_before_a_constructor_of_the_definition_runs(at: Bench) -> None:
    at.engine = at.engine_for(Pricing)
    saga_id = await at.start(Pricing, Exact("order-1"))
    await at.rounds()
    failure = await at.hook_failure(saga_id)
    assert failure is not None
    assert (failure.step, failure.error) == ("first", "ArithmeticError")
    assert (await at.words(saga_id)).count("first:done") == 1
    assert provider.asked == [("order-1", "first")]


async def test_a_reply_that_does_not_fit_is_on_record_and_its_group_is_not_held_up(at: Bench) -> None:
    at.engine = at.engine_for(Misfitting, Quoting)
    bad = await at.start(Misfitting, ORDER)
    good = await at.start(Quoting, ORDER)
    await at.rounds()
    failure = await at.hook_failure(bad)
    assert failure is not None
    assert (failure.step, failure.error) == ("first", "CodecError")
    assert (await at.words(bad)).count("first:done") == 1
    assert (await at.record(good)).version == 4
