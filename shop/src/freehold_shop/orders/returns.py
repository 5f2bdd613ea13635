"""Returns, from their request to the end, each step in the caller's transaction. Imports the order's life and rules.

A return is divided by the orders in which its goods were bought. For each, payments gets a command to refund and
inventory one to restock; when the events of both have come, that part of the order is returned.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, update

from freehold import ConcurrencyConflict
from freehold.transaction import Transaction
from freehold_shop.inventory.contracts import ReturnStock, StockLine
from freehold_shop.moments import now_ms
from freehold_shop.orders.domain import (
    IN_FLIGHT,
    Accepted,
    NotSold,
    OrderStatus,
    PastOrder,
    ReturnLine,
    match_return,
    sold_lines,
)
from freehold_shop.orders.order import NoteRefunded, NoteRestocked, RequestReturn
from freehold_shop.orders.placement import BOOK
from freehold_shop.orders.tables import orders, return_request
from freehold_shop.payments.contracts import RefundPayment
from freehold_shop.upsert import insert_missing

__all__ = ["NewReturn", "OrderInFlight", "ReturnWithoutSale", "note_refunded", "note_restocked", "request_return"]

ORDERS_SEARCHED_MAX = 1_000
_OPEN = sorted({each.value for each in OrderStatus} - {OrderStatus.CANCELLED.value, OrderStatus.RETURNED.value})


class OrderInFlight(Exception):
    """An order in which the goods may have been bought is still in progress; retry when it has ended."""


class ReturnWithoutSale(Exception):
    """None of the goods were sold to the customer."""


@dataclass(frozen=True, slots=True)
class NewReturn:
    """Goods that a customer returns; the customer does not say in which orders they were bought."""

    return_ref: str
    customer_id: str
    lines: tuple[ReturnLine, ...]


async def request_return(tx: Transaction, wanted: NewReturn) -> bool:
    """Accept the goods that were sold to the customer, and request refund and restock. False: requested before.

    Raises `OrderInFlight`, `ReturnWithoutSale`; the caller's transaction must then not commit.
    """
    row = {
        "return_ref": wanted.return_ref,
        "customer_id": wanted.customer_id,
        "unmatched": "[]",
        "requested_at_ms": now_ms(),
    }
    claimed = await insert_missing(tx.connection, return_request, [row])
    if not claimed:
        return False
    matching = match_return(wanted.lines, await _past_orders(tx, wanted))
    if not matching.accepted:
        raise ReturnWithoutSale(wanted.return_ref)
    if matching.unmatched:
        document = json.dumps([[line.sku, line.quantity] for line in matching.unmatched])
        await tx.connection.execute(
            update(return_request).where(return_request.c.return_ref == wanted.return_ref).values(unmatched=document)
        )
    for accepted in matching.accepted:
        await _request(tx, wanted.return_ref, accepted)
    await _write(tx)
    return True


async def _write(tx: Transaction) -> None:
    """Write the decided events now, so that later statements of this transaction read their effects."""
    try:
        await tx.write()
    except ConcurrencyConflict as error:
        raise OrderInFlight("an order of the return") from error


async def note_refunded(tx: Transaction, order_id: str, return_ref: str) -> None:
    """Note that this part of a return is refunded."""
    await BOOK.execute(tx, order_id, NoteRefunded(return_ref))


async def note_restocked(tx: Transaction, order_id: str, return_ref: str) -> None:
    """Note that this part of a return is restocked."""
    await BOOK.execute(tx, order_id, NoteRestocked(return_ref))


async def _past_orders(tx: Transaction, wanted: NewReturn) -> Sequence[PastOrder]:
    """The customer's orders with these goods, most recent first. A change before the commit is a conflict there."""
    found = await tx.connection.execute(
        select(orders.c.order_id, orders.c.status, orders.c.currency, orders.c.lines)
        .where(orders.c.customer_id == wanted.customer_id, orders.c.status.in_(_OPEN))
        .order_by(orders.c.placed_at_ms.desc(), orders.c.order_id.desc())
        .limit(ORDERS_SEARCHED_MAX)
    )
    skus = {line.sku for line in wanted.lines}
    past: list[PastOrder] = []
    for row in found:
        lines = sold_lines(row.lines)
        if skus.isdisjoint(line.sku for line in lines):
            continue
        if row.status in IN_FLIGHT:
            raise OrderInFlight(row.order_id)
        past.append(PastOrder(row.order_id, row.currency, lines))
    return past


async def _request(tx: Transaction, return_ref: str, accepted: Accepted) -> None:
    order_id = accepted.order.order_id
    try:
        await BOOK.execute(tx, order_id, RequestReturn(return_ref, accepted.refund, accepted.lines))
    except NotSold:  # it has changed since the look-up
        raise OrderInFlight(order_id) from None
    pieces = tuple(StockLine(line.sku, line.quantity) for line in accepted.lines)
    tx.send(RefundPayment(order_id, return_ref, accepted.refund))
    tx.send(ReturnStock(order_id, return_ref, pieces))
