"""An order's life: whatever comes, in whatever order and however often, its history makes sense."""

from contextlib import suppress
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from freehold.messages import encode_body, message_type
from freehold_shop.money import Money
from freehold_shop.orders.contracts import (
    CheckoutMode,
    OrderCancelled,
    OrderConfirmed,
    OrderLine,
    OrderPlaced,
    OrderReturned,
)
from freehold_shop.orders.domain import NotSold, OrderStatus, total_of
from freehold_shop.orders.history import OrderDelivered, OrderPaymentHeld, OrderShipped, OrderStockReserved
from freehold_shop.orders.life import Event, decide, evolve
from freehold_shop.orders.order import (
    Cancel,
    Command,
    NoteRefunded,
    NoteRestocked,
    Order,
    OrderExists,
    Place,
    Reach,
    RequestReturn,
    Stage,
)
from freehold_shop.verify.expected_state import Stored, fold_order, fold_returns

LINES = (OrderLine("A", 3, 250), OrderLine("B", 1, 100), OrderLine("A", 2, 200))
PLACE = Place("o1", "c1", CheckoutMode.SAGA, total_of(LINES, "GBP"), LINES, 1_000)
IN_ORDER = [OrderPlaced, OrderStockReserved, OrderPaymentHeld, OrderConfirmed, OrderShipped, OrderDelivered]


def lived(*commands: Command) -> tuple[Order, list[Event]]:
    """The order after commands, and its history."""
    state: Order | None = None
    history: list[Event] = []
    for command in commands:
        for event in decide(state, command):
            history.append(event)
            state = evolve(state, event)
    assert state is not None
    return state, history


class Life(RuleBasedStateMachine):
    """Commands as they may come: late, repeated, out of order."""

    @initialize(checkout=st.sampled_from(CheckoutMode))
    def place(self, checkout: CheckoutMode) -> None:
        self.order: Order | None = None
        self.history: list[Event] = []
        self.wanted = replace(PLACE, checkout=checkout)
        self.give(self.wanted)

    def give(self, command: Command) -> None:
        events = decide(self.order, command)
        for event in events:
            self.history.append(event)
            self.order = evolve(self.order, event)
        if not isinstance(command, RequestReturn):
            assert not decide(self.order, command), "a command that comes again changes nothing"

    @rule()
    def place_again(self) -> None:
        before = len(self.history)
        self.give(self.wanted)
        assert len(self.history) == before

    @rule(stage=st.sampled_from(Stage))
    def reach(self, stage: Stage) -> None:
        self.give(Reach(stage))

    @rule(only=st.none() | st.sampled_from(CheckoutMode), confirmed_too=st.booleans())
    def cancel(self, only: CheckoutMode | None, confirmed_too: bool) -> None:
        self.give(Cancel("because", only, confirmed_too))

    @rule(ref=st.sampled_from(["r1", "r2", "r3"]), line=st.sampled_from(LINES), quantity=st.integers(1, 3))
    def request(self, ref: str, line: OrderLine, quantity: int) -> None:
        lines = (replace(line, quantity=quantity),)
        with suppress(NotSold):
            self.give(RequestReturn(ref, total_of(lines, "GBP"), lines))

    @rule(ref=st.sampled_from(["r1", "r2", "r3"]), refund_first=st.booleans())
    def bring_back(self, ref: str, refund_first: bool) -> None:
        halves: list[Command] = [NoteRefunded(ref), NoteRestocked(ref)]
        for half in halves if refund_first else reversed(halves):
            self.give(half)

    @rule(ref=st.sampled_from(["r1", "r2", "r3"]))
    def refund(self, ref: str) -> None:
        self.give(NoteRefunded(ref))

    @invariant()
    def stages_come_in_order_and_once(self) -> None:
        stages = [IN_ORDER.index(type(event)) for event in self.history if type(event) in IN_ORDER]
        assert stages == list(range(len(stages)))

    @invariant()
    def the_history_is_the_order(self) -> None:
        state: Order | None = None
        for event in self.history:
            state = evolve(state, event)
        assert state == self.order

    @invariant()
    def the_verification_sees_the_same_order(self) -> None:
        stored = [
            Stored.of(message_type(event).name, encode_body(event), number << 16, number)
            for number, event in enumerate(self.history)
        ]
        row = fold_order(stored)
        assert row is not None
        assert self.order is not None
        assert (row[1], row[2]) == (self.order.status.value, self.order.reason)
        assert row[6] == [[each.sku, each.quantity, each.price_pence, each.returned] for each in self.order.lines]
        parts = {part.return_ref: [part.refund.pence, part.refunded, part.restocked] for part in self.order.returns}
        assert {ref: part[2:] for ref, part in fold_returns(stored).items()} == parts

    @invariant()
    def nothing_follows_a_cancellation_but_returns_under_way(self) -> None:
        kinds = [type(event) for event in self.history]
        assert kinds.count(OrderCancelled) <= 1
        if OrderCancelled in kinds:
            behind = kinds[kinds.index(OrderCancelled) + 1 :]
            assert not set(behind) & set(IN_ORDER)
            assert self.order is not None
            assert self.order.status is OrderStatus.CANCELLED

    @invariant()
    def no_piece_comes_back_twice(self) -> None:
        assert self.order is not None
        assert all(0 <= line.left <= line.quantity for line in self.order.lines)
        refunds = Money.total([part.refund for part in self.order.returns], "GBP")
        back = sum(line.returned * line.price_pence for line in self.order.lines)
        assert refunds.pence == back

    @invariant()
    def a_return_is_told_once(self) -> None:
        told = [event.return_ref for event in self.history if isinstance(event, OrderReturned)]
        assert self.order is not None
        assert sorted(told) == sorted(part.return_ref for part in self.order.returns if part.done)


