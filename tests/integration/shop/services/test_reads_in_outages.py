"""What is read of orders and of the overview while something is away: an answer, or 503 with Retry-After; never 500,
and no refusal that says that asking again is of no use.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest
from tests.integration.health.conditions import CONDITIONS, held
from tests.integration.shop.services.waiting import until

from freehold.runtime import ROLES, RunningService
from freehold.settings import Settings
from freehold_shop import settings as shop_settings
from freehold_shop.assembly import create_app, run_service
from freehold_shop.gateway.app import create_gateway
from freehold_shop.settings import ShopSettings, configure

SUMMARIES = "/order-summaries?customer_id=c1"
READS = {
    "orders": (SUMMARIES, "/orders?customer_id=c1", "/orders/summary", "/orders/o1", "/returns/r1"),
    "overview": ("/customers/c1/360",),
}
MODELS = {"orders": (SUMMARIES, "/orders?customer_id=c1"), "overview": ("/customers/c1/360",)}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgresql" else f"sqlite:///{tmp_path}/s"


@contextlib.asynccontextmanager
async def _service(
    name: str, url: str, roles: Sequence[str] = ROLES
) -> AsyncIterator[tuple[RunningService, httpx.AsyncClient]]:
    broker = f"memory://{name}-{id(url)}"
    patience = {"lock_timeout_seconds": 1.0}
    settings = Settings.load(name, environ={}, database=url, broker=broker, database_options=patience)
    running = run_service(name, settings)
    running.roles = tuple(roles)
    async with running:
        app = create_app(name, running)
        app.state.freehold = running
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop", timeout=30) as client:
            yield running, client


def _is_outage(answer: httpx.Response) -> bool:
    return (answer.status_code, answer.headers.get("retry-after")) == (503, "1")


async def _is_made(client: httpx.AsyncClient, path: str) -> bool:
    return (await client.get(path)).status_code in {200, 404}


@pytest.mark.parametrize("name", MODELS)
async def test_a_read_model_that_is_not_made_yet(name: str, url: str) -> None:
    """The service has begun, and its projections have not: their database was away, or they are about to."""
    async with _service(name, url, [role for role in ROLES if role != "projections"]) as (running, client):
        for path in MODELS[name][:1]:
            assert _is_outage(await client.get(path)), path
        await running.resume("projections")
        for path in MODELS[name]:
            await until(partial(_is_made, client, path))


@pytest.mark.parametrize("name", READS)
async def test_a_locked_database(name: str, url: str) -> None:
    async with _service(name, url) as (_, client):
        for path in MODELS[name]:
            await until(partial(_is_made, client, path))
        async with _locked(url, name):
            for path in READS[name]:
                answer = await client.get(path)
                assert answer.status_code in {200, 404} or _is_outage(answer), (path, answer.status_code)
        for path in MODELS[name]:
            assert await _is_made(client, path)


@contextlib.asynccontextmanager
async def _locked(url: str, name: str) -> AsyncIterator[None]:
    """The whole file, or the tables that are read."""
    if url.startswith("sqlite"):
        async with held(CONDITIONS["file locked for everything"][1], url):
            yield
        return
    tables = {"orders": "orders__g1, order_summary__g1", "overview": "customer_profile__g1"}[name]
    with psycopg.connect(url) as other:
        other.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE".encode())
        yield
        other.rollback()


@contextlib.contextmanager
def _orders_at(address: str) -> Iterator[None]:
    before = shop_settings.settings()
    configure(ShopSettings(urls={**before.urls, "orders": address}))
    try:
        yield
    finally:
        configure(before)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n[", b"HTTP/1.1 2", b"no HTTP\r\n\r\n"]
)
async def test_an_answer_that_is_cut_off(answer: bytes) -> None:
    """The process that answers the gateway is killed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        with _orders_at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"):
            app = create_gateway()
            transport = httpx.ASGITransport(app)
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(transport=transport, base_url="http://g") as client,
            ):
                assert _is_outage(await client.get(SUMMARIES))
