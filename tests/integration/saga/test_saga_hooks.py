"""A bug in the code of a saga: tried again, then shown with its place; nothing is repeated or compensated for it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from tests.integration.saga.bench import Bench, bench
from tests.unit.saga.shapes import ORDER, Capture, Hold, Notify, Order, Release, Reserve, Void

from freehold.errors import Unavailable
from freehold.inbox.reply import Rejected
from freehold.lifecycle import RunnerState
from freehold.policy import Retry
from freehold.saga import CallContext, DecisionRefused, Saga, call, local, step
from freehold.saga.document import DOCUMENT_FORMAT, read_instance
from freehold.saga.hooks import Hook
from freehold.saga.saga_runner import SagaRunner
from freehold.saga.store import SAGAS, SagaStatus
from freehold.saga.timeline import timeline
from freehold.transaction import Transaction

SOON = Retry(attempts=3, delay_seconds=0.5, draw=lambda: 1.0)


@dataclass
class Shop:
    """The other side of the calls, and what is wrong with the code here."""

    charges: list[str] = field(default_factory=list)
    refunds: list[str] = field(default_factory=list)
    reply: object = None
    wrong: dict[str, BaseException] = field(default_factory=dict)
    ran: dict[str, int] = field(default_factory=dict)

    def at(self, place: str) -> None:
        self.ran[place] = self.ran.get(place, 0) + 1
        if place in self.wrong:
            raise self.wrong[place]


shop = Shop()


async def charge(state: Order, context: CallContext) -> object:
    shop.charges.append(context.idempotency_key)
    shop.at("charge")
    return shop.reply or {"hold_id": "charged"}


async def refund(state: Order, context: CallContext) -> None:
    shop.refunds.append(context.idempotency_key)
    shop.at("refund")


async def confirm_order(state: Order, tx: Transaction) -> Order:
    shop.at("confirm")
    return replace(state, seen=(*state.seen, "confirmed"))


async def unconfirm_order(state: Order, tx: Transaction) -> None:
    shop.at("unconfirm")


async def when_completed(state: Order, tx: Transaction) -> None:
    shop.at("on_completed")


async def when_compensated(state: Order, tx: Transaction) -> None:
    shop.at("on_compensated")


def merge_charge(state: Order, reply: dict[str, Any]) -> Order:
    shop.at("merge")
    return replace(state, hold_id=reply["hold_id"])


def make_notify(state: Order) -> Notify:
    shop.at("make")
    return Notify(state.order_id)


def make_void(state: Order) -> Void:
    shop.at("make_compensation")
    return Void(state.order_id)


class Charging(Saga[Order], name="orders.charging", key="order_id", deadline_seconds=120, hook_retry=SOON):
    charge = call(charge, compensation=refund, merge=merge_charge, timeout_seconds=5, retry=SOON)
    confirm = local(confirm_order, compensation=unconfirm_order, after=charge)
    notify = step(Notify, no_compensation=True, after=confirm, make=make_notify, timeout_seconds=500)
    on_completed = when_completed
    on_compensated = when_compensated


class Commanding(Saga[Order], name="orders.commanding", key="order_id", hook_retry=SOON):
    reserve = step(Reserve, compensation=Release, timeout_seconds=5, retry=SOON)
    hold = step(
        Hold,
        compensation=Void,
        after=reserve,
        merge=merge_charge,
        make_compensation=make_void,
        timeout_seconds=5,
        retry=SOON,
    )
    confirm = local(confirm_order, compensation=unconfirm_order, after=hold)
    capture = step(Capture, pivot=True, after=confirm, timeout_seconds=5)
    notify = step(Notify, optional=True, after=capture, make=make_notify, timeout_seconds=5)
    on_completed = when_completed
    on_compensated = when_compensated


@pytest.fixture
async def at(database_url: str) -> AsyncIterator[Bench]:
    shop.__init__()  # type: ignore[misc] # a fresh one, in the same place
    async with bench(database_url, Charging, Commanding) as ready:
        yield ready


def line_of(function: Callable[..., object], containing: str) -> str:
    lines, first = inspect.getsourcelines(function)
    number = next(number for number, each in enumerate(lines) if containing in each)
    return f"tests/integration/saga/test_saga_hooks.py:{first + number}"


async def _charged(at: Bench) -> Any:
    saga_id = await at.start(Charging, ORDER)
    await at.rounds()
    return saga_id


@pytest.mark.parametrize("hook", ["confirm", "merge", "make", "on_completed"])
async def test_a_bug_after_a_call_is_shown_and_the_charge_is_neither_repeated_nor_refunded(
    at: Bench, hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    shop.wrong[hook] = ValueError("a secret value")
    saga_id = await _charged(at)
    if hook == "on_completed":
        await at.consume(at.sent("notifications.send")[0])
    await at.pass_seconds(900)
    record, failure = await at.record(saga_id), await at.hook_failure(saga_id)
    assert (len(shop.charges), shop.refunds) == (1, [])
    assert (record.status, record.failure) == (SagaStatus.NEEDS_ATTENTION, None)
    assert failure is not None
    assert (failure.error, failure.place) == ("ValueError", line_of(Shop.at, "raise"))
    assert failure.hook.value == {"confirm": "action"}.get(hook, hook)
    assert failure.step == {"merge": "charge", "make": "notify", "on_completed": ""}.get(hook, hook)
    words = await at.words(saga_id)
    assert [word for word in words if "failed" in word or "timed" in word or "compens" in word] == [
        f"{failure.step}:hook-failed".strip(":")
    ] * 3
    journal = await at.stores[SAGAS].journal(saga_id)
    assert any("ValueError at tests/integration/saga/test_saga_hooks.py" in entry.detail for entry in journal)
    assert str(failure) in timeline(record, journal)
    assert "a secret value" not in timeline(record, journal) + caplog.text

    shop.wrong.clear()
    async with at.transactions.begin() as tx:
        await at.engine.retry(tx, saga_id, reason="deployed the fix")
    if hook != "on_completed":
        await at.consume(at.sent("notifications.send")[0])
    record = await at.record(saga_id)
    assert record.status is SagaStatus.COMPLETED
    assert b"charged" in record.document
    assert (len(shop.charges), shop.refunds) == (1, [])


async def test_a_deployed_fix_is_found_without_anybody(at: Bench) -> None:
    shop.wrong["confirm"] = KeyError("x")
    saga_id = await _charged(at)
    await at.pass_seconds(3600, step=30)
    tries = shop.ran["confirm"]
    assert tries < 40
    assert (await at.words(saga_id)).count("confirm:hook-failed") == 3
    shop.wrong.clear()
    await at.pass_seconds(600, step=60)
    assert at.sent("notifications.send")


async def test_the_outcome_of_a_call_is_on_record_before_any_code_runs_with_it(
    at: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    saga_id = await at.start(Charging, ORDER)
    real = SagaRunner._continue

    async def first_look(self: SagaRunner, which: Any) -> None:
        seen.append(await at.words(saga_id))
        await real(self, which)

    monkeypatch.setattr(SagaRunner, "_continue", first_look)
    await at.rounds()
    assert seen[0][-1] == "charge:done"
    assert shop.ran["merge"] == 1
    assert at.sent("notifications.send")


async def test_a_process_that_dies_behind_the_record_loses_nothing(at: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first of the two commits happens; another process goes on from there, at once."""
    saga_id = await at.start(Charging, ORDER)
    dead = at.runner()
    monkeypatch.setattr(dead.calls, "_proceed", _never)  # it dies there
    await dead.take_due()
    await dead.finish_calls()
    assert shop.ran.get("merge") is None
    assert (await at.record(saga_id)).due_seconds == 0
    await at.rounds()
    assert len(shop.charges) == 1
    assert at.sent("notifications.send")


