"""The shop's orchestrated checkout, in every failure of its steps."""

from __future__ import annotations

from freehold.saga import SagaStatus
from freehold.testing import explore
from freehold_shop.inventory.contracts import StockLine
from freehold_shop.money import Money
from freehold_shop.orders.checkout import Checkout, CheckoutState

STATE = CheckoutState("A-1", "C-1", Money(500, "GBP"), (StockLine("TEA", 2),))


def test_the_orchestrated_checkout_ends_well_whatever_fails() -> None:
    report = explore(Checkout, STATE, faults_max=2)
    assert report.statuses.keys() == {SagaStatus.COMPLETED, SagaStatus.COMPENSATED}