TestLife = Life.TestCase


def test_each_stage_is_a_status_of_its_own() -> None:
    statuses = [lived(PLACE, *(Reach(each) for each in Stage if each <= stage))[0].status.value for stage in Stage]
    assert statuses == ["placed", "stock-reserved", "payment-held", "confirmed", "shipped", "delivered"]


@pytest.mark.parametrize("stages", list(permutations([Stage.STOCK_RESERVED, Stage.PAYMENT_HELD, Stage.CONFIRMED])))
def test_stages_told_in_any_order_give_one_history(stages: tuple[Stage, ...]) -> None:
    _, history = lived(PLACE, *(Reach(stage) for stage in stages))
    assert [type(event) for event in history] == IN_ORDER[:4]


def test_only_what_was_sold_is_shipped() -> None:
    assert lived(PLACE, Reach(Stage.SHIPPED))[0].status is OrderStatus.PLACED
    assert lived(PLACE, Cancel("no"), Reach(Stage.DELIVERED))[0].status is OrderStatus.CANCELLED


def test_a_confirmed_order_is_cancelled_only_when_its_goods_are_gone() -> None:
    confirmed = (PLACE, Reach(Stage.CONFIRMED))
    assert lived(*confirmed, Cancel("late"))[0].status is OrderStatus.CONFIRMED
    assert lived(*confirmed, Cancel("gone", confirmed_too=True))[0].reason == "gone"
    assert lived(*confirmed, Reach(Stage.SHIPPED), Cancel("gone", confirmed_too=True))[0].status is OrderStatus.SHIPPED


def test_the_same_id_with_other_content_is_refused() -> None:
    with pytest.raises(OrderExists):
        lived(PLACE, replace(PLACE, customer_id="c2"))


def test_a_return_counts_once_money_and_goods_are_back() -> None:
    back = RequestReturn("r1", Money(500), (OrderLine("A", 2, 250),))
    sold = (PLACE, Reach(Stage.CONFIRMED), Reach(Stage.DELIVERED), back)
    assert lived(*sold, NoteRefunded("r1"))[0].status is OrderStatus.DELIVERED
    order, history = lived(*sold, NoteRefunded("r1"), NoteRestocked("r1"), NoteRestocked("r1"))
    assert order.status is OrderStatus.PARTIALLY_RETURNED
    assert history[-1] == OrderReturned("o1", "r1", Money(500), complete=False)
    rest = RequestReturn("r2", Money(750), (OrderLine("A", 1, 250), OrderLine("B", 1, 100), OrderLine("A", 2, 200)))
    order, history = lived(
        *sold, NoteRefunded("r1"), NoteRestocked("r1"), rest, NoteRestocked("r2"), NoteRefunded("r2")
    )
    assert order.status is OrderStatus.RETURNED
    assert history[-1] == OrderReturned("o1", "r2", Money(750), complete=True)
