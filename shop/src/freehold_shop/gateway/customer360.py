"""Everything about a customer, composed from six services, with the names of country and products.

`shape` defines the document and the order of its lists. With `?from=read-model` the same document is read from the
overview, which projects it from the services' events, without names of country and products. While users is down the
profile is missing like any other part; only a customer that users does not know has no document. Imports FastAPI,
Freehold's composition, the shape and the gateway's compositions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TypeVar

import msgspec
from fastapi import APIRouter, Request, Response

from freehold.composition import (
    Budget,
    CachePolicy,
    Composed,
    Composer,
    Composition,
    Read,
    Reference,
    batch,
    grouped_batch,
)
from freehold_shop.direct import DirectRoute
from freehold_shop.gateway.compositions import BUDGET_SECONDS, answer
from freehold_shop.gateway.proxy import forward
from freehold_shop.gateway.published import CONSISTENCY, CUSTOMER_ID, Parameter, Published, path_value
from freehold_shop.gateway.shape import (
    ORDERS_MAX,
    Country,
    Customer360,
    Hold,
    Missing,
    Notification,
    Order,
    Payment,
    Product,
    Profile,
    Shipment,
)
from freehold_shop.problems import Problem

__all__ = ["compose_customer360", "routes"]

T = TypeVar("T")


class _Sent(msgspec.Struct, frozen=True):
    """An e-mail that notifications has sent."""

    order_id: str
    template: str


def _ids(orders: Iterable[Order]) -> list[str]:
    return [order.order_id for order in orders]


def _held_skus(holds: Mapping[str, Hold | None]) -> list[str]:
    return sorted({line.sku for hold in holds.values() if hold is not None for line in hold.lines})


_customer: Composition[str] = Composition("customer-360", budget_seconds=BUDGET_SECONDS)
_profile = _customer.part(
    "profile", Read("users", "/customers/{key}", Profile), by=lambda found: found.given, must_exist=True
)
_orders = _customer.part(
    "orders",
    Read("orders", f"/orders?customer_id={{key}}&limit={ORDERS_MAX}", list[Order]),
    by=lambda found: found.given,
)
_payments = _customer.part(
    "payments",
    batch("payments", "/payments/query", Payment, field="order_ids", key=lambda row: row.order_id),
    after=_orders,
    by=lambda found: _ids(found[_orders]),
)
_shipments = _customer.part(
    "shipments",
    batch("shipping", "/shipments/query", Shipment, field="order_ids", key=lambda row: row.order_id),
    after=_orders,
    by=lambda found: _ids(found[_orders]),
)
_notifications = _customer.part(
    "notifications",
    grouped_batch("notifications", "/notifications/query", _Sent, field="order_ids", key=lambda row: row.order_id),
    after=_orders,
    by=lambda found: _ids(found[_orders]),
)
_holds = _customer.part(
    "holds",
    batch("inventory", "/holds/query", Hold, field="order_ids", key=lambda row: row.order_id),
    after=_orders,
    by=lambda found: _ids(found[_orders]),
)
_country = _customer.part(
    "country",
    Reference(Read("reference", "/countries/{key}", Country), CachePolicy(ttl_seconds=300.0)),
    after=_profile,
    by=lambda found: found[_profile].country,
)
_products = _customer.part(
    "products",
    batch("catalog", "/products/query", Product, field="skus", key=lambda row: row.sku),
    after=_holds,
    by=lambda found: _held_skus(found[_holds]),
)


_READ_MODEL = Published("GET", "/customers/{customer_id}/360", "overview", statuses=(404,))
_FROM = Parameter(
    "from",
    "The source of the document.",
    schema={"type": "string", "enum": ["composition", "read-model"], "default": "composition"},
)


def routes(composer: Composer) -> APIRouter:
    """The composed routes."""
    router = APIRouter(route_class=DirectRoute)

    async def show_customer(request: Request) -> Response:
        match request.query_params.get("from", "composition"):
            case "composition":
                pass
            case "read-model":
                return await forward(request, _READ_MODEL)
            case _:
                raise Problem(422, "unknown-source", "from is composition or read-model")
        customer_id = path_value(request, CUSTOMER_ID)
        return await answer(request, "customer", partial(compose_customer360, composer, customer_id))

    router.add_api_route(
        _READ_MODEL.path,
        show_customer,
        methods=["GET"],
        responses=_READ_MODEL.responses,
        openapi_extra={
            "parameters": [CUSTOMER_ID.document, _FROM.document, CONSISTENCY.document],
        },
    )
    return router


async def compose_customer360(
    composer: Composer, customer_id: str, *, headers: Mapping[str, str] | None = None, budget: Budget | None = None
) -> tuple[Customer360, Mapping[str, str]]:
    """The document, and the headers of the response. Raises `NotFound` for a customer that users does not know."""
    found = await composer.compose(_customer, customer_id, headers=headers, budget=budget)
    return _document(customer_id, found), found.headers


def _document(customer_id: str, found: Composed[str]) -> Customer360:
    orders, notifications, holds = found[_orders], found[_notifications], _rows(found[_holds])
    return Customer360(
        customer_id=customer_id,
        profile=found[_profile],
        orders=None if orders is None else sorted(orders, key=lambda order: (-order.placed_at_ms, order.order_id)),
        payments=_rows(found[_payments]),
        shipments=_rows(found[_shipments]),
        notifications=None if notifications is None else _sent(notifications),
        holds=None if holds is None else [_sorted_lines(hold) for hold in holds],
        country=found[_country],
        products=_rows(found[_products]),
        missing=[Missing(each.part, each.service, each.reason) for each in found.missing],
        stale=list(found.stale),
    )


def _rows(found: Mapping[str, T | None] | None) -> list[T] | None:
    """The rows that exist, by their key."""
    if found is None:
        return None
    return [row for _, row in sorted(found.items()) if row is not None]


def _sent(found: Mapping[str, list[_Sent] | None]) -> list[Notification]:
    sent = sorted({(row.order_id, row.template) for rows in found.values() for row in rows or ()})
    return [Notification(order_id, template) for order_id, template in sent]


def _sorted_lines(hold: Hold) -> Hold:
    return Hold(hold.order_id, sorted(hold.lines, key=lambda line: line.sku))
