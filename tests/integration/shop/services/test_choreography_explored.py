"""The shop's choreographed checkout, with everything that may happen to one of its messages. Its saga is explored in
`tests/unit/shop/services/test_checkout_explored.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from freehold import Service
from freehold.sql import SQL
from freehold.testing import Choreography, ChoreographyViolation, Stage, explore_choreography
from freehold_shop.copies import keep_customer
from freehold_shop.inventory import reservations
from freehold_shop.inventory.contracts import StockLine
from freehold_shop.inventory.service import inventory
from freehold_shop.money import Money
from freehold_shop.orders import placement
from freehold_shop.orders.contracts import CheckoutMode, OrderLine
from freehold_shop.orders.service import orders
from freehold_shop.payments import ledger
from freehold_shop.payments.service import payments
from freehold_shop.providers.wire import Captured, Declined, Held, Refunded, Voided
from freehold_shop.shipping.service import shipping
from freehold_shop.users.contracts import CustomerRegistered

_ORDER = "o1"
_AMOUNT = Money(500, "GBP")
_cards: list[Card] = []


class Card:
    """A payment provider: once for a key, and its first answer is one of the outcomes of the run."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._held: Held | Declined | None = None

    async def hold(self, **request: object) -> Held | Declined:
        if self._held is None:
            accepted = self._stage.choose("card", "accepted", "declined") == "accepted"
            self._held = Held("h1") if accepted else Declined("declined")
        return self._held

    async def capture(self, hold_id: str, *, idempotency_key: str) -> Captured:
        return Captured("c1", hold_id, _AMOUNT.pence)

    async def void(self, hold_id: str, *, idempotency_key: str) -> Voided:
        return Voided(hold_id)

    async def refund(self, capture_id: str, *, amount_pence: int, idempotency_key: str) -> Refunded:
        return Refunded("r1", capture_id, amount_pence)


class PlacedOrder(Choreography):
    """One order: there are goods for it or not, the card is accepted or not, the address is one or not."""

    def services(self) -> Sequence[Service]:
        return [orders, inventory, payments, shipping]

    async def prepare(self, stage: Stage) -> None:
        async with stage.transaction("inventory") as tx:
            await reservations.receive(tx, "r1", [StockLine("A", 10)])
        async with stage.transaction("shipping") as tx:
            for customer_id, address in (("c1", "1 High Street"), ("homeless", "")):
                await keep_customer(tx, CustomerRegistered(customer_id, "N", "n@example.org", "GB", address, 1))

    async def begin(self, stage: Stage) -> None:
        _cards[:] = [Card(stage)]
        customer = "c1" if stage.choose("address", "known", "missing") == "known" else "homeless"
        quantity = 2 if stage.choose("goods", "enough", "too few") == "enough" else 11
        lines = (OrderLine("A", quantity, _AMOUNT.pence // quantity),)
        new = placement.NewOrder(_ORDER, customer, CheckoutMode.CHOREOGRAPHED, "GBP", lines, 0)
        async with stage.transaction("orders") as tx:
            await placement.place(tx, new)

    async def check(self, stage: Stage) -> str:
        status = await _one(stage, "orders", "SELECT status FROM orders WHERE order_id = $1")
        reservation = await _one(stage, "inventory", "SELECT status FROM reservation WHERE order_id = $1")
        payment = await _one(stage, "payments", "SELECT status FROM payment WHERE order_id = $1")
        refunded = await _one(stage, "payments", "SELECT refunded_pence FROM payment WHERE order_id = $1")
        parcel = await _one(stage, "shipping", "SELECT status FROM shipment WHERE order_id = $1")
        found = f"order {status}, reservation {reservation}, payment {payment}, refunded {refunded}, parcel {parcel}"
        if status == "confirmed":
            assert (reservation, payment, refunded, parcel) == ("committed", "captured", 0, "created"), found
        else:
            assert status == "cancelled", found
            assert reservation in {None, "refused", "released", "expired", "lost"}, found
            assert payment in {"barred", "declined", "voided"} or refunded == _AMOUNT.pence, found
            assert parcel in {"barred", "failed", "cancelled"}, found
        return str(status)


async def _one(stage: Stage, service: str, query: str) -> object:
    async with stage.stores(service)[SQL].direct() as connection:
        rows = await connection.fetch(query, (_ORDER,))
    return rows[0][0] if rows else None


@pytest.fixture(autouse=True)
def _provider(monkeypatch: pytest.MonkeyPatch) -> None:
    async def providers() -> Card:
        return _cards[0]

    monkeypatch.setattr(ledger, "providers", providers)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_choreographed_checkout_ends_well_whatever_happens_to_a_message(tmp_path: Path) -> None:
    report = explore_choreography(PlacedOrder, directory=tmp_path)
    assert report.ends.keys() == {"confirmed", "cancelled"}
    assert report.runs > 100


def test_payments_that_ignore_a_cancellation_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ignore(*_: object) -> None:
        """A planted fault."""

    monkeypatch.setattr(ledger, "cancel", ignore)
    with pytest.raises(ChoreographyViolation, match=r"order cancelled, .* payment held"):
        explore_choreography(PlacedOrder, directory=tmp_path, only={"address": "missing"})
