"""An order on its way through all services, by saga and choreographed: the same outcome for the same order."""

from collections.abc import Awaitable, Mapping
from functools import partial
from pathlib import Path

import pytest
from tests.integration.shop.services.shop import Shop, running_shop
from tests.integration.shop.services.waiting import until

from freehold_shop.providers import DeclineRules, Rules

pytestmark = pytest.mark.timeout(600)

BOTH = pytest.mark.parametrize("checkout", ["saga", "choreographed"])


async def stock_of(shop: Shop, sku: str) -> tuple[int, int]:
    found = await shop.show("inventory", f"/stock/{sku}")
    return found["on_hand"], found["reserved"]


@BOTH
async def test_an_order_is_confirmed_and_its_goods_leave(tmp_path: Path, checkout: str) -> None:
    async with running_shop(tmp_path) as shop:
        await shop.stock_up(A=10, B=5)
        await shop.register("c1")
        await shop.order("o1", checkout, A=3, B=5)
        assert (await shop.ended("o1"))["status"] == "confirmed"
        await until(lambda: _is(stock_of(shop, "A"), (7, 0)))
        payment = await shop.show("payments", "/payments/o1")
        assert (payment["status"], payment["captured_pence"]) == ("captured", 2000)
        assert (await shop.show("shipping", "/shipments/o1"))["status"] == "created"
        await until(lambda: _has_notification(shop, "o1", "order-confirmed"))
        assert not await shop.rows("inventory", "SELECT 1 FROM freehold_schedule")


@BOTH
async def test_whatever_refuses_everything_taken_is_given_back(tmp_path: Path, checkout: str) -> None:
    async with running_shop(tmp_path) as shop:
        await shop.stock_up(A=10)
        await shop.register("c1")
        await shop.register("poor")
        await shop.register("homeless", address="")
        await shop.providers.put_rules(Rules(declines=DeclineRules(customer_refs=("poor",))))
        await shop.order("o1", checkout, A=11)
        await shop.order("o2", checkout, "poor", A=1)
        await shop.order("o3", checkout, "homeless", A=1)
        reasons = {order_id: (await shop.ended(order_id))["reason"] for order_id in ("o1", "o2", "o3")}
        assert reasons == {"o1": "insufficient-stock", "o2": "declined", "o3": "undeliverable"}
        await until(lambda: _is(stock_of(shop, "A"), (10, 0)))
        await until(lambda: _payment_is(shop, "o3", "voided"))
        for order_id in reasons:
            await until(partial(_has_notification, shop, order_id, "order-cancelled"))


@BOTH
async def test_returned_goods_are_refunded_at_the_price_paid_and_restocked(tmp_path: Path, checkout: str) -> None:
    async with running_shop(tmp_path) as shop:
        await shop.stock_up(A=10)
        await shop.register("c1")
        await shop.order("o1", checkout, A=3)
        await shop.ended("o1")
        body = {"return_ref": "C1", "customer_id": "c1", "lines": [{"sku": "A", "quantity": 2}]}
        for status in (201, 200):
            answer = await shop.clients["orders"].post("/returns", json=body)
            assert answer.status_code == status, answer.text
        await until(lambda: _return_is(shop, "C1", "completed"))
        assert (await shop.show("payments", "/payments/o1"))["refunded_pence"] == 500
        await until(lambda: _is(stock_of(shop, "A"), (9, 0)))
        await until(lambda: _order_is(shop, "o1", "partially-returned"))
        again = {**body, "return_ref": "C2"}
        assert (await shop.clients["orders"].post("/returns", json=again)).json()["unmatched"] == [
            {"sku": "A", "quantity": 1}
        ]
        await until(lambda: _order_is(shop, "o1", "returned"))
        refused = await shop.clients["orders"].post("/returns", json={**body, "return_ref": "C3"})
        assert (refused.status_code, refused.json()["code"]) == (422, "return-without-sale")


@pytest.mark.servers
@BOTH
async def test_it_all_works_on_postgresql(tmp_path: Path, checkout: str, postgres_databases: Mapping[str, str]) -> None:
    async with running_shop(tmp_path, databases=postgres_databases) as shop:
        await _all_works(shop, checkout)


@pytest.mark.servers
@BOTH
async def test_it_all_works_on_mariadb(tmp_path: Path, checkout: str, databases_on_mariadb: Mapping[str, str]) -> None:
    async with running_shop(tmp_path, databases=databases_on_mariadb) as shop:
        await _all_works(shop, checkout)


