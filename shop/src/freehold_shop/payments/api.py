"""The HTTP API of payments. Imports FastAPI and the shop's queries."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from freehold.runtime import RunningService
from freehold_shop.fields import Body, Identity
from freehold_shop.problems import not_found
from freehold_shop.queries import places, read, read_one

__all__ = ["routes"]

_PAYMENT = ("order_id", "status", "currency", "amount_pence", "captured_pence", "refunded_pence", "reason")


class Wanted(Body):
    """A query: the payments of these orders."""

    order_ids: Annotated[list[Identity], Field(max_length=5_000)]


def routes(running: RunningService) -> APIRouter:
    """The routes of the API on a running service."""
    router = APIRouter()

    @router.post("/payments/query")
    async def show_many(body: Wanted) -> list[dict[str, Any]]:
        rest = f"FROM payment WHERE order_id IN ({places(body.order_ids)})"
        return await read(running, _PAYMENT, rest, body.order_ids)

    @router.get("/payments/{order_id}")
    async def show_payment(order_id: Identity) -> Any:
        found = await read_one(running, _PAYMENT, "FROM payment WHERE order_id = $1", [order_id])
        if found is None:
            raise not_found("payment")
        return found

    return router
