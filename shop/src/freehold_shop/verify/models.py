"""Loads read models, and the folds that they must equal, in one snapshot of each service's database.

A read model with a lag is compared with the events up to its checkpoints, so that it can be checked at any time, not
only while the shop is quiet. Imports readers, the expected state and scratch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from freehold_shop.verify.expected_state import (
    Stored,
    fold_order,
    fold_overview,
    fold_profile,
    fold_returns,
    fold_summary,
)
from freehold_shop.verify.readers import Reader
from freehold_shop.verify.scratch import Scratch

__all__ = ["load_kept", "load_models", "load_streams"]

_STANDINGS = (
    "unheard-of", "placed", "stock-reserved", "payment-held", "confirmed", "shipped", "delivered",
    "partially-returned", "returned", "cancelled",
)  # fmt: skip
_HOLDS = ("never", "held", "over")
_FOLDED = "INSERT INTO folded VALUES (?, ?, ?, ?)"
_MODELLED = "INSERT INTO modelled VALUES (?, ?, ?, ?)"

_ORDERS = """SELECT order_id, customer_id, status, reason, checkout, currency, total_pence, "lines", placed_at_ms,
    created_at_ms, ended_at_ms FROM orders"""
_RETURNS = 'SELECT return_ref, order_id, "lines", currency, refund_pence, refunded, restocked FROM order_return'
_SUMMARY = """SELECT order_id, customer_id, status, currency, total_pence, line_count, pieces, placed_at_ms, ended_at_ms
    FROM order_summary"""
_PROFILE = "SELECT customer_id, name, email, country, revision FROM customer_profile"
_OVERVIEW = """SELECT order_id, customer_id, currency, total_pence, placed_at_ms, "lines", standing, hold,
    payment_status, amount_pence, captured_pence, refunded_pence, shipment_status FROM customer_order"""
_NOTIFIED = "SELECT order_id, template FROM customer_notification"

Row = tuple[str, str, str, str]


def load_streams(scratch: Scratch, service: str, reader: Reader) -> None:
    """Load streams with gaps, and events whose positions are before those of their predecessors."""
    gaps = """SELECT stream, count(*), max(version) FROM freehold_event
        GROUP BY stream HAVING count(*) <> max(version) OR min(version) <> 1"""
    turned = """SELECT later.stream, later.version FROM freehold_event AS later JOIN freehold_event AS earlier
        ON earlier.stream = later.stream AND earlier.version = later.version - 1
        WHERE earlier.position > later.position"""
    scratch.load(
        "INSERT INTO broken_stream VALUES (?, ?, ?)",
        ((service, stream, f"has {count} events up to version {last}") for stream, count, last in reader.rows(gaps)),
    )
    scratch.load(
        "INSERT INTO broken_stream VALUES (?, ?, ?)",
        ((service, stream, f"has version {version} too early") for stream, version in reader.rows(turned)),
    )


def load_models(scratch: Scratch, service: str, reader: Reader) -> None:
    """Load a service's read models and their folds, where it has any."""
    if service == "orders":
        scratch.load(_FOLDED, _orders_folded(reader))
        scratch.load(_MODELLED, _orders_modelled(reader))
    elif service == "overview":
        scratch.load(_FOLDED, _overview_folded(reader))
        scratch.load(_MODELLED, _overview_modelled(reader))


def load_kept(scratch: Scratch, reader: Reader) -> None:
    """Load the messages that the overview has stored, and how often."""
    kept = f"SELECT {reader.uuid('id')}, count(*) FROM freehold_event GROUP BY id"
    scratch.load("INSERT INTO kept VALUES (?, ?)", reader.rows(kept))


def _orders_folded(reader: Reader) -> Iterator[Row]:
    seen = _checkpoints(reader, "order-summary")
    for order_id, bucket, history in _histories(reader, "order"):
        yield from _row("orders", "orders", order_id, fold_order(history))
        behind = [each for each in history if each.position <= _seen(seen, bucket)]
        yield from _row("orders", "order-summary", order_id, fold_summary(behind))
        for return_ref, part in fold_returns(history).items():
            yield from _row("orders", "order-return", f"{return_ref}/{order_id}", part)


def _orders_modelled(reader: Reader) -> Iterator[Row]:
    for order_id, *row in reader.rows(_ORDERS):
        row[6] = json.loads(row[6])
        yield from _row("orders", "orders", order_id, row)
    for order_id, *row in reader.rows(_SUMMARY):
        yield from _row("orders", "order-summary", order_id, row)
    for return_ref, order_id, lines, currency, pence, refunded, restocked in reader.rows(_RETURNS):
        row = [json.loads(lines), currency, pence, bool(refunded), bool(restocked)]
        yield from _row("orders", "order-return", f"{return_ref}/{order_id}", row)


def _overview_folded(reader: Reader) -> Iterator[Row]:
    seen = _checkpoints(reader, "customer-360")
    for customer_id, bucket, history in _histories(reader, "customer"):
        behind = [each for each in history if each.position <= _seen(seen, bucket)]
        yield from _row("overview", "customer-360", f"customer {customer_id}", fold_profile(behind))
    for order_id, bucket, history in _histories(reader, "order"):
        behind = [each for each in history if each.position <= _seen(seen, bucket)]
        row, sent = fold_overview(behind)
        yield from _row("overview", "customer-360", f"order {order_id}", row)
        for template in sent:
            yield from _row("overview", "customer-360", f"e-mail {template} of {order_id}", [])


def _overview_modelled(reader: Reader) -> Iterator[Row]:
    for customer_id, *row in reader.rows(_PROFILE):
        yield from _row("overview", "customer-360", f"customer {customer_id}", row)
    for order_id, *row in reader.rows(_OVERVIEW):
        row[4] = None if row[4] is None else json.loads(row[4])
        row[5], row[6] = _STANDINGS[row[5]], _HOLDS[row[6]]
        yield from _row("overview", "customer-360", f"order {order_id}", row)
    for order_id, template in reader.rows(_NOTIFIED):
        yield from _row("overview", "customer-360", f"e-mail {template} of {order_id}", [])


def _histories(reader: Reader, category: str) -> Iterator[tuple[str, int, list[Stored]]]:
    """The id, the bucket and the events in order of version, for each stream."""
    query = f"""SELECT stream, bucket, type, data, hlc, position FROM freehold_event
        WHERE category = '{category}' ORDER BY stream, version"""
    for stream, rows in groupby(reader.rows(query), key=lambda row: str(row[0])):
        found = list(rows)
        yield stream.partition("-")[2], found[0][1], [Stored.of(*row[2:]) for row in found]


def _checkpoints(reader: Reader, projection: str) -> Mapping[int, int]:
    """The checkpoints of the live generation, by partition."""
    query = f"""SELECT "partition", position FROM freehold_checkpoint JOIN freehold_projection AS live
        USING (projection, generation) WHERE live.state = 'live' AND projection = '{projection}'"""
    return dict(reader.rows(query))


def _seen(checkpoints: Mapping[int, int], bucket: int) -> int:
    return checkpoints[bucket % len(checkpoints)] if checkpoints else 0


def _row(service: str, model: str, row_id: str, row: Sequence[Any] | None) -> Iterator[Row]:
    """A row with the digest of its content: only digests are stored and compared, since profiles are personal data."""
    if row is not None:
        yield service, model, row_id, hashlib.blake2b(json.dumps(row).encode(), digest_size=16).hexdigest()
