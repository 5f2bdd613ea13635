"""The projection into `orders` and `order_return`, in the transaction that appends the events: it has no lag.

The service reads these tables for decisions over several orders, and for API requests without a consistency token.
Imports SQLAlchemy, Freehold's projections, the tables and the rules.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import update

from freehold import DecodedEvent, Projection, ProjectionContext
from freehold_shop.orders.changes import STATUS_EVENTS, Changes
from freehold_shop.orders.domain import OrderStatus, lines_document, mark_returned, sold_lines
from freehold_shop.orders.history import OrderReturnRefunded, OrderReturnRequested, OrderReturnRestocked
from freehold_shop.orders.tables import order_return, orders
from freehold_shop.upsert import DIALECTS, insert_sql

__all__ = ["order_rows"]

_INSERT = {
    dialect: insert_sql(
        dialect,
        "{orders}",
        (
            "order_id",
            "customer_id",
            "status",
            "checkout",
            "currency",
            "total_pence",
            "lines",
            "placed_at_ms",
            "created_at_ms",
        ),
    )
    for dialect in DIALECTS
}
_UPDATE_STATUS = """
UPDATE {orders} SET
    status = CASE WHEN status IN ($3, $4) THEN status ELSE $2 END,
    reason = coalesce($5, reason), ended_at_ms = coalesce($6, ended_at_ms)
WHERE order_id = $1"""
_LINES = "SELECT placed.lines FROM {orders} AS placed WHERE order_id = $1"
_REQUEST = {
    dialect: insert_sql(
        dialect,
        "{order_return}",
        ("return_ref", "order_id", "lines", "currency", "refund_pence", "refunded", "restocked"),
    )
    for dialect in DIALECTS
}
_REFUNDED = "UPDATE {order_return} SET refunded = $3 WHERE return_ref = $1 AND order_id = $2"
_RESTOCKED = "UPDATE {order_return} SET restocked = $3 WHERE return_ref = $1 AND order_id = $2"

order_rows = Projection(
    "orders",
    tables=(orders, order_return),
    categories={"order"},
    inline=True,
    key_columns={"orders": "order_id", "order_return": "order_id"},
)


@order_rows.on_batch(*STATUS_EVENTS, OrderReturnRequested, OrderReturnRefunded, OrderReturnRestocked)
async def write_rows(batch: Sequence[DecodedEvent], write: ProjectionContext) -> None:
    """Write each order's row once, then the changes of its returns."""
    changes = Changes.of(batch)
    if changes.placed:
        await write.sql.execute_many(
            _named(_INSERT[write.connection.dialect.name], write),
            [
                (
                    event.order_id, event.customer_id, OrderStatus.PLACED.value, event.checkout.value,
                    event.total.currency, event.total.pence, lines_document(event.lines), event.placed_at_ms, taken_at,
                )
                for event, taken_at in changes.placed
            ],
        )  # fmt: skip
    if changes.statuses:
        await write.sql.execute_many(
            _named(_UPDATE_STATUS, write),
            [
                (order_id, each.status.value, each.spared[0].value, each.spared[1].value, each.reason, each.ended_at_ms)
                for order_id, each in changes.statuses.items()
            ],
        )
    for event, _ in batch:
        match event:
            case OrderReturnRequested():
                await _keep_return(event, write)
            case OrderReturnRefunded(order_id, return_ref):
                await write.sql.execute(_named(_REFUNDED, write), (return_ref, order_id, True))
            case OrderReturnRestocked(order_id, return_ref):
                await write.sql.execute(_named(_RESTOCKED, write), (return_ref, order_id, True))
            case _:
                pass


async def _keep_return(event: OrderReturnRequested, write: ProjectionContext) -> None:
    document = (await write.sql.fetch(_named(_LINES, write), (event.order_id,)))[0][0]
    left = lines_document(mark_returned(sold_lines(document), event.lines))
    table = write.table(orders)
    await write.connection.execute(update(table).where(table.c.order_id == event.order_id).values(lines=left))
    lines, refund = lines_document(event.lines), event.refund
    values = (event.return_ref, event.order_id, lines, refund.currency, refund.pence, False, False)
    await write.sql.execute(_named(_REQUEST[write.connection.dialect.name], write), values)


def _named(statement: str, write: ProjectionContext) -> str:
    return statement.format(orders=write.name(orders), order_return=write.name(order_return))
