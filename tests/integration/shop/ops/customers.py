"""Customers of a running shop, for tests: they place orders and wait for their end, always with a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from freehold.ids import new_id
from freehold_shop.cli.sample import CUSTOMERS, PRODUCTS, intake, order
from freehold_shop.supervisor.client import Shop

ENDED = {"confirmed", "cancelled"}
PATIENCE_SECONDS = 120.0
"""How long anything may take where nothing is wrong, on a machine that does much else."""
_SOURCE = random.Random(7)


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for a condition; fail when it does not come true in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, f"not in {PATIENCE_SECONDS} s: {what}"
        await asyncio.sleep(0.05)


async def get(url: str, seconds: float = 30.0) -> tuple[int, Any]:
    """GET; status 0 where no answer came."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds)) as session,
            session.get(url) as response,
        ):
            return response.status, await response.json()
    except (aiohttp.ClientError, TimeoutError):
        return 0, None


async def post(url: str, body: object, seconds: float = 30.0, key: str | None = None) -> tuple[int, Any]:
    """POST; status 0 where no answer came."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds)) as session,
            session.post(url, json=body, headers={"Idempotency-Key": key} if key else None) as response,
        ):
            return response.status, await response.json()
    except (aiohttp.ClientError, TimeoutError):
        return 0, None


async def fill(shop: Shop) -> None:
    """Have the sample's products, customers and stock taken in."""
    wanted = intake(f"sample-{new_id()}")

    async def taken_in() -> bool:
        return (await post(f"{shop.gateway_url}/intake", wanted))[0] == 200

    await until(taken_in, "the intake is accepted")


async def place(shop: Shop, *, checkout: str = "") -> str:
    """Place an order of things that are not scarce; it is repeated with the same key until it is accepted.

    Without a `checkout` it is carried on as the shop's setting says.
    """
    wanted = order(_SOURCE) | ({"checkout": checkout} if checkout else {})
    wanted["lines"] = [{"sku": PRODUCTS[0].sku, "quantity": 1, "price_pence": PRODUCTS[0].price_pence}]
    key = str(new_id())
    found: list[str] = []

    async def accepted() -> bool:
        status, answer = await post(f"{shop.gateway_url}/orders", wanted, key=key)
        if status in {200, 201}:
            found.append(answer["order_id"])
        return bool(found)

    await until(accepted, "an order is accepted")
    return found[0]


async def ended(shop: Shop, order_ids: Collection[str]) -> set[str]:
    """Wait until all of these orders have ended, and return their statuses."""
    found: dict[str, str] = {}

    async def all_ended() -> bool:
        status, answer = await post(f"{shop.gateway_url}/orders/query", {"order_ids": sorted(order_ids)})
        if status == 200:
            found.update({each["order_id"]: each["status"] for each in answer})
        return len(found) == len(order_ids) and set(found.values()) <= ENDED

    await until(all_ended, f"{len(order_ids)} orders have ended")
    return set(found.values())


async def others_serve(shop: Shop, *, without: str) -> None:
    """Every other service answers requests that need its own database, and no more than that."""
    paths = {
        "users": f"/customers/{CUSTOMERS[0]['customer_id']}",
        "reference": "/countries",
        "catalog": f"/products/{PRODUCTS[0].sku}",
        "inventory": f"/stock/{PRODUCTS[0].sku}",
        "orders": "/orders?limit=1",
    }
    for service, path in paths.items():
        if service != without:
            await until(partial(_answers, f"{shop.gateway_url}{path}"), f"{service} answers")
    for service in ("payments", "shipping", "notifications"):
        if service != without:
            await until(partial(_answers, f"{shop.urls[service]}/healthz"), f"{service} answers")


async def came_back(shop: Shop, killed: Collection[int]) -> None:
    """Wait until other processes stand where these were killed, and all are ready."""

    async def replaced() -> bool:
        return not set(killed) & {pid for pids in shop.pids().values() for pid in pids}

    await until(replaced, "killed processes are started again")
    await shop.ready(PATIENCE_SECONDS)


async def hears_of_a_new_customer(shop: Shop) -> None:
    """Register a customer with users, and wait until orders has heard of it: one relayed, the other consumed."""
    customer_id = f"new-{new_id()}"
    body = {"customer_id": customer_id, "name": "N", "email": "n@example.org", "country": "GB", "address": "A"}

    async def registered() -> bool:
        return (await post(f"{shop.gateway_url}/customers", body))[0] in {200, 201}

    async def heard() -> bool:
        return rows(shop, "orders", f"SELECT 1 FROM customer_copy WHERE customer_id = '{customer_id}'") != []

    await until(registered, "a customer is registered")
    await until(heard, "orders has heard of the customer")


def rows(shop: Shop, service: str, query: str) -> list[tuple[object, ...]]:
    """Read the SQLite database of a service."""
    path = Path(shop.databases[service].removeprefix("sqlite:///"))
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30.0)) as connection:
        return connection.execute(query).fetchall()


async def _answers(url: str) -> bool:
    return (await get(url))[0] == 200
