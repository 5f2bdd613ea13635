"""Orders: orchestrates one kind of checkout, and confirms or cancels the orders of the choreographed one.

Imports Freehold, its own modules and the contracts of others.
"""

from __future__ import annotations

from freehold import Service
from freehold.transaction import Transaction
from freehold_shop.copies import COMPARED_SECONDS, keep_country, keep_customer
from freehold_shop.inventory.contracts import (
    InventoryReservationFailed,
    ReservationExpired,
    ReturnStock,
    StockCommitRefused,
    StockReserved,
    StockReturned,
)
from freehold_shop.orders import placement, returns
from freehold_shop.orders.checkout import Checkout
from freehold_shop.orders.contracts import CheckoutMode
from freehold_shop.orders.order import Stage
from freehold_shop.orders.rows import order_rows
from freehold_shop.orders.summaries import summaries
from freehold_shop.orders.tables import MIGRATIONS
from freehold_shop.payments.contracts import (
    PaymentCaptured,
    PaymentDeclined,
    PaymentHeld,
    PaymentRefunded,
    RefundPayment,
)
from freehold_shop.reference.contracts import COUNTRIES, CountryDefined
from freehold_shop.shipping.contracts import ShipmentDelivered, ShipmentDispatched, ShipmentFailed
from freehold_shop.users.contracts import CUSTOMERS, CustomerRegistered, UserUpdated

__all__ = ["orders"]

orders = Service("orders", migrations=MIGRATIONS)
orders.orchestrates(Checkout)
orders.sends(RefundPayment, ReturnStock)
orders.replicates(CUSTOMERS, table="customer_copy", every_seconds=COMPARED_SECONDS)
orders.replicates(COUNTRIES, table="country_copy", every_seconds=COMPARED_SECONDS)
orders.projects(order_rows)
orders.projects(summaries)

RESERVATION_EXPIRED = "reservation-expired"


@orders.handles(CustomerRegistered)
async def copy_customer(event: CustomerRegistered, tx: Transaction) -> None:
    """Insert the customer into the replica."""
    await keep_customer(tx, event)


@orders.handles(UserUpdated)
async def update_customer(event: UserUpdated, tx: Transaction) -> None:
    """Update the customer in the replica."""
    await keep_customer(tx, event)


@orders.handles(CountryDefined)
async def copy_country(event: CountryDefined, tx: Transaction) -> None:
    """Write the country into the replica."""
    await keep_country(tx, event)


@orders.handles(StockReserved)
async def note_reserved_stock(event: StockReserved, tx: Transaction) -> None:
    """Choreographed: the goods are held."""
    await placement.reach(tx, event.order_id, Stage.STOCK_RESERVED)


@orders.handles(PaymentHeld)
async def note_held_payment(event: PaymentHeld, tx: Transaction) -> None:
    """Choreographed: the money is held."""
    await placement.reach(tx, event.order_id, Stage.PAYMENT_HELD)


@orders.handles(PaymentCaptured)
async def confirm_paid_order(event: PaymentCaptured, tx: Transaction) -> None:
    """Choreographed: the last step is done. If the order was cancelled meanwhile, payments refunds the money."""
    await placement.reach(tx, event.order_id, Stage.CONFIRMED)


@orders.handles(InventoryReservationFailed)
async def cancel_without_goods(event: InventoryReservationFailed, tx: Transaction) -> None:
    """Choreographed: there are not enough goods."""
    await placement.cancel(tx, event.order_id, event.reason)


@orders.handles(PaymentDeclined)
async def cancel_without_money(event: PaymentDeclined, tx: Transaction) -> None:
    """Choreographed: the payment was declined."""
    await placement.cancel(tx, event.order_id, event.reason)


@orders.handles(ShipmentFailed)
async def cancel_without_parcel(event: ShipmentFailed, tx: Transaction) -> None:
    """Choreographed: the goods cannot be shipped."""
    await placement.cancel(tx, event.order_id, event.reason)


@orders.handles(ReservationExpired)
async def cancel_stuck_order(event: ReservationExpired, tx: Transaction) -> None:
    """Choreographed: a step did not end in time, so the order is cancelled. A saga has its own time limits."""
    await placement.cancel(tx, event.order_id, RESERVATION_EXPIRED, only=CheckoutMode.CHOREOGRAPHED)


@orders.handles(StockCommitRefused)
async def cancel_confirmed_order(event: StockCommitRefused, tx: Transaction) -> None:
    """Cancel an order whose confirmation came too late for its goods. Payments and shipping react to the event."""
    await placement.cancel(tx, event.order_id, RESERVATION_EXPIRED, confirmed_too=True)


@orders.handles(ShipmentDispatched)
async def note_shipment(event: ShipmentDispatched, tx: Transaction) -> None:
    """The carrier has taken the parcel."""
    await placement.reach(tx, event.order_id, Stage.SHIPPED)


@orders.handles(ShipmentDelivered)
async def note_delivery(event: ShipmentDelivered, tx: Transaction) -> None:
    """The customer has the parcel."""
    await placement.reach(tx, event.order_id, Stage.DELIVERED)


@orders.handles(PaymentRefunded)
async def note_refund(event: PaymentRefunded, tx: Transaction) -> None:
    """A part of a return was refunded."""
    await returns.note_refunded(tx, event.order_id, event.return_ref)


@orders.handles(StockReturned)
async def note_restock(event: StockReturned, tx: Transaction) -> None:
    """A part of a return was restocked."""
    await returns.note_restocked(tx, event.order_id, event.return_ref)
