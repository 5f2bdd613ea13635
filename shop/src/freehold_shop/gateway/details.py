"""Everything about an order, put together from the services that own the parts: in parallel, within time limits.

A part whose service does not answer in time is left out and named under `missing`; a part that does not exist (yet) is
null. Only without orders there is nothing to tell. Imports FastAPI and the shop's calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from fastapi import APIRouter

from freehold_shop.calls import ServiceUnavailable, fetch
from freehold_shop.problems import not_found

__all__ = ["order_details", "routes"]


def routes() -> APIRouter:
    """The composed routes."""
    router = APIRouter()

    @router.get("/orders/{order_id}/details")
    async def show_details(order_id: str) -> dict[str, Any]:
        return await order_details(order_id)

    return router


async def order_details(order_id: str) -> dict[str, Any]:
    """Compose the details. Raises `ServiceUnavailable` where orders does not answer, `Problem` for an unknown order."""
    missing: list[dict[str, str]] = []
    async with asyncio.TaskGroup() as calls:

        def part(name: str, path: str, query: object = None) -> asyncio.Task[Any]:
            service = _SERVICES[name]
            return calls.create_task(_partial(name, fetch(service, path, _JSON, query=query), missing))

        parts = {
            "payment": part("payment", f"/payments/{order_id}"),
            "shipment": part("shipment", f"/shipments/{order_id}"),
            "notifications": part("notifications", f"/notifications/{order_id}"),
        }
        order, failure = await _order(order_id)
        if order is not None:
            skus = sorted({line["sku"] for line in order["lines"]})
            parts["customer"] = part("customer", f"/customers/{order['customer_id']}")
            parts["products"] = part("products", "/products/query", {"skus": skus})
            parts["stock"] = part("stock", "/stock/query", {"skus": skus})
    if failure is not None:
        raise failure
    if order is None:
        raise not_found("order")
    return {"order": order, **{name: task.result() for name, task in parts.items()}, "missing": missing}


_JSON: Any = Any
_SERVICES = {
    "payment": "payments",
    "shipment": "shipping",
    "notifications": "notifications",
    "customer": "users",
    "products": "catalog",
    "stock": "inventory",
}


async def _partial(name: str, wanted: Awaitable[Any], missing: list[dict[str, str]]) -> Any:
    try:
        return await wanted
    except ServiceUnavailable as error:
        missing.append({"part": name, "service": error.service, "reason": error.reason})
        return None


async def _order(order_id: str) -> tuple[Any, ServiceUnavailable | None]:
    """The order, or why there is none: an exception would leave the task group wrapped in another."""
    try:
        return await fetch("orders", f"/orders/{order_id}", _JSON), None
    except ServiceUnavailable as error:
        return None, error
