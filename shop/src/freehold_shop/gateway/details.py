"""Everything about an order, composed from the services that own the parts.

A part whose service does not answer is left out and named under `missing`; a part that does not exist (yet) is null.
Only the part of orders is required. Imports FastAPI, Freehold's composition and the gateway's compositions.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from freehold.composition import Budget, Composer, Composition, Read, batch
from freehold.http import problem_responses
from freehold_shop.direct import DirectRoute
from freehold_shop.gateway.compositions import BUDGET_SECONDS, answer
from freehold_shop.gateway.published import CONSISTENCY, ORDER_ID, path_value

__all__ = ["compose_details", "routes"]

Document = dict[str, Any]


def _skus(order: Document) -> list[str]:
    return sorted({line["sku"] for line in order["lines"]})


def _sku(row: Document) -> str:
    return str(row["sku"])


_details: Composition[str] = Composition("order-details", budget_seconds=BUDGET_SECONDS)
_order = _details.part(
    "order",
    Read("orders", "/orders/{key}", Document),
    by=lambda found: found.given,
    required=True,
    must_exist=True,
)
_payment = _details.part("payment", Read("payments", "/payments/{key}", Document), by=lambda found: found.given)
_shipment = _details.part("shipment", Read("shipping", "/shipments/{key}", Document), by=lambda found: found.given)
_notifications = _details.part(
    "notifications", Read("notifications", "/notifications/{key}", list[Document]), by=lambda found: found.given
)
_customer = _details.part(
    "customer",
    Read("users", "/customers/{key}", Document),
    after=_order,
    by=lambda found: str(found[_order]["customer_id"]),
)
_products = _details.part(
    "products",
    batch("catalog", "/products/query", Document, field="skus", key=_sku),
    after=_order,
    by=lambda found: _skus(found[_order]),
)
_stock = _details.part(
    "stock",
    batch("inventory", "/stock/query", Document, field="skus", key=_sku),
    after=_order,
    by=lambda found: _skus(found[_order]),
)


def routes(composer: Composer) -> APIRouter:
    """The composed routes."""
    router = APIRouter(route_class=DirectRoute)

    async def show_details(request: Request) -> Response:
        return await answer(request, "order", partial(compose_details, composer, path_value(request, ORDER_ID)))

    router.add_api_route(
        "/orders/{order_id}/details",
        show_details,
        methods=["GET"],
        responses=problem_responses(400, 404, 422, 503),
        openapi_extra={"parameters": [ORDER_ID.document, CONSISTENCY.document]},
    )
    return router


async def compose_details(
    composer: Composer, order_id: str, *, headers: Mapping[str, str] | None = None, budget: Budget | None = None
) -> tuple[Document, Mapping[str, str]]:
    """The details, and the headers of the response.

    Raises `CompositionFailed` where orders does not answer, `NotFound` for an unknown order.
    """
    found = await composer.compose(_details, order_id, headers=headers, budget=budget)
    products, stock = found[_products], found[_stock]
    document = {
        "order": found[_order],
        "payment": found[_payment],
        "shipment": found[_shipment],
        "notifications": found[_notifications],
        "customer": found[_customer],
        "products": None if products is None else [row for row in products.values() if row is not None],
        "stock": None if stock is None else [row for row in stock.values() if row is not None],
        "missing": found.missing,
    }
    return document, found.headers
