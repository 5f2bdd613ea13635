"""Routes that one service answers alone: the request is passed on to it, and its response is returned.

Imports FastAPI and the shop's calls.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response

from freehold import new_id
from freehold_shop.calls import ServiceRefused, call
from freehold_shop.direct import DirectRoute
from freehold_shop.gateway.published import LIMIT, Parameter, Published

__all__ = ["FORWARD_SECONDS", "forward", "passed_headers", "routes"]

FORWARD_SECONDS = 15.0
_PASSED_ON = {
    name.encode(): name
    for name in ("x-correlation-id", "traceparent", "tracestate", "idempotency-key", "freehold-consistency")
}
_GIVEN_BACK = (
    "x-correlation-id",
    "traceparent",
    "idempotency-replayed",
    "retry-after",
    "etag",
    "last-modified",
    "cache-control",
    "content-language",
    "content-disposition",
    "link",
    "vary",
    "freehold-consistency",
    "freehold-freshness",
)

_OF_CUSTOMER: Final = Parameter("customer_id", "Only those of this customer.")
_STATUS: Final = Parameter("status", "Only those in this state.")
_ROUTES: Final = (
    Published("POST", "/orders", "orders", statuses=(409,), success=201),
    Published("GET", "/orders", "orders", (_OF_CUSTOMER, _STATUS, LIMIT)),
    Published("GET", "/orders/summary", "orders"),
    Published(
        "GET",
        "/order-summaries",
        "orders",
        (Parameter("customer_id", "The customer.", required=True), LIMIT),
    ),
    Published("POST", "/orders/query", "orders"),
    Published("GET", "/orders/{order_id}", "orders", statuses=(404,)),
    Published("POST", "/returns", "orders", statuses=(409,), success=201),
    Published("GET", "/returns/{return_ref}", "orders", statuses=(404,)),
    Published("POST", "/customers", "users", statuses=(409,), success=201),
    Published("PUT", "/customers/{customer_id}", "users", statuses=(404, 409)),
    Published("GET", "/customers/{customer_id}", "users", statuses=(404,)),
    Published("GET", "/products/{sku:path}", "catalog", statuses=(404,)),
    Published("PUT", "/products/{sku:path}", "catalog", statuses=(404, 409)),
    Published("GET", "/stock/{sku:path}", "inventory", statuses=(404,)),
    Published("POST", "/stock/receipts", "inventory", statuses=(409,)),
    Published("POST", "/shipments/{order_id}/dispatch", "shipping", statuses=(404, 409)),
    Published("POST", "/shipments/{order_id}/delivery", "shipping", statuses=(404, 409)),
    Published("GET", "/countries", "reference"),
    Published("GET", "/currencies", "reference"),
)


def routes() -> APIRouter:
    """The routes that are passed on."""
    router = APIRouter(route_class=DirectRoute)
    for published in _ROUTES:
        _add(router, published)
    return router


def passed_headers(request: Request) -> dict[str, str]:
    """The headers that are passed on with every call of a request; a request without a correlation id gets one."""
    found = {name: value for name, value in request.scope["headers"] if name in _PASSED_ON}
    headers = {_PASSED_ON[name]: value.decode("latin-1") for name, value in found.items()}
    if "x-correlation-id" not in headers:
        headers["x-correlation-id"] = str(new_id())
    return headers


async def forward(request: Request, published: Published) -> Response:
    """Pass a request on to the route's service, and return its response.

    Raises `RequestValidationError` for parameters that do not fit, `ServiceUnavailable` and `ServiceRefused`.
    """
    answer = await call(
        published.service,
        request.method,
        published.target(request),
        body=await request.body() if request.method != "GET" else None,
        headers=passed_headers(request),
        timeout_seconds=FORWARD_SECONDS,
    )
    if 300 <= answer.status < 400:
        raise ServiceRefused(published.service, "it responded with a redirect")
    kept = {name: answer.headers[name] for name in _GIVEN_BACK if name in answer.headers}
    kept["content-type"] = answer.content_type
    return Response(answer.body, answer.status, kept)


def _add(router: APIRouter, published: Published) -> None:
    async def pass_on(request: Request) -> Response:
        return await forward(request, published)

    router.add_api_route(
        published.path,
        pass_on,
        methods=[published.method],
        name=f"{published.service}: {published.method} {published.path}",
        status_code=published.success,
        responses=published.responses,
        openapi_extra=published.openapi,
    )
