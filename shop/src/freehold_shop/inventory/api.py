"""The HTTP API of the inventory. Imports FastAPI and its own modules."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from freehold.http import Tx
from freehold.runtime import RunningService
from freehold_shop.fields import Body, Identity, Key, NewIdentity, Quantity, Sku
from freehold_shop.inventory import reservations
from freehold_shop.inventory.contracts import StockLine, StockReceived
from freehold_shop.inventory.domain import ReservationStatus
from freehold_shop.problems import not_found
from freehold_shop.queries import places, read, read_one

__all__ = ["routes"]

_STOCK = ("sku", "on_hand", "reserved")
_RESERVATION = ("order_id", "status", "changed_at_ms")


class Pieces(Body):
    """A quantity of a product."""

    sku: Sku
    quantity: Quantity


class Receipt(Body):
    """A stock receipt. It is added to the stock once, however often it is sent."""

    receipt_ref: NewIdentity
    lines: Annotated[list[Pieces], Field(min_length=1, max_length=5_000)]


class Wanted(Body):
    """A query: the stock of these products."""

    skus: Annotated[list[Key], Field(max_length=5_000)]


class WantedHolds(Body):
    """A query: the goods held for these orders."""

    order_ids: Annotated[list[Identity], Field(max_length=5_000)]


def routes(running: RunningService) -> APIRouter:
    """The routes of the API on a running service."""
    router = APIRouter()

    @router.post("/stock/receipts")
    async def receive(body: Receipt, tx: Tx) -> dict[str, bool]:
        lines = tuple(StockLine(each.sku, each.quantity) for each in body.lines)
        received = await reservations.receive(tx, body.receipt_ref, lines)
        if received:
            tx.publish(StockReceived(body.receipt_ref, lines))
        return {"received": received}

    @router.post("/stock/query")
    async def show_many(body: Wanted) -> list[dict[str, Any]]:
        return await read(running, _STOCK, f"FROM stock WHERE sku IN ({places(body.skus)})", body.skus)

    @router.get("/stock/{sku:path}")
    async def show_one(sku: Key) -> Any:
        found = await read_one(running, _STOCK, "FROM stock WHERE sku = $1", [sku])
        if found is None:
            raise not_found("product")
        return found

    @router.post("/holds/query")
    async def show_holds(body: WantedHolds) -> list[dict[str, Any]]:
        rest = f"FROM reservation WHERE status = '{ReservationStatus.HELD}' AND order_id IN ({places(body.order_ids)})"
        held = await read(running, ("order_id", "reservation.lines"), rest, body.order_ids)
        return [{"order_id": row["order_id"], "lines": _lines(row["lines"])} for row in held]

    @router.get("/reservations/{order_id}")
    async def show_reservation(order_id: Identity) -> Any:
        found = await read_one(running, _RESERVATION, "FROM reservation WHERE order_id = $1", [order_id])
        if found is None:
            raise not_found("reservation")
        return found

    return router


def _lines(document: str) -> list[dict[str, Any]]:
    return [{"sku": sku, "quantity": quantity} for sku, quantity in json.loads(document)]
