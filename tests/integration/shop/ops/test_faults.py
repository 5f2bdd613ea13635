"""Each fault of the embedded shop: it shows, the other services go on serving, and after it every order has an end."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.shop.ops.customers import ended, get, others_serve, place, post, until

from freehold.errors import ConfigurationError
from freehold_shop.cli.sample import PRODUCTS
from freehold_shop.supervisor.client import Shop

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
async def healed(shop: Shop) -> AsyncIterator[Shop]:
    """The shop, and nothing stays broken after the test."""
    yield shop
    await shop.heal()


def rows(shop: Shop, service: str, query: str) -> list[tuple[object, ...]]:
    path = Path(shop.databases[service].removeprefix("sqlite:///"))
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        return connection.execute(query).fetchall()


async def on(shop: Shop) -> list[str]:
    return [fault.name for fault in await shop.faults() if fault.on]


async def test_all_faults_are_listed_with_a_sentence(shop: Shop) -> None:
    states = await shop.faults()
    expected = {
        "payments-down",
        "payments-slow",
        "payments-decline",
        "inventory-crash",
        "broker-down",
        "relay-stopped",
        "duplicate-messages",
        "poison-message",
        "orders-database-down",
    }
    assert expected <= {state.name for state in states}
    assert all(state.description.endswith(".") and not state.on for state in states)


@pytest.mark.parametrize(
    "fault", ["payments-down", "payments-slow", "broker-down", "relay-stopped", "duplicate-messages"]
)
async def test_orders_placed_while_it_lasts_are_confirmed_after_it(healed: Shop, fault: str) -> None:
    before = await place(healed)
    (state,) = await healed.break_(fault)
    assert (state.name, state.on, await on(healed)) == (fault, True, [fault])
    meanwhile = [await place(healed) for _ in range(3)]
    await others_serve(healed, without="")
    if fault in {"broker-down", "payments-down", "relay-stopped"}:
        # It must show: an order that would take a tenth of a second is not done after one.
        await asyncio.sleep(1.0)
        status, answer = await get(f"{healed.gateway_url}/orders/{meanwhile[0]}")
        assert (status, answer["status"]) == (200, "placed")
    assert [state.name for state in await healed.heal(fault)] == [fault]
    assert await on(healed) == []
    statuses = await ended(healed, [before, *meanwhile], 45)
    # A payment provider that stays away for long enough is a reason to cancel.
    assert statuses <= ({"confirmed", "cancelled"} if fault.startswith("payments") else {"confirmed"})


async def test_a_stopped_relay_keeps_orders_where_they_are(healed: Shop) -> None:
    await healed.break_("relay-stopped")
    order_id = await place(healed)
    await asyncio.sleep(1.5)
    assert rows(healed, "orders", "SELECT count(*) FROM freehold_outbox")[0][0] != 0
    healed.kill("orders")
    await asyncio.sleep(0.2)
    await healed.ready(20)
    await asyncio.sleep(1.5)
    assert rows(healed, "orders", "SELECT count(*) FROM freehold_outbox")[0][0] != 0
    await healed.heal("relay-stopped")
    assert await ended(healed, [order_id]) == {"confirmed"}


async def test_declined_cards_cancel_orders(healed: Shop) -> None:
    await healed.break_("payments-decline")
    assert await ended(healed, [await place(healed)]) == {"cancelled"}
    await healed.heal()
    assert await ended(healed, [await place(healed)]) == {"confirmed"}


async def test_a_crash_is_over_in_a_moment(healed: Shop) -> None:
    order_ids = [await place(healed) for _ in range(3)]
    before = healed.pids()["inventory"]
    (state,) = await healed.break_("inventory-crash")
    assert (state.on, state.lasting) == (False, False)
    await others_serve(healed, without="inventory")
    assert await ended(healed, order_ids) == {"confirmed"}
    await healed.ready(20)
    assert healed.pids()["inventory"] != before


async def test_a_locked_orders_database_stops_nobody_else(healed: Shop) -> None:
    order_id = await place(healed)
    await healed.break_("orders-database-down")
    line = {"sku": PRODUCTS[0].sku, "quantity": 1, "price_pence": 1}
    status, _ = await post(f"{healed.gateway_url}/orders", {"customer_id": "sample-001", "lines": [line]})
    assert status in {0, 503, 504}
    await others_serve(healed, without="orders")
    await healed.heal("orders-database-down")
    assert await ended(healed, [order_id, await place(healed)]) == {"confirmed"}


async def test_poison_becomes_dead_letters_and_holds_up_nobody(healed: Shop) -> None:
    def dead() -> int:
        query = "SELECT count(*) FROM freehold_dead_letter"
        return sum(int(str(rows(healed, service, query)[0][0])) for service in ("inventory", "payments", "orders"))

    before = dead()
    await healed.break_("poison-message")
    assert await ended(healed, [await place(healed) for _ in range(3)]) == {"confirmed"}

    async def more() -> bool:
        return dead() >= before + 3

    await until(more, 20, "the poison is among the dead letters")
    assert [state.name for state in await healed.heal("poison-message")] == ["poison-message"]
    left = "SELECT count(*) FROM freehold_dead_letter WHERE status = 'dead'"
    services = [name for name in healed.databases if rows(healed, name, left)[0][0]]
    assert services == [], "healing drops what the fault planted"


async def test_a_fault_ends_by_itself(healed: Shop) -> None:
    (state,) = await healed.break_("payments-down", seconds=0.5)
    assert state.seconds_left is not None

    async def over() -> bool:
        return await on(healed) == []

    await until(over, 10, "the fault has ended by itself")


async def test_what_makes_no_sense_is_refused(shop: Shop) -> None:
    with pytest.raises(ConfigurationError, match="no fault 'thunder'"):
        await shop.break_("thunder")
    with pytest.raises(ConfigurationError, match="over in a moment"):
        await shop.break_("orders-crash", seconds=1)
    assert await shop.heal("payments-down") == []
