"""Requests that one service answers alone: passed on as they come, answered as it answers.

Imports FastAPI and the shop's calls.
"""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from freehold.ids import new_id
from freehold_shop.calls import call
from freehold_shop.direct import DirectRoute

__all__ = ["FORWARD_SECONDS", "forward", "passed_headers", "routes"]

FORWARD_SECONDS = 15.0
_PASSED_ON = {
    name.encode(): name for name in ("x-correlation-id", "traceparent", "idempotency-key", "freehold-consistency")
}
_GIVEN_BACK = (
    "x-correlation-id",
    "traceparent",
    "idempotency-replayed",
    "retry-after",
    "freehold-consistency",
    "freehold-freshness",
)

_ROUTES = (
    ("POST", "/orders", "orders"),
    ("GET", "/orders", "orders"),
    ("GET", "/orders/summary", "orders"),
    ("GET", "/order-summaries", "orders"),
    ("POST", "/orders/query", "orders"),
    ("GET", "/orders/{order_id}", "orders"),
    ("POST", "/returns", "orders"),
    ("GET", "/returns/{return_ref}", "orders"),
    ("POST", "/customers", "users"),
    ("PUT", "/customers/{customer_id}", "users"),
    ("GET", "/customers/{customer_id}", "users"),
    ("GET", "/products/{sku:path}", "catalog"),
    ("PUT", "/products/{sku:path}", "catalog"),
    ("GET", "/stock/{sku:path}", "inventory"),
    ("POST", "/stock/receipts", "inventory"),
    ("POST", "/shipments/{order_id}/dispatch", "shipping"),
    ("POST", "/shipments/{order_id}/delivery", "shipping"),
    ("GET", "/countries", "reference"),
    ("GET", "/currencies", "reference"),
)


def routes() -> APIRouter:
    """The routes that are passed on."""
    router = APIRouter(route_class=DirectRoute)
    for method, path, service in _ROUTES:
        _add(router, method, path, service)
    return router


def passed_headers(request: Request) -> dict[str, str]:
    """What goes along with every call that a request leads to; a correlation id is given to a request without one."""
    found = {name: value for name, value in request.scope["headers"] if name in _PASSED_ON}
    headers = {_PASSED_ON[name]: value.decode("latin-1") for name, value in found.items()}
    if "x-correlation-id" not in headers:
        headers["x-correlation-id"] = str(new_id())
    return headers


async def forward(request: Request, service: str) -> Response:
    """Pass a request on to the service, and its answer back."""
    scope = request.scope
    query = scope["query_string"]
    target = quote(scope["path"])
    method = request.method
    answer = await call(
        service,
        method,
        f"{target}?{query.decode('latin-1')}" if query else target,
        body=await request.body() if method != "GET" else None,
        headers=passed_headers(request),
        timeout_seconds=FORWARD_SECONDS,
    )
    kept = {name: answer.headers[name] for name in _GIVEN_BACK if name in answer.headers}
    kept["content-type"] = answer.content_type
    return Response(answer.body, answer.status, kept)


def _add(router: APIRouter, method: str, path: str, service: str) -> None:
    async def pass_on(request: Request) -> Response:
        return await forward(request, service)

    router.add_api_route(path, pass_on, methods=[method], name=f"{service}: {method} {path}")
