"""Shipping: what it does at commands of an orchestrated checkout, and at events of a choreographed one.

Addresses come from its own copy of the customers. Imports Freehold, its own modules and the contracts of others.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update

from freehold.ids import derive_id
from freehold.inbox.outcome import Rejected
from freehold.policy import Retry
from freehold.service import Service
from freehold.transaction import Transaction
from freehold_shop.copies import find_customer_copy, keep_customer
from freehold_shop.moments import moment_ms
from freehold_shop.orders.contracts import OrderCancelled
from freehold_shop.payments.contracts import PaymentHeld
from freehold_shop.shipping.contracts import CancelShipment, CreateShipment, ShipmentCreated, ShipmentFailed
from freehold_shop.shipping.domain import UNDELIVERABLE, ShipmentStatus, is_deliverable
from freehold_shop.shipping.tables import MIGRATIONS, customer_copy, shipment
from freehold_shop.upsert import claim_row, insert_into
from freehold_shop.users.contracts import CustomerRegistered, UserUpdated

__all__ = ["AddressNotHereYet", "shipping"]

shipping = Service(
    "shipping", migrations=MIGRATIONS, retry=Retry(attempts=70, delay_seconds=0.1, delay_seconds_max=15.0)
)


class AddressNotHereYet(Exception):
    """The customer's registration is on its way to this service; try again."""


@shipping.handles(CustomerRegistered)
async def copy_customer(event: CustomerRegistered, tx: Transaction) -> None:
    """Keep a copy of the customer's address."""
    await keep_customer(tx.connection, customer_copy, event)


@shipping.handles(UserUpdated)
async def update_customer(event: UserUpdated, tx: Transaction) -> None:
    """Keep the copy as the customer is now. Parcels prepared keep their address."""
    await keep_customer(tx.connection, customer_copy, event)


@shipping.handles(CreateShipment)
async def create_shipment(command: CreateShipment, tx: Transaction) -> ShipmentCreated | Rejected:
    """Prepare the parcel."""
    return await _create(tx, command.order_id, command.customer_id)


@shipping.handles(CancelShipment)
async def cancel_shipment(command: CancelShipment, tx: Transaction) -> None:
    """Do not send the parcel."""
    await tx.connection.execute(
        update(shipment)
        .where(shipment.c.order_id == command.order_id, shipment.c.status == ShipmentStatus.CREATED.value)
        .values(status=ShipmentStatus.CANCELLED.value, changed_at_ms=moment_ms(tx))
    )


@shipping.handles(PaymentHeld)
async def prepare_when_money_is_held(event: PaymentHeld, tx: Transaction) -> None:
    """Choreographed: the money is held, so the parcel is prepared."""
    result = await _create(tx, event.order_id, event.customer_id)
    if isinstance(result, ShipmentCreated):
        tx.publish(result)
    else:
        tx.publish(ShipmentFailed(event.order_id, result.code))


@shipping.handles(OrderCancelled)
async def cancel_for_cancelled_order(event: OrderCancelled, tx: Transaction) -> None:
    """No parcel for a cancelled order, in both kinds of checkout, also where the request for it is still to come."""
    statement = insert_into(shipment, tx.connection).values(
        **_row(tx, event.order_id, event.customer_id, ShipmentStatus.BARRED)
    )
    await tx.connection.execute(
        statement.on_conflict_do_update(
            index_elements=[shipment.c.order_id],
            set_={"status": ShipmentStatus.CANCELLED.value, "changed_at_ms": moment_ms(tx)},
            where=shipment.c.status == ShipmentStatus.CREATED.value,
        )
    )


async def _create(tx: Transaction, order_id: str, customer_id: str) -> ShipmentCreated | Rejected:
    customer = await find_customer_copy(tx.connection, customer_copy, customer_id)
    if customer is None:
        raise AddressNotHereYet(order_id)
    deliverable = is_deliverable(customer.country, customer.address)
    status = ShipmentStatus.CREATED if deliverable else ShipmentStatus.FAILED
    row = _row(tx, order_id, customer_id, status, country=customer.country, address=customer.address)
    if not await claim_row(tx.connection, shipment, row):
        found = await tx.connection.execute(select(shipment.c.status).where(shipment.c.order_id == order_id))
        status = ShipmentStatus(found.scalar_one())
    match status:
        case ShipmentStatus.CREATED:
            return ShipmentCreated(order_id, row["shipment_id"])
        case ShipmentStatus.FAILED:
            return Rejected(UNDELIVERABLE)
        case ShipmentStatus.CANCELLED | ShipmentStatus.BARRED:
            return Rejected("cancelled-before")


def _row(
    tx: Transaction, order_id: str, customer_id: str, status: ShipmentStatus, country: str = "", address: str = ""
) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "shipment_id": str(derive_id("shipment", order_id)),
        "customer_id": customer_id,
        "status": status.value,
        "country": country,
        "address": address,
        "changed_at_ms": moment_ms(tx),
    }
