"""Who has written something reads it back from read models that are behind, through the gateway: never stale.

`FREEHOLD_TEST_FRESH_TRIES` says how often it is tried.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from fastapi import FastAPI
from tests.integration.shop.services.shop import Shop, running_shop
from tests.integration.shop.services.waiting import until

from freehold_shop import settings as shop_settings
from freehold_shop.assembly import create_app
from freehold_shop.faults.slowness import Brake
from freehold_shop.gateway.app import create_gateway
from freehold_shop.settings import ShopSettings, configure

TRIES = int(os.environ.get("FREEHOLD_TEST_FRESH_TRIES", "200"))
CLIENTS = max(10, min(40, TRIES // 50))
ORDERS_PER_CUSTOMER = 20
PATIENCE_SECONDS = 60.0
TOKEN = "Freehold-Consistency"
BEHIND = re.compile(r"stale; positions=(?P<positions>\d+)(; seconds=[\d.]+)?; of=(?P<of>.+)")
SERVED = ("users", "orders", "overview")


@asynccontextmanager
async def _served(app: FastAPI) -> AsyncIterator[str]:
    """An application behind a socket."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    await until(lambda: _is_started(server))
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


async def _is_started(server: uvicorn.Server) -> bool:
    return server.started


@asynccontextmanager
async def _gateway_of(shop: Shop) -> AsyncIterator[str]:
    """The gateway and the services that it asks here, each behind a socket of its own."""
    async with AsyncExitStack() as stack:
        before = shop_settings.settings()
        stack.callback(configure, before)
        urls = dict(before.urls)
        for name in SERVED:
            app = create_app(name, shop.runtime[name])
            app.state.freehold = shop.runtime[name]
            urls[name] = await stack.enter_async_context(_served(app))
        configure(ShopSettings(urls=urls))
        yield await stack.enter_async_context(_served(create_gateway()))


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads wait for as long as a machine with other things to do may take."""
    limit_reads(monkeypatch, PATIENCE_SECONDS)


def limit_reads(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have reads of both read models wait so long, in services that are made from now on."""
    for module in ("orders.queries", "overview.api"):
        monkeypatch.setattr(f"freehold_shop.{module}.FRESH_SECONDS", seconds)
    monkeypatch.setattr("freehold_shop.gateway.proxy.FORWARD_SECONDS", 2 * PATIENCE_SECONDS)


class Stopped(Brake):
    """Holds projections until it is let go."""

    def __init__(self) -> None:
        super().__init__(on=True)
        self.let_go = asyncio.Event()

    async def hold(self) -> None:
        """Wait until then."""
        await self.let_go.wait()


class _Customer:
    """Places orders, and looks for each at once."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.stale_without = 0
        self.problems: list[str] = []

    async def register(self, customer_id: str) -> None:
        body = {"customer_id": customer_id, "name": "N", "email": "n@example.org", "country": "GB", "address": "A"}
        async with self._session.post("/customers", json=body) as answer:
            assert answer.status in {200, 201}, await answer.text()

    async def place(self, customer_id: str, order_id: str) -> str:
        """Place an order; returns the token."""
        line = {"sku": "A", "quantity": 1, "price_pence": 250}
        body = {"order_id": order_id, "customer_id": customer_id, "lines": [line]}
        async with self._session.post("/orders", json=body) as answer:
            assert answer.status == 201, await answer.text()
            return answer.headers[TOKEN]

    async def try_once(self, customer_id: str, order_id: str) -> None:
        """Place an order, and look for it without and with the token."""
        token = await self.place(customer_id, order_id)
        self.stale_without += order_id not in (await self.summaries(customer_id, {}))[1]
        looks = (self.summaries, self.overview)
        for look, (freshness, order_ids) in zip(
            looks, await asyncio.gather(*(look(customer_id, {TOKEN: token}) for look in looks)), strict=True
        ):
            if freshness != "fresh" or order_id not in order_ids:
                self.problems.append(f"{look.__name__} {order_id} {freshness} {order_id in order_ids}")

    async def summaries(self, customer_id: str, headers: dict[str, str]) -> tuple[str, set[str]]:
        status, freshness, rows = await self._read(f"/order-summaries?customer_id={customer_id}", headers)
        assert status == 200, rows
        return freshness, {row["order_id"] for row in rows}

    async def overview(self, customer_id: str, headers: dict[str, str]) -> tuple[str, set[str]]:
        status, freshness, document = await self._read(f"/customers/{customer_id}/360?from=read-model", headers)
        if status == 404:
            return freshness, set()
        assert status == 200, document
        return freshness, {row["order_id"] for row in document["orders"]}

    async def _read(self, path: str, headers: dict[str, str]) -> tuple[int, str, Any]:
        """Asked again after a 503, with which a busy machine answers that has no answer in time: it is no stale one."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                async with self._session.get(path, headers=headers) as answer:
                    if answer.status != 503:
                        return answer.status, answer.headers.get("Freehold-Freshness", ""), await answer.json()
                await asyncio.sleep(0.05)  # as a client would


