"""A bug in the code of a saga: tried again, then shown with its place; nothing is repeated or compensated for it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.saga.bench import Bench
from tests.integration.saga.wrong_hooks import (
    SOON,
    Charging,
    Shop,
    charge,
    charged,
    hooks_bench,
    line_of,
    never,
    refund,
    shop,
    unconfirm_order,
)
from tests.unit.saga.shapes import ORDER, Order

from freehold.errors import Unavailable
from freehold.inbox.reply import Rejected
from freehold.lifecycle import RunnerState
from freehold.saga import DecisionRefused, Saga, call, local
from freehold.saga.document import read_instance
from freehold.saga.hooks import Hook
from freehold.saga.saga_runner import SagaRunner
from freehold.saga.store import SAGAS, SagaStatus
from freehold.saga.timeline import timeline
from freehold.transaction import Transaction


@pytest.fixture
async def at(database_url: str) -> AsyncIterator[Bench]:
    async with hooks_bench(database_url) as ready:
        yield ready


@pytest.mark.parametrize("hook", ["confirm", "merge", "make", "on_completed"])
async def test_a_bug_after_a_call_is_shown_and_the_charge_is_neither_repeated_nor_refunded(
    at: Bench, hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    shop.wrong[hook] = ValueError("a secret value")
    saga_id = await charged(at)
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
    assert any("ValueError at tests/integration/saga/wrong_hooks.py" in entry.detail for entry in journal)
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
    saga_id = await charged(at)
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
    monkeypatch.setattr(dead.calls, "_proceed", never)  # it dies there
    await dead.take_due()
    await dead.finish_calls()
    assert shop.ran.get("merge") is None
    assert (await at.record(saga_id)).due_seconds == 0
    await at.rounds()
    assert len(shop.charges) == 1
    assert at.sent("notifications.send")


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
    saga_id = await charged(at)
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
    saga_id = await charged(at)
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
    saga_id = await charged(at)
    record = await at.record(saga_id)
    assert (record.status, record.failure) == (SagaStatus.COMPENSATED, "too-late")
    assert len(shop.refunds) == 1


@pytest.mark.parametrize("hook", ["merge", "make", "on_completed"])
async def test_a_refusal_elsewhere_is_a_bug(at: Bench, hook: str) -> None:
    shop.wrong[hook] = Rejected("no")
    saga_id = await charged(at)
    if hook == "on_completed":
        await at.consume(at.sent("notifications.send")[0])
    await at.pass_seconds(60)
    assert (await at.record(saga_id)).status is SagaStatus.NEEDS_ATTENTION
    assert shop.refunds == []


async def test_a_reply_of_a_call_that_cannot_be_stored_asks_for_an_operator_at_once(at: Bench) -> None:
    shop.reply = object()
    saga_id = await charged(at)
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
