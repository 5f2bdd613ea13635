"""Returns, from their request to the end, each step in the caller's transaction. Imports the order's life and rules.

A return is divided by the orders that its goods were bought with. For each of them payments is asked to refund and
inventory to take the goods back; when both have told that they did, the order counts as returned.
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
from freehold_shop.upsert import claim_row

__all__ = ["NewReturn", "OrderInFlight", "ReturnWithoutSale", "note_refunded", "note_restocked", "request_return"]

ORDERS_SEARCHED_MAX = 1_000
_OPEN = sorted({each.value for each in OrderStatus} - {OrderStatus.CANCELLED.value, OrderStatus.RETURNED.value})


class OrderInFlight(Exception):
    """An order that the goods may have been bought with has not ended yet; try again when it has."""


class ReturnWithoutSale(Exception):
    """Nothing of the return was ever sold to the customer."""


@dataclass(frozen=True, slots=True)
class NewReturn:
    """Goods that a customer sends back; they do not say which orders they were bought with."""

    return_ref: str
    customer_id: str
    lines: tuple[ReturnLine, ...]


async def request_return(tx: Transaction, wanted: NewReturn) -> bool:
    """Accept what was sold to the customer, and have it refunded and restocked. False: it was requested before.

    Raises `OrderInFlight`, `ReturnWithoutSale`; nothing is kept then.
    """
    claimed = await claim_row(
        tx.connection,
        return_request,
        {
            "return_ref": wanted.return_ref,
            "customer_id": wanted.customer_id,
            "unmatched": "[]",
            "requested_at_ms": now_ms(),
        },
    )
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
    """Write what was decided, so that it can be read in here."""
    try:
        await tx.write()
    except ConcurrencyConflict as error:
        raise OrderInFlight("an order of the return") from error


async def note_refunded(tx: Transaction, order_id: str, return_ref: str) -> None:
    """The money of this part of a return is back with the customer."""
    await BOOK.execute(tx, order_id, NoteRefunded(return_ref))


async def note_restocked(tx: Transaction, order_id: str, return_ref: str) -> None:
    """The goods of this part of a return are on the shelf."""
    await BOOK.execute(tx, order_id, NoteRestocked(return_ref))


async def _past_orders(tx: Transaction, wanted: NewReturn) -> Sequence[PastOrder]:
    """The customer's orders with these goods, most recent first. What changes before the commit is noticed there."""
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
    except NotSold:  # it has changed since it was looked up
        raise OrderInFlight(order_id) from None
    pieces = tuple(StockLine(line.sku, line.quantity) for line in accepted.lines)
    tx.send(RefundPayment(order_id, return_ref, accepted.refund))
    tx.send(ReturnStock(order_id, return_ref, pieces))
