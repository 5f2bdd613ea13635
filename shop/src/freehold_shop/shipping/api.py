"""The HTTP API of shipping. Imports FastAPI and the shop's reading."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from freehold.runtime import RunningService
from freehold_shop.problems import not_found
from freehold_shop.reading import read_one

__all__ = ["routes"]

_SHIPMENT = ("order_id", "shipment_id", "status", "country")


def routes(running: RunningService) -> APIRouter:
    """The API on a running service."""
    router = APIRouter()

    @router.get("/shipments/{order_id}")
    async def show_shipment(order_id: str) -> Any:
        found = await read_one(running, _SHIPMENT, "FROM shipment WHERE order_id = $1", [order_id])
        if found is None:
            raise not_found("shipment")
        return found

    return router
