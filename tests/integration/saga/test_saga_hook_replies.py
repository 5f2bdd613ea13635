"""A bug in what follows a reply, and what an operator decides about it: the reply is kept, nothing is sent twice."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.saga.bench import Bench
from tests.integration.saga.wrong_hooks import (
    SOON,
    Commanding,
    charged,
    hooks_bench,
    merge_charge,
    shop,
)
from tests.unit.saga.shapes import ORDER, Capture, Hold, Order, Release, Reserve, Void

from freehold.inbox.reply import Rejected
from freehold.saga import Saga, step
from freehold.saga.store import SagaStatus


@pytest.fixture
async def at(database_url: str) -> AsyncIterator[Bench]:
    async with hooks_bench(database_url) as ready:
        yield ready


async def _held(at: Bench) -> Any:
    """Reserve is done; the answer of hold is to come."""
    saga_id = await at.start(Commanding, replace(ORDER, hold_id="h"))
    await at.consume(at.sent("inventory.reserve")[0])
    return saga_id


@pytest.mark.parametrize("hook", ["merge", "confirm", "make", "on_completed"])
async def test_a_reply_is_kept_and_what_follows_from_it_is_tried_again(at: Bench, hook: str) -> None:
    shop.wrong[hook] = ValueError()
    saga_id = await _held(at)
    await at.consume(at.sent("payments.hold")[0], body={"hold_id": "held"})
    if hook in {"make", "on_completed"}:
        await at.consume(at.sent("payments.capture")[0])
    if hook == "on_completed":
        await at.consume(at.sent("notifications.send")[0])
    await at.pass_seconds(600)
    assert (await at.record(saga_id)).status is SagaStatus.NEEDS_ATTENTION
    kinds = [request.type for request in at.outbox.staged]
    assert len(kinds) == len(set(kinds))  # nothing was asked for twice, nor compensated
    assert not {"inventory.release", "payments.void"} & set(kinds)
    shop.wrong.clear()
    async with at.transactions.begin() as tx:
        await at.engine.retry(tx, saga_id)
    for name in ("payments.capture", "notifications.send"):
        await at.consume(at.sent(name)[0])
    record = await at.record(saga_id)
    assert record.status is SagaStatus.COMPLETED
    assert b'"hold_id":"held"' in record.document


@pytest.mark.parametrize("hook", ["make_compensation", "unconfirm", "on_compensated"])
async def test_a_bug_on_the_way_back_repeats_no_compensation(at: Bench, hook: str) -> None:
    saga_id = await _held(at)
    await at.consume(at.sent("payments.hold")[0], body={"hold_id": "held"})
    shop.wrong[hook] = ValueError()
    await at.consume(at.sent("payments.capture")[0], "rejected", {"code": "expired"})
    if hook == "on_compensated":
        await at.consume(at.sent("payments.void")[0])
        await at.consume(at.sent("inventory.release")[0])
    await at.pass_seconds(60)
    record = await at.record(saga_id)
    assert (record.status, record.failure) == (SagaStatus.NEEDS_ATTENTION, "expired")
    shop.wrong.clear()
    async with at.transactions.begin() as tx:
        await at.engine.retry(tx, saga_id)
    if hook != "on_compensated":
        await at.consume(at.sent("payments.void")[0])
        await at.consume(at.sent("inventory.release")[0])
    assert (await at.record(saga_id)).status is SagaStatus.COMPENSATED
    assert len(at.sent("payments.void")) == len(at.sent("inventory.release")) == 1


async def test_a_compensation_call_is_not_run_again_for_a_failing_on_compensated(at: Bench) -> None:
    shop.wrong["confirm"], shop.wrong["on_compensated"] = Rejected("too-late"), ValueError()
    saga_id = await charged(at)
    await at.pass_seconds(600)
    assert (await at.record(saga_id)).status is SagaStatus.NEEDS_ATTENTION
    assert (len(shop.charges), len(shop.refunds)) == (1, 1)
    shop.wrong.pop("on_compensated")
    async with at.transactions.begin() as tx:
        await at.engine.retry(tx, saga_id)
    assert (await at.record(saga_id)).status is SagaStatus.COMPENSATED
    assert len(shop.refunds) == 1


async def test_answers_that_come_meanwhile_are_kept_in_order(at: Bench) -> None:
    class Beside(Saga[Order], name="orders.beside", key="order_id", hook_retry=SOON):
        reserve = step(Reserve, compensation=Release, timeout_seconds=5)
        hold = step(Hold, compensation=Void, merge=merge_charge, timeout_seconds=5)
        capture = step(Capture, pivot=True, after=(reserve, hold), timeout_seconds=500)

    at.engine = at.engine_for(Beside)
    shop.wrong["merge"] = ValueError()
    saga_id = await at.start(Beside, replace(ORDER, hold_id="h"))
    await at.consume(at.sent("payments.hold")[0], body={"hold_id": "held"})
    await at.pass_seconds(30)
    await at.consume(at.sent("inventory.reserve")[0])
    tries = shop.ran["merge"]
    assert "reserve:done" in await at.words(saga_id)
    await at.rounds()
    assert shop.ran["merge"] == tries  # an answer is no reason to try earlier
    shop.wrong.clear()
    await at.pass_seconds(120)
    (capture,) = at.sent("payments.capture")
    assert b"held" in capture.body
    assert len(at.outbox.staged) == 3


async def test_a_timer_of_another_step_waits_while_a_hook_fails(at: Bench) -> None:
    class Beside(Saga[Order], name="orders.beside2", key="order_id", hook_retry=SOON):
        reserve = step(Reserve, compensation=Release, timeout_seconds=10)
        hold = step(Hold, compensation=Void, merge=merge_charge, timeout_seconds=5)
        capture = step(Capture, pivot=True, after=(reserve, hold))

    at.engine = at.engine_for(Beside)
    shop.wrong["merge"] = ValueError()
    saga_id = await at.start(Beside, replace(ORDER, hold_id="h"))
    at.clock.advance(4)
    await at.consume(at.sent("payments.hold")[0], body={"hold_id": "held"})
    await at.pass_seconds(500)
    shop.wrong.clear()
    async with at.transactions.begin() as tx:
        await at.engine.retry(tx, saga_id)
    assert (await at.record(saga_id)).due_seconds == pytest.approx(6, abs=0.5)
    assert len(at.sent("inventory.reserve")) == 1


@pytest.mark.parametrize(
    ("hook", "ends"), [("confirm", "asked"), ("merge", "asked"), ("make", "completed"), ("on_completed", "completed")]
)
async def test_an_operator_goes_on_without_the_hook(at: Bench, hook: str, ends: str) -> None:
    shop.wrong[hook] = ValueError()
    saga_id = await charged(at)
    if hook == "on_completed":
        await at.consume(at.sent("notifications.send")[0])
    await at.pass_seconds(30)
    async with at.transactions.begin() as tx:
        await at.engine.skip(tx, saga_id, reason="done by hand")
    if ends == "asked":
        await at.consume(at.sent("notifications.send")[0])
    assert (await at.record(saga_id)).status is SagaStatus.COMPLETED
    assert (len(shop.charges), shop.refunds) == (1, [])


@pytest.mark.parametrize("hook", ["confirm", "merge"])
async def test_an_operator_decides_to_compensate(at: Bench, hook: str) -> None:
    shop.wrong[hook] = ValueError()
    saga_id = await charged(at)
    await at.pass_seconds(30)
    async with at.transactions.begin() as tx:
        await at.engine.compensate(tx, saga_id, reason="the customer called")
    await at.rounds()
    record = await at.record(saga_id)
    assert (record.status, record.failure, len(shop.refunds)) == (SagaStatus.COMPENSATED, "decided", 1)


async def test_an_operator_terminates_without_any_code_being_run(at: Bench) -> None:
    shop.wrong["merge"] = ValueError()
    saga_id = await charged(at)
    await at.pass_seconds(30)
    ran = dict(shop.ran)
    async with at.transactions.begin() as tx:
        await at.engine.terminate(tx, saga_id)
    await at.pass_seconds(100)
    assert (await at.record(saga_id)).status is SagaStatus.TERMINATED
    assert shop.ran == ran
