"""Calls that begin with the commit that leads to them: once, in this process, and only behind that commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from tests.integration.saga.bench import Bench, bench
from tests.integration.saga.lost_answer import lose_answer
from tests.unit.saga.shapes import ORDER, Order

from freehold.errors import Unavailable
from freehold.saga import CallContext, Saga, SagaRunner, call, local
from freehold.saga.handover import NOBODY
from freehold.saga.store import SAGAS, SagaStatus
from freehold.transaction import StagingArea, Transaction

LIMIT_SECONDS = 60.0


@dataclass
class Provider:
    """The other side of the calls."""

    asked: list[tuple[str, str]] = field(default_factory=list)
    keys: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    at_once: int = 0
    most_at_once: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, state: Order, context: CallContext) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.asked.append((state.order_id, context.step))
        self.keys.setdefault((state.order_id, context.step), set()).add(context.idempotency_key)
        await self.go.wait()
        self.at_once -= 1


provider = Provider()


async def ask(state: Order, context: CallContext) -> None:
    await provider.ask(state, context)


async def fails(state: Order, tx: Transaction) -> None:
    raise ZeroDivisionError


class Two(Saga[Order], name="orders.two", key="order_id"):
    first = call(ask, compensation=ask, timeout_seconds=5)
    second = call(ask, compensation=ask, after=first, timeout_seconds=5)


class Behind(Saga[Order], name="orders.behind", key="order_id"):
    write = local(fails, no_compensation=True)
    first = call(ask, compensation=ask, timeout_seconds=5)


@pytest.fixture
async def at(database_url: str) -> AsyncIterator[Bench]:
    provider.__init__()  # type: ignore[misc] # a fresh one, in the same place
    provider.go.set()
    async with bench(database_url, Two, Behind) as ready:
        yield ready


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.005)


async def ended(at: Bench, number: int) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while await at.stores[SAGAS].count() != {("orders.two", SagaStatus.COMPLETED): number}:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


@pytest.fixture
async def runner(at: Bench) -> AsyncIterator[SagaRunner]:
    """A runner that claims nothing that is due: what it calls was handed over."""
    working = at.runner()

    async def nothing_is_due() -> float | None:
        return None

    at.stores[SAGAS].next_due_seconds = nothing_is_due  # type: ignore[method-assign] # see above
    await working.start()
    await until(lambda: at.engine.caller is working.calls)
    yield working
    await working.stop()


async def test_each_call_begins_with_the_commit_that_leads_to_it(at: Bench, runner: SagaRunner) -> None:
    """Nothing is claimed, and there is no save but those of the start and of the two outcomes."""
    saga_id = await at.start(Two, ORDER)
    await ended(at, 1)
    assert provider.asked == [("order-1", "first"), ("order-1", "second")]
    assert (await at.record(saga_id)).version == 3
    assert await at.words(saga_id) == [
        "started",
        "first:requested",
        "first:done",
        "second:requested",
        "second:done",
        "completed",
    ]


async def test_no_call_begins_before_its_intention_is_committed(at: Bench, runner: SagaRunner) -> None:
    async with at.transactions.begin() as tx:
        await at.engine.start(tx, Two, ORDER)
        runner.calls.begin()
        await asyncio.sleep(0)
        assert provider.asked == []
    await ended(at, 1)


async def test_a_rollback_takes_the_call_back_and_frees_its_place(at: Bench, runner: SagaRunner) -> None:
    before = runner.calls.places
    with pytest.raises(LookupError):
        async with at.transactions.begin() as tx:
            await at.engine.start(tx, Two, ORDER)
            assert runner.calls.places == before - 1
            raise LookupError
    runner.calls.begin()
    await asyncio.sleep(0)
    assert (provider.asked, runner.calls.places) == ([], before)


async def test_a_savepoint_that_is_rolled_back_takes_the_call_back(at: Bench, runner: SagaRunner) -> None:
    if at.stores.database.features.technology == "memory":
        pytest.skip("it has no savepoints")
    async with at.transactions.begin() as tx:
        with pytest.raises(LookupError):
            async with tx.connection.begin_nested():
                await at.engine.start(tx, Two, replace(ORDER, order_id="taken-back"))
                raise LookupError
        await at.engine.start(tx, Two, ORDER)
    await ended(at, 1)
    assert {order for order, _ in provider.asked} == {"order-1"}


async def test_a_call_behind_a_function_that_failed_is_not_made_where_the_start_is_committed(
    at: Bench, runner: SagaRunner
) -> None:
    async with at.transactions.begin() as tx:
        with pytest.raises(ZeroDivisionError):
            await at.engine.start(tx, Behind, ORDER)
    runner.calls.begin()
    await asyncio.sleep(0)
    assert provider.asked == []


async def test_a_caller_that_is_cancelled_during_its_commit_leaves_the_call_to_the_next_round(
    at: Bench, runner: SagaRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit happens, and nobody says so."""
    with monkeypatch.context() as silent:
        silent.setattr(StagingArea, "notify", lambda _staging: None)
        await at.start(Two, ORDER)
    runner.wake()
    await ended(at, 1)
    assert len(provider.asked) == 2