async def _never(*_: Any) -> None:
    """Stands for a process that is gone."""


async def test_no_task_of_a_call_loses_an_exception(
    at: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unseen.append(context))
    await at.start(Charging, ORDER)
    runner = at.runner()

    async def broken(*_: object, **__: object) -> None:
        raise LookupError

    monkeypatch.setattr(at.engine, "on_call_ended", broken)  # a bug of ours
    await runner.take_due()
    await runner.finish_calls()
    assert isinstance(runner.last_error, LookupError)
    assert "was not recorded" in caplog.text
    assert unseen == []


async def test_neither_the_deadline_nor_a_step_s_limit_passes_while_a_hook_fails(at: Bench) -> None:
    shop.wrong["confirm"] = ValueError()
    saga_id = await _charged(at)
    await at.pass_seconds(1000)
    shop.wrong.clear()
    async with at.transactions.begin() as tx:
        await at.engine.retry(tx, saga_id)
    await at.pass_seconds(100)
    assert (await at.record(saga_id)).status is SagaStatus.RUNNING
    await at.pass_seconds(60)
    assert (await at.record(saga_id)).failure == "deadline-passed"  # what was left of the 120 s has passed by now


async def test_an_outage_in_a_hook_counts_for_nothing(at: Bench) -> None:
    shop.wrong["confirm"] = Unavailable("the database is away")
    saga_id = await _charged(at)
    await at.pass_seconds(1800)
    record, failure = await at.record(saga_id), await at.hook_failure(saga_id)
    assert record.status is SagaStatus.RUNNING
    assert failure is not None
    assert (failure.failures, failure.attention, failure.error) == (0, False, "Unavailable")
    assert (await at.words(saga_id)).count("confirm:hook-rescheduled") == 1
    shop.wrong.clear()
    await at.pass_seconds(60)
    assert at.sent("notifications.send")


