"""Answers to COMMIT and confirmations of messages are lost again and again: nothing is lost, and nothing happens twice.

The way of an order goes over an idempotent request, a saga, both outboxes and both inboxes, on PostgreSQL, MariaDB and
NATS, each behind a proxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from tests.integration.runtime.workers import settings_for

from freehold import Migration, Retry, RunningService, Saga, Service, Transaction, command, event, step
from freehold.http import Tx, create_app
from freehold.saga.store import SAGAS, SagaStatus
from freehold.testing import (
    MARIADB_COMMIT,
    POSTGRESQL_COMMIT,
    Exchange,
    Loss,
    LostAnswers,
    TcpProxy,
    nats_publish,
    settled,
)

pytestmark = pytest.mark.servers

_ORDERS = 12
_PATIENCE_SECONDS = 240.0
_COMMITS = {"postgresql": POSTGRESQL_COMMIT, "mariadb": MARIADB_COMMIT}


@command("stock.reserve", key="order_id")
class Reserve:
    order_id: str


@command("stock.release", key="order_id")
class Release:
    order_id: str


@command("stock.pack", key="order_id")
class Pack:
    order_id: str


@event("front.ordered", key="customer")
class Ordered:
    customer: str
    order_id: str


@dataclass(frozen=True, slots=True)
class Order:
    order_id: str


class Checkout(Saga[Order], name="front.checkout", version=1, key="order_id"):
    reserve = step(Reserve, compensation=Release)
    pack = step(Pack, pivot=True, after=reserve)


_TABLE = Migration(
    "100-effect", {"": ["CREATE TABLE effect (what varchar(20) NOT NULL, order_id varchar(60) NOT NULL)"]}
)


def _services() -> tuple[Service, Service]:
    retry = Retry(attempts=8, delay_seconds=0.05)
    front = Service("front", migrations=[_TABLE], retry=retry)
    front.orchestrates(Checkout)
    stock = Service("stock", migrations=[_TABLE], retry=retry)

    @stock.handles(Reserve)
    async def reserve(message: Reserve, tx: Transaction) -> None:
        await _note(tx, "reserved", message.order_id)

    @stock.handles(Release)
    async def release(message: Release, tx: Transaction) -> None:
        await _note(tx, "released", message.order_id)

    @stock.handles(Pack)
    async def pack(message: Pack, tx: Transaction) -> None:
        await _note(tx, "packed", message.order_id)

    @stock.handles(Ordered)
    async def ordered(message: Ordered, tx: Transaction) -> None:
        await _note(tx, "ordered", message.order_id)

    return front, stock


async def _note(tx: Transaction, what: str, order_id: str) -> None:
    await tx.connection.execute(
        text("INSERT INTO effect (what, order_id) VALUES (:what, :order_id)"), {"what": what, "order_id": order_id}
    )


async def _effects(running: RunningService) -> Sequence[tuple[str, str]]:
    async with running.transaction() as tx:
        rows = await tx.connection.execute(text("SELECT what, order_id FROM effect"))
        return [(str(what), str(order_id)) for what, order_id in rows]


@asynccontextmanager
async def _client(front: RunningService) -> AsyncIterator[httpx.AsyncClient]:
    app: FastAPI = create_app(front)

    @app.post("/orders/{order_id}", status_code=201)
    async def place(order_id: str, tx: Tx) -> dict[str, str]:
        await _note(tx, "placed", order_id)
        tx.publish(Ordered("one customer", order_id))
        await Checkout.start(tx, Order(order_id))
        return {"order_id": order_id}

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        yield client


async def _insist(client: httpx.AsyncClient, order_id: str) -> None:
    """As a customer does: the same request, with the same key, until there is an answer."""
    while True:
        answer = await client.post(f"/orders/{order_id}", headers={"Idempotency-Key": f"key-{order_id}"})
        if answer.status_code == 201:
            return
        assert answer.status_code in {409, 503}, answer.text
        await asyncio.sleep(0.05)  # a customer who tries again


async def _lost(proxy: TcpProxy, exchange: Exchange, every: int, loss: Loss) -> LostAnswers:
    return proxy.lose_answers(exchange, lambda number: number % every == 0, loss=loss)


@pytest.mark.parametrize("loss", [Loss.CUT, Loss.RESET])
@pytest.mark.parametrize("engines", [("postgresql", "mariadb"), ("mariadb", "postgresql")], ids="-".join)
async def test_an_order_happens_once_whatever_answer_is_lost(
    engines: tuple[str, str], loss: Loss, postgres_url: str, mariadb_url: str, nats_url: str, nats_prefix: str
) -> None:
    urls = {"postgresql": postgres_url, "mariadb": mariadb_url}
    async with asyncio.timeout(_PATIENCE_SECONDS), AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(TcpProxy.before(urls[engine])) for engine in engines]
        broker = await stack.enter_async_context(TcpProxy.before(nats_url))
        running = []
        for service, engine, proxy in zip(_services(), engines, databases, strict=True):
            settings = settings_for(service.name, proxy.through(urls[engine]), broker.through(nats_url), nats_prefix)
            running.append(await stack.enter_async_context(RunningService(service, settings)))
        front, stock = running
        client = await stack.enter_async_context(_client(front))
        lost = [
            await _lost(proxy, _COMMITS[engine], every, loss)
            for proxy, engine, every in zip(databases, engines, (3, 4), strict=True)
        ]
        lost.append(await _lost(broker, nats_publish(nats_prefix), 5, loss))
        orders = [f"order-{number}" for number in range(_ORDERS)]
        await asyncio.gather(*(_insist(client, each) for each in orders))
        # What is in progress meets lost answers as well, until each kind was seen often enough.
        await asyncio.gather(*(each.wait(3) for each in lost))
        for each in (*databases, broker):
            each.heal()
        await settled(front, stock, timeout_seconds=_PATIENCE_SECONDS)
        assert sorted(await _effects(front)) == sorted(("placed", each) for each in orders)
        assert sorted(await _effects(stock)) == sorted(
            (what, each) for each in orders for what in ("reserved", "packed", "ordered")
        )
        counts = {status: count for (_, status), count in (await front.stores[SAGAS].count()).items() if count}
        assert counts == {SagaStatus.COMPLETED: _ORDERS}
