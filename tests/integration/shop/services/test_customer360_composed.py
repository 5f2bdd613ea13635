"""The gateway's 360 of a customer over the real services, each behind a real socket."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import msgspec
import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.integration.shop.services.shop import Shop, running_shop
from tests.integration.shop.services.slowtime import slow_gateway
from tests.integration.shop.services.waiting import until

from freehold.composition import BUDGET_HEADER
from freehold_shop import settings as shop_settings
from freehold_shop.assembly import create_app
from freehold_shop.calls import close_calls
from freehold_shop.gateway.app import create_gateway
from freehold_shop.gateway.shape import PARTS, Customer360
from freehold_shop.providers import Rules

pytestmark = pytest.mark.timeout(600)


class Counted:
    """A service that counts what it is asked, and takes its time."""

    def __init__(self, app: ASGIApp, calls: Counter[str]) -> None:
        self._app = app
        self._calls = calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._calls[f"{scope['method']} {scope['path']}"] += 1
        unhurried = [(name, value) for name, value in scope["headers"] if name != BUDGET_HEADER.encode()]
        await self._app({**scope, "headers": unhurried}, receive, send)


@asynccontextmanager
async def _served(app: ASGIApp) -> AsyncIterator[str]:
    """The application behind a socket of its own."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None, access_log=False))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(60):
        while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


@asynccontextmanager
async def composed_shop(directory: Path) -> AsyncIterator[tuple[Shop, httpx.AsyncClient, Counter[str]]]:
    """The shop, its gateway, and what its services were asked."""
    calls: Counter[str] = Counter()
    async with running_shop(directory, hold_seconds=600.0) as shop, AsyncExitStack() as stack:
        urls = dict(shop_settings.settings().urls)
        for name in shop.clients:
            app = create_app(name, shop.runtime[name])
            app.state.freehold = shop.runtime[name]
            urls[name] = await stack.enter_async_context(_served(Counted(app, calls)))
        shop_settings.configure(replace(shop_settings.settings(), urls=urls))
        transport = httpx.ASGITransport(create_gateway())
        gateway = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://shop"))
        yield shop, gateway, calls


@pytest.fixture
async def shop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Shop, httpx.AsyncClient, Counter[str]]]:
    slow_gateway(monkeypatch)
    async with composed_shop(tmp_path) as made:
        yield made


Made = tuple[Shop, httpx.AsyncClient, Counter[str]]


async def _orders(shop: Shop, number: int) -> None:
    """So many confirmed orders of c1, and one more that was refused."""
    await shop.stock_up(A=100, B=5)
    await shop.register("c1")
    listed = {"products": [{"sku": "A", "description": "a lamp", "price_pence": 250}]}
    assert (await shop.clients["catalog"].post("/products/bulk", json=listed)).status_code == 200
    good = [f"o{each}" for each in range(number)]
    for order_id in good:
        await shop.order(order_id, "saga", A=1)
    await shop.order("short", "saga", B=6)
    for order_id in (*good, "short"):
        await shop.ended(order_id)
        await until(partial(_told, shop, order_id))


async def _told(shop: Shop, order_id: str) -> bool:
    return bool(await shop.rows("notifications", "SELECT 1 FROM notification WHERE order_id = $1", order_id))


async def _document(gateway: httpx.AsyncClient, customer_id: str = "c1") -> Customer360:
    answer = await gateway.get(f"/customers/{customer_id}/360")
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=Customer360)


async def test_it_holds_what_six_services_know_in_seven_calls_whatever_the_number_of_orders(shop: Made) -> None:
    services, gateway, calls = shop
    await _orders(services, 12)
    calls.clear()
    found = await _document(gateway)
    assert calls == {
        "GET /customers/c1": 1,
        "GET /orders": 1,
        "GET /countries/GB": 1,
        "POST /payments/query": 1,
        "POST /shipments/query": 1,
        "POST /notifications/query": 1,
        "POST /holds/query": 1,
    }
    assert (found.missing, found.stale) == ([], [])
    assert found.profile is not None
    assert (found.profile.email, found.country and found.country.name) == ("n@example.org", "United Kingdom")
    placed = [(order.placed_at_ms, order.order_id) for order in found.orders or []]
    assert placed == sorted(placed, key=lambda each: (-each[0], each[1]))
    listed = (await services.clients["orders"].get("/orders", params={"customer_id": "c1"})).json()
    told = {order.order_id: (order.status, order.total_pence) for order in found.orders or []}
    assert told == {row["order_id"]: (row["status"], row["total_pence"]) for row in listed}
    assert len(told) == 13
    assert {payment.captured_pence for payment in found.payments or [] if payment.order_id != "short"} == {250}
    shipped = [shipment.order_id for shipment in found.shipments or []]
    assert shipped == sorted(shipped)
    assert {f"o{each}" for each in range(12)} <= set(shipped)
    assert {(each.order_id, each.kind) for each in found.notifications or []} == {
        *((f"o{each}", "order-confirmed") for each in range(12)),
        ("short", "order-cancelled"),
    }
    assert (found.holds, found.products) == ([], [])
    assert await _document(gateway) == found
    assert calls["GET /countries/GB"] == 1


async def test_goods_that_are_held_come_with_their_names(shop: Made) -> None:
    services, gateway, _calls = shop
    await _orders(services, 1)
    await services.providers.put_rules(Rules(down=True))
    await services.order("held", "saga", A=3)
    await until(lambda: _holds(gateway))
    found = await _document(gateway)
    assert [(hold.order_id, [(line.sku, line.quantity) for line in hold.lines]) for hold in found.holds or []] == [
        ("held", [("A", 3)])
    ]
    assert [(each.sku, each.description) for each in found.products or []] == [("A", "a lamp")]


async def _holds(gateway: httpx.AsyncClient) -> bool:
    return bool((await _document(gateway)).holds)


async def test_it_says_what_is_missing_and_an_unknown_customer_is_none(shop: Made) -> None:
    services, gateway, _calls = shop
    await _orders(services, 1)
    urls = {**shop_settings.settings().urls}
    assert (await gateway.get("/customers/nobody/360")).status_code == 404
    await _use(urls, payments="http://127.0.0.1:9")
    found = await _document(gateway)
    assert [msgspec.to_builtins(each) for each in found.missing] == [
        {"part": "payments", "service": "payments", "reason": "unavailable"}
    ]
    assert [name for name in PARTS if getattr(found, name) is None] == ["payments"]
    await _use(urls, orders="http://127.0.0.1:9")
    reasons = {each.part: each.reason for each in (await _document(gateway)).missing}
    assert reasons == {
        "orders": "unavailable",
        **dict.fromkeys(("payments", "shipments", "notifications", "holds"), "depends-on orders"),
        "products": "depends-on holds",
    }


async def _use(urls: dict[str, str], **others: str) -> None:
    await close_calls()
    shop_settings.configure(replace(shop_settings.settings(), urls={**urls, **others}))
