"""An order's stored history, whichever way it is checked out, and the read models of it: summary, customer 360."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.integration.shop.services.shop import Shop, running_shop
from tests.integration.shop.services.waiting import until

from freehold.projection.generations import NotCaughtUp
from freehold.projection.operations import ProjectionOperations
from freehold_shop.gateway.shape import Customer360
from freehold_shop.providers import DeclineRules, Rules

pytestmark = pytest.mark.timeout(600)

BOTH = pytest.mark.parametrize("checkout", ["saga", "choreographed"])
LIFE = ["placed", "stock-reserved", "payment-held", "confirmed", "shipped", "delivered"]


async def history(shop: Shop, order_id: str) -> list[str]:
    """What happened to an order, in the order of its stream."""
    query = "SELECT type FROM freehold_event WHERE stream = $1 ORDER BY version"
    rows = await shop.rows("orders", query, f"order-{order_id}")
    return [str(name).removeprefix("orders.order-") for (name,) in rows]


async def composed(shop: Shop, customer_id: str) -> dict[str, Any]:
    """The parts of a customer's 360 as each service answers for itself."""
    profile = await shop.show("users", f"/customers/{customer_id}")
    orders = (await shop.clients["orders"].get(f"/orders?customer_id={customer_id}")).json()
    ids = {"order_ids": sorted(order["order_id"] for order in orders)}

    async def query(service: str, path: str) -> list[dict[str, Any]]:
        answer = await shop.clients[service].post(path, json=ids)
        return sorted(answer.json(), key=lambda row: str(row["order_id"]))

    told = await query("notifications", "/notifications/query")
    return {
        "customer_id": customer_id,
        "profile": profile,
        "orders": sorted(orders, key=lambda order: (-order["placed_at_ms"], order["order_id"])),
        "payments": await query("payments", "/payments/query"),
        "shipments": await query("shipping", "/shipments/query"),
        "notifications": sorted(
            ({"order_id": each["order_id"], "kind": each["template"]} for each in told),
            key=lambda each: (each["order_id"], each["kind"]),
        ),
        "holds": await query("inventory", "/holds/query"),
    }


async def overview_is_composition(shop: Shop, customer_id: str) -> bool:
    """The read model's document is the composed one, part by part."""
    answer = await shop.clients["overview"].get(f"/customers/{customer_id}/360")
    if answer.status_code != 200:
        return False
    found = msgspec.json.decode(answer.content, type=Customer360)
    wanted = msgspec.json.decode(json.dumps(await composed(shop, customer_id)), type=Customer360)
    return found == wanted


async def summary_of(shop: Shop, customer_id: str) -> dict[str, str]:
    """Status by order, as the order summary has it."""
    rows = (await shop.clients["orders"].get(f"/order-summaries?customer_id={customer_id}")).json()
    return {row["order_id"]: row["status"] for row in rows}


async def deliver(shop: Shop, order_id: str) -> None:
    """What the carrier does; it comes again, and once too early."""
    early = await shop.clients["shipping"].post(f"/shipments/{order_id}/delivery")
    assert (early.status_code, early.json()["code"]) == (409, "not-on-its-way")
    for step, status in (("dispatch", "dispatched"), ("delivery", "delivered"), ("delivery", "delivered")):
        answer = await shop.clients["shipping"].post(f"/shipments/{order_id}/{step}")
        assert (answer.status_code, answer.json()["status"]) == (200, status), answer.text


async def _history_is(shop: Shop, order_id: str, wanted: list[str]) -> bool:
    return await history(shop, order_id) == wanted


async def _summary_is(shop: Shop, customer_id: str, wanted: dict[str, str]) -> bool:
    return await summary_of(shop, customer_id) == wanted


async def _committed(shop: Shop, order_id: str) -> bool:
    answer = await shop.clients["inventory"].get(f"/reservations/{order_id}")
    return bool(answer.status_code == 200 and answer.json()["status"] == "committed")


