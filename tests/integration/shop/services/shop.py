"""The whole shop in this event loop: the broker in memory, real databases, real providers behind a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from aiohttp import web
from fastapi import FastAPI
from tests.integration.shop.services.waiting import until

from freehold.ports import Stores
from freehold.runtime import RunningService, Runtime
from freehold.runtime.adapters import open_stores
from freehold.service import Service
from freehold.settings import Settings
from freehold.sql import SQL
from freehold_shop import settings as shop_settings
from freehold_shop.assembly import SERVICES, create_app
from freehold_shop.calls import close_calls
from freehold_shop.faults.slowness import Brake, braked
from freehold_shop.orders.domain import IN_FLIGHT
from freehold_shop.providers import ProvidersClient
from freehold_shop.providers.book import Book
from freehold_shop.providers.ledger import Ledger
from freehold_shop.providers.server import create_app as create_providers
from freehold_shop.settings import DEFAULT_PORTS, ShopSettings, configure


@dataclass(frozen=True)
class Shop:
    """`clients` by service speak to its API, without a socket."""

    runtime: Runtime
    clients: Mapping[str, httpx.AsyncClient]
    providers: ProvidersClient

    async def stock_up(self, **quantities: int) -> None:
        lines = [{"sku": sku, "quantity": quantity} for sku, quantity in quantities.items()]
        answer = await self.clients["inventory"].post("/stock/receipts", json={"receipt_ref": "r1", "lines": lines})
        assert answer.status_code == 200, answer.text

    async def register(self, customer_id: str, address: str = "1 High Street") -> None:
        body = {"customer_id": customer_id, "name": "N", "email": "n@example.org", "country": "GB", "address": address}
        answer = await self.clients["users"].post("/customers", json=body)
        assert answer.status_code in {200, 201}, answer.text
        for copy in ("orders", "shipping"):
            await until(partial(self.has_copy, copy, customer_id))

    async def has_copy(self, service: str, customer_id: str) -> bool:
        return bool(await self.rows(service, "SELECT 1 FROM customer_copy WHERE customer_id = $1", customer_id))

    async def order(self, order_id: str, checkout: str, customer_id: str = "c1", **quantities: int) -> None:
        lines = [{"sku": sku, "quantity": quantity, "price_pence": 250} for sku, quantity in quantities.items()]
        body = {"order_id": order_id, "customer_id": customer_id, "checkout": checkout, "lines": lines}
        answer = await self.clients["orders"].post("/orders", json=body)
        assert answer.status_code == 201, answer.text

    async def ended(self, order_id: str) -> dict[str, Any]:
        """The order once it is decided whether it is sold."""
        await until(lambda: self._has_ended(order_id))
        document: dict[str, Any] = (await self.clients["orders"].get(f"/orders/{order_id}")).json()
        return document

    async def show(self, service: str, path: str) -> dict[str, Any]:
        answer = await self.clients[service].get(path)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def rows(self, service: str, sql: str, *parameters: object) -> list[Any]:
        async with self.runtime[service].stores[SQL].direct() as connection:
            return list(await connection.fetch(sql, parameters))

    async def _has_ended(self, order_id: str) -> bool:
        document = (await self.clients["orders"].get(f"/orders/{order_id}")).json()
        return document["status"] not in IN_FLIGHT


@asynccontextmanager
async def running_shop(
    directory: Path,
    *,
    hold_seconds: float = 900.0,
    databases: Mapping[str, str] | None = None,
    brake: Brake | None = None,
) -> AsyncIterator[Shop]:
    """Start everything but the gateway; on SQLite files, where no databases are given. A `brake` is that of projections
    everywhere.
    """
    async with AsyncExitStack() as stack:
        ledger = Ledger(directory / "ledger")
        stack.callback(ledger.close)
        runner = web.AppRunner(create_providers(Book(ledger, lambda: datetime.now(UTC)), ledger), access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        before = shop_settings.settings()
        stack.callback(configure, before)
        # Nothing listens at the services' own addresses: who calls another one than inventory gets no answer.
        clients: dict[str, httpx.AsyncClient] = {}
        inventory = await stack.enter_async_context(_listening("inventory", clients))
        urls = {**dict.fromkeys(DEFAULT_PORTS, "http://127.0.0.1:9"), "providers": url, "inventory": inventory}
        configure(ShopSettings(urls=urls, hold_seconds=hold_seconds))
        stack.push_async_callback(close_calls)
        settings = {name: _settings(name, directory, databases or {}) for name in SERVICES}
        declared = [each.service for each in SERVICES.values()]
        stores = {} if brake is None else {each.name: _braked(each, settings[each.name], brake) for each in declared}
        runtime = await stack.enter_async_context(Runtime(*declared, settings=settings, stores=stores))
        await SERVICES["reference"].on_start(runtime["reference"])
        await until(lambda: _knows_countries(runtime["users"]))
        for name in SERVICES:
            client = _client(create_app(name, runtime[name]), runtime[name])
            clients[name] = await stack.enter_async_context(client)
        providers = await stack.enter_async_context(ProvidersClient(url))
        yield Shop(runtime, clients, providers)


@asynccontextmanager
async def _listening(name: str, clients: Mapping[str, httpx.AsyncClient]) -> AsyncIterator[str]:
    """A socket behind which the service of this name answers what is read of it."""

    async def answer(request: web.Request) -> web.Response:
        found = await clients[name].get(request.path_qs)
        return web.Response(body=found.content, status=found.status_code, content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _settings(name: str, directory: Path, databases: Mapping[str, str]) -> Settings:
    database = databases.get(name, f"sqlite:///{directory}/{name}.db")
    broker = f"memory://{directory.name}"
    return Settings.load(
        name, environ={}, database=database, broker=broker, poll_seconds=0.2, token_secret="a secret of this test alone"
    )


def _braked(service: Service, settings: Settings, brake: Brake) -> Stores:
    return braked(open_stores(settings.database, settings.database_options, service.migrations), brake)


def _client(app: FastAPI, running: RunningService) -> httpx.AsyncClient:
    app.state.freehold = running
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop")


async def _knows_countries(running: RunningService) -> bool:
    async with running.stores[SQL].direct() as connection:
        return len(await connection.fetch("SELECT code FROM country_copy", ())) > 40
