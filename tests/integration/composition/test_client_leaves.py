"""The client closes its connection: the calls made for it are given up, and nothing of them remains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from tests.integration.composition.servers import Downstream, downstream

from freehold.composition import ClientDisconnected, Composer, Composition, HttpFetch, Read, while_connected

view: Composition[str] = Composition("view", budget_seconds=90.0)
view.part(
    "hanging", Read("service", "/hanging/{key}", dict[str, Any], limit_seconds=90.0), by=lambda found: found.given
)
quick: Composition[str] = Composition("quick", budget_seconds=60.0)
well = quick.part(
    "well", Read("service", "/well/{key}", dict[str, Any], limit_seconds=60.0), by=lambda found: found.given
)


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[int]:
    """The application behind a socket; yields its port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None, access_log=False))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(60):
        while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


@pytest.fixture
async def services() -> AsyncIterator[Downstream]:
    async with downstream() as made:
        yield made


async def test_a_client_that_leaves_ends_the_calls_made_for_it(services: Downstream) -> None:
    left = asyncio.Event()

    async with HttpFetch(services.urls) as fetch:
        composer = Composer(fetch)

        async def show(request: Request) -> Response:
            try:
                await while_connected(request.receive, composer.compose(view, "k"))
            except ClientDisconnected:
                left.set()
            return JSONResponse({})

        async with served(Starlette(routes=[Route("/", show)])) as port:
            before = asyncio.all_tasks()
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            async with asyncio.timeout(60):
                await services.waiting.wait()
                assert services.under_way == 1
                writer.close()
                await left.wait()
                await services.given_up.wait()
            assert services.under_way == 0
            async with asyncio.timeout(60):
                while _named(asyncio.all_tasks() - before):  # noqa: ASYNC110 - tasks end elsewhere
                    await asyncio.sleep(0.01)
            assert composer.breakers()["service"].failures <= 1


def _named(tasks: set[asyncio.Task[Any]]) -> list[str]:
    """Tasks of the composition; uvicorn and aiohttp have theirs."""
    return [repr(task) for task in tasks if "freehold" in repr(task)]


async def test_a_client_that_stays_is_answered(services: Downstream) -> None:
    async with HttpFetch(services.urls) as fetch:
        composer = Composer(fetch)

        async def show(request: Request) -> Response:
            found = await while_connected(request.receive, composer.compose(quick, "k"))
            return JSONResponse(found[well])

        async with served(Starlette(routes=[Route("/", show)])) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            async with asyncio.timeout(60):
                answer = await reader.read()
            writer.close()
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b'{"path":"/well/k"}')