async def _live_a_life(shop: Shop, checkout: str) -> None:
    await shop.stock_up(A=10)
    await shop.register("c1")
    await shop.register("poor")
    await shop.providers.put_rules(Rules(declines=DeclineRules(customer_refs=("poor",))))
    await shop.order("o1", checkout, A=3)
    await shop.order("o2", checkout, A=100)
    await shop.order("o3", checkout, "poor", A=1)
    for order_id in ("o1", "o2", "o3"):
        await shop.ended(order_id)
    assert await history(shop, "o1") == LIFE[:4]
    assert await history(shop, "o2") == ["placed", "cancelled"]
    await until(partial(_committed, shop, "o1"))
    await deliver(shop, "o1")
    await until(partial(_history_is, shop, "o1", LIFE))
    await until(partial(_summary_is, shop, "c1", {"o1": "delivered", "o2": "cancelled"}))
    for customer_id in ("c1", "poor"):
        await until(partial(overview_is_composition, shop, customer_id))
    body = {"return_ref": "C1", "customer_id": "c1", "lines": [{"sku": "A", "quantity": 3}]}
    assert (await shop.clients["orders"].post("/returns", json=body)).status_code == 201
    await until(partial(_summary_is, shop, "c1", {"o1": "returned", "o2": "cancelled"}))
    halves = {"return-refunded", "return-restocked"}
    behind = (await history(shop, "o1"))[len(LIFE) :]
    assert (behind[0], set(behind[1:3]), behind[3:]) == ("return-requested", halves, ["returned"])
    await until(partial(overview_is_composition, shop, "c1"))


@BOTH
async def test_both_checkouts_lead_through_one_life_and_every_read_model_follows(tmp_path: Path, checkout: str) -> None:
    async with running_shop(tmp_path) as shop:
        await _live_a_life(shop, checkout)


@pytest.mark.servers
@BOTH
async def test_the_same_on_postgresql(tmp_path: Path, checkout: str, postgres_databases: Mapping[str, str]) -> None:
    async with running_shop(tmp_path, databases=postgres_databases) as shop:
        await _live_a_life(shop, checkout)


@pytest.mark.servers
@BOTH
async def test_the_same_on_mariadb(tmp_path: Path, checkout: str, databases_on_mariadb: Mapping[str, str]) -> None:
    async with running_shop(tmp_path, databases=databases_on_mariadb) as shop:
        await _live_a_life(shop, checkout)


async def test_a_stuck_order_tells_how_far_it_has_come_and_what_it_holds(tmp_path: Path) -> None:
    async with running_shop(tmp_path) as shop:
        await shop.stock_up(A=10, B=10)
        await shop.register("c1")
        await shop.providers.put_rules(Rules(down=True))
        await shop.order("o1", "choreographed", B=2, A=3)
        await shop.order("o2", "saga", A=1)
        await until(partial(_history_is, shop, "o1", LIFE[:2]))

        async def held() -> bool:
            holds = (await composed(shop, "c1"))["holds"]
            return len(holds) == 2 and await overview_is_composition(shop, "c1")

        await until(held)
        await shop.providers.put_rules(Rules())
        assert {(await shop.ended(order_id))["status"] for order_id in ("o1", "o2")} == {"confirmed"}
        await until(partial(overview_is_composition, shop, "c1"))


async def test_a_parcel_leaves_only_when_its_goods_have_left_the_shelf(tmp_path: Path) -> None:
    async with running_shop(tmp_path) as shop:
        shipping = shop.clients["shipping"]
        assert (await shipping.post("/shipments/no/dispatch")).status_code == 404
        await shop.stock_up(A=10)
        await shop.register("c1")
        await shop.order("o1", "saga", A=3)
        await until(partial(_committed, shop, "o1"))
        for status, expected in (("held", 409), ("committed", 200)):
            async with shop.runtime["inventory"].transaction() as tx:
                await tx.sql.execute("UPDATE reservation SET status = $1", (status,))
            assert (await shipping.post("/shipments/o1/dispatch")).status_code == expected
        await until(partial(_history_is, shop, "o1", LIFE[:5]))


async def test_read_models_are_built_anew_from_what_was_kept_beside_those_that_are_read(tmp_path: Path) -> None:
    async with running_shop(tmp_path) as shop:
        await shop.stock_up(A=100)
        await shop.register("c1")
        wanted = {}
        for number in range(6):
            checkout = ("saga", "choreographed")[number % 2]
            await shop.order(f"o{number}", checkout, A=100 if number == 5 else 2)
            wanted[f"o{number}"] = (await shop.ended(f"o{number}"))["status"]
        await until(partial(overview_is_composition, shop, "c1"))
        for service, name in (("orders", "order-summary"), ("overview", "customer-360")):
            running = shop.runtime[service]
            actions = ProjectionOperations(running.context)
            await actions.rebuild(name, actor="test", reason="to see that it can be done")
            await until(partial(_is_switched, actions, name))
        assert await summary_of(shop, "c1") == wanted
        await until(partial(overview_is_composition, shop, "c1"))


async def _is_switched(actions: ProjectionOperations, name: str) -> bool:
    try:
        await actions.switch(name, actor="test", reason="it has caught up")
    except NotCaughtUp:
        return False
    return True
