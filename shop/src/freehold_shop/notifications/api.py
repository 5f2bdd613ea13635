"""The HTTP API of notifications. Imports FastAPI and the shop's queries."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from freehold.runtime import RunningService
from freehold_shop.fields import Body, Identity
from freehold_shop.queries import places, read

__all__ = ["routes"]

_NOTIFICATION = ("order_id", "template", "email_id", "sent_at_ms")


class Wanted(Body):
    """A query: the notifications about these orders."""

    order_ids: Annotated[list[Identity], Field(max_length=5_000)]


def routes(running: RunningService) -> APIRouter:
    """The routes of the API on a running service."""
    router = APIRouter()

    @router.post("/notifications/query")
    async def show_many(body: Wanted) -> list[dict[str, Any]]:
        rest = f"FROM notification WHERE order_id IN ({places(body.order_ids)}) ORDER BY sent_at_ms"
        return await read(running, _NOTIFICATION, rest, body.order_ids)

    @router.get("/notifications/{order_id}")
    async def show_notifications(order_id: Identity) -> list[dict[str, Any]]:
        return await read(
            running, _NOTIFICATION, "FROM notification WHERE order_id = $1 ORDER BY sent_at_ms", [order_id]
        )

    return router
