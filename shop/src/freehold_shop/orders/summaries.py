"""The projection into `order_summary`: a customer's orders at a glance, newest first.

It follows the events after their commit, so a client reads its own writes with a consistency token. Imports Freehold's
projections, the tables and the rules.
"""

from __future__ import annotations

from collections.abc import Sequence

from freehold import DecodedEvent, Projection, ProjectionContext
from freehold_shop.orders.changes import STATUS_EVENTS, Changes
from freehold_shop.orders.domain import OrderStatus
from freehold_shop.orders.tables import order_summary

__all__ = ["summaries"]

_INSERT = """
INSERT INTO {order_summary} (
    order_id, customer_id, status, currency, total_pence, line_count, pieces, placed_at_ms
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"""
_UPDATE_STATUS = """
UPDATE {order_summary} SET
    status = CASE WHEN status IN ($3, $4) THEN status ELSE $2 END,
    ended_at_ms = coalesce($5, ended_at_ms)
WHERE order_id = $1"""

summaries = Projection(
    "order-summary",
    tables=(order_summary,),
    categories={"order"},
    partitions=4,
    key_columns={"order_summary": "order_id"},
)


@summaries.on_batch(*STATUS_EVENTS)
async def summarise(batch: Sequence[DecodedEvent], write: ProjectionContext) -> None:
    """Write each order's row once."""
    changes = Changes.of(batch)
    if changes.placed:
        await write.sql.execute_many(
            _INSERT.format(order_summary=write.name(order_summary)),
            [
                (
                    event.order_id, event.customer_id, OrderStatus.PLACED.value, event.total.currency,
                    event.total.pence, len(event.lines), sum([line.quantity for line in event.lines]),
                    event.placed_at_ms,
                )
                for event, _ in changes.placed
            ],
        )  # fmt: skip
    if changes.statuses:
        await write.sql.execute_many(
            _UPDATE_STATUS.format(order_summary=write.name(order_summary)),
            [
                (order_id, each.status.value, each.spared[0].value, each.spared[1].value, each.ended_at_ms)
                for order_id, each in changes.statuses.items()
            ],
        )
