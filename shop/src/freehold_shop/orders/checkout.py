"""The orchestrated checkout: the saga that brings an order from placed to confirmed or cancelled.

The retries of its steps last longer than the faults that the shop is tested with, and end before inventory's hold
does. Inventory commits the held goods when it receives the confirmation.

Imports Freehold and the contracts of others.
"""

from __future__ import annotations

from dataclasses import dataclass

from freehold import Retry, Saga, local, step
from freehold.transaction import Transaction
from freehold_shop.inventory.contracts import ReleaseStock, ReserveStock, StockLine
from freehold_shop.money import Money
from freehold_shop.notifications.contracts import SendConfirmation
from freehold_shop.orders import placement
from freehold_shop.orders.order import Stage
from freehold_shop.payments.contracts import CapturePayment, HoldPayment, VoidHold
from freehold_shop.shipping.contracts import CancelShipment, CreateShipment

__all__ = ["Checkout", "CheckoutState"]

_PATIENT = Retry(attempts=12, delay_seconds=0.5, delay_seconds_max=20.0)
_STUBBORN = Retry(attempts=60, delay_seconds=0.5, delay_seconds_max=30.0)
_WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class CheckoutState:
    """The state of the checkout. `failure` is why it compensates."""

    order_id: str
    customer_id: str
    amount: Money
    lines: tuple[StockLine, ...]
    failure: str | None = None


async def confirm_order(state: CheckoutState, tx: Transaction) -> None:
    """Confirm the order, when goods and money are secured; this appends the events of all its stages at once."""
    await placement.reach(tx, state.order_id, Stage.CONFIRMED)


async def cancel_order(state: CheckoutState, tx: Transaction) -> None:
    """Cancel the order, when everything is compensated."""
    await placement.cancel(tx, state.order_id, state.failure or "cancelled")


class Checkout(Saga[CheckoutState], name="orders.checkout", version=1, key="order_id"):
    """The steps: reserve, hold, ship; capture, the pivot; then confirm, and notify the customer if possible."""

    reserve = step(
        ReserveStock,
        compensation=ReleaseStock,
        timeout_seconds=_WAIT_SECONDS,
        retry=_PATIENT,
        compensation_retry=_STUBBORN,
    )
    hold = step(
        HoldPayment,
        compensation=VoidHold,
        after=reserve,
        timeout_seconds=_WAIT_SECONDS,
        retry=_PATIENT,
        compensation_retry=_STUBBORN,
    )
    ship = step(
        CreateShipment,
        compensation=CancelShipment,
        after=hold,
        timeout_seconds=_WAIT_SECONDS,
        retry=_PATIENT,
        compensation_retry=_STUBBORN,
    )
    capture = step(CapturePayment, pivot=True, after=ship, timeout_seconds=_WAIT_SECONDS, retry=_STUBBORN)
    confirm = local(confirm_order, after=capture)
    notify = step(SendConfirmation, optional=True, after=confirm, timeout_seconds=_WAIT_SECONDS)
    on_compensated = cancel_order
