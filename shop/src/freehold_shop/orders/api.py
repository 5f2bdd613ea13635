"""The HTTP API of orders: what changes something. What only reads is in `queries`.

Imports FastAPI and its own modules.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from pydantic import AwareDatetime, Field

from freehold.http import Tx
from freehold.ids import derive_id, new_id
from freehold.runtime import RunningService
from freehold_shop.fields import Body, CurrencyCode, Identity, PricePence, Quantity, Sku
from freehold_shop.inventory.contracts import StockLine
from freehold_shop.moments import milliseconds
from freehold_shop.orders import queries
from freehold_shop.orders.checkout import Checkout, CheckoutState
from freehold_shop.orders.contracts import CheckoutMode, OrderLine
from freehold_shop.orders.customers import ensure_customer
from freehold_shop.orders.domain import RETURN_WITHOUT_SALE, ReturnLine
from freehold_shop.orders.placing import NewOrder, OrderExists, place
from freehold_shop.orders.returning import NewReturn, OrderInFlight, ReturnWithoutSale, request_return
from freehold_shop.problems import Problem
from freehold_shop.settings import settings

__all__ = ["routes"]

IdempotencyKey = Annotated[str | None, Header(max_length=255)]


class Line(Body):
    """So many pieces of a product at this price."""

    sku: Sku
    quantity: Quantity
    price_pence: PricePence


class OrderBody(Body):
    """An order. Without an id it gets one; without a `checkout` the shop's setting says how it is carried on."""

    order_id: Identity | None = None
    customer_id: Identity
    currency: CurrencyCode = "GBP"
    checkout: CheckoutMode | None = None
    placed_at: AwareDatetime | None = None
    lines: Annotated[list[Line], Field(min_length=1, max_length=2_000)]

    def order(self, key: str | None) -> NewOrder:
        """As the service takes it."""
        derived = derive_id("order", key) if key else new_id()
        return NewOrder(
            order_id=self.order_id or str(derived),
            customer_id=self.customer_id,
            checkout=self.checkout or CheckoutMode(settings().checkout),
            currency=self.currency,
            lines=tuple(OrderLine(each.sku, each.quantity, each.price_pence) for each in self.lines),
            placed_at_ms=_milliseconds(self.placed_at),
        )


class ReturnedPieces(Body):
    """So many pieces of a product that come back."""

    sku: Sku
    quantity: Quantity


class ReturnBody(Body):
    """Goods that a customer sends back."""

    return_ref: Identity
    customer_id: Identity
    lines: Annotated[list[ReturnedPieces], Field(min_length=1, max_length=2_000)]


def routes(running: RunningService) -> APIRouter:
    """The API on a running service."""
    router = APIRouter()

    @router.post("/orders", status_code=201)
    async def place_order(
        body: OrderBody, response: Response, tx: Tx, idempotency_key: IdempotencyKey = None
    ) -> dict[str, Any]:
        order = body.order(idempotency_key)
        await ensure_customer(tx, order.customer_id)
        try:
            placed = await place(tx, order)
        except OrderExists:
            raise Problem(409, "order-exists", "another order has this id") from None
        if not placed:
            response.status_code = 200
        elif order.checkout is CheckoutMode.SAGA:
            pieces = tuple(StockLine(line.sku, line.quantity) for line in order.lines)
            state = CheckoutState(order.order_id, order.customer_id, order.total, pieces)
            await tx.start(Checkout, state, saga_id=derive_id("checkout", order.order_id))
        return {"order_id": order.order_id, "total_pence": order.total.pence, "currency": order.currency}

    @router.post("/returns", status_code=201)
    @router.post("/orders/returns", status_code=201, include_in_schema=False)
    async def return_goods(body: ReturnBody, response: Response, tx: Tx) -> dict[str, Any]:
        lines = tuple(ReturnLine(each.sku, each.quantity) for each in body.lines)
        try:
            requested = await request_return(tx, NewReturn(body.return_ref, body.customer_id, lines))
        except OrderInFlight:
            raise Problem(
                409, "order-in-flight", "an order with these goods has not ended yet", retry_after_seconds=1
            ) from None
        except ReturnWithoutSale:
            raise Problem(422, RETURN_WITHOUT_SALE, "none of these goods were sold to the customer") from None
        if not requested:
            response.status_code = 200
        return await queries.return_document(tx.connection, body.return_ref)

    router.include_router(queries.routes(running))
    return router


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else milliseconds(moment)
