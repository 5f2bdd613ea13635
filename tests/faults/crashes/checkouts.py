"""The scenario of the shop: orders of both checkouts that are sold, declined, undeliverable, late, and returned, in one
process that is killed. Imports the shop, its verification, and the site.

What a client does not know to be done it repeats under the same key, in the next life too.
"""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self
from uuid import uuid4

import httpx
from tests.faults.crashes.campaign import KeptScenario
from tests.faults.crashes.site import Site

from freehold.broker import Broker
from freehold.errors import FreeholdError
from freehold.inbox import pattern as inbox_pattern
from freehold.runtime import Runtime
from freehold.settings import Settings
from freehold.sql import SQL
from freehold.testing import settled
from freehold_shop.assembly import SERVICES, create_app
from freehold_shop.calls import close_calls
from freehold_shop.faults.duplicates import DuplicatingBroker, Switch
from freehold_shop.orders.domain import IN_FLIGHT
from freehold_shop.providers import DeclineRules, ProvidersClient, Rules
from freehold_shop.settings import DEFAULT_PORTS, ShopSettings, configure
from freehold_shop.users.contracts import CUSTOMERS
from freehold_shop.verify import quiet
from freehold_shop.verify.run import Target, verify

__all__ = ["Checkouts"]

_SOLD, _POOR, _HOMELESS, _ABSENT = "c1", "poor", "homeless", "absent"
_ORDERS: Final[Mapping[str, Sequence[str]]] = {"saga": (_SOLD, _HOMELESS), "choreographed": (_SOLD, _POOR)}
"""The customers that order by each checkout: the money of one is declined, and one has no address."""
_SHORT_SECONDS, _LONG_SECONDS = 0.5, 60.0
_QUIET_SECONDS: Final = 150.0
"""Far more than any run needs: a busy machine is no violation."""
_STOCK: Final = 100_000
_CLAIM_SECONDS: Final = 0.5


class Checkouts(KeptScenario):
    """One checkout, or both. `make` makes the site before the first run; a site in which something did not hold is left
    as it is, and the next run has a new one.
    """

    life_seconds = 240.0

    def __init__(self, make: Callable[[], Site], checkouts: Sequence[str] = ("saga", "choreographed")) -> None:
        self._make = make
        self._checkouts = checkouts
        self._site: Site | None = None
        self._run = ""

    @contextmanager
    def surroundings(self, place: Path) -> Iterator[None]:
        """Use the site, and orders of this run alone."""
        if self._site is None:
            self._site = self._make()
            _in_child(self._prepare)
            # What is computed once in a process is computed here, and not in every life.
            asyncio.run(self._warm_up())
        self._run = uuid4().hex[:10]
        yield

    def close(self) -> None:
        """Give the site up."""
        site, self._site = self._site, None
        if site is not None:
            site.close()

    @property
    def site(self) -> Site:
        """The present site."""
        if self._site is None:
            raise FreeholdError("the scenario has no site yet")
        return self._site

    async def _prepare(self) -> None:
        async with ProvidersClient(self.site.providers_url) as providers:
            await providers.put_rules(Rules(declines=DeclineRules(customer_refs=(_POOR,))))
        async with AsyncExitStack() as stack:
            shop = await stack.enter_async_context(_Life(self.site, [*self.site.databases]))
            await SERVICES["reference"].on_start(shop.runtime["reference"])
            await settled(shop.runtime, timeout_seconds=_QUIET_SECONDS)
            lines = [{"sku": "A", "quantity": _STOCK}]
            await shop.post("inventory", "/stock/receipts", {"receipt_ref": "r1", "lines": lines})
            for customer in (_SOLD, _POOR, _HOMELESS, _ABSENT):
                address = "" if customer == _HOMELESS else "1 High Street"
                body = {"customer_id": customer, "name": "N", "email": "n@example.org", "country": "GB"}
                await shop.post("users", "/customers", {**body, "address": address})
            await settled(shop.runtime, timeout_seconds=_QUIET_SECONDS)

    async def _warm_up(self) -> None:
        async with _Life(self.site) as shop:
            await shop.client("orders")

    async def life(self, place: Path) -> None:
        """Place all orders of this run, return goods of one, and bring everything to its end."""
        async with _Life(self.site) as shop:
            late = f"{self._run}-late"
            await self._lose_address(shop, late)
            configure(shop.settings(_SHORT_SECONDS))
            await self._place(shop, late, "choreographed", _ABSENT)
            await shop.until(lambda: shop.has("inventory", "SELECT 1 FROM reservation WHERE order_id = $1", late))
            configure(shop.settings(_LONG_SECONDS))
            orders = [(k, c) for k, customers in _ORDERS.items() if k in self._checkouts for c in customers]
            await asyncio.gather(*(self._place(shop, f"{self._run}-{k}-{c}", k, c) for k, c in orders))
            await shop.until(lambda: shop.ended(late))
            await shop.runtime["shipping"].reconcile(
                CUSTOMERS, source=shop.runtime["users"].source(CUSTOMERS), repair="a row was lost"
            )
            await settled(shop.runtime, timeout_seconds=_QUIET_SECONDS)
            lines = [{"sku": "A", "quantity": 1}]
            body = {"return_ref": f"{self._run}-back", "customer_id": _SOLD, "lines": lines}
            await shop.post("orders", "/returns", body)
            await settled(shop.runtime, timeout_seconds=_QUIET_SECONDS)

    async def check(self, place: Path) -> Sequence[str]:
        """Verify the whole shop; its provider's ledger counts what was done outside."""
        quiet._POLL_SECONDS = 0.02
        options = self.site.settings()["orders"].broker_options
        target = Target(self.site.databases, self.site.broker, self.site.providers_url, options)
        verified = await verify(target, wait_seconds=1.0)
        found = [f"{check.name}: {check.detail}" for check in verified.verification.checks if not check.ok]
        if not verified.quietness.quiet:
            found.append(f"still moving: {verified.quietness.words}")
        return found

    async def _lose_address(self, shop: _Life, late: str) -> None:
        """Until the late order is placed, shipping does not know where its customer lives: its replica has drifted."""
        if not await shop.has("orders", "SELECT 1 FROM orders WHERE order_id = $1", late):
            async with shop.runtime["shipping"].transaction() as tx:
                await tx.sql.execute("DELETE FROM customer_copy WHERE customer_id = $1", (_ABSENT,))

    async def _place(self, shop: _Life, order_id: str, checkout: str, customer: str) -> None:
        lines = [{"sku": "A", "quantity": 1, "price_pence": 250}]
        body = {"order_id": order_id, "customer_id": customer, "checkout": checkout, "lines": lines}
        await shop.post("orders", "/orders", body, key=order_id)


