"""What a declaration refuses, and what it says to write instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.unit.saga.shapes import Capture, Checkout, Hold, Notify, Order, Release, Reserve, Ship, Void, write_order

from freehold.errors import DeclarationError
from freehold.messages import event
from freehold.saga import Saga, local, step
from freehold.saga.diagram import mermaid
from freehold.saga.steps import RETRY_BACK, RETRY_FORWARD, StepDirection


@event("orders.noted")
class Noted:
    order_id: str


@dataclass
class Loose:
    order_id: str


def _cycle() -> None:
    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        a = step(Hold, no_compensation=True, after="b")
        b = step(Ship, no_compensation=True, after="a")


def _unknown() -> None:
    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        a = step(Hold, no_compensation=True, after="bee")


def _foreign() -> None:
    foreign = step(Hold, no_compensation=True)

    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        a = step(Hold, no_compensation=True, after=foreign)


def _without_compensation() -> None:
    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        a = step(Hold)
        b = step(Capture, pivot=True, after=a)


def _local_without_compensation() -> None:
    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        a = local(write_order)
        b = step(Capture, pivot=True, after=a)


def _two_pivots() -> None:
    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        a = step(Capture, pivot=True)
        b = step(Capture, pivot=True)


def _beside_pivot() -> None:
    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        a = step(Capture, pivot=True)
        b = step(Hold, compensation=Void)


def _compensation_after_pivot() -> None:
    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        a = step(Capture, pivot=True)
        b = step(Hold, compensation=Void, after=a)


def _compensation_of_pivot() -> None:
    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        a = step(Capture, compensation=Void, pivot=True)


def _optional_pivot() -> None:
    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        a = step(Capture, pivot=True, optional=True)


def _unfillable() -> None:
    @dataclass(frozen=True)
    class Small:
        order_id: str

    class Wrong(Saga[Small], name="orders.x", key="order_id"):
        a = step(Reserve, compensation=Release)


def _compensation_needs_reply() -> None:
    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        a = step(Hold, compensation=Capture)


def _loose_state() -> None:
    class Wrong(Saga[Loose], name="orders.x", key="order_id"):
        a = step(Hold, no_compensation=True)


def _unstorable_state() -> None:
    class Wrong(Saga[Unstorable], name="orders.x", key="order_id"):
        a = step(Hold, no_compensation=True)


@dataclass(frozen=True)
class Unstorable:
    order_id: str
    function: Callable[[], None] | None = None


def _no_key() -> None:
    class Wrong(Saga[Order], name="orders.x", key="number"):
        a = step(Hold, no_compensation=True)


def _no_state() -> None:
    class Wrong(Saga, name="orders.x", key="order_id"):  # type: ignore[type-arg] # what is refused
        a = step(Hold, no_compensation=True)


def _no_steps() -> None:
    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        pass


def _bad_name() -> None:
    class Wrong(Saga[Order], name="Checkout", key="order_id"):
        a = step(Hold, no_compensation=True)


def _an_event() -> None:
    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        a = step(Noted, no_compensation=True)


def _no_message() -> None:
    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        a = step(Order, no_compensation=True)


def _not_async() -> None:
    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        a = local(print)  # type: ignore[arg-type] # what is refused


def _shadowed() -> None:
    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        write_order = local(write_order, no_compensation=True)
        again = local(write_order, no_compensation=True)  # type: ignore[arg-type] # what is refused


def _one_object() -> None:
    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        a = step(Hold, no_compensation=True)
        b = a


def _of_saga_itself() -> None:
    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        start = step(Hold, no_compensation=True)  # type: ignore[assignment] # what is refused


def _no_time() -> None:
    step(Hold, no_compensation=True, timeout_seconds=0)


def _both() -> None:
    class Wrong(Saga[Order], name="orders.x", key="order_id"):
        a = step(Hold, compensation=Void, no_compensation=True)


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (_cycle, "wait for each other: .*→"),
        (_unknown, "'bee', which is not one of its steps .steps: a"),
        (_foreign, "a step of another saga"),
        (_without_compensation, "has no compensation.*pivot=True.*no_compensation=True"),
        (_local_without_compensation, "has no compensation"),
        (_two_pivots, "more than one pivot: a, b"),
        (_beside_pivot, "'b' may run in parallel with the pivot 'a'"),
        (_compensation_after_pivot, "would never run"),
        (_compensation_of_pivot, "would never run"),
        (_optional_pivot, "cannot be optional"),
        (_unfillable, "Reserve.quantity cannot be filled.*make=lambda state: Reserve"),
        (_compensation_needs_reply, "Capture.hold_id may still be None"),
        (_loose_state, "not a frozen dataclass"),
        (_unstorable_state, "cannot be stored"),
        (_no_key, "key 'number' is not a field"),
        (_no_state, "names no state"),
        (_no_steps, "has no steps"),
        (_bad_name, 'write name="orders.checkout"'),
        (_an_event, "'orders.noted' is an event"),
        (_no_message, "is not a message"),
        (_not_async, "needs an async function"),
        (_shadowed, "a step above has the function's name"),
        (_one_object, "are one object"),
        (_of_saga_itself, "step 'start' of .* has the name of an attribute of Saga"),
        (_no_time, "must be more than 0"),
        (_both, "both a compensation and no_compensation"),
    ],
)
def test_a_wrong_declaration_says_what_to_write_instead(declare: Callable[[], None], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        declare()


def test_saga_itself_declares_nothing() -> None:
    with pytest.raises(DeclarationError, match="derive a class"):
        Saga[Any].definition()


def test_a_definition_knows_the_place_of_each_step() -> None:
    definition = Checkout.definition()
    assert (definition.name, definition.version, definition.state_type) == ("orders.checkout", 1, Order)
    assert [entry.name for entry in definition.steps] == ["reserve", "hold", "ship", "capture", "confirm", "notify"]
    assert definition.pivot is definition.by_name["capture"]
    assert definition.by_name["ship"].descendants == {"capture", "confirm", "notify"}
    assert [entry.name for entry in definition.steps if entry.before_pivot] == ["reserve", "hold", "ship", "capture"]


def test_a_step_is_tried_for_longer_where_giving_up_would_call_a_person() -> None:
    steps = Checkout.definition().by_name
    assert steps["hold"].policy(StepDirection.ACTION) is RETRY_FORWARD
    assert steps["hold"].policy(StepDirection.COMPENSATION) is RETRY_BACK
    assert steps["capture"].policy(StepDirection.ACTION) is RETRY_BACK
    assert steps["notify"].policy(StepDirection.ACTION) is RETRY_FORWARD


def test_the_last_local_step_needs_no_compensation() -> None:
    class Short(Saga[Order], name="orders.short", key="order_id"):
        hold = step(Hold, compensation=Void)
        write = local(write_order, after=hold)
        notify = step(Notify, optional=True, no_compensation=True, after=write)

    assert Short.definition().pivot is None


def test_the_diagram_shows_the_pivot_and_both_ways() -> None:
    lines = [line.strip() for line in mermaid(Checkout.definition()).splitlines()]
    assert lines[0] == "stateDiagram-v2"
    assert 'state "capture: Capture (pivot)" as capture' in lines
    for edge in (
        "[*] --> reserve",
        "hold --> ship",
        "hold --> compensate_reserve: rejected",
        "hold --> compensate_hold: attempts exhausted",
    ):
        assert edge in lines
    assert not [line for line in lines if line.startswith(("confirm --> compensate", "notify --> compensate"))]