async def _all_works(shop: Shop, checkout: str) -> None:
    await shop.stock_up(A=100)
    await shop.register("c1")
    await shop.register("poor")
    await shop.register("homeless", address="")
    await shop.providers.put_rules(Rules(declines=DeclineRules(customer_refs=("poor",))))
    for number in range(10):
        await shop.order(f"good{number}", checkout, A=2)
    await shop.order("short", checkout, A=101)
    await shop.order("declined", checkout, "poor", A=1)
    await shop.order("undeliverable", checkout, "homeless", A=1)
    assert {(await shop.ended(f"good{number}"))["status"] for number in range(10)} == {"confirmed"}
    for order_id in ("short", "declined", "undeliverable"):
        assert (await shop.ended(order_id))["status"] == "cancelled"
    body = {"return_ref": "C1", "customer_id": "c1", "lines": [{"sku": "A", "quantity": 5}]}
    await shop.clients["orders"].post("/returns", json=body)
    await until(lambda: _return_is(shop, "C1", "completed"))
    await until(lambda: _is(stock_of(shop, "A"), (85, 0)))
    await until(lambda: _payment_is(shop, "undeliverable", "voided"))
    dead = [await shop.rows(name, "SELECT 1 FROM freehold_dead_letter") for name in shop.clients]
    assert not any(dead)


async def test_a_choreographed_order_that_is_stuck_ends_with_its_reservation(tmp_path: Path) -> None:
    async with running_shop(tmp_path, hold_seconds=1.0) as shop:
        await shop.stock_up(A=10)
        await shop.register("c1")
        await shop.providers.put_rules(Rules(down=True))
        await shop.order("o1", "choreographed", A=3)
        order = await shop.ended("o1")
        assert (order["status"], order["reason"]) == ("cancelled", "reservation-expired")
        await until(lambda: _payment_is(shop, "o1", "barred"))
        await shop.providers.put_rules(Rules())
        await until(lambda: _nothing_deferred(shop, "payments"))
        assert (await shop.show("payments", "/payments/o1"))["status"] == "barred"
        assert await stock_of(shop, "A") == (10, 0)


async def test_an_order_of_somebody_unknown_waits_for_users_to_answer(tmp_path: Path) -> None:
    async with running_shop(tmp_path) as shop:
        body = {"customer_id": "who", "lines": [{"sku": "A", "quantity": 1, "price_pence": 1}]}
        answer = await shop.clients["orders"].post("/orders", json=body)
        assert (answer.status_code, answer.json()["code"]) == (503, "users-unavailable")
        assert answer.headers["retry-after"] == "1"


async def test_the_same_order_again_is_no_second_one(tmp_path: Path) -> None:
    async with running_shop(tmp_path) as shop:
        await shop.register("c1")
        body = {
            "order_id": "o1",
            "customer_id": "c1",
            "lines": [{"sku": "A", "quantity": 1, "price_pence": 1}],
        }
        statuses = [(await shop.clients["orders"].post("/orders", json=body)).status_code for _ in range(2)]
        other = await shop.clients["orders"].post("/orders", json={**body, "currency": "EUR"})
        assert [*statuses, other.status_code] == [201, 200, 409]
        assert len(await shop.rows("orders", "SELECT 1 FROM freehold_saga")) == 1


async def _is(found: Awaitable[object], wanted: object) -> bool:
    return bool(await found == wanted)


async def _payment_is(shop: Shop, order_id: str, status: str) -> bool:
    answer = await shop.clients["payments"].get(f"/payments/{order_id}")
    return answer.status_code == 200 and answer.json()["status"] == status


async def _order_is(shop: Shop, order_id: str, status: str) -> bool:
    return bool((await shop.show("orders", f"/orders/{order_id}"))["status"] == status)


async def _return_is(shop: Shop, return_ref: str, status: str) -> bool:
    return bool((await shop.show("orders", f"/returns/{return_ref}"))["status"] == status)


async def _has_notification(shop: Shop, order_id: str, template: str) -> bool:
    answer = await shop.clients["notifications"].get(f"/notifications/{order_id}")
    return template in [each["template"] for each in answer.json()]


async def _nothing_deferred(shop: Shop, service: str) -> bool:
    return not await shop.rows(service, "SELECT 1 FROM freehold_deferred")
