"""Hooks that hang, end the process or fail together with their record: one instance is affected, and no other."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from tests.integration.saga.bench import Bench
from tests.integration.saga.lost_answer import lose_answer
from tests.integration.saga.wrong_hooks import (
    SOON,
    Charging,
    Commanding,
    charge,
    confirm_order,
    hooks_bench,
    line_of,
    never,
    refund,
    shop,
    unconfirm_order,
)
from tests.unit.saga.shapes import ORDER, Notify, Order

from freehold.errors import Unavailable
from freehold.saga import Saga, call, local, step
from freehold.saga.document import DOCUMENT_FORMAT
from freehold.saga.saga_runner import SagaRunner
from freehold.saga.store import SAGAS, SagaStatus
from freehold.saga.timeline import timeline
from freehold.transaction import Transaction


@pytest.fixture
async def at(database_url: str) -> AsyncIterator[Bench]:
    async with hooks_bench(database_url) as ready:
        yield ready


async def test_a_hook_without_end_is_cancelled(at: Bench) -> None:
    class Hanging(Saga[Order], name="orders.hanging", key="order_id", hook_retry=SOON):
        charge = call(charge, compensation=refund, timeout_seconds=5)
        confirm = local(hangs, compensation=unconfirm_order, after=charge)

    at.engine = at.engine_for(Hanging)
    saga_id = await at.start(Hanging, ORDER)
    runner = SagaRunner(at.engine, at.transactions, hook_timeout_seconds=0.05)
    await runner.take_due()
    await runner.finish_calls()
    failure = await at.hook_failure(saga_id)
    assert failure is not None
    assert (failure.step, failure.error, failure.place) == ("confirm", "HookTimeout", line_of(hangs, "await"))


async def hangs(state: Order, tx: Transaction) -> None:
    await asyncio.Event().wait()


async def test_a_start_that_fails_in_its_first_function_and_is_committed_goes_on_later(at: Bench) -> None:
    class First(Saga[Order], name="orders.first", key="order_id", hook_retry=SOON):
        confirm = local(confirm_order, compensation=unconfirm_order)
        notify = step(Notify, no_compensation=True, after=confirm)

    at.engine = at.engine_for(First)
    shop.wrong["confirm"] = ValueError()
    async with at.transactions.begin() as tx:
        with pytest.raises(ValueError):  # noqa: PT011 - the test's own
            await at.engine.start(tx, First, ORDER)
    shop.wrong.clear()
    await at.rounds()
    assert len(at.sent("notifications.send")) == 1


async def test_a_failing_instance_does_not_hold_up_others(at: Bench) -> None:
    bad = await at.start(Charging, ORDER)
    shop.wrong["confirm"] = ValueError()
    await at.rounds()
    shop.wrong.clear()
    good = [await at.start(Charging, replace(ORDER, order_id=f"good-{number}")) for number in range(10)]
    await at.rounds()
    assert len(at.sent("notifications.send")) == len(good)
    assert (await at.hook_failure(bad)) is not None
    shop.wrong.clear()
    await at.pass_seconds(5)
    assert len(at.sent("notifications.send")) == len(good) + 1


async def test_a_failure_that_cannot_be_put_down_is_one_instance_s_alone(
    at: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = await at.start(Charging, ORDER), await at.start(Charging, replace(ORDER, order_id="good"))
    real = at.engine.on_due_record

    async def broken(tx: Transaction, record: Any) -> Any:
        if record.id == bad:
            raise ValueError
        return await real(tx, record)

    async def unrecordable(*_: object, **__: object) -> None:
        raise LookupError

    monkeypatch.setattr(at.engine, "on_due_record", broken)  # a bug of ours
    monkeypatch.setattr(at.engine, "on_failure", unrecordable)  # and another
    await at.rounds()
    assert len(at.sent("notifications.send")) == 1
    assert (await at.record(bad)).due_seconds == pytest.approx(30, abs=timedelta(seconds=1).total_seconds())
    assert (await at.record(good)).status is SagaStatus.RUNNING


async def test_a_failing_statement_of_a_hook_is_named(at: Bench) -> None:
    if at.stores.database.features.technology == "memory":
        pytest.skip("it speaks no SQL")

    class Writing(Saga[Order], name="orders.writing", key="order_id", hook_retry=SOON):
        charge = call(charge, compensation=refund, timeout_seconds=5)
        confirm = local(writes_wrongly, compensation=unconfirm_order, after=charge)

    at.engine = at.engine_for(Writing)
    saga_id = await at.start(Writing, ORDER)
    await at.pass_seconds(60)
    failure = await at.hook_failure(saga_id)
    assert failure is not None
    assert (failure.step, failure.place) == ("confirm", line_of(writes_wrongly, "execute"))
    assert failure.attention
    assert shop.refunds == []


async def writes_wrongly(state: Order, tx: Transaction) -> None:
    await tx.connection.execute(text("INSERT INTO no_such_table VALUES (1)"))


async def test_saves_that_failed_before_the_first_release_are_told(at: Bench) -> None:
    saga_id = await at.start(Commanding, ORDER)
    record = await at.record(saga_id)
    steps = {"reserve": {"phase": "running", "wait_reason": "reply", "attempt": 1, "policy_attempts": 1}}
    steps["reserve"] |= {"round_start": 1, "wait_until": "2024-05-01T00:00:05Z"}
    document = {
        "format": DOCUMENT_FORMAT,
        "machine_status": "running",
        "state": {"order_id": "order-1", "quantity": 1},
        "steps": {**{name: {} for name in Commanding.definition().by_name}, **steps},
        "due": "2024-05-01T00:00:05Z",
        "save_failures": 9,
    }
    async with at.stores.database.begin() as db_tx:
        put = replace(record, document=msgspec.json.encode(document), status=SagaStatus.NEEDS_ATTENTION)
        await at.stores[SAGAS].save(db_tx, put, ())
    failure = await at.hook_failure(saga_id)
    assert failure is not None
    assert (failure.failures, failure.attention) == (9, True)
    at.clock.advance(5)
    await at.rounds()
    assert (await at.record(saga_id)).status is SagaStatus.RUNNING
    assert (await at.words(saga_id))[-1] == "reserve:failed"


async def test_an_instance_that_does_not_fit_its_definition_needs_attention_until_it_does(at: Bench) -> None:
    saga_id = await at.start(Commanding, ORDER)
    definition = Commanding.definition()
    fewer = replace(definition, steps=definition.steps[:-1])
    at.engine._definitions["orders.commanding", 1] = fewer
    for _ in range(4):
        at.clock.advance(31)
        await at.rounds()
    record, journal = await at.record(saga_id), await at.stores[SAGAS].journal(saga_id)
    assert record.status is SagaStatus.NEEDS_ATTENTION
    assert [entry.what for entry in journal].count("needs-attention") == 1
    assert "started with other steps" in journal[-1].detail
    assert "problem: see the last journal entry" in timeline(record, journal)
    at.engine._definitions["orders.commanding", 1] = definition
    at.clock.advance(31)
    await at.rounds()
    assert (await at.record(saga_id)).status is SagaStatus.RUNNING


async def test_hooks_that_end_the_process_are_counted_before_and_wait_for_an_operator(
    at: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    saga_id = await at.start(Charging, ORDER)
    with monkeypatch.context() as dying:
        dying.setattr(SagaRunner, "_continue", never)  # the process is gone there, each time
        for _ in range(10):
            await at.rounds()
            at.clock.advance(61)
    record, failure = await at.record(saga_id), await at.hook_failure(saga_id)
    assert failure is not None
    assert (failure.error, failure.wait_until, record.due_seconds) == ("ProcessCrashed", None, None)
    assert record.status is SagaStatus.NEEDS_ATTENTION
    assert (len(shop.charges), shop.refunds, shop.ran.get("merge")) == (1, [], None)
    await at.pass_seconds(4000, step=400)
    assert shop.ran.get("merge") is None  # what costs a process each time is not tried by itself
    async with at.transactions.begin() as tx:
        await at.engine.retry(tx, saga_id, reason="mended")
    await at.consume(at.sent("notifications.send")[0])
    assert (await at.record(saga_id)).status is SagaStatus.COMPLETED


async def test_a_hook_that_may_end_the_process_is_tried_alone(at: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [await at.start(Charging, replace(ORDER, order_id=f"order-{number}")) for number in range(3)]
    tried: list[Any] = []
    real = SagaRunner._continue

    async def dies_at_the_second(self: SagaRunner, saga_id: Any) -> None:
        tried.append(saga_id)
        if saga_id != ids[1]:
            await real(self, saga_id)

    monkeypatch.setattr(SagaRunner, "_continue", never)
    await _first_round(at)
    monkeypatch.setattr(SagaRunner, "_continue", dies_at_the_second)
    for _ in range(6):
        await at.rounds()
        at.clock.advance(61)
    statuses = [(await at.hook_failure(each)) is None for each in ids]
    assert statuses == [True, False, True]
    assert len(at.sent("notifications.send")) == 2


async def _first_round(at: Bench) -> None:
    """The outcomes of the calls are on record, and nobody goes on."""
    runner = at.runner()
    await runner.take_due()
    await runner.finish_calls()


async def test_attempts_that_were_counted_and_never_began_are_no_crashes(
    at: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count is stored each time, and the answer to its commit is lost: an outage needs no operator."""
    saga_id = await at.start(Charging, ORDER)
    with monkeypatch.context() as dying:
        dying.setattr(SagaRunner, "_continue", never)
        await _first_round(at)
    real, marked = at.engine.mark_started, list[bool]()

    async def noted(*arguments: Any) -> bool:
        marked.append(await real(*arguments))
        return marked[-1]

    monkeypatch.setattr(at.engine, "mark_started", noted)
    runner = SagaRunner(at.engine, at.transactions, hook_timeout_seconds=1.0)
    for number in range(6):
        at.clock.advance(3)
        with monkeypatch.context() as cut, pytest.raises(Unavailable):
            await lose_answer(at, cut, when=lambda expected=number + 1: len(marked) == expected)  # type: ignore[misc] # a number bound now
            await runner.take_due()
    assert all(marked)
    at.clock.advance(3)
    await runner.take_due()
    assert await at.hook_failure(saga_id) is None
    assert len(at.sent("notifications.send")) == 1
