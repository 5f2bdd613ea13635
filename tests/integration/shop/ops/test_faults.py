"""Each fault of the embedded shop: it shows, the other services go on serving, and after it every order has an end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from tests.integration.shop.ops.customers import (
    came_back,
    ended,
    get,
    hears_of_a_new_customer,
    others_serve,
    place,
    post,
    rows,
    until,
)

from freehold.errors import ConfigurationError
from freehold.ids import new_id
from freehold_shop.cli.sample import CUSTOMERS, PRODUCTS
from freehold_shop.supervisor.client import Shop

pytestmark = pytest.mark.timeout(600)
TOKEN = "Freehold-Consistency"


@pytest.fixture
async def healed(shop: Shop) -> AsyncIterator[Shop]:
    """The shop, and nothing stays broken after the test."""
    yield shop
    await shop.heal()


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
        "slow-projections",
    }
    assert expected <= {state.name for state in states}
    assert all(state.description.endswith(".") and not state.on for state in states)


def waiting_messages(shop: Shop) -> list[tuple[object, ...]]:
    return rows(shop, "orders", "SELECT position FROM freehold_outbox ORDER BY position")


async def relay_has_seen_it(shop: Shop) -> None:
    """The relay of orders has tried, and said that it cannot."""
    log = shop.state_directory / "logs" / "orders-0.log"

    async def said() -> bool:
        return "waits for the broker and tries again" in log.read_text()

    await until(said, "orders has seen that the broker is away")


async def payments_has_tried(shop: Shop) -> None:
    """A payment has failed more than once."""

    async def tried() -> bool:
        return rows(shop, "payments", "SELECT 1 FROM freehold_deferred WHERE attempts > 1") != []

    await until(tried, "payments has tried again")


SIGNS = {
    "broker-down": relay_has_seen_it,
    "payments-down": payments_has_tried,
    "relay-stopped": hears_of_a_new_customer,
}
"""What shows that a fault is there, and that orders placed before it would have got further without it."""


@pytest.mark.parametrize(
    "fault", ["payments-down", "payments-slow", "broker-down", "relay-stopped", "duplicate-messages"]
)
async def test_orders_placed_while_it_lasts_are_confirmed_after_it(healed: Shop, fault: str) -> None:
    before = await place(healed)
    (state,) = await healed.break_(fault)
    assert (state.name, state.on, await on(healed)) == (fault, True, [fault])
    meanwhile = [await place(healed) for _ in range(3)]
    await others_serve(healed, without="")
    if fault in SIGNS:
        await SIGNS[fault](healed)
        status, answer = await get(f"{healed.gateway_url}/orders/{meanwhile[0]}")
        assert (status, answer["status"]) == (200, "placed")
    assert [state.name for state in await healed.heal(fault)] == [fault]
    assert await on(healed) == []
    statuses = await ended(healed, [before, *meanwhile])
    # A payment provider that stays away for long enough is a reason to cancel.
    assert statuses <= ({"confirmed", "cancelled"} if fault.startswith("payments") else {"confirmed"})


async def test_a_stopped_relay_keeps_orders_where_they_are(healed: Shop) -> None:
    await healed.break_("relay-stopped")
    await hears_of_a_new_customer(healed)  # by then the relay has finished what it was at
    order_id = await place(healed)
    kept = waiting_messages(healed)
    assert kept != []
    await hears_of_a_new_customer(healed)
    assert waiting_messages(healed)[: len(kept)] == kept
    await came_back(healed, healed.kill("orders"))
    await hears_of_a_new_customer(healed)
    assert waiting_messages(healed)[: len(kept)] == kept
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
    await came_back(healed, before)


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

    await until(more, "the poison is among the dead letters")
    assert [state.name for state in await healed.heal("poison-message")] == ["poison-message"]
    left = "SELECT count(*) FROM freehold_dead_letter WHERE status = 'dead'"
    services = [name for name in healed.databases if rows(healed, name, left)[0][0]]
    assert services == [], "healing discards what the fault planted"


async def test_a_fault_ends_by_itself(healed: Shop) -> None:
    (state,) = await healed.break_("payments-down", seconds=0.5)
    assert state.seconds_left is not None

    async def over() -> bool:
        return await on(healed) == []

    await until(over, "the fault has ended by itself")


async def test_what_makes_no_sense_is_refused(shop: Shop) -> None:
    with pytest.raises(ConfigurationError, match="no fault 'thunder'"):
        await shop.break_("thunder")
    with pytest.raises(ConfigurationError, match="happens once"):
        await shop.break_("orders-crash", seconds=1)
    assert await shop.heal("payments-down") == []


async def test_slow_projections_are_waited_for_by_who_has_a_token_and_by_nobody_else(healed: Shop) -> None:
    await hears_of_a_new_customer(healed)
    await healed.break_("slow-projections")
    behind: list[str] = []
    async with aiohttp.ClientSession(healed.gateway_url) as session:

        async def seen_behind() -> bool:
            order_id, token = await placed(session)
            if order_id not in (await summaries(session, {}))[1]:
                behind.append(order_id)
            freshness, order_ids = await summaries(session, {TOKEN: token})
            assert order_id in order_ids or freshness.startswith("stale; positions="), freshness
            return bool(behind) and freshness == "fresh"

        await until(seen_behind, "a read without a token came too early, and one with it waited")
    await healed.heal("slow-projections")
    assert await ended(healed, behind) == {"confirmed"}


async def placed(session: aiohttp.ClientSession) -> tuple[str, str]:
    """Place an order of something that is not scarce; returns its id and the token."""
    order_id = str(new_id())
    line = {"sku": PRODUCTS[0].sku, "quantity": 1, "price_pence": PRODUCTS[0].price_pence}
    body = {"order_id": order_id, "customer_id": CUSTOMERS[0]["customer_id"], "lines": [line]}
    async with session.post("/orders", json=body) as answer:
        assert answer.status == 201, await answer.text()
        return order_id, answer.headers[TOKEN]


async def summaries(session: aiohttp.ClientSession, headers: dict[str, str]) -> tuple[str, set[str]]:
    """How fresh the list of the customer's orders is said to be, and which are in it."""
    path = f"/order-summaries?customer_id={CUSTOMERS[0]['customer_id']}"
    async with session.get(path, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return answer.headers.get("Freehold-Freshness", ""), {row["order_id"] for row in await answer.json()}
