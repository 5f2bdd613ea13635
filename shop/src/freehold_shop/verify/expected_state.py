"""The expected rows of read models: the stored events, folded in plain Python. Imports the standard library only.

Shares no code with the projections, so that a bug in the one is no bug in the other: it reads the events as the stored
JSON documents, by the names in the database.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["Stored", "fold_order", "fold_overview", "fold_profile", "fold_returns", "fold_summary"]

_HLC_COUNTER_BITS = 16
_STEPS = ("stock-reserved", "payment-held", "confirmed", "shipped", "delivered")
_OF_ORDERS = "orders.order-"


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored event."""

    type: str
    data: dict[str, Any]
    at_ms: int
    position: int

    @classmethod
    def of(cls, type_name: str, data: bytes, hlc: int, position: int) -> Stored:
        """Decode a row."""
        return cls(type_name, json.loads(bytes(data)), hlc >> _HLC_COUNTER_BITS, position)

    @property
    def what(self) -> str:
        """The event's name among those of orders, empty for another service's."""
        return self.type[len(_OF_ORDERS) :] if self.type.startswith(_OF_ORDERS) else ""


def fold_order(events: Iterable[Stored]) -> list[Any] | None:
    """A row of `orders` without its id; None where the stream has no `placed`."""
    history = list(events)
    placed = next((each for each in history if each.what == "placed"), None)
    if placed is None:
        return None
    cancelled = [each for each in history if each.what == "cancelled"]
    ends = [each.at_ms for each in history if each.what in {"confirmed", "cancelled"}]
    lines = [[line["sku"], line["quantity"], line["price_pence"], 0] for line in placed.data["lines"]]
    for each in history:
        if each.what == "return-requested":
            _mark_returned(lines, each.data["lines"])
    total = placed.data["total"]
    return [
        placed.data["customer_id"],
        _status(history),
        cancelled[-1].data["reason"] if cancelled else None,
        placed.data["checkout"],
        total.get("currency", "GBP"),
        total["pence"],
        lines,
        placed.data["placed_at_ms"],
        placed.at_ms,
        ends[-1] if ends else None,
    ]


def fold_summary(events: Iterable[Stored]) -> list[Any] | None:
    """A row of `order_summary` without its id."""
    row = fold_order(events)
    if row is None:
        return None
    customer_id, status, _, _, currency, total_pence, lines, placed_at_ms, _, ended_at_ms = row
    pieces = sum(line[1] for line in lines)
    return [customer_id, status, currency, total_pence, len(lines), pieces, placed_at_ms, ended_at_ms]


def fold_returns(events: Iterable[Stored]) -> dict[str, list[Any]]:
    """Rows of `order_return` without their ids, by reference."""
    returns: dict[str, list[Any]] = {}
    for each in events:
        match each.what:
            case "return-requested":
                lines = [[line["sku"], line["quantity"], line["price_pence"], 0] for line in each.data["lines"]]
                refund = each.data["refund"]
                returns[each.data["return_ref"]] = [lines, refund.get("currency", "GBP"), refund["pence"], False, False]
            case "return-refunded":
                returns[each.data["return_ref"]][3] = True
            case "return-restocked":
                returns[each.data["return_ref"]][4] = True
            case _:
                pass
    return returns


def fold_profile(events: Iterable[Stored]) -> list[Any] | None:
    """A row of `customer_profile` without its id: the newest revision."""
    profiles = [each.data for each in events if each.type in {"users.customer-registered", "users.user-updated"}]
    if not profiles:
        return None
    newest = max(profiles, key=lambda data: int(data["revision"]))
    return [newest[name] for name in ("name", "email", "country", "revision")]


def fold_overview(events: Iterable[Stored]) -> tuple[list[Any] | None, list[str]]:
    """The overview's row of an order without its id, and the templates of the e-mails about it.

    The row: customer, currency, total, time of placing, products, status, hold of goods, payment (status, amount,
    captured, refunded), parcel.
    """
    history = list(events)
    sent = sorted({e.data["template"] for e in history if e.type == "notifications.notification-sent"})
    others = [each for each in history if each.type != "notifications.notification-sent"]
    if not others:
        return None, sent
    placed = next((each.data for each in others if each.what == "placed"), None)
    head: list[Any] = [None, None, None, None, None]
    if placed is not None:
        pieces: Counter[str] = Counter()
        for line in placed["lines"]:
            pieces[line["sku"]] += line["quantity"]
        total = placed["total"]
        head = [placed["customer_id"], total.get("currency", "GBP"), total["pence"], placed["placed_at_ms"]]
        head.append([[sku, pieces[sku]] for sku in sorted(pieces)])
    return [*head, _overview_status(others), _held(others), *_payment(others), _parcel(others)], sent


def _mark_returned(lines: list[list[Any]], returned: Iterable[dict[str, Any]]) -> None:
    for part in returned:
        for _ in range(part["quantity"]):
            line = next(
                each
                for each in lines
                if each[0] == part["sku"] and each[2] == part["price_pence"] and each[3] < each[1]
            )
            line[3] += 1


def _status(history: list[Stored]) -> str:
    known = {each.what for each in history}
    if "cancelled" in known:
        return "cancelled"
    returned = [each for each in history if each.what == "returned"]
    if returned:
        return "returned" if returned[-1].data["complete"] else "partially-returned"
    return next((step for step in reversed(_STEPS) if step in known), "placed")


def _overview_status(history: list[Stored]) -> str:
    known = {each.type for each in history}
    if "orders.order-cancelled" in known:
        return "cancelled"
    returned = [each for each in history if each.what == "returned"]
    if returned:
        return "returned" if any(each.data["complete"] for each in returned) else "partially-returned"
    for step, type_name in (
        ("delivered", "shipping.shipment-delivered"),
        ("shipped", "shipping.shipment-dispatched"),
        ("confirmed", "orders.order-confirmed"),
        ("payment-held", "payments.payment-held"),
        ("stock-reserved", "inventory.stock-reserved"),
        ("placed", "orders.order-placed"),
    ):
        if type_name in known:
            return step
    return "unheard-of"


def _held(history: list[Stored]) -> str:
    known = {each.type for each in history}
    if known & {"inventory.stock-released", "inventory.reservation-expired", "orders.order-confirmed"}:
        return "over"
    return "held" if known & {"inventory.stock-reserved", "inventory.stock-held"} else "never"


def _payment(history: list[Stored]) -> list[Any]:
    status, amount, captured, refunded = None, None, None, None
    for each in history:
        match each.type:
            case "payments.payment-held":
                status, amount = "held", each.data["amount"]["pence"]
            case "payments.payment-captured":
                status, amount = "captured", each.data["amount"]["pence"]
                captured = amount
            case "payments.payment-changed":
                status, amount = each.data["status"], each.data["amount_pence"]
                captured, refunded = each.data["captured_pence"], each.data["refunded_pence"]
            case _:
                pass
    return [status, amount, captured, refunded]


def _parcel(history: list[Stored]) -> str | None:
    status: str | None = None
    for each in history:
        match each.type:
            case "shipping.shipment-changed":
                status = each.data["status"]
            case "shipping.shipment-failed":
                status = "failed" if each.data["reason"] == "undeliverable" else status
            case "shipping.shipment-created" | "shipping.shipment-dispatched" | "shipping.shipment-delivered":
                status = each.type.removeprefix("shipping.shipment-")
            case _:
                pass
    return status
