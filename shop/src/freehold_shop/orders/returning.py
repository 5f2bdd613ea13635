"""Returns, from their request to the end, each step in the caller's transaction. Imports the tables and rules.

A return is divided by the orders that its goods were bought with. For each of them payments is asked to refund and
inventory to take the goods back; when both have told that they did, the order counts as returned.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update

from freehold.transaction import Transaction
from freehold_shop.inventory.contracts import ReturnStock, StockLine
from freehold_shop.moments import now_ms
from freehold_shop.money import Money
from freehold_shop.orders.contracts import OrderReturned
from freehold_shop.orders.domain import (
    Accepted,
    OrderStatus,
    PastOrder,
    ReturnLine,
    lines_document,
    match_return,
    sold_lines,
)
from freehold_shop.orders.tables import order_return, orders, return_request
from freehold_shop.payments.contracts import RefundPayment
from freehold_shop.upsert import claim_row

__all__ = ["NewReturn", "OrderInFlight", "ReturnWithoutSale", "note_refunded", "note_restocked", "request_return"]

ORDERS_SEARCHED_MAX = 1_000
_OPEN = (OrderStatus.PLACED.value, OrderStatus.CONFIRMED.value, OrderStatus.PARTIALLY_RETURNED.value)


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
    await _keep(tx, wanted.return_ref, matching.accepted)
    for accepted in matching.accepted:
        order_id = accepted.order.order_id
        pieces = tuple(StockLine(line.sku, line.quantity) for line in accepted.lines)
        tx.send(RefundPayment(order_id, wanted.return_ref, accepted.refund))
        tx.send(ReturnStock(order_id, wanted.return_ref, pieces))
    return True


async def note_refunded(tx: Transaction, order_id: str, return_ref: str) -> None:
    """The money of this part of a return is back with the customer."""
    await _note(tx, order_id, return_ref, refunded=True)


async def note_restocked(tx: Transaction, order_id: str, return_ref: str) -> None:
    """The goods of this part of a return are on the shelf."""
    await _note(tx, order_id, return_ref, restocked=True)


async def _note(tx: Transaction, order_id: str, return_ref: str, **done: bool) -> None:
    noted = await tx.connection.execute(
        update(order_return)
        .where(order_return.c.order_id == order_id, order_return.c.return_ref == return_ref)
        .values(**done)
        .returning(order_return)
    )
    part = noted.one_or_none()
    if part is None or not (part.refunded and part.restocked):
        return
    complete = await _mark_returned(tx, order_id)
    tx.publish(OrderReturned(order_id, return_ref, Money(part.refund_pence, part.currency), complete))


async def _mark_returned(tx: Transaction, order_id: str) -> bool:
    found = await tx.connection.execute(select(orders.c.lines).where(orders.c.order_id == order_id).with_for_update())
    open_parts = await tx.connection.execute(
        select(order_return.c.return_ref).where(
            order_return.c.order_id == order_id, ~(order_return.c.refunded & order_return.c.restocked)
        )
    )
    nothing_left = all(line.left == 0 for line in sold_lines(found.scalar_one()))
    complete = nothing_left and open_parts.first() is None
    status = OrderStatus.RETURNED if complete else OrderStatus.PARTIALLY_RETURNED
    await tx.connection.execute(
        update(orders)
        .where(orders.c.order_id == order_id, orders.c.status != OrderStatus.CANCELLED.value)
        .values(status=status.value)
    )
    return complete


async def _past_orders(tx: Transaction, wanted: NewReturn) -> Sequence[PastOrder]:
    """The customer's orders with these goods, most recent first, locked: two returns cannot take the same piece."""
    found = await tx.connection.execute(
        select(orders.c.order_id, orders.c.status, orders.c.currency, orders.c.lines)
        .where(orders.c.customer_id == wanted.customer_id, orders.c.status.in_(_OPEN))
        .order_by(orders.c.placed_at_ms.desc(), orders.c.order_id.desc())
        .limit(ORDERS_SEARCHED_MAX)
        .with_for_update()
    )
    skus = {line.sku for line in wanted.lines}
    past: list[PastOrder] = []
    for row in found:
        lines = sold_lines(row.lines)
        if skus.isdisjoint(line.sku for line in lines):
            continue
        if row.status == OrderStatus.PLACED.value:
            raise OrderInFlight(row.order_id)
        past.append(PastOrder(row.order_id, row.currency, lines))
    return past


async def _keep(tx: Transaction, return_ref: str, accepted: Sequence[Accepted]) -> None:
    parts: list[dict[str, Any]] = []
    for each in accepted:
        parts.append(
            {
                "return_ref": return_ref,
                "order_id": each.order.order_id,
                "lines": lines_document(each.lines),
                "currency": each.order.currency,
                "refund_pence": each.refund.pence,
                "refunded": False,
                "restocked": False,
            }
        )
        await tx.connection.execute(
            update(orders)
            .where(orders.c.order_id == each.order.order_id)
            .values(lines=lines_document(each.order.lines))
        )
    await tx.connection.execute(insert(order_return), parts)
