"""The HTTP API of payments. Imports FastAPI and the shop's reading."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from freehold.runtime import RunningService
from freehold_shop.problems import not_found
from freehold_shop.reading import read_one

__all__ = ["routes"]

_PAYMENT = ("order_id", "status", "currency", "amount_pence", "captured_pence", "refunded_pence", "reason")


def routes(running: RunningService) -> APIRouter:
    """The API on a running service."""
    router = APIRouter()

    @router.get("/payments/{order_id}")
    async def show_payment(order_id: str) -> Any:
        found = await read_one(running, _PAYMENT, "FROM payment WHERE order_id = $1", [order_id])
        if found is None:
            raise not_found("payment")
        return found

    return router
