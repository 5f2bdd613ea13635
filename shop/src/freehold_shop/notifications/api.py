"""The HTTP API of notifications. Imports FastAPI and the shop's reading."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from freehold.runtime import RunningService
from freehold_shop.reading import read

__all__ = ["routes"]

_NOTIFICATION = ("order_id", "template", "email_id", "sent_at_ms")


def routes(running: RunningService) -> APIRouter:
    """The API on a running service."""
    router = APIRouter()

    @router.get("/notifications/{order_id}")
    async def show_notifications(order_id: str) -> list[dict[str, Any]]:
        return await read(
            running, _NOTIFICATION, "FROM notification WHERE order_id = $1 ORDER BY sent_at_ms", [order_id]
        )

    return router
