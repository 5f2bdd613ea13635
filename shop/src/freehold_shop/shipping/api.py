"""The HTTP API of shipping. Imports FastAPI and the shop's reading."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from freehold.runtime import RunningService
from freehold_shop.fields import Body, Identity
from freehold_shop.problems import not_found
from freehold_shop.reading import places, read, read_one

__all__ = ["routes"]

_SHIPMENT = ("order_id", "shipment_id", "status", "country")


class Wanted(Body):
    """Parcels of which orders."""

    order_ids: Annotated[list[Identity], Field(max_length=5_000)]


def routes(running: RunningService) -> APIRouter:
    """The API on a running service."""
    router = APIRouter()

    @router.post("/shipments/query")
    async def show_many(body: Wanted) -> list[dict[str, Any]]:
        rest = f"FROM shipment WHERE order_id IN ({places(body.order_ids)})"
        return await read(running, _SHIPMENT, rest, body.order_ids)

    @router.get("/shipments/{order_id}")
    async def show_shipment(order_id: str) -> Any:
        found = await read_one(running, _SHIPMENT, "FROM shipment WHERE order_id = $1", [order_id])
        if found is None:
            raise not_found("shipment")
        return found

    return router