async def test_a_stop_waits_until_an_outage_in_a_hook_can_be_put_down(
    at: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the try that it ended would count as one that ended the process."""
    shop.wrong["confirm"] = Unavailable("the database is away")
    saga_id, runner = await at.start(Charging, ORDER), at.runner()
    on_failure, away = at.engine.on_failure, [True]

    async def failing(*given: Any, **named: Any) -> None:
        if away:
            raise Unavailable("still away")
        await on_failure(*given, **named)

    monkeypatch.setattr(at.engine, "on_failure", failing)
    await runner.start()
    async with asyncio.timeout(60):
        while not runner.pending_correction:  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.01)
    stopping = asyncio.create_task(runner.stop(30.0))
    async with asyncio.timeout(60):
        while runner.state is not RunnerState.STOPPING:  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.01)
    away.clear()
    await stopping
    instance, failure = read_instance(await at.record(saga_id), Charging.definition()), await at.hook_failure(saga_id)
    assert (runner.pending_correction, instance.started_attempts) == ("", 0)
    assert failure is not None
    assert (failure.failures, failure.outages) == (0, 1)


async def test_a_refusal_of_a_local_function_is_no_bug(at: Bench) -> None:
    shop.wrong["confirm"] = Rejected("too-late")
    saga_id = await _charged(at)
    record = await at.record(saga_id)
    assert (record.status, record.failure) == (SagaStatus.COMPENSATED, "too-late")
    assert len(shop.refunds) == 1


@pytest.mark.parametrize("hook", ["merge", "make", "on_completed"])
async def test_a_refusal_elsewhere_is_a_bug(at: Bench, hook: str) -> None:
    shop.wrong[hook] = Rejected("no")
    saga_id = await _charged(at)
    if hook == "on_completed":
        await at.consume(at.sent("notifications.send")[0])
    await at.pass_seconds(60)
    assert (await at.record(saga_id)).status is SagaStatus.NEEDS_ATTENTION
    assert shop.refunds == []


async def test_a_reply_of_a_call_that_cannot_be_stored_asks_for_an_operator_at_once(at: Bench) -> None:
    shop.reply = object()
    saga_id = await _charged(at)
    await at.pass_seconds(300)
    record, failure = await at.record(saga_id), await at.hook_failure(saga_id)
    assert record.status is SagaStatus.NEEDS_ATTENTION
    assert failure is not None
    assert (failure.step, failure.hook, failure.error) == ("charge", Hook.REPLY, "TypeError")
    assert failure.place == line_of(charge, "async def")
    assert (len(shop.charges), shop.refunds) == (1, [])
    shop.reply = None
    async with at.transactions.begin() as tx:
        await at.engine.retry(tx, saga_id)
    await at.rounds()
    assert len(shop.charges) == 2  # the operator asked for it, and it has the same key
    assert len(set(shop.charges)) == 1
    assert at.sent("notifications.send")


async def test_a_state_that_cannot_be_stored_names_the_function_that_made_it(at: Bench) -> None:
    saga_id = await at.start(Charging, ORDER)
    real, wrong = replace, Charging.definition().by_name["confirm"]

    async def makes_nonsense(state: Order, tx: Transaction) -> Order:
        return real(state, hold_id=object())

    definition = Charging.definition()
    steps = tuple(real(each, action=makes_nonsense) if each is wrong else each for each in definition.steps)
    at.engine._definitions["orders.charging", 1] = real(definition, steps=steps)
    await at.pass_seconds(30)
    failure = await at.hook_failure(saga_id)
    assert failure is not None
    assert (failure.step, failure.place) == ("confirm", line_of(makes_nonsense, "async def"))
    assert (len(shop.charges), shop.refunds) == (1, [])


async def test_what_a_function_wrote_and_the_database_refuses_at_the_commit_is_a_bug(at: Bench) -> None:
    """An append against the wrong version is found at the flush, outside of any function."""

    class Flushing(Saga[Order], name="orders.flushing", key="order_id", hook_retry=SOON):
        charge = call(charge, compensation=refund, timeout_seconds=5)
        confirm = local(appends_wrongly, compensation=unconfirm_order, after=charge)

    at.engine = at.engine_for(Flushing)
    saga_id = await at.start(Flushing, ORDER)
    await at.pass_seconds(60)
    record, failure = await at.record(saga_id), await at.hook_failure(saga_id)
    assert failure is not None
    assert failure.hook is Hook.COMMIT
    assert record.status is SagaStatus.NEEDS_ATTENTION
    assert (len(shop.charges), shop.refunds) == (1, [])
    with pytest.raises(DecisionRefused, match="not known which step"):
        async with at.transactions.begin() as tx:
            await at.engine.skip(tx, saga_id)


async def appends_wrongly(state: Order, tx: Transaction) -> None:
    async def refuse(_companion: object) -> None:
        raise RuntimeError("refused at the end")

    tx.staging.companion("wrong", object, refuse)


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
    saga_id = await _charged(at)
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
    saga_id = await _charged(at)
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
    saga_id = await _charged(at)
    await at.pass_seconds(30)
    async with at.transactions.begin() as tx:
        await at.engine.compensate(tx, saga_id, reason="the customer called")
    await at.rounds()
    record = await at.record(saga_id)
    assert (record.status, record.failure, len(shop.refunds)) == (SagaStatus.COMPENSATED, "decided", 1)


async def test_an_operator_terminates_without_any_code_being_run(at: Bench) -> None:
    shop.wrong["merge"] = ValueError()
    saga_id = await _charged(at)
    await at.pass_seconds(30)
    ran = dict(shop.ran)
    async with at.transactions.begin() as tx:
        await at.engine.terminate(tx, saga_id)
    await at.pass_seconds(100)
    assert (await at.record(saga_id)).status is SagaStatus.TERMINATED
    assert shop.ran == ran


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
        dying.setattr(SagaRunner, "_continue", _never)  # the process is gone there, each time
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

    monkeypatch.setattr(SagaRunner, "_continue", _never)
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
