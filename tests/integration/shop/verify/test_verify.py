"""Every check can fail: one damage each, and exactly the checks that it concerns see it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest
from tests.integration.shop.verify.conftest import LEDGER, FinishedShop

from freehold_shop.providers.wire import EntryKind, LedgerEntry
from freehold_shop.verify.checks import ALL_CHECKS

pytestmark = [pytest.mark.timeout(600)]

SOLD = "(SELECT order_id FROM orders WHERE status = 'confirmed' LIMIT 1)"
CONFIRMED_PAYMENT = "(SELECT order_id FROM payment WHERE status = 'captured' AND refunded_pence = 0 LIMIT 1)"
CANCELLED = "600005"
FIRST = "600000"
AGED = """UPDATE message SET stored_at = stored_at - 3600,
    document = CAST(json_set(CAST(document AS TEXT), '$.time', '2026-01-01T00:00:00Z') AS BLOB)"""
"""Nothing of what the broker has was stored a moment ago."""


async def _failing(shop: FinishedShop) -> set[str]:
    return {check.name for check in (await shop.verify()).checks if not check.ok}


async def test_a_finished_shop_holds(shop: FinishedShop) -> None:
    verification = await shop.verify()
    assert [check for check in verification.checks if not check.ok] == []
    assert verification.ok
    assert len(verification.checks) == len(ALL_CHECKS)
    assert len({check.name for check in verification.checks}) == len(ALL_CHECKS)


DAMAGES = [
    pytest.param(
        "orders",
        "UPDATE order_return__g1 SET refund_pence = refund_pence + 1 WHERE return_ref = 'C600100'",
        {"money-per-order", "money-in-total", "returns-fold"},
        id="refund-promised-and-not-given",
    ),
    pytest.param(
        "payments",
        f"UPDATE payment SET captured_pence = captured_pence - 1 WHERE order_id = {CONFIRMED_PAYMENT}",
        {"payments-agree-with-provider", "overview-agrees"},
        id="payment-written-down-wrongly",
    ),
    pytest.param(
        "orders",
        f"UPDATE orders__g1 SET lines = json_set(lines, '$[0][2]', 1) WHERE order_id = {SOLD}",
        {"prices-add-up", "orders-fold"},
        id="price-of-a-line-changed",
    ),
    pytest.param(
        "inventory",
        "UPDATE stock SET reserved = on_hand + 1 WHERE sku = 'SKU0'",
        {"stock-never-negative", "stock-conserved", "reserved-is-held"},
        id="oversold",
    ),
    pytest.param(
        "inventory",
        "UPDATE stock SET on_hand = on_hand + 1 WHERE sku = 'SKU0'",
        {"stock-conserved"},
        id="a-piece-out-of-nowhere",
    ),
    pytest.param(
        "inventory",
        f"DELETE FROM stock_movement WHERE reason = 'committed' AND reference = '{FIRST}' AND sku = 'SKU0'",
        {"stock-conserved", "goods-left-once", "right-products-left"},
        id="goods-that-left-unwritten",
    ),
    pytest.param(
        "inventory",
        "DELETE FROM stock_movement WHERE reason = 'returned' AND reference LIKE 'C600100/%'",
        {"stock-conserved", "goods-came-back-once"},
        id="goods-that-came-back-unwritten",
    ),
    pytest.param(
        "inventory",
        "UPDATE stock_movement SET sku = CASE sku WHEN 'SKU0' THEN 'SKU1' ELSE 'SKU0' END"
        f" WHERE reason = 'committed' AND reference = '{FIRST}' AND sku = 'SKU0'",
        {"stock-conserved", "right-products-left"},
        id="the-wrong-product-left",
    ),
    pytest.param(
        "orders",
        "INSERT INTO freehold_idempotency (scope, key, fingerprint, status, content_type, body, claimed_at)"
        """ VALUES ('orders:http', 'lost', 'x', 201, 'application/json',
            CAST('{"order_id":"lost","total_pence":1,"currency":"GBP"}' AS BLOB), 0)""",
        {"no-lost-orders"},
        id="promised-order-lost",
    ),
    pytest.param(
        "shipping",
        "INSERT INTO shipment VALUES ('phantom', 'phantom', '10', 'created', 'FR', 'somewhere', 0)",
        {"no-phantom-orders"},
        id="phantom-parcel",
    ),
    pytest.param(
        "payments",
        "INSERT INTO payment (order_id, customer_id, status, currency, amount_pence, changed_at_ms)"
        " VALUES ('phantom', '10', 'declined', 'GBP', 1, 0)",
        {"no-phantom-orders"},
        id="phantom-payment",
    ),
    pytest.param(
        "shipping",
        f"DELETE FROM shipment WHERE order_id = '{FIRST}'",
        {"sold-orders-complete", "overview-agrees"},
        id="sold-without-a-parcel",
    ),
    pytest.param(
        "shipping",
        "INSERT INTO shipment (order_id, shipment_id, customer_id, status, country, address, changed_at_ms)"
        f" VALUES ('{CANCELLED}', 'x', '13', 'created', 'FR', 'somewhere', 0)"
        " ON CONFLICT (order_id) DO UPDATE SET status = 'created'",
        {"cancelled-orders-hold-nothing", "overview-agrees"},
        id="cancelled-with-a-parcel",
    ),
    pytest.param(
        "orders",
        f"DELETE FROM freehold_saga WHERE key = '{FIRST}'",
        {"one-saga-an-order"},
        id="order-without-a-saga",
    ),
    pytest.param(
        "orders",
        f"UPDATE freehold_saga SET status = 'needs-attention' WHERE key = '{FIRST}'",
        {"sagas-ended"},
        id="saga-waits-for-a-person",
    ),
    pytest.param(
        "orders",
        f"UPDATE freehold_saga SET status = 'compensated' WHERE key = '{FIRST}'",
        {"sagas-agree-with-orders"},
        id="saga-went-back-for-a-sold-order",
    ),
    pytest.param(
        "inventory",
        "DELETE FROM freehold_inbox WHERE receipt_key ="
        " (SELECT receipt_key FROM freehold_inbox WHERE consumer = 'inventory' LIMIT 1)",
        {"messages-handled-once"},
        id="receipt-missing",
    ),
    pytest.param(
        "broker",
        f"""DELETE FROM message WHERE json_extract(document, '$.type') = 'orders.order-placed'
            AND json_extract(document, '$.partitionkey') = '{FIRST}'""",
        {"order-events-published"},
        id="order-never-told",
    ),
    pytest.param(
        "catalog",
        "INSERT INTO freehold_dead_letter (id, direction, consumer, topic, key, type, reason, error_type, detail,"
        " attempts, failed_at, document)"
        " VALUES ('d', 'inbound', 'catalog', 't', 'k', 'x.y', 'invalid-body', 'E', '', 1, 0, x'00')",
        {"no-dead-letters"},
        id="dead-letter",
    ),
    pytest.param(
        "inventory",
        "INSERT INTO freehold_schedule (id, name, topic, key, document, due_at)"
        f" VALUES ('t', 'inventory.expire-reservation', 'inventory.commands', '{FIRST}', x'00', 9e15)",
        {"no-leftover-timers"},
        id="timer-of-a-finished-order",
    ),
    pytest.param(
        "shipping",
        "UPDATE customer_copy SET address = 'elsewhere' WHERE customer_id = '10'",
        {"customer-copies-agree"},
        id="customer-copy-differs",
    ),
    pytest.param(
        "orders",
        "DELETE FROM customer_copy WHERE customer_id = '10'",
        {"customer-copies-agree"},
        id="customer-copy-missing",
    ),
    pytest.param(
        "users",
        "UPDATE country_copy SET currency = 'XXX' WHERE code = 'FR'",
        {"country-copies-agree"},
        id="country-copy-differs",
    ),
    pytest.param(
        "orders",
        f"UPDATE orders__g1 SET reason = 'declined' WHERE order_id = {SOLD}",
        {"orders-fold"},
        id="order-is-not-its-history",
    ),
    pytest.param(
        "orders",
        f"UPDATE order_summary__g1 SET status = 'shipped' WHERE order_id = '{FIRST}'",
        {"order-summary-folds"},
        id="summary-differs",
    ),
    pytest.param(
        "orders",
        f"DELETE FROM order_summary__g1 WHERE order_id = '{FIRST}'",
        {"order-summary-folds"},
        id="summary-is-missing",
    ),
    pytest.param(
        "overview",
        "UPDATE customer_profile__g1 SET name = 'somebody else' WHERE customer_id = '10'",
        {"customer-360-folds"},
        id="overview-of-a-customer-differs",
    ),
    pytest.param(
        "overview",
        f"UPDATE customer_order__g1 SET refunded_pence = 1 WHERE order_id = '{FIRST}'",
        {"customer-360-folds", "overview-agrees"},
        id="overview-of-a-payment-differs",
    ),
    pytest.param(
        "overview",
        f"DELETE FROM customer_notification__g1 WHERE order_id = '{FIRST}'",
        {"customer-360-folds", "overview-agrees"},
        id="overview-of-an-e-mail-is-missing",
    ),
    pytest.param(
        "orders",
        "UPDATE freehold_event SET version = 99 WHERE position ="
        f" (SELECT max(position) FROM freehold_event WHERE stream = 'order-{FIRST}')",
        {"streams-whole"},
        id="stream-with-a-gap",
    ),
    pytest.param(
        "overview",
        "DELETE FROM freehold_event WHERE position = (SELECT max(position) FROM freehold_event"
        f" WHERE stream = 'order-{FIRST}' AND type = 'notifications.notification-sent')",
        {"overview-keeps-once", "customer-360-folds", "streams-whole"},
        id="told-and-not-kept",
    ),
    pytest.param(
        "overview",
        "INSERT INTO freehold_parked VALUES"
        " ('customer-360', 1, 0, 'order-x', 1, 1, 'e', 'x.y', 'E', '', 1, 0, 0, NULL)",
        {"nothing-parked"},
        id="stream-parked",
    ),
]


@pytest.mark.parametrize(("database", "statement", "failing"), DAMAGES)
async def test_damage_is_seen(shop: FinishedShop, database: str, statement: str, failing: set[str]) -> None:
    shop.damage(database, statement)
    assert await _failing(shop) == failing


async def test_what_a_broker_lost_beyond_what_is_kept_is_not_asked_for(shop: FinishedShop) -> None:
    """Its log is younger than the orders by more than confirmed messages are kept; an hour is for whoever heals it."""
    shop.damage("broker", "DELETE FROM message WHERE seq > 1")
    assert "order-events-published" in await _failing(shop)
    for hours, failing in ((22, True), (2, False)):
        shop.damage("orders", f"UPDATE freehold_outbox_log SET noted_at = noted_at + {hours} * 3600000000")
        assert ("order-events-published" in await _failing(shop)) is failing


async def test_messages_that_wait_are_seen(shop: FinishedShop) -> None:
    shop.damage(
        "catalog",
        "INSERT INTO freehold_outbox (partition, id, topic, key, document, staged_at)"
        " VALUES (0, 'o', 'catalog.events', 'k', x'00', 0)",
    )
    shop.damage(
        "payments",
        "INSERT INTO freehold_deferred (consumer, topic, key, receipt_key, document, attempts, due_at, deferred_at,"
        " reason) VALUES ('payments', 't', 'k', 'r', x'00', 1, 0, 0, 'failed')",
    )
    verified = await shop.look()
    assert verified.quietness.moving == {"outbox messages": 1, "deferred messages": 1}
    failing = {check.name for check in verified.verification.checks if not check.ok}
    assert failing == {"outboxes-drained", "nothing-deferred"}


def _unhear(shop: FinishedShop) -> tuple[str, str]:
    """Have the overview hear no more of the last e-mail of an order; returns the order and the message."""
    last = """FROM freehold_event AS e WHERE type = 'notifications.notification-sent' ORDER BY version = (
        SELECT max(version) FROM freehold_event AS other WHERE other.stream = e.stream) DESC, position LIMIT 1"""
    message_id = shop.value("overview", f"SELECT id {last}")
    order_id = shop.value("overview", f"SELECT substr(stream, 7) {last}")
    shop.damage("overview", f"DELETE FROM customer_notification__g1 WHERE order_id = '{order_id}'")
    shop.damage("overview", f"DELETE FROM freehold_inbox WHERE receipt_key = '{message_id}'")
    shop.damage("overview", f"DELETE FROM freehold_event WHERE id = '{message_id}'")
    return order_id, message_id


async def test_what_is_sent_again_has_not_settled_before_it_is_read_and_what_is_lost_fails_meanwhile(
    shop: FinishedShop,
) -> None:
    shop.damage("broker", AGED)
    order_id, message_id = _unhear(shop)
    unheard = {"messages-handled-once", "overview-keeps-once", "overview-agrees"}
    assert await _failing(shop) == unheard
    shop.damage(
        "broker",
        "UPDATE message SET seq = (SELECT max(seq) + 1 FROM message), stored_at = unixepoch() - 20"
        f" WHERE json_extract(CAST(document AS TEXT), '$.id') = '{message_id}'",
    )
    verified = await shop.look()
    assert set(verified.quietness.moving) == {"messages"}
    assert [check for check in verified.verification.checks if not check.ok] == []
    lost, _ = _unhear(shop)
    assert lost != order_id
    # Where no other stream ended with its e-mail, the one taken out leaves a gap.
    failing = [check for check in (await shop.verify()).checks if not check.ok and check.name != "streams-whole"]
    # The order itself may have ended less than half a minute ago.
    assert {check.name for check in failing} | {"overview-agrees"} == unheard
    assert all(check.detail.startswith("1 violations of") for check in failing)


async def test_a_read_model_that_is_behind_is_seen(shop: FinishedShop) -> None:
    shop.damage("orders", "UPDATE freehold_checkpoint SET position = 3")
    verified = await shop.look()
    assert set(verified.quietness.moving) == {"read models behind"}
    failing = {check.name for check in verified.verification.checks if not check.ok}
    assert failing == {"order-summary-folds"}, "it has rows of events that it says it has not seen"


async def test_an_order_that_hangs_is_seen(shop: FinishedShop) -> None:
    shop.damage("broker", AGED)
    shop.damage(
        "orders",
        f"UPDATE orders__g1 SET status = 'placed', ended_at_ms = NULL, created_at_ms = 1 WHERE order_id = '{FIRST}'",
    )
    verified = await shop.look()
    failing = {check.name for check in verified.verification.checks if not check.ok}
    assert "every-order-ended" in failing


async def test_a_hold_that_was_forgotten_is_seen(shop: FinishedShop) -> None:
    _append(shop.directory / LEDGER, "hold", FIRST, 700, hold_id="h-extra")
    assert await _failing(shop) == {"holds-only-in-flight"}


async def test_a_capture_for_nothing_is_seen(shop: FinishedShop) -> None:
    _append(shop.directory / LEDGER, "hold", "nobody", 700, hold_id="h-extra")
    _append(shop.directory / LEDGER, "capture", "nobody", 700, hold_id="h-extra", capture_id="c-extra")
    assert await _failing(shop) == {"money-in-total", "no-phantom-orders"}


async def test_a_database_that_cannot_be_written_to_is_seen(
    shop: FinishedShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold_shop.verify.readers._LOCK_LIMIT_SECONDS", 0.1)
    holder = sqlite3.connect(shop.file("users"), isolation_level=None)
    try:
        holder.execute("BEGIN IMMEDIATE")
        assert await _failing(shop) == {"no-hanging-transactions"}
    finally:
        holder.close()


async def test_verifying_changes_nothing(shop: FinishedShop) -> None:
    names = [file.stem for file in Path(shop.directory / "data").glob("*.db") if file.stem != "broker"]
    before = {name: shop.file(name).read_bytes() for name in names}
    await shop.verify()
    assert {name: shop.file(name).read_bytes() for name in names} == before


def _append(ledger: Path, kind: str, order_id: str, amount_pence: int, **ids: str) -> None:
    lines = ledger.read_bytes().splitlines()
    last = msgspec.json.decode(lines[-1], type=LedgerEntry)
    entry = LedgerEntry(
        sequence=last.sequence + 1,
        at=last.at,
        kind=EntryKind(kind),
        order_id=order_id,
        idempotency_key=f"{kind}-extra-{order_id}",
        request_digest="x",
        amount_pence=amount_pence,
        currency="GBP",
        **ids,
    )
    with ledger.open("ab") as stream:
        stream.write(msgspec.json.encode(entry) + b"\n")
