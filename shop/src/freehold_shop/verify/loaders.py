"""Loads each service's data about orders, money and goods into the scratch database. Imports readers and scratch.

Movements and refunds are summed up by the service's own database, so that their rows are not transferred; the lines of
held reservations are read one by one, since they are few.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from freehold_shop.orders.domain import IN_FLIGHT, OrderStatus
from freehold_shop.providers.wire import SummaryPage
from freehold_shop.verify.readers import Reader
from freehold_shop.verify.scratch import Scratch

__all__ = [
    "load_copies",
    "load_inventory",
    "load_ledger",
    "load_notifications",
    "load_orders",
    "load_payments",
    "load_shipping",
    "load_sources",
]


SOLD_STATUSES = frozenset(OrderStatus) - IN_FLIGHT - {OrderStatus.CANCELLED}
"""The statuses of an order that was confirmed and not cancelled, also where goods of it were returned."""
_FOR_EVER_MS = 2**62


class _Answer(msgspec.Struct):
    order_id: str = ""
    total_pence: int | None = None


_answers = msgspec.json.Decoder(_Answer)

_CUSTOMER_FACTS = "SELECT customer_id, name, email, country, address, revision FROM"
_COUNTRY_FACTS = "SELECT code, name, currency FROM"
_SOURCES: Mapping[str, Mapping[str, str]] = {
    "users": {"customer": f"{_CUSTOMER_FACTS} customer"},
    "reference": {"country": f"{_COUNTRY_FACTS} country"},
}
_COPIES: Mapping[str, Mapping[str, str]] = {
    "users": {"country": f"{_COUNTRY_FACTS} country_copy"},
    "orders": {"customer": f"{_CUSTOMER_FACTS} customer_copy", "country": f"{_COUNTRY_FACTS} country_copy"},
    "shipping": {"customer": f"{_CUSTOMER_FACTS} customer_copy"},
}


def load_orders(scratch: Scratch, reader: Reader, settled_before_ms: int | None) -> None:
    """Load orders and returns, the quantities sold, the sagas, and the orders that were confirmed to clients.

    Orders that ended later than `settled_before_ms` do not count as settled; None: every ended order is settled.
    """
    before_ms = _FOR_EVER_MS if settled_before_ms is None else settled_before_ms
    scratch.load(
        "INSERT INTO order_return VALUES (?, ?, ?, ?, ?, ?)",
        _returns(reader),
    )
    sold: Counter[str] = Counter()
    scratch.load(
        "INSERT INTO customer_order VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
        _orders(reader, sold),
    )
    scratch.load("INSERT INTO sold VALUES (?, ?)", sold.items())
    scratch.load(
        """UPDATE customer_order SET settled = 1 WHERE ended = 1 AND changed_at_ms < ? AND NOT EXISTS (
            SELECT 1 FROM order_return WHERE order_return.order_id = customer_order.order_id
            AND (order_return.ended = 0 OR requested_at_ms >= ?))""",
        [(before_ms, before_ms)],
    )
    scratch.load("INSERT OR REPLACE INTO request VALUES (?, ?)", _promises(reader))
    scratch.load(
        "INSERT INTO saga VALUES (?, ?, ?, ?, ?)",
        reader.rows(f'SELECT {reader.uuid("id")}, definition, "key", status, failure FROM freehold_saga'),
    )


def load_payments(scratch: Scratch, reader: Reader) -> None:
    """Load the held, captured and refunded amounts of payments."""
    scratch.load(
        "INSERT INTO payment VALUES (?, ?, ?, ?, ?, ?)",
        _whole(
            reader,
            "SELECT payment.order_id, status, payment.amount_pence, captured_pence, refunded_pence,"
            " (SELECT coalesce(sum(refund.amount_pence), 0) FROM refund WHERE refund.order_id = payment.order_id)"
            " FROM payment",
        ),
    )


async def load_ledger(scratch: Scratch, pages: AsyncIterator[SummaryPage]) -> None:
    """Load the provider's amounts by order, and its own totals."""
    async for page in pages:
        scratch.load(
            "INSERT OR REPLACE INTO ledger VALUES (?, ?, ?, ?, ?, ?)",
            (
                (
                    each.order_id,
                    each.held_pence,
                    each.captured_pence,
                    each.refunded_pence,
                    each.voided_pence,
                    each.emails,
                )
                for each in page.orders
            ),
        )
        if page.next_after is None:
            scratch.load("INSERT INTO ledger_total VALUES (?, ?)", [(page.captured_pence, page.refunded_pence)])


