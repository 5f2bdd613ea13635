"""Payments: its handlers of the commands of an orchestrated checkout, and of the events of a choreographed one.

Imports Freehold, its own modules and the contracts of inventory, orders and shipping.
"""

from __future__ import annotations

from freehold import Rejected, Retry, Service
from freehold.transaction import Transaction
from freehold_shop.inventory.contracts import StockReserved
from freehold_shop.orders.contracts import OrderCancelled
from freehold_shop.payments import ledger
from freehold_shop.payments.contracts import (
    CapturePayment,
    HoldPayment,
    PaymentCaptured,
    PaymentDeclined,
    PaymentHeld,
    PaymentRefunded,
    RefundPayment,
    VoidHold,
)
from freehold_shop.payments.tables import MIGRATIONS
from freehold_shop.providers.errors import ProviderRefused
from freehold_shop.shipping.contracts import ShipmentCreated

__all__ = ["payments"]

# Retries last about a quarter of an hour while the provider is down: as long as inventory holds the goods.
payments = Service(
    "payments",
    migrations=MIGRATIONS,
    retry=Retry(attempts=70, delay_seconds=0.2, delay_seconds_max=15.0, never=(ProviderRefused,)),
)


@payments.handles(HoldPayment)
async def hold_payment(command: HoldPayment, tx: Transaction) -> PaymentHeld | Rejected:
    """Reserve the amount with the provider."""
    return await ledger.hold(tx, command.order_id, command.customer_id, command.amount, publish=True)


@payments.handles(VoidHold)
async def void_hold(command: VoidHold, tx: Transaction) -> None:
    """Release a hold."""
    await ledger.void(tx, command.order_id)


@payments.handles(CapturePayment)
async def capture_payment(command: CapturePayment, tx: Transaction) -> PaymentCaptured | Rejected:
    """Capture the held amount."""
    return await ledger.capture(tx, command.order_id, publish=True)


@payments.handles(RefundPayment)
async def refund_payment(command: RefundPayment, tx: Transaction) -> Rejected | None:
    """Refund a part of the captured amount."""
    if not await ledger.refund_part(tx, command.order_id, command.return_ref, command.amount):
        return Rejected("refund-exceeds-payment")
    tx.publish(PaymentRefunded(command.order_id, command.return_ref, command.amount))
    return None


@payments.handles(StockReserved)
async def hold_when_goods_are_held(event: StockReserved, tx: Transaction) -> None:
    """Choreographed: the goods are held, so hold the money."""
    result = await ledger.hold(tx, event.order_id, event.customer_id, event.total, publish=False)
    if isinstance(result, PaymentHeld):
        tx.publish(result)
    else:
        tx.publish(PaymentDeclined(event.order_id, result.code))


@payments.handles(ShipmentCreated)
async def capture_when_parcel_is_prepared(event: ShipmentCreated, tx: Transaction) -> None:
    """Choreographed: the parcel is prepared, so capture the money. Nothing is held if the order was cancelled."""
    result = await ledger.capture(tx, event.order_id, publish=False)
    if isinstance(result, PaymentCaptured):
        tx.publish(result)


@payments.handles(OrderCancelled)
async def cancel_payment_of_cancelled_order(event: OrderCancelled, tx: Transaction) -> None:
    """Release or refund the money of a cancelled order, in both kinds of checkout."""
    await ledger.cancel(tx, event.order_id, event.customer_id)
