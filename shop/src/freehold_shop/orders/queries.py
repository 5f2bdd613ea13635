"""The reading routes of the API of orders. Imports FastAPI, the shop's queries and its own modules."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.consistency import Freshness
from freehold.http import Tx, fresh
from freehold.runtime import RunningService
from freehold_shop import rules
from freehold_shop.direct import DirectRoute, described, json_answer, read_body
from freehold_shop.fields import Identity
from freehold_shop.orders.domain import OrderStatus, sold_lines
from freehold_shop.orders.summaries import summaries
from freehold_shop.orders.tables import order_return, return_request
from freehold_shop.problems import not_found
from freehold_shop.queries import FRESH_SECONDS, places, read, read_one

__all__ = ["return_document", "routes"]

_HEAD = (
    "order_id",
    "customer_id",
    "status",
    "reason",
    "checkout",
    "currency",
    "total_pence",
    "placed_at_ms",
    "created_at_ms",
    "ended_at_ms",
)


_SUMMARY = (
    "order_id",
    "customer_id",
    "status",
    "currency",
    "total_pence",
    "line_count",
    "pieces",
    "placed_at_ms",
    "ended_at_ms",
)
_Identity = Annotated[str, msgspec.Meta(pattern=rules.IDENTITY)]


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query: these orders."""

    order_ids: Annotated[list[_Identity], msgspec.Meta(max_length=5_000)]


_wanted = msgspec.json.Decoder(Wanted)


def routes(running: RunningService) -> APIRouter:
    """The reading routes on a running service."""
    router, query = APIRouter(), APIRouter(route_class=DirectRoute)

    @router.get("/orders")
    async def list_orders(
        customer_id: Identity | None = None,
        status: OrderStatus | None = None,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    ) -> list[dict[str, Any]]:
        wanted = {"customer_id": customer_id, "status": status.value if status else None}
        given = {name: value for name, value in wanted.items() if value is not None}
        conditions = " AND ".join(f"{name} = ${number}" for number, name in enumerate(given, 1)) or "1 = 1"
        rest = f"FROM orders WHERE {conditions} ORDER BY placed_at_ms DESC LIMIT {limit:d}"
        return await read(running, _HEAD, rest, list(given.values()))

    @router.get("/orders/summary")
    async def summarise() -> list[dict[str, Any]]:
        rest = "FROM (SELECT status, reason, count(*) AS number FROM orders GROUP BY status, reason) AS summary"
        return await read(running, ("status", "reason", "number"), rest)

    @router.get("/order-summaries")
    async def list_summaries(
        customer_id: Identity,
        _fresh: Annotated[Freshness, Depends(fresh(summaries, limit_seconds=FRESH_SECONDS))],
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    ) -> list[dict[str, Any]]:
        rest = f"FROM order_summary WHERE customer_id = $1 ORDER BY placed_at_ms DESC, order_id LIMIT {limit:d}"
        return await read(running, _SUMMARY, rest, [customer_id])

    @query.post("/orders/query", openapi_extra=described(Wanted))
    async def show_many(request: Request) -> Response:
        ids = (await read_body(request, _wanted)).order_ids
        return json_answer(await read(running, _HEAD, f"FROM orders WHERE order_id IN ({places(ids)})", ids))

    router.include_router(query)

    @router.get("/orders/{order_id}")
    async def show_order(order_id: Identity) -> dict[str, Any]:
        row = await read_one(running, (*_HEAD, "orders.lines"), "FROM orders WHERE order_id = $1", [order_id])
        if row is None:
            raise not_found("order")
        lines = [_line(document) for document in json.loads(row["lines"])]
        return {**{name: row[name] for name in _HEAD}, "lines": lines}

    @router.get("/returns/{return_ref}")
    async def show_return(return_ref: Identity, tx: Tx) -> dict[str, Any]:
        return await return_document(tx.connection, return_ref)

    return router


async def return_document(connection: AsyncConnection, return_ref: str) -> dict[str, Any]:
    """A return as the API shows it. Raises `Problem` where there is none."""
    found = await connection.execute(select(return_request).where(return_request.c.return_ref == return_ref))
    request = found.one_or_none()
    if request is None:
        raise not_found("return")
    rows = await connection.execute(select(order_return).where(order_return.c.return_ref == return_ref))
    parts = list(rows)
    unmatched = [{"sku": sku, "quantity": quantity} for sku, quantity in json.loads(request.unmatched)]
    return {
        "return_ref": return_ref,
        "customer_id": request.customer_id,
        "status": _status([(part.refunded, part.restocked) for part in parts]),
        "refund_pence": sum(part.refund_pence for part in parts),
        "parts": [
            {
                "order_id": part.order_id,
                "refund_pence": part.refund_pence,
                "currency": part.currency,
                "lines": [
                    {"sku": line.sku, "quantity": line.quantity, "price_pence": line.price_pence}
                    for line in sold_lines(part.lines)
                ],
            }
            for part in parts
        ],
        "unmatched": unmatched,
    }


def _status(parts: list[tuple[bool, bool]]) -> str:
    """`completed` when all parts are refunded and restocked, else what is done for all of them."""
    refunded, restocked = all(part[0] for part in parts), all(part[1] for part in parts)
    if refunded and restocked:
        return "completed"
    return "refunded" if refunded else "restocked" if restocked else "requested"


def _line(document: list[Any]) -> dict[str, Any]:
    return dict(zip(("sku", "quantity", "price_pence", "returned"), document, strict=True))
