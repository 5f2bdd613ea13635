"""The inventory: its handlers of the commands of an orchestrated checkout, and of the events of a choreographed one.

Imports Freehold, its own modules and the contracts of orders.
"""

from __future__ import annotations

from freehold import Rejected, Retry, Service
from freehold.transaction import Transaction
from freehold_shop.inventory import reservations
from freehold_shop.inventory.contracts import (
    CommitStock,
    ExpireReservation,
    InventoryReservationFailed,
    ReleaseStock,
    ReservationExpired,
    ReserveStock,
    ReturnStock,
    StockCommitRefused,
    StockHeld,
    StockLine,
    StockReleased,
    StockReserved,
    StockReturned,
)
from freehold_shop.inventory.tables import MIGRATIONS
from freehold_shop.orders.contracts import CheckoutMode, OrderCancelled, OrderConfirmed, OrderPlaced

__all__ = ["inventory"]

inventory = Service("inventory", migrations=MIGRATIONS)

_WAIT_FOR_CONFIRMATION = Retry(attempts=60, delay_seconds=0.2, delay_seconds_max=15.0)


@inventory.handles(ReserveStock)
async def reserve_stock(command: ReserveStock, tx: Transaction) -> Rejected | None:
    """Hold all lines or none."""
    refusal = await reservations.reserve(tx, command.order_id, command.lines)
    if refusal is None:
        tx.publish(StockHeld(command.order_id))
    return refusal


@inventory.handles(ReleaseStock)
async def release_stock(command: ReleaseStock, tx: Transaction) -> None:
    """Release the held goods."""
    await _release(command.order_id, tx)


@inventory.handles(CommitStock)
async def commit_stock(command: CommitStock, tx: Transaction) -> Rejected | None:
    """Remove the held goods from the stock."""
    if await reservations.commit(tx, command.order_id):
        return None
    return Rejected("reservation-expired")


@inventory.handles(ReturnStock, retry=_WAIT_FOR_CONFIRMATION)
async def return_stock(command: ReturnStock, tx: Transaction) -> None:
    """Add returned goods to the stock."""
    await reservations.restock(tx, command.order_id, command.return_ref, command.lines)
    tx.publish(StockReturned(command.order_id, command.return_ref))


@inventory.handles(ExpireReservation)
async def expire_reservation(command: ExpireReservation, tx: Transaction) -> None:
    """Release the goods of an order that was not confirmed in time."""
    if await reservations.expire(tx, command.order_id):
        tx.publish(ReservationExpired(command.order_id))


@inventory.handles(OrderPlaced)
async def begin_choreographed_checkout(event: OrderPlaced, tx: Transaction) -> None:
    """Reserve the goods of an order whose checkout is choreographed."""
    if event.checkout is not CheckoutMode.CHOREOGRAPHED:
        return
    lines = [StockLine(line.sku, line.quantity) for line in event.lines]
    refusal = await reservations.reserve(tx, event.order_id, lines)
    if refusal is None:
        tx.publish(StockReserved(event.order_id, event.customer_id, event.total))
    else:
        tx.publish(InventoryReservationFailed(event.order_id, refusal.code))


@inventory.handles(OrderConfirmed)
async def take_goods_of_confirmed_order(event: OrderConfirmed, tx: Transaction) -> None:
    """Remove the goods of a confirmed order from the stock, in both kinds of checkout."""
    if not await reservations.commit(tx, event.order_id):
        tx.publish(StockCommitRefused(event.order_id))


@inventory.handles(OrderCancelled)
async def release_goods_of_cancelled_order(event: OrderCancelled, tx: Transaction) -> None:
    """Release the goods that are still held for a cancelled order."""
    await _release(event.order_id, tx)


async def _release(order_id: str, tx: Transaction) -> None:
    if await reservations.release(tx, order_id):
        tx.publish(StockReleased(order_id))