@pytest.mark.parametrize("committed", [True, False])
async def test_a_commit_without_an_answer_is_looked_at(
    at: Bench, runner: SagaRunner, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """The connection is lost behind the commit, or before it: the calls are made where it happened."""
    with monkeypatch.context() as cut:
        await lose_answer(at, cut, committed=committed)
        with pytest.raises(Unavailable):
            await at.start(Two, ORDER)
    runner.wake()
    if committed:
        await ended(at, 1)
    await until(lambda: runner.calls.places == 64)
    assert len(provider.asked) == (2 if committed else 0)


async def test_an_outcome_whose_commit_had_no_answer_is_recorded_once_and_the_next_call_is_made_once(
    at: Bench, runner: SagaRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.go.clear()
    saga_id = await at.start(Two, ORDER)
    await until(lambda: bool(provider.asked))
    await lose_answer(at, monkeypatch)
    provider.go.set()
    await ended(at, 1)
    assert provider.asked == [("order-1", "first"), ("order-1", "second")]
    words = await at.words(saga_id)
    assert (words.count("first:done"), words.count("second:requested")) == (1, 1)


async def test_a_transaction_that_its_owner_commits_leaves_the_call_due(at: Bench, database_url: str) -> None:
    """The owner may never say that it has committed."""
    if at.stores.database.features.technology == "memory":
        pytest.skip("it has no sessions")
    working = at.runner()
    at.engine.caller = working.calls
    driver = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}[make_url(database_url).drivername]
    engine = create_async_engine(make_url(database_url).set(drivername=driver))
    try:
        async with engine.connect() as connection, connection.begin():
            tx = at.transactions.enlist(connection)
            saga_id = await at.engine.start(tx, Two, ORDER)
            await tx.write()
    finally:
        await engine.dispose()
    assert (await at.record(saga_id)).due_seconds == 0
    assert provider.asked == []
    assert await working.take_due() == 1
    await working.finish_calls()
    assert len(provider.asked) == 2


async def test_a_thousand_starts_at_once_exceed_no_limit(at: Bench) -> None:
    number = 1000 if at.stores.database.features.technology == "memory" else 200
    working = SagaRunner(at.engine, at.transactions, calls_max=8)
    await working.start()
    await until(lambda: at.engine.caller is working.calls)
    starts = (at.start(Two, replace(ORDER, order_id=f"order-{each}")) for each in range(number))
    provider.go.clear()
    await asyncio.gather(*starts)
    await until(lambda: provider.at_once == 8)
    provider.go.set()
    await ended(at, number)
    await working.stop()
    assert provider.most_at_once == 8
    assert len(provider.asked) == len(set(provider.asked)) == 2 * number
    assert all(len(keys) == 1 for keys in provider.keys.values())


async def test_a_role_that_is_stopped_leaves_calls_due_for_the_next_one(at: Bench) -> None:
    working = at.runner()
    await working.start()
    await until(lambda: at.engine.caller is working.calls)
    await working.stop()
    assert at.engine.caller is NOBODY
    saga_id = await at.start(Two, ORDER)
    assert (await at.record(saga_id)).due_seconds == 0
    again = at.runner()
    await again.start()
    await ended(at, 1)
    await again.stop()


async def test_a_stop_finishes_the_call_of_a_transaction_that_is_still_open(at: Bench) -> None:
    """And leaves the one that follows from it due."""
    working = at.runner()
    await working.start()
    await until(lambda: at.engine.caller is working.calls)
    async with at.transactions.begin() as tx:
        saga_id = await at.engine.start(tx, Two, ORDER)
        stopping = asyncio.create_task(working.stop(LIMIT_SECONDS))
        await until(lambda: working.stopping)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not stopping.done()
    await stopping
    assert provider.asked == [("order-1", "first")]
    record = await at.record(saga_id)
    assert (record.due_seconds, (await at.words(saga_id))[-1]) == (0, "second:requested")
