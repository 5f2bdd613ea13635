"""The HTTP API of the overview. Imports FastAPI, Freehold's consistency tokens, the shop's queries and its own modules.

The document of a customer has the same parts and fields as the one that the gateway composes from the services.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from freehold.consistency import Freshness
from freehold.http import fresh
from freehold.runtime import RunningService
from freehold_shop.fields import Identity
from freehold_shop.overview.order_state import COLUMNS, Hold, Standing
from freehold_shop.overview.projection import customer_360
from freehold_shop.problems import not_found
from freehold_shop.queries import FRESH_SECONDS, places, read, read_one

__all__ = ["ORDERS_MAX", "routes"]

ORDERS_MAX = 1_000
_PROFILE = ("customer_id", "name", "email", "country")
_ORDER = ("order_id", *(f"customer_order.{column}" for column in COLUMNS if column != "customer_id"))
_NOTIFICATION = ("order_id", "template")


def routes(running: RunningService) -> APIRouter:
    """The routes of the API on a running service."""
    router = APIRouter()

    @router.get("/customers/{customer_id}/360")
    async def show_customer(
        customer_id: Identity,
        _fresh: Annotated[Freshness, Depends(fresh(customer_360, limit_seconds=FRESH_SECONDS))],
    ) -> dict[str, Any]:
        profile = await read_one(running, _PROFILE, "FROM customer_profile WHERE customer_id = $1", [customer_id])
        if profile is None:
            raise not_found("customer")
        rest = "FROM customer_order WHERE customer_id = $1 ORDER BY placed_at_ms DESC, order_id LIMIT $2"
        orders = await read(running, _ORDER, rest, [customer_id, ORDERS_MAX])
        ids = [row["order_id"] for row in orders]
        rest = f"FROM customer_notification WHERE order_id IN ({places(ids)})"
        notifications = await read(running, _NOTIFICATION, rest, ids) if ids else []
        return _document(dict(profile), orders, notifications)

    return router


def _document(
    profile: dict[str, Any], orders: list[dict[str, Any]], notifications: list[dict[str, Any]]
) -> dict[str, Any]:
    by_id = sorted(orders, key=lambda row: str(row["order_id"]))
    sent = sorted((row["order_id"], row["template"]) for row in notifications)
    return {
        "customer_id": profile["customer_id"],
        "profile": profile,
        "orders": [_order(row) for row in orders],
        "payments": [_payment(row) for row in by_id if row["payment_status"] is not None],
        "shipments": [
            {"order_id": row["order_id"], "status": row["shipment_status"]}
            for row in by_id
            if row["shipment_status"] is not None
        ],
        "notifications": [{"order_id": order_id, "kind": kind, "state": "sent"} for order_id, kind in sent],
        "holds": [_hold(row) for row in by_id if row["hold"] == Hold.HELD],
        "country": None,
        "products": None,
        "missing": [],
        "stale": [],
    }


def _order(row: dict[str, Any]) -> dict[str, Any]:
    kept = {name: row[name] for name in ("order_id", "total_pence", "currency", "placed_at_ms")}
    return {**kept, "status": Standing(row["standing"]).word}


def _payment(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "order_id": row["order_id"],
        "status": row["payment_status"],
        "amount_pence": row["amount_pence"],
        "captured_pence": row["captured_pence"] or 0,
        "refunded_pence": row["refunded_pence"] or 0,
    }


def _hold(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "order_id": row["order_id"],
        "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in json.loads(row["lines"])],
    }
