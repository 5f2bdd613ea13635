"""The engine on each database: what is committed together, what is repeated, what is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from tests.integration.saga.bench import Bench, TestClock, bench, by_name, reply_to
from tests.unit.saga.shapes import ORDER, Capture, Checkout, Hold, Order, Parallel, Release, Reserve, Void

from freehold.errors import CodecError
from freehold.saga import DecisionRefused, Saga, SagaEngine, UnknownSaga, local, step
from freehold.saga.instance import request_key
from freehold.saga.probes import probe
from freehold.saga.steps import StepDirection
from freehold.saga.store import SAGAS, SagaStatus
from freehold.transaction import Transaction

broken = {"hook": False}


async def refuse_when_broken(state: Order, tx: Transaction) -> Order:
    if broken["hook"]:
        raise RuntimeError
    return replace(state, seen=(*state.seen, "hook"))


class Hooked(Saga[Order], name="orders.hooked", key="order_id"):
    reserve = step(Reserve, compensation=Release, timeout_seconds=5)
    hold = step(Hold, compensation=Void, after=reserve)
    capture = step(Capture, pivot=True, after=hold)
    confirm = local(refuse_when_broken, after=capture)
    on_completed = refuse_when_broken
    on_compensated = refuse_when_broken


@pytest.fixture
async def at(database_url: str) -> AsyncIterator[Bench]:
    broken["hook"] = False
    async with bench(database_url, Checkout, Parallel, Hooked) as ready:
        yield ready


async def test_starting_stores_the_instance_and_stages_the_first_command_together(at: Bench) -> None:
    saga_id = await at.start(Checkout, ORDER)
    (request,) = at.outbox.staged
    assert (request.type, request.key, request.topic) == ("inventory.reserve", "order-1", "inventory.commands")
    assert request.reply_to == "orders.replies"
    assert request.idempotency_key == request_key(saga_id, "reserve", StepDirection.ACTION, 0)
    assert request.correlation_id == saga_id
    assert dict(request.headers) == {
        "freehold-saga": str(saga_id),
        "freehold-step": "reserve",
        "freehold-attempt": "1",
        "freehold-direction": "action",
    }
    record = await at.record(saga_id)
    assert (record.status, record.key) == (SagaStatus.RUNNING, "order-1")
    assert record.due_seconds == pytest.approx(5, abs=0.1)


async def test_a_start_that_rolls_back_leaves_nothing(at: Bench) -> None:
    saga_id = uuid4()
    at.outbox.fail = True
    with pytest.raises(ConnectionError):
        await at.start(Checkout, ORDER, saga_id)
    at.outbox.fail = False
    assert list(await at.stores[SAGAS].journal(saga_id)) == []


async def test_a_process_whose_clock_is_an_hour_ahead_lets_no_timer_fire_early(at: Bench) -> None:
    """What is left of a timer is told by the database's clock; no process compares its own with another's."""
    saga_id = await at.start(Parallel, ORDER)
    reserve, _ = at.outbox.staged
    ahead = TestClock()
    ahead.advance(3600)
    at.engine = SagaEngine(by_name(Parallel), at.stores[SAGAS], at.transactions.context, ahead)
    await at.answer(reserve)
    assert (await at.record(saga_id)).due_seconds == pytest.approx(30, abs=0.1)
    assert await at.runner().take_due() == 0
    at.clock.advance(30.5)
    assert await at.runner().take_due() == 1
    assert "hold:failed" in await at.words(saga_id)


async def test_a_second_start_with_the_same_id_changes_nothing(at: Bench) -> None:
    saga_id = await at.start(Checkout, ORDER)
    assert await at.start(Checkout, ORDER, saga_id) == saga_id
    assert len(at.outbox.staged) == 1


async def test_a_whole_checkout(at: Bench) -> None:
    saga_id = await at.start(Checkout, ORDER)
    for body in ({}, {"hold_id": "hold-7"}, {}, {}, {}):
        await at.answer(at.outbox.staged[-1], body=body)
    record = await at.record(saga_id)
    assert (record.status, record.due_seconds) == (SagaStatus.COMPLETED, None)
    assert [request.type for request in at.outbox.staged] == [
        "inventory.reserve",
        "payments.hold",
        "shipping.create",
        "payments.capture",
        "notifications.send",
    ]
    assert b"hold-7" in at.sent("payments.capture")[0].body
    assert {request.correlation_id for request in at.outbox.staged} == {saga_id}
    assert at.sent("notifications.send")[0].key == "order-1"


async def test_a_refusal_is_compensated_in_reverse_order(at: Bench) -> None:
    saga_id = await at.start(Checkout, ORDER)
    await at.answer(at.outbox.staged[-1])
    await at.answer(at.outbox.staged[-1])
    await at.answer(at.outbox.staged[-1], "rejected", {"code": "undeliverable", "detail": "no address"})
    void = at.outbox.staged[-1]
    assert (void.type, void.compensates) == ("payments.void", request_key(saga_id, "hold", StepDirection.ACTION, 0))
    await at.answer(void)
    await at.answer(at.outbox.staged[-1])
    record = await at.record(saga_id)
    assert (record.status, record.failure) == (SagaStatus.COMPENSATED, "undeliverable")
    assert [request.type for request in at.outbox.staged[-2:]] == ["payments.void", "inventory.release"]


async def test_late_and_duplicate_replies_are_journalled_and_change_nothing(at: Bench) -> None:
    saga_id = await at.start(Checkout, ORDER)
    request = at.outbox.staged[0]
    await at.answer(request)
    await at.answer(request)
    await at.answer(request, "rejected", {"code": "too-late"})
    assert len(at.outbox.staged) == 2
    assert (await at.words(saga_id)).count("reserve:late") == 2


async def test_a_reply_to_an_instance_that_is_gone_is_passed_over(at: Bench) -> None:
    await at.start(Checkout, ORDER)
    stranger = at.outbox.staged[0]
    headers = {**stranger.headers, "freehold-saga": str(uuid4())}
    await at.answer(replace(stranger, headers=headers))


async def test_a_reply_that_cannot_be_read_is_refused_and_nothing_changes(at: Bench) -> None:
    saga_id = await at.start(Checkout, ORDER)
    await at.answer(at.outbox.staged[0])
    with pytest.raises(CodecError, match="hold"):
        await at.answer(at.outbox.staged[1], body={"hold_id": 7})
    assert (await at.words(saga_id))[-1] == "hold:requested"


async def test_a_timeout_repeats_the_request_with_the_same_key(at: Bench) -> None:
    saga_id = await at.start(Checkout, ORDER)
    assert await at.runner().take_due() == 0
    for seconds in (5, 0.5, 5, 1.0, 5):
        at.clock.advance(seconds)
        assert await at.runner().take_due() == 1
    requests = at.sent("inventory.reserve")
    assert [request.headers["freehold-attempt"] for request in requests] == ["1", "2", "3"]
    assert len({request.idempotency_key for request in requests}) == 1
    assert len({request.id for request in requests}) == 3
    (compensation,) = at.sent("inventory.release")
    assert compensation.compensates == requests[0].idempotency_key
    await at.answer(compensation, "no-effect")
    assert (await at.record(saga_id)).status is SagaStatus.COMPENSATED


@pytest.mark.parametrize("outcome", ["cancelled", "barred"])
async def test_an_outcome_of_before_the_first_release_is_understood(at: Bench, outcome: str) -> None:
    saga_id = await at.start(Checkout, ORDER)
    await at.answer(at.outbox.staged[0], outcome)
    assert "reserve:rejected" in await at.words(saga_id)


async def test_an_answer_to_an_older_attempt_counts(at: Bench) -> None:
    saga_id = await at.start(Checkout, ORDER)
    for seconds in (5, 0.5):
        at.clock.advance(seconds)
        await at.runner().take_due()
    await at.answer(at.sent("inventory.reserve")[0])
    assert (await at.words(saga_id))[-2:] == ["reserve:done", "hold:requested"]


async def test_parallel_replies_in_overlapping_transactions_are_both_kept(at: Bench) -> None:
    saga_id = await at.start(Parallel, ORDER)
    reserve, hold = at.outbox.staged
    await asyncio.gather(at.answer(reserve), at.answer(hold))
    assert at.sent("shipping.create")
    assert (await at.record(saga_id)).status is SagaStatus.RUNNING


async def test_a_local_function_that_raises_takes_the_reply_back_with_it(at: Bench) -> None:
    saga_id = await at.start(Hooked, replace(ORDER, hold_id="h"))
    await at.answer(at.outbox.staged[-1])
    await at.answer(at.outbox.staged[-1])
    broken["hook"] = True
    capture = at.outbox.staged[-1]
    with pytest.raises(RuntimeError):
        await at.answer(capture)
    assert (await at.words(saga_id))[-1] == "capture:requested"
    broken["hook"] = False
    await at.answer(capture)
    record = await at.record(saga_id)
    assert record.status is SagaStatus.COMPLETED
    assert b'"seen":["hook","hook"]' in record.document


async def test_a_hook_that_keeps_failing_calls_a_person_and_is_tried_on(at: Bench) -> None:
    saga_id = await at.start(Hooked, ORDER)
    broken["hook"] = True
    for seconds in (5.0, 10.0, 5.0, 20.0, 5.0):
        at.clock.advance(seconds)
        await at.runner().take_due()
    compensation = at.sent("inventory.release")[0]
    with pytest.raises(RuntimeError):
        await at.answer(compensation)
    broken["hook"] = False
    await at.answer(compensation)
    record = await at.record(saga_id)
    assert (record.status, record.failure) == (SagaStatus.COMPENSATED, "reserve-timed-out")


async def test_a_timer_that_cannot_be_taken_is_put_off_alone(at: Bench) -> None:
    class Deadlined(Saga[Order], name="orders.deadlined", key="order_id", deadline_seconds=3):
        reserve = step(Reserve, no_compensation=True)
        on_compensated = refuse_when_broken

    at.engine = at.engine_for(Deadlined, Checkout)
    bad, good = await at.start(Deadlined, ORDER), await at.start(Checkout, ORDER)
    broken["hook"] = True
    at.clock.advance(5)
    await at.runner().take_due()
    assert (await at.words(bad))[-1] == "hook-failed"
    assert "reserve:failed" in await at.words(good)
    for _ in range(8):
        at.clock.advance(61)
        await at.runner().take_due()
    assert (await at.record(bad)).status is SagaStatus.NEEDS_ATTENTION
    broken["hook"] = False
    at.clock.advance(61)
    await at.runner().take_due()
    assert (await at.record(bad)).status is SagaStatus.COMPENSATED


async def test_an_instance_of_an_unknown_version_is_left_alone(at: Bench) -> None:
    saga_id = await at.start(Checkout, ORDER)
    before = await at.record(saga_id)
    known, at.engine = at.engine, at.engine_for(Parallel)
    with pytest.raises(UnknownSaga, match="version 1"):
        await at.answer(at.outbox.staged[0])
    at.clock.advance(6)
    assert await at.runner().take_due() == 1
    after = await at.record(saga_id)
    assert (after.document, after.status) == (before.document, before.status)
    assert after.due_seconds == pytest.approx(30)
    findings = await probe(at.transactions.context, by_name(Parallel))
    assert [finding.ok for finding in findings] == [False]
    assert "orders.checkout" in findings[0].detail
    at.engine = known
    await at.answer(at.outbox.staged[0])
    assert at.sent("payments.hold")


async def test_an_old_version_ends_by_its_own_definition(at: Bench) -> None:
    class Next(Saga[Order], name="orders.checkout", version=2, key="order_id"):
        hold = step(Hold, compensation=Void)
        capture = step(Capture, pivot=True, after=hold)

    old = await at.start(Checkout, ORDER)
    at.engine = at.engine_for(Checkout, Next)
    await at.start(Next, ORDER)
    await at.answer(at.outbox.staged[0])
    assert (await at.words(old))[-1] == "hold:requested"
    assert (await at.words(old)).count("reserve:done") == 1


async def _stuck(at: Bench) -> UUID:
    """A checkout whose second step is refused and whose first compensation is refused as well."""
    saga_id = await at.start(Checkout, ORDER)
    await at.answer(at.outbox.staged[-1])
    await at.answer(at.outbox.staged[-1], "rejected", {"code": "declined", "detail": ""})
    await at.answer(at.outbox.staged[-1], "rejected", {"code": "locked", "detail": ""})
    assert (await at.record(saga_id)).status is SagaStatus.NEEDS_ATTENTION
    return saga_id


async def test_a_person_repeats_a_refused_compensation_with_a_new_key(at: Bench) -> None:
    saga_id = await _stuck(at)
    async with at.transactions.begin() as tx:
        await at.engine.retry(tx, saga_id, reason="unlocked")
    first, second = at.sent("inventory.release")
    assert first.idempotency_key != second.idempotency_key
    assert first.compensates == second.compensates
    await at.answer(first, "rejected", {"code": "locked"})
    await at.answer(second)
    record = await at.record(saga_id)
    assert (record.status, record.failure) == (SagaStatus.COMPENSATED, "declined")


async def test_a_person_settles_a_step_by_hand(at: Bench) -> None:
    saga_id = await _stuck(at)
    async with at.transactions.begin() as tx:
        await at.engine.skip(tx, saga_id, step="reserve", reason="released by hand")
    assert (await at.record(saga_id)).status is SagaStatus.COMPENSATED
    assert "reserve:decided-skip" in await at.words(saga_id)


async def test_an_operator_terminates_and_nothing_more_happens(at: Bench) -> None:
    saga_id = await _stuck(at)
    async with at.transactions.begin() as tx:
        await at.engine.terminate(tx, saga_id, reason="a test order")
    sent = len(at.outbox.staged)
    await at.answer(at.sent("inventory.release")[0])
    assert (await at.record(saga_id)).status is SagaStatus.TERMINATED
    assert len(at.outbox.staged) == sent
    with pytest.raises(DecisionRefused, match="ended as terminated"):
        async with at.transactions.begin() as tx:
            await at.engine.retry(tx, saga_id)


async def test_a_person_turns_a_running_saga_round_before_its_pivot_only(at: Bench) -> None:
    saga_id = await at.start(Checkout, ORDER)
    await at.answer(at.outbox.staged[-1])
    async with at.transactions.begin() as tx:
        await at.engine.compensate(tx, saga_id, reason="the customer called")
    assert [at.outbox.staged[-1].type] == ["payments.void"]

    other = await at.start(Checkout, replace(ORDER, hold_id="h"))
    for _ in range(3):
        await at.answer(at.outbox.staged[-1])
    assert at.outbox.staged[-1].type == "payments.capture"
    with pytest.raises(DecisionRefused, match="can no longer be compensated"):
        async with at.transactions.begin() as tx:
            await at.engine.compensate(tx, other)


async def test_a_reply_costs_a_load_a_save_and_a_staging(at: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await at.start(Checkout, ORDER)
    request = at.outbox.staged[0]
    calls: list[str] = []
    store = type(at.stores[SAGAS])
    for name in ("load", "save_last", "create", "claim_due", "find", "journal"):
        real = getattr(store, name)

        def counted(*args: object, name: str = name, real: object = real) -> object:
            calls.append(name)
            return real(*args)  # type: ignore[operator] # a method of the store

        monkeypatch.setattr(store, name, counted)
    reply = reply_to(request)
    async with at.transactions.begin(reply) as tx:
        await at.engine.on_reply(reply, tx)
    assert calls == ["load", "save_last"]