class _Doubling(Runtime):
    """Services to which every tenth message comes twice."""

    def _broker(self, settings: Settings) -> Broker:
        return DuplicatingBroker(super()._broker(settings), Switch(on=True))


class _Life:
    """The services in this process, and clients that speak to their APIs."""

    def __init__(self, site: Site, names: Sequence[str] = ()) -> None:
        inbox_pattern._VISIBILITY_MARGIN_SECONDS = _CLAIM_SECONDS  # type: ignore[misc] # a claim of a dead process ends
        self._site = site
        self._stack = AsyncExitStack()
        configure(self.settings(_LONG_SECONDS))
        running = names or [name for name in site.databases if name != "reference"]  # which all others have copied
        services = [SERVICES[name].service for name in running]
        self.runtime = _Doubling(*services, settings=site.settings())

    def settings(self, hold_seconds: float) -> ShopSettings:
        """The shop's settings; nothing listens at the addresses of other services."""
        urls = {**dict.fromkeys(DEFAULT_PORTS, "http://127.0.0.1:9"), "providers": self._site.providers_url}
        return ShopSettings(urls=urls, hold_seconds=hold_seconds)

    async def __aenter__(self) -> Self:
        """Start all."""
        self._stack.push_async_callback(close_calls)
        await self._stack.enter_async_context(self.runtime)
        self._clients: dict[str, httpx.AsyncClient] = {}
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop all."""
        await self._stack.aclose()

    async def post(self, service: str, path: str, body: Mapping[str, Any], key: str = "") -> None:
        """Send a request until it is answered with success; 409 and 503 are repeated."""
        client = await self.client(service)
        headers = {"Idempotency-Key": key} if key else {}
        async with asyncio.timeout(_QUIET_SECONDS):
            answer = await client.post(path, json=body, headers=headers)
            while answer.status_code in {409, 503}:
                await asyncio.sleep(0.05)
                answer = await client.post(path, json=body, headers=headers)
        assert answer.status_code in {200, 201}, (path, answer.status_code, answer.text)

    async def client(self, service: str) -> httpx.AsyncClient:
        """What speaks to a service's API without a socket."""
        if service not in self._clients:
            app = create_app(service, self.runtime[service])
            app.state.freehold = self.runtime[service]
            made = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop")
            self._clients[service] = await self._stack.enter_async_context(made)
        return self._clients[service]

    async def has(self, service: str, sql: str, *values: object) -> bool:
        """Whether a query returns a row."""
        async with self.runtime[service].stores[SQL].direct() as connection:
            return bool(await connection.fetch(sql, values))

    async def ended(self, order_id: str) -> bool:
        """Whether it is decided whether an order is sold."""
        async with self.runtime["orders"].stores[SQL].direct() as connection:
            rows = await connection.fetch("SELECT status FROM orders WHERE order_id = $1", (order_id,))
        return bool(rows) and rows[0][0] not in IN_FLIGHT

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Return once a condition holds that is true of a database."""
        async with asyncio.timeout(_QUIET_SECONDS):
            while not await holds():  # noqa: ASYNC110 - a database wakes nobody
                await asyncio.sleep(0.02)


def _in_child(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run in a process of its own, so that this one stays without threads."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(main())
            code = 0
        except BaseException:  # noqa: BLE001 - what follows is its parent's
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
        raise FreeholdError("the site could not be prepared")