@pytest.mark.timeout(240 + TRIES)
@pytest.mark.usefixtures("patient")
async def test_a_read_with_the_token_of_a_write_is_never_stale(tmp_path: Path) -> None:
    await _read_what_was_written(tmp_path)


@pytest.mark.servers
@pytest.mark.timeout(300 + TRIES)
@pytest.mark.usefixtures("patient")
async def test_the_same_on_postgresql(tmp_path: Path, postgres_databases: Mapping[str, str]) -> None:
    await _read_what_was_written(tmp_path, postgres_databases)


async def _read_what_was_written(directory: Path, databases: Mapping[str, str] | None = None) -> None:
    brake = Brake(on=True)
    async with running_shop(directory, databases=databases, brake=brake) as shop, _gateway_of(shop) as url:
        await shop.stock_up(A=10 * TRIES)
        async with aiohttp.ClientSession(url) as session:
            customer = _Customer(session)

            async def work(client: int) -> None:
                for number in range(client, TRIES, CLIENTS):
                    customer_id = f"c{client}-{number // CLIENTS // ORDERS_PER_CUSTOMER}"
                    if number // CLIENTS % ORDERS_PER_CUSTOMER == 0:
                        await customer.register(customer_id)
                        await until(partial(_is_known, shop, customer_id))
                    await customer.try_once(customer_id, f"o{number}")

            async with asyncio.TaskGroup() as clients:
                for client in range(CLIENTS):
                    clients.create_task(work(client))
    assert customer.problems == []
    assert customer.stale_without > TRIES // 10, "without a token a read that comes at once is too early"


@pytest.mark.timeout(240)
async def test_a_read_that_has_waited_long_enough_says_how_far_it_is_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_reads(monkeypatch, 0.2)
    brake = Stopped()
    async with running_shop(tmp_path, brake=brake) as shop, _gateway_of(shop) as url:
        await shop.stock_up(A=10)
        async with aiohttp.ClientSession(url) as session:
            customer = _Customer(session)
            await customer.register("c1")
            await until(partial(shop.has_copy, "orders", "c1"))
            token = {TOKEN: await customer.place("c1", "o1")}
            freshness, order_ids = await customer.summaries("c1", token)
            assert order_ids == set()
            said = BEHIND.fullmatch(freshness)
            assert said is not None, freshness
            assert int(said["positions"]) > 0
            assert "order-summary" in said["of"]
            freshness, _ = await customer.overview("c1", token)
            assert BEHIND.fullmatch(freshness), freshness
            brake.let_go.set()

            async def there() -> bool:
                looks = [await customer.summaries("c1", token), await customer.overview("c1", token)]
                return all(look == ("fresh", {"o1"}) for look in looks)

            await until(there)


async def _is_known(shop: Shop, customer_id: str) -> bool:
    """Whether the overview knows the customer, whose registration another token tells of."""
    return bool(await shop.rows("overview", "SELECT 1 FROM customer_profile WHERE customer_id = $1", customer_id))
