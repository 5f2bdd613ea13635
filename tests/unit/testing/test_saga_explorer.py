"""The saga explorer on sagas that are wrong: what it finds, what it tells, and how one combination is repeated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from freehold import CallContext, Rejected, Saga, Service, Transaction, call, command, local, step
from freehold.saga import SagaStatus
from freehold.testing import SagaEnd, SagaViolation, explore


@command("explored.reserve", key="order_id")
class Reserve:
    order_id: str


@command("explored.release", key="order_id")
class Release:
    order_id: str


@command("explored.charge", key="order_id")
class Charge:
    order_id: str


@command("explored.send-parcel", key="order_id")
class SendParcel:
    order_id: str


@dataclass(frozen=True, slots=True)
class Order:
    order_id: str
    charge_id: str | None = None
    failure: str | None = None


ORDER = Order("A-1")


async def charge_card(state: Order, context: CallContext) -> dict[str, str]:
    return {"charge_id": "c-1"}


async def refund(state: Order, context: CallContext) -> None:
    """Stands for a call of the provider."""


class Sound(Saga[Order], name="orders.sound", key="order_id"):
    reserve = step(Reserve, compensation=Release)
    charge = call(charge_card, compensation=refund, after=reserve)
    parcel = step(SendParcel, pivot=True, after=charge)


class NotCompensated(Saga[Order], name="orders.not-compensated", key="order_id"):
    reserve = step(Reserve, compensation=Release)
    charge = step(Charge, no_compensation=True, after=reserve)
    parcel = step(SendParcel, pivot=True, after=charge)


def test_a_sound_saga_passes_and_the_report_says_what_was_left_out() -> None:
    report = explore(Sound, ORDER, faults_max=1)
    assert report.statuses.keys() == {SagaStatus.COMPLETED, SagaStatus.COMPENSATED}
    assert report.left_out == ["combinations of more than 1 faults"]
    assert str(report).startswith(f"{report.runs} runs: ")


def test_more_runs_than_allowed_are_an_error() -> None:
    with pytest.raises(ValueError, match="more than 20 runs"):
        explore(Sound, ORDER, runs_max=20)


def test_a_missing_compensation_is_found_and_told() -> None:
    with pytest.raises(SagaViolation) as caught:
        explore(NotCompensated, ORDER)
    assert str(caught.value).splitlines() == [
        "orders.not-compensated: it is compensated, and 'charge' is still in effect"  # noqa: ISC004 - one line
        " (if it may be, say remaining=['charge'])",
        "the rule: in the end every effect is kept if the saga completed; else it is compensated, or was never done",
        "faults: parcel 1: rejected",
        "what happened:",
        "  saga     started",
        "  saga     reserve: requested",
        "  reserve  is done",
        "  saga     reserve: done",
        "  saga     charge: requested",
        "  charge   is done",
        "  saga     charge: done",
        "  saga     parcel: requested",
        "  parcel   is rejected",
        "  saga     parcel: rejected (rejected)",
        "  saga     compensating (rejected)",
        "  saga     reserve: compensation-requested",
        "  reserve  compensation is done",
        "  saga     reserve: compensated",
        "  saga     compensated",
        "the saga is compensated; steps: reserve compensated, charge done, parcel rejected",
        "in effect: charge",
        "state: Order(order_id='A-1', charge_id=None, failure='rejected')",
        "again: explore(NotCompensated, Order(order_id='A-1', charge_id=None, failure=None),"  # noqa: ISC004 - one line
        " only={'parcel 1': 'rejected'})",
    ]


def test_one_combination_is_repeated_by_its_call() -> None:
    with pytest.raises(SagaViolation) as caught:
        explore(NotCompensated, ORDER)
    again = str(caught.value).rpartition("again: ")[2]
    with pytest.raises(SagaViolation) as repeated:
        eval(again, {"explore": explore, "NotCompensated": NotCompensated, "Order": Order})
    assert str(repeated.value) == str(caught.value)
    assert explore(NotCompensated, ORDER, only={}).statuses == {SagaStatus.COMPLETED: 1}


def test_an_unknown_combination_is_refused() -> None:
    with pytest.raises(ValueError, match="has no choice 'parcel 7'"):
        explore(Sound, ORDER, only={"parcel 7": "rejected"})
    with pytest.raises(ValueError, match="has no option 'lost'"):
        explore(Sound, ORDER, only={"reserve 1": "lost"})


def test_an_effect_that_may_remain_is_named() -> None:
    explore(NotCompensated, ORDER, remaining=["charge"], faults_max=1)


def test_a_hook_that_needs_a_reply_which_never_came_is_found() -> None:
    class Hooked(Saga[Order], name="orders.hooked", key="order_id"):
        reserve = step(
            Reserve,
            compensation=Release,
            make_compensation=lambda state: Release(state.charge_id.lower()),
            timeout_seconds=5,
        )
        parcel = step(SendParcel, pivot=True, after=reserve)

    with pytest.raises(SagaViolation, match="make_compensation of 'reserve' raises AttributeError") as caught:
        explore(Hooked, ORDER, replies={"reserve": {"charge_id": "C"}})
    assert len(caught.value.faults) == 1
    assert "test_saga_explorer.py" in str(caught.value)


def test_replies_that_do_not_fit_are_told() -> None:
    with pytest.raises(SagaViolation, match="see `replies=`"):
        explore(Sound, ORDER, replies={"reserve": {"charge_id": 5}})


orders = Service("orders")


async def confirm(state: Order, tx: Transaction) -> None:
    tx.connection[state.order_id] = "confirmed"


async def cancel(state: Order, tx: Transaction) -> None:
    tx.connection[state.order_id] = "cancelled"


async def forget_to_cancel(state: Order, tx: Transaction) -> None:
    """Does nothing."""


async def refuse(state: Order, tx: Transaction) -> None:
    raise Rejected("too-late")


async def misread(state: Order, tx: Transaction) -> None:
    assert state.charge_id is not None
    tx.connection[state.order_id] = state.charge_id.upper()


class Confirmed(Saga[Order], name="orders.confirmed", key="order_id"):
    reserve = step(Reserve, compensation=Release)
    charge = call(charge_card, compensation=refund, after=reserve)
    confirm = local(confirm, after=charge)
    on_compensated = cancel


def _is_told(end: SagaEnd) -> None:
    completed = end.status is SagaStatus.COMPLETED
    assert end.tables == {"A-1": "confirmed" if completed else "cancelled"}, f"the order is {end.tables}"


def test_local_functions_and_hooks_are_called_on_a_database_in_memory() -> None:
    report = explore(Confirmed, ORDER, service=orders, check=_is_told, faults_max=1)
    assert set(report.statuses) == {SagaStatus.COMPLETED, SagaStatus.COMPENSATED}
    assert explore(Confirmed, ORDER, faults_max=0).left_out[-1].startswith("the code of confirm, on_compensated")


@pytest.mark.parametrize(
    ("hook", "told"), [(forget_to_cancel, "the order is {}"), (misread, "on_compensated raises AssertionError")]
)
def test_a_wrong_hook_is_found(hook: Any, told: str) -> None:
    class Wrong(Saga[Order], name="orders.wrong", key="order_id"):
        reserve = step(Reserve, compensation=Release)
        charge = call(charge_card, compensation=refund, after=reserve)
        confirm = local(confirm, after=charge)
        on_compensated = hook

    with pytest.raises(SagaViolation, match=told) as caught:
        explore(Wrong, ORDER, service=orders, check=_is_told)
    assert len(caught.value.faults) == 1


def test_a_local_function_that_rejects_compensates() -> None:
    class Refusing(Saga[Order], name="orders.refusing", key="order_id"):
        reserve = step(Reserve, compensation=Release)
        confirm = local(refuse, after=reserve)

    report = explore(Refusing, ORDER, service=orders, faults_max=1)
    assert set(report.statuses) == {SagaStatus.COMPENSATED}


def test_the_state_of_a_hook_that_crashes_is_rolled_back() -> None:
    async def count_up(state: Order, tx: Transaction) -> Order:
        tx.connection["runs"] = tx.connection.get("runs", 0) + 1
        return replace(state, charge_id=f"{tx.connection['runs']}")

    class Counting(Saga[Order], name="orders.counting", key="order_id"):
        reserve = step(Reserve, compensation=Release)
        confirm = local(count_up, after=reserve)

    def once(end: SagaEnd) -> None:
        if end.status is SagaStatus.COMPLETED:
            assert (end.tables, end.state.charge_id) == ({"runs": 1}, "1")

    explore(Counting, ORDER, service=orders, check=once)
