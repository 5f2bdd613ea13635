"""What the overview makes of the services' events does not depend on how these are interleaved."""

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from freehold_shop.inventory.contracts import StockReleased, StockReserved
from freehold_shop.money import Money
from freehold_shop.orders.contracts import (
    CheckoutMode,
    OrderCancelled,
    OrderConfirmed,
    OrderLine,
    OrderPlaced,
    OrderReturned,
)
from freehold_shop.overview.order_state import Facts, Hold, OrderEvent, Standing, facts_of
from freehold_shop.overview.projection import merge
from freehold_shop.payments.contracts import PaymentCaptured, PaymentChanged, PaymentHeld
from freehold_shop.shipping.contracts import ShipmentChanged, ShipmentCreated, ShipmentDelivered, ShipmentDispatched

LINES = (OrderLine("B", 1, 100), OrderLine("A", 3, 250), OrderLine("A", 1, 200))
PLACED = OrderPlaced("o1", "c1", CheckoutMode.CHOREOGRAPHED, Money(1050), LINES, 7)
SOLD: Sequence[Sequence[OrderEvent]] = (
    (
        PLACED,
        OrderConfirmed("o1", "c1", CheckoutMode.CHOREOGRAPHED, Money(1050)),
        OrderReturned("o1", "r", Money(1), False),
    ),
    (StockReserved("o1", "c1", Money(1050)),),
    (
        PaymentHeld("o1", "c1", "h", Money(1050)),
        PaymentCaptured("o1", Money(1050)),
        PaymentChanged("o1", "captured", "GBP", 1050, 1050, 1),
    ),
    (ShipmentCreated("o1", "s1"), ShipmentDispatched("o1"), ShipmentDelivered("o1")),
)
CANCELLED: Sequence[Sequence[OrderEvent]] = (
    (PLACED, OrderCancelled("o1", "c1", CheckoutMode.CHOREOGRAPHED, "declined")),
    (StockReserved("o1", "c1", Money(1050)), StockReleased("o1")),
    (PaymentChanged("o1", "declined", "GBP", 1050, 0, 0),),
    (ShipmentChanged("o1", "barred"),),
)


def interleaved(services: Sequence[Sequence[OrderEvent]], seed: int) -> Facts:
    """The row after the events of each service in their order, all services mixed."""
    source = random.Random(seed)
    queues = [list(events) for events in services]
    known: Facts = {"standing": 0, "hold": 0}
    while any(queues):
        queue = source.choice([queue for queue in queues if queue])
        merge(known, facts_of(queue.pop(0)))
    return known


@given(st.integers())
def test_a_sold_order_ends_the_same_whatever_came_first(seed: int) -> None:
    assert interleaved(SOLD, seed) == {
        "customer_id": "c1",
        "currency": "GBP",
        "total_pence": 1050,
        "placed_at_ms": 7,
        "lines": '[["A",4],["B",1]]',
        "standing": Standing.PARTIALLY_RETURNED,
        "hold": Hold.OVER,
        "payment_status": "captured",
        "amount_pence": 1050,
        "captured_pence": 1050,
        "refunded_pence": 1,
        "shipment_status": "delivered",
    }


@given(st.integers())
def test_a_cancelled_order_holds_nothing_whatever_came_first(seed: int) -> None:
    row = interleaved(CANCELLED, seed)
    assert (row["standing"], row["hold"]) == (Standing.CANCELLED, Hold.OVER)
    assert (row["payment_status"], row["shipment_status"]) == ("declined", "barred")


def test_statuses_are_the_words_of_orders() -> None:
    words = [standing.word for standing in Standing]
    assert words[1:7] == ["placed", "stock-reserved", "payment-held", "confirmed", "shipped", "delivered"]
    assert words[7:] == ["partially-returned", "returned", "cancelled"]
