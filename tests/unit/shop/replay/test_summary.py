"""The summary: its names, its sums, and when it is ok."""

from __future__ import annotations

from collections import Counter

import msgspec

from freehold_shop.replay.gateway import Part
from freehold_shop.replay.run import unmatched_lines
from freehold_shop.replay.summary import Summary, Tally
from freehold_shop.retail import SaleLine
from freehold_shop.verify.model import Check, Verification

_HOLDS = Verification.of((Check("a", ok=True, detail=""),))


def _summary(tally: Tally, verify: Verification = _HOLDS) -> Summary:
    return Summary.of(tally, files=2, rows_read=9, rows_rejected={"b": 1, "a": 2}, duration_seconds=2.0, verify=verify)


def test_the_document_has_exactly_these_names() -> None:
    document = msgspec.json.decode(msgspec.json.encode(_summary(Tally())))
    assert list(document) == [
        "files",
        "rows_read",
        "rows_rejected",
        "orders_placed",
        "confirmed",
        "cancelled",
        "returned",
        "in_flight",
        "duration_seconds",
        "orders_per_second",
        "latency_seconds",
        "verify",
    ]
    assert list(document["latency_seconds"]) == ["p50", "p95", "p99"]
    assert document["verify"] == {"ok": True, "checks": [{"name": "a", "ok": True, "detail": ""}]}


def test_orders_in_flight_are_what_has_no_end() -> None:
    tally = Tally(orders_placed=10, confirmed=6, cancelled=Counter({"declined": 3}), returns_requested=2, returned=1)
    summary = _summary(tally)
    assert summary.in_flight == 2
    assert summary.orders_per_second == 4.5
    assert not summary.ok


def test_it_is_ok_only_where_the_verification_holds() -> None:
    assert _summary(Tally()).ok
    assert not _summary(Tally(), Verification.of((Check("a", ok=False, detail="x"),))).ok
    assert not _summary(Tally(), Verification.of(())).ok


def _line(sku: str, quantity: int) -> SaleLine:
    return SaleLine(sku, sku, quantity, 100, 1, "f")


def test_what_a_return_did_not_match_is_taken_from_its_last_lines() -> None:
    lines = [_line("A", 3), _line("B", 2), _line("A", 4)]
    found = list(unmatched_lines(lines, [Part("A", 5)]))
    assert found == [(lines[2], 4), (lines[0], 1)]
