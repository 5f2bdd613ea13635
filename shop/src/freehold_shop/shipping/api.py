"""The HTTP API of shipping: queries, and the carrier's reports. Imports FastAPI, its own modules, calls."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from pydantic import Field

from freehold.http import Tx
from freehold.runtime import RunningService
from freehold.transaction import Transaction
from freehold_shop.calls import fetch
from freehold_shop.fields import Body, Identity
from freehold_shop.problems import Problem, not_found
from freehold_shop.queries import places, read, read_one
from freehold_shop.shipping.domain import ShipmentStatus
from freehold_shop.shipping.parcels import deliver, dispatch

__all__ = ["routes"]

_SHIPMENT = ("order_id", "shipment_id", "status", "country")


class Goods(msgspec.Struct, frozen=True):
    """The state of an order's goods, from inventory."""

    status: str


class Wanted(Body):
    """A query: the parcels of these orders."""

    order_ids: Annotated[list[Identity], Field(max_length=5_000)]


def routes(running: RunningService) -> APIRouter:
    """The routes of the API on a running service."""
    router = APIRouter()

    @router.post("/shipments/query")
    async def show_many(body: Wanted) -> list[dict[str, Any]]:
        rest = f"FROM shipment WHERE order_id IN ({places(body.order_ids)})"
        return await read(running, _SHIPMENT, rest, body.order_ids)

    @router.get("/shipments/{order_id}")
    async def show_shipment(order_id: Identity) -> Any:
        found = await read_one(running, _SHIPMENT, "FROM shipment WHERE order_id = $1", [order_id])
        if found is None:
            raise not_found("shipment")
        return found

    @router.post("/shipments/{order_id}/dispatch")
    async def note_dispatch(order_id: Identity, tx: Tx) -> Any:
        if await _status(tx, order_id) == ShipmentStatus.CREATED:
            goods = await fetch("inventory", f"/reservations/{order_id}", Goods)
            if goods is None or goods.status != "committed":
                raise Problem(409, "goods-on-the-shelf", "the goods are not committed yet", retry_after_seconds=1)
            await dispatch(tx, order_id)
        return await _moved(tx, order_id, ShipmentStatus.DISPATCHED, ShipmentStatus.DELIVERED)

    @router.post("/shipments/{order_id}/delivery")
    async def note_delivery(order_id: Identity, tx: Tx) -> Any:
        if await _status(tx, order_id) == ShipmentStatus.DISPATCHED:
            await deliver(tx, order_id)
        return await _moved(tx, order_id, ShipmentStatus.DELIVERED)

    return router


async def _status(tx: Transaction, order_id: str) -> ShipmentStatus:
    found = await tx.sql.fetch("SELECT status FROM shipment WHERE order_id = $1", (order_id,))
    if not found:
        raise not_found("shipment")
    return ShipmentStatus(found[0][0])


async def _moved(tx: Transaction, order_id: str, *wanted: ShipmentStatus) -> dict[str, str]:
    """The response to a report: the parcel where it has one of these statuses, else it raises `Problem`."""
    status = await _status(tx, order_id)
    if status not in wanted:
        raise Problem(409, "not-on-its-way", f"the parcel is {status.value}")
    return {"order_id": order_id, "status": status.value}
