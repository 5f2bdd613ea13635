"""Calls: made outside of transactions, once an attempt, repeated with the same key where the caller died."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest
from tests.integration.saga.bench import Bench, bench
from tests.unit.saga.shapes import ORDER, Capture, Hold, Order, Void

from freehold.inbox.reply import Rejected
from freehold.policy import Retry
from freehold.saga import CallContext, Saga, SagaRunner, call, step
from freehold.saga.steps import StepDirection
from freehold.saga.store import SAGAS, SagaStatus
from freehold.transaction import Transaction


@dataclass
class Provider:
    """The other side of the calls: what it was asked, and what it does about it."""

    asked: list[CallContext] = field(default_factory=list)
    answers: list[object] = field(default_factory=list)
    hang: asyncio.Event | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def quote(self, state: Order, context: CallContext) -> dict[str, str]:
        self.asked.append(context)
        self.begun.set()
        answer = self.answers.pop(0) if self.answers else None
        if self.hang is not None:
            hanging, self.hang = self.hang, None
            await hanging.wait()
        if isinstance(answer, Exception):
            raise answer
        return {"hold_id": f"quote-{len(self.asked)}"}


provider = Provider()


async def quote(state: Order, context: CallContext) -> dict[str, str]:
    return await provider.quote(state, context)


async def fails(state: Order, tx: Transaction) -> None:
    raise ZeroDivisionError


class Quoted(Saga[Order], name="orders.quoted", key="order_id"):
    ask = call(
        quote, compensation=quote, timeout_seconds=5, retry=Retry(attempts=3, delay_seconds=0.5, draw=lambda: 1.0)
    )
    hold = step(Hold, compensation=Void, after=ask)
    capture = step(Capture, pivot=True, after=hold)


class Ending(Saga[Order], name="orders.ending", key="order_id"):
    ask = call(
        quote, compensation=quote, timeout_seconds=5, retry=Retry(attempts=3, delay_seconds=0.5, draw=lambda: 1.0)
    )
    on_completed = fails


@pytest.fixture
async def at(database_url: str) -> AsyncIterator[Bench]:
    provider.asked, provider.answers, provider.hang, provider.begun = [], [], None, asyncio.Event()
    async with bench(database_url, Quoted) as ready:
        yield ready


async def _round(runner: SagaRunner) -> int:
    taken = await runner.take_due()
    await runner.finish_calls()
    return taken


async def test_a_call_is_made_after_the_commit_and_its_reply_is_in_the_state(at: Bench) -> None:
    woken: list[bool] = []
    runner = at.runner()
    at.engine.on_due = lambda: woken.append(True)
    saga_id = await at.start(Quoted, ORDER)
    assert (woken, provider.asked) == ([True], [])
    assert await _round(runner) == 1
    (context,) = provider.asked
    assert (context.saga_id, context.step, context.attempt, context.action_key) == (saga_id, "ask", 1, None)
    assert at.sent("payments.hold")
    assert b"quote-1" in (await at.record(saga_id)).document


async def test_a_call_that_raises_is_repeated_with_the_same_key(at: Bench) -> None:
    provider.answers = [ConnectionError(), None]
    saga_id = await at.start(Quoted, ORDER)
    runner = at.runner()
    await _round(runner)
    assert await _round(runner) == 0
    at.clock.advance(0.5)
    await _round(runner)
    assert [context.attempt for context in provider.asked] == [1, 2]
    assert len({context.idempotency_key for context in provider.asked}) == 1
    assert "ask:failed" in await at.words(saga_id)


async def test_a_refused_call_is_not_repeated(at: Bench) -> None:
    provider.answers = [Rejected("no-quote")]
    saga_id = await at.start(Quoted, ORDER)
    await _round(at.runner())
    record = await at.record(saga_id)
    assert (record.status, record.failure) == (SagaStatus.COMPENSATED, "no-quote")
    assert len(provider.asked) == 1


async def test_a_compensation_names_the_key_of_its_action(at: Bench) -> None:
    saga_id = await at.start(Quoted, ORDER)
    await _round(at.runner())
    await at.answer(at.outbox.staged[-1], "rejected", {"code": "declined"})
    await _round(at.runner())
    action, compensation = provider.asked
    assert compensation.action_key == action.idempotency_key
    assert compensation.idempotency_key != action.idempotency_key
    assert (await at.record(saga_id)).status is SagaStatus.COMPENSATED


async def test_a_caller_that_dies_is_replaced_after_the_time_limit(at: Bench) -> None:
    provider.hang = asyncio.Event()
    saga_id = await at.start(Quoted, ORDER)
    dead = at.runner()
    await dead.take_due()
    await asyncio.wait_for(provider.begun.wait(), 90)
    for task in dead.calls.tasks:
        task.cancel()
    assert await _round(at.runner()) == 0
    for seconds in (7, 0.5):
        at.clock.advance(seconds)
        await _round(at.runner())
    assert [context.attempt for context in provider.asked] == [1, 2]
    assert len({context.idempotency_key for context in provider.asked}) == 1
    assert "hold:requested" in await at.words(saga_id)


@pytest.mark.parametrize("answer", [None, ConnectionError()])
async def test_a_caller_that_was_only_slow_changes_nothing_any_more(at: Bench, answer: Exception | None) -> None:
    provider.hang, provider.answers = asyncio.Event(), [answer]
    released = provider.hang
    saga_id = await at.start(Quoted, ORDER)
    slow = at.runner()
    await slow.take_due()
    await asyncio.wait_for(provider.begun.wait(), 90)
    for seconds in (7, 0.5):
        at.clock.advance(seconds)
        await _round(at.runner())
    released.set()
    await slow.finish_calls()
    assert (await at.words(saga_id))[-1] == "ask:late"
    assert b"quote-2" in (await at.record(saga_id)).document
    assert len(at.sent("payments.hold")) == 1


async def test_runners_share_the_calls_and_each_is_made_once(at: Bench) -> None:
    ids = [await at.start(Quoted, replace(ORDER, order_id=f"order-{number}")) for number in range(20)]
    runners = [at.runner(), at.runner(), at.runner()]
    while sum(await asyncio.gather(*(_round(runner) for runner in runners))):
        pass
    assert sorted(str(context.saga_id) for context in provider.asked) == sorted(map(str, ids))
    assert len(at.sent("payments.hold")) == 20


async def test_a_bug_behind_a_call_is_seen_and_the_call_is_neither_repeated_nor_compensated(at: Bench) -> None:
    """On the release before: an exception that nobody retrieved, `timed-out`, the call again, and its compensation."""
    unseen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unseen.append(context))
    at.engine = at.engine_for(Ending)
    saga_id = await at.start(Ending, ORDER)
    for _ in range(60):
        await _round(at.runner())
        at.clock.advance(10)
    gc.collect()
    assert unseen == []
    assert [context.direction for context in provider.asked] == [StepDirection.ACTION]
    record = await at.record(saga_id)
    assert (record.status, record.failure) == (SagaStatus.NEEDS_ATTENTION, None)
    journal = [(entry.what, entry.detail) for entry in await at.stores[SAGAS].journal(saga_id)]
    assert ("done", "") in journal
    assert not [what for what, _ in journal if what in {"failed", "compensating"}]
    assert "ZeroDivisionError at tests/integration/saga/test_saga_calls.py:" in journal[-1][1]
