"""The HTTP API of orders: the routes that change something. Those that only read are in `queries`.

Imports FastAPI and its own modules.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import Field

from freehold import derive_id, new_id
from freehold.http import Tx, transaction
from freehold.runtime import RunningService
from freehold_shop import rules
from freehold_shop.direct import DirectRoute, described, json_answer, misfit, read_body
from freehold_shop.fields import Body, Identity, Key, NewIdentity, Quantity
from freehold_shop.inventory.contracts import StockLine
from freehold_shop.moments import milliseconds
from freehold_shop.orders import queries
from freehold_shop.orders.checkout import Checkout, CheckoutState
from freehold_shop.orders.contracts import CheckoutMode, OrderLine
from freehold_shop.orders.customers import ensure_customer
from freehold_shop.orders.domain import RETURN_WITHOUT_SALE, ReturnLine
from freehold_shop.orders.order import OrderExists
from freehold_shop.orders.placement import NewOrder, place
from freehold_shop.orders.returns import NewReturn, OrderInFlight, ReturnWithoutSale, request_return
from freehold_shop.problems import Problem
from freehold_shop.settings import settings

__all__ = ["routes"]

_Identity = Annotated[str, msgspec.Meta(pattern=rules.NEW_IDENTITY)]
_Quantity = Annotated[int, msgspec.Meta(ge=1, le=rules.QUANTITY_MAX)]
_PricePence = Annotated[int, msgspec.Meta(ge=1, le=rules.UNIT_PRICE_PENCE_MAX)]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A quantity of a product at this price."""

    sku: Annotated[str, msgspec.Meta(pattern=rules.SKU)]
    quantity: _Quantity
    price_pence: _PricePence


class OrderBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An order. Without an id it gets one; without a `checkout` the shop's setting decides."""

    customer_id: _Identity
    lines: Annotated[list[Line], msgspec.Meta(min_length=1, max_length=2_000)]
    order_id: Annotated[str, msgspec.Meta(pattern=rules.NEW_ORDER_ID)] | None = None
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$(?!\n)")] = "GBP"
    checkout: CheckoutMode | None = None
    placed_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None

    def order(self, key: str | None) -> NewOrder:
        """The same as the service's type. Raises `RequestValidationError` for a time or a total out of bounds."""
        if self.placed_at is not None and not rules.is_time(self.placed_at):
            raise misfit("time_out_of_range", "placed_at")
        if sum(each.quantity * each.price_pence for each in self.lines) > rules.PENCE_MAX:
            raise misfit("total_out_of_range", "lines")
        return NewOrder(
            order_id=self.order_id or str(derive_id("order", self.customer_id, key) if key else new_id()),
            customer_id=self.customer_id,
            checkout=self.checkout or CheckoutMode(settings().checkout),
            currency=self.currency,
            lines=tuple([OrderLine(each.sku, each.quantity, each.price_pence) for each in self.lines]),
            placed_at_ms=_milliseconds(self.placed_at),
        )


_order_bodies = msgspec.json.Decoder(OrderBody)


class ReturnedPieces(Body):
    """A quantity of a product that the customer returns."""

    sku: Key
    quantity: Quantity


class ReturnBody(Body):
    """Goods that a customer returns."""

    return_ref: NewIdentity
    customer_id: Identity
    lines: Annotated[list[ReturnedPieces], Field(min_length=1, max_length=2_000)]


def routes(running: RunningService) -> APIRouter:
    """The routes of the API on a running service."""
    router = APIRouter()

    router.add_api_route(
        "/orders",
        _place_order,
        methods=["POST"],
        name="place_order",
        status_code=201,
        route_class_override=DirectRoute,
        openapi_extra=described(OrderBody),
    )

    @router.post("/returns", status_code=201)
    @router.post("/orders/returns", status_code=201, include_in_schema=False)
    async def return_goods(body: ReturnBody, response: Response, tx: Tx) -> dict[str, Any]:
        lines = tuple(ReturnLine(each.sku, each.quantity) for each in body.lines)
        try:
            requested = await request_return(tx, NewReturn(body.return_ref, body.customer_id, lines))
        except OrderInFlight:
            raise Problem(
                409, "order-in-flight", "an order with these goods is still in progress", retry_after_seconds=1
            ) from None
        except ReturnWithoutSale:
            raise Problem(422, RETURN_WITHOUT_SALE, "none of these goods were sold to the customer") from None
        if not requested:
            response.status_code = 200
        return await queries.return_document(tx.connection, body.return_ref)

    router.include_router(queries.routes(running))
    return router


async def _place_order(request: Request) -> Response:
    """Place an order."""
    body = await read_body(request, _order_bodies)
    order = body.order(request.headers.get("idempotency-key"))
    tx = await transaction(request)
    await ensure_customer(tx, order.customer_id)
    try:
        placed = await place(tx, order)
    except OrderExists:
        raise Problem(409, "order-exists", "another order has this id") from None
    total = order.total
    if placed and order.checkout is CheckoutMode.SAGA:
        pieces = tuple([StockLine(line.sku, line.quantity) for line in order.lines])
        state = CheckoutState(order.order_id, order.customer_id, total, pieces)
        await Checkout.start(tx, state, saga_id=derive_id("checkout", order.order_id))
    answer = {"order_id": order.order_id, "total_pence": total.pence, "currency": order.currency}
    return json_answer(answer, 201 if placed else 200)


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else milliseconds(moment)