def load_inventory(scratch: Scratch, reader: Reader) -> None:
    """Load the stock, its movements and the reservations."""
    scratch.load("INSERT INTO stock VALUES (?, ?, ?)", reader.rows("SELECT sku, on_hand, reserved FROM stock"))
    for target, column in (("moved", "sku"), ("moved_by_reference", "reference")):
        scratch.load(
            f"INSERT INTO {target} VALUES (?, ?, ?, ?)",
            _whole(
                reader,
                f"SELECT {column}, reason, sum(delta_on_hand), sum(delta_reserved) FROM stock_movement"
                f" GROUP BY {column}, reason",
            ),
        )
    held: list[tuple[str, str, int]] = []
    scratch.load("INSERT INTO reservation VALUES (?, ?, ?)", _reservations(reader, held))
    scratch.load("INSERT INTO held_line VALUES (?, ?, ?)", held)


def load_shipping(scratch: Scratch, reader: Reader) -> None:
    """Load the parcels."""
    scratch.load("INSERT INTO shipment VALUES (?, ?)", reader.rows("SELECT order_id, status FROM shipment"))


def load_notifications(scratch: Scratch, reader: Reader) -> None:
    """Load the e-mails of notifications."""
    scratch.load("INSERT INTO notification VALUES (?, ?)", reader.rows("SELECT order_id, template FROM notification"))


def load_sources(scratch: Scratch, service: str, reader: Reader) -> None:
    """Load the data of a service that others replicate."""
    for kind, query in _SOURCES.get(service, {}).items():
        scratch.load("INSERT INTO source_fact VALUES (?, ?, ?)", _facts(reader, query, kind))


def load_copies(scratch: Scratch, service: str, reader: Reader) -> None:
    """Load a service's replicas."""
    for kind, query in _COPIES.get(service, {}).items():
        scratch.load("INSERT INTO copied_fact VALUES (?, ?, ?, ?)", _facts(reader, query, service, kind))


def _whole(reader: Reader, query: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a query, with its sums as integers: PostgreSQL and MariaDB make decimals of them."""
    for row in reader.rows(query):
        yield tuple(int(value) if isinstance(value, Decimal) else value for value in row)


def _promises(reader: Reader) -> Iterator[tuple[str, str]]:
    """The orders whose placing was confirmed, from the stored responses that have a total."""
    for key, body in reader.rows('SELECT "key", body FROM freehold_idempotency WHERE status IN (200, 201)'):
        promised = _answers.decode(bytes(body))
        if promised.total_pence is not None:
            yield key, promised.order_id


def _facts(reader: Reader, query: str, *leading: str) -> Iterator[tuple[Any, ...]]:
    for source_id, *facts in reader.rows(query):
        # Only digests are stored and compared, since replicas of customers are personal data.
        digest = hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()
        yield *leading, source_id, digest


def _orders(reader: Reader, sold: Counter[str]) -> Iterator[tuple[Any, ...]]:
    query = """SELECT order_id, customer_id, checkout, status, total_pence, "lines", created_at_ms, ended_at_ms
        FROM orders"""
    for order_id, customer_id, checkout, status, total_pence, document, placed_at_ms, ended_at_ms in reader.rows(query):
        lines = json.loads(document)
        if status in SOLD_STATUSES:
            for sku, quantity, _, _ in lines:
                sold[sku] += quantity
        pieces = sum(quantity for _, quantity, _, _ in lines)
        line_pence = sum(quantity * price_pence for _, quantity, price_pence, _ in lines)
        returned = sum(returned for _, _, _, returned in lines)
        ended = int(status not in IN_FLIGHT)
        changed_at_ms = max(placed_at_ms, ended_at_ms or 0)
        yield (
            order_id, customer_id, checkout, status, total_pence, pieces, returned, line_pence,
            placed_at_ms, changed_at_ms, int(status in SOLD_STATUSES), ended,
        )  # fmt: skip


def _returns(reader: Reader) -> Iterator[tuple[Any, ...]]:
    query = (
        'SELECT return_ref, order_id, refund_pence, "lines", refunded, restocked, requested_at_ms'
        " FROM order_return JOIN return_request USING (return_ref)"
    )
    for return_ref, order_id, refund_pence, lines, refunded, restocked, requested_at_ms in reader.rows(query):
        yield return_ref, order_id, refund_pence, _pieces(lines), int(refunded and restocked), requested_at_ms


def _pieces(document: str) -> int:
    return sum(line[1] for line in json.loads(document))


def _reservations(reader: Reader, held: list[tuple[str, str, int]]) -> Iterator[tuple[Any, ...]]:
    for order_id, status, document in reader.rows('SELECT order_id, status, "lines" FROM reservation'):
        lines = json.loads(document)
        if status == "held":
            held.extend((sku, order_id, quantity) for sku, quantity in lines)
        yield order_id, status, sum(quantity for _, quantity in lines)
