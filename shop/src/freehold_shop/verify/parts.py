"""Loads the services' data about orders, and the overview's data about them. Imports readers and scratch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from freehold_shop.verify.readers import Reader
from freehold_shop.verify.scratch import Scratch

__all__ = ["load_overview_facts", "load_service_facts"]

_OF_SERVICES: Mapping[str, Sequence[tuple[str, str]]] = {
    "orders": (("order", "SELECT order_id, order_id, customer_id, status, total_pence, placed_at_ms FROM orders"),),
    "payments": (
        ("payment", "SELECT order_id, order_id, status, amount_pence, captured_pence, refunded_pence FROM payment"),
    ),
    "shipping": (("parcel", "SELECT order_id, order_id, status FROM shipment"),),
    "inventory": (("hold", """SELECT order_id, order_id, "lines" FROM reservation WHERE status = 'held'"""),),
    "notifications": (("e-mail", "SELECT order_id, order_id || '/' || template FROM notification"),),
}
_OF_OVERVIEW: Sequence[tuple[str, str]] = (
    (
        "order",
        """SELECT order_id, order_id, customer_id, CASE standing WHEN 1 THEN 'placed' WHEN 2 THEN 'stock-reserved'
            WHEN 3 THEN 'payment-held' WHEN 4 THEN 'confirmed' WHEN 5 THEN 'shipped' WHEN 6 THEN 'delivered'
            WHEN 7 THEN 'partially-returned' WHEN 8 THEN 'returned' WHEN 9 THEN 'cancelled' ELSE '?' END,
            total_pence, placed_at_ms FROM customer_order WHERE customer_id IS NOT NULL""",
    ),
    (
        "payment",
        """SELECT order_id, order_id, payment_status, amount_pence, coalesce(captured_pence, 0),
            coalesce(refunded_pence, 0) FROM customer_order WHERE payment_status IS NOT NULL""",
    ),
    ("parcel", "SELECT order_id, order_id, shipment_status FROM customer_order WHERE shipment_status IS NOT NULL"),
    ("hold", 'SELECT order_id, order_id, "lines" FROM customer_order WHERE hold = 1'),
    ("e-mail", "SELECT order_id, order_id || '/' || template FROM customer_notification"),
)


def load_service_facts(scratch: Scratch, service: str, reader: Reader) -> None:
    """Load the data of a service about orders that its events report to the overview."""
    for kind, query in _OF_SERVICES.get(service, ()):
        scratch.load("INSERT INTO service_fact VALUES (?, ?, ?, ?)", _facts(reader, kind, query))


def load_overview_facts(scratch: Scratch, reader: Reader) -> None:
    """Load the data of the overview about orders."""
    for kind, query in _OF_OVERVIEW:
        scratch.load("INSERT INTO overview_fact VALUES (?, ?, ?, ?)", _facts(reader, kind, query))


def _facts(reader: Reader, kind: str, query: str) -> Iterator[tuple[Any, ...]]:
    for order_id, row_id, *facts in reader.rows(query):
        yield kind, order_id, row_id, json.dumps(facts)
