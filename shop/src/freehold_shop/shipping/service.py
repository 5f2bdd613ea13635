"""Shipping: its handlers of the commands of an orchestrated checkout, and of the events of a choreographed one.

Addresses come from its replica of the customers. Imports Freehold, its own modules and the contracts of others.
"""

from __future__ import annotations

from freehold import Rejected, Retry, Service, derive_id
from freehold.transaction import Transaction
from freehold_shop.copies import COMPARED_SECONDS, CustomerCopy, find_customer_copy, keep_customer
from freehold_shop.moments import moment_ms
from freehold_shop.orders.contracts import OrderCancelled
from freehold_shop.payments.contracts import PaymentHeld
from freehold_shop.shipping.contracts import (
    CancelShipment,
    CreateShipment,
    ShipmentChanged,
    ShipmentCreated,
    ShipmentFailed,
)
from freehold_shop.shipping.domain import UNDELIVERABLE, ShipmentStatus, is_deliverable
from freehold_shop.shipping.tables import MIGRATIONS
from freehold_shop.upsert import insert_once
from freehold_shop.users.contracts import CUSTOMERS, CustomerRegistered, UserUpdated

__all__ = ["AddressNotHereYet", "shipping"]

_INSERT = """
INSERT INTO shipment (order_id, shipment_id, customer_id, status, country, address, changed_at_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7)"""
_FIND_STATUS = "SELECT status FROM shipment WHERE order_id = $1"
_CANCEL = "UPDATE shipment SET status = 'cancelled', changed_at_ms = $2 WHERE order_id = $1 AND status = 'created'"
_NOWHERE = CustomerCopy(country="", address="")

shipping = Service(
    "shipping",
    migrations=MIGRATIONS,
    retry=Retry(attempts=70, delay_seconds=0.1, delay_seconds_max=15.0),
)
shipping.replicates(CUSTOMERS, table="customer_copy", every_seconds=COMPARED_SECONDS)


class AddressNotHereYet(Exception):
    """The replica does not have the customer yet; the event will come, so retry."""


@shipping.handles(CustomerRegistered)
async def copy_customer(event: CustomerRegistered, tx: Transaction) -> None:
    """Insert the customer's address into the replica."""
    await keep_customer(tx, event)


@shipping.handles(UserUpdated)
async def update_customer(event: UserUpdated, tx: Transaction) -> None:
    """Update the customer's address in the replica. Prepared parcels keep theirs."""
    await keep_customer(tx, event)


@shipping.handles(CreateShipment)
async def create_shipment(command: CreateShipment, tx: Transaction) -> ShipmentCreated | Rejected:
    """Prepare the parcel."""
    result = await _create(tx, command.order_id, command.customer_id)
    if isinstance(result, ShipmentCreated):
        tx.publish(ShipmentChanged(command.order_id, ShipmentStatus.CREATED.value))
    elif result.code == UNDELIVERABLE:
        tx.publish(ShipmentChanged(command.order_id, ShipmentStatus.FAILED.value))
    return result


@shipping.handles(CancelShipment)
async def cancel_shipment(command: CancelShipment, tx: Transaction) -> None:
    """Cancel the parcel."""
    await _cancel(tx, command.order_id)


@shipping.handles(PaymentHeld)
async def prepare_when_money_is_held(event: PaymentHeld, tx: Transaction) -> None:
    """Choreographed: the money is held, so prepare the parcel."""
    result = await _create(tx, event.order_id, event.customer_id)
    if isinstance(result, ShipmentCreated):
        tx.publish(result)
    else:
        tx.publish(ShipmentFailed(event.order_id, result.code))


@shipping.handles(OrderCancelled)
async def cancel_for_cancelled_order(event: OrderCancelled, tx: Transaction) -> None:
    """Cancel the parcel of a cancelled order, in both kinds of checkout, also where its request is still to come."""
    values = _values(tx, event.order_id, event.customer_id, ShipmentStatus.BARRED)
    if await insert_once(tx, _INSERT, values):
        tx.publish(ShipmentChanged(event.order_id, ShipmentStatus.BARRED.value))
    else:
        await _cancel(tx, event.order_id)


async def _cancel(tx: Transaction, order_id: str) -> None:
    """Cancel the parcel unless the carrier has it."""
    if await tx.sql.execute(_CANCEL, (order_id, moment_ms(tx))):
        tx.publish(ShipmentChanged(order_id, ShipmentStatus.CANCELLED.value))


async def _create(tx: Transaction, order_id: str, customer_id: str) -> ShipmentCreated | Rejected:
    customer = await find_customer_copy(tx.sql, customer_id)
    if customer is None:
        raise AddressNotHereYet(order_id)
    deliverable = is_deliverable(customer.country, customer.address)
    status = ShipmentStatus.CREATED if deliverable else ShipmentStatus.FAILED
    if not await insert_once(tx, _INSERT, _values(tx, order_id, customer_id, status, customer)):
        status = ShipmentStatus((await tx.sql.fetch(_FIND_STATUS, (order_id,)))[0][0])
    match status:
        case ShipmentStatus.CREATED | ShipmentStatus.DISPATCHED | ShipmentStatus.DELIVERED:
            return ShipmentCreated(order_id, _shipment_id(order_id))
        case ShipmentStatus.FAILED:
            return Rejected(UNDELIVERABLE)
        case ShipmentStatus.CANCELLED | ShipmentStatus.BARRED:
            return Rejected("cancelled-before")


def _shipment_id(order_id: str) -> str:
    return str(derive_id("shipment", order_id))


def _values(
    tx: Transaction, order_id: str, customer_id: str, status: ShipmentStatus, to: CustomerCopy = _NOWHERE
) -> tuple[object, ...]:
    return (order_id, _shipment_id(order_id), customer_id, status.value, to.country, to.address, moment_ms(tx))
