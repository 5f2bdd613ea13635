"""An outage that comes when an answer has begun: the client sees that it is not whole, the log has one line."""

from __future__ import annotations

import asyncio
import logging
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse
from tests.unit.http.apps import started

from freehold.errors import Unavailable


def _routes(app: FastAPI) -> None:
    async def typed() -> AsyncIterator[str]:
        yield "begun"
        raise Unavailable("the database is read-only")

    async def driver(file: str) -> AsyncIterator[str]:
        yield "begun"
        with closing(sqlite3.connect(file, timeout=0)) as own:
            own.execute("BEGIN IMMEDIATE")

    async def bug() -> AsyncIterator[str]:
        yield "begun"
        raise ValueError("planned")

    @app.get("/typed")
    async def stream_typed() -> StreamingResponse:
        return StreamingResponse(typed())

    @app.get("/driver")
    async def stream_driver(file: str) -> StreamingResponse:
        return StreamingResponse(driver(file))

    @app.get("/bug")
    async def stream_bug() -> StreamingResponse:
        return StreamingResponse(bug())

    @app.get("/behind")
    async def behind(tasks: BackgroundTasks) -> str:
        async def late() -> None:
            raise Unavailable("the mail server is away")

        tasks.add_task(late)
        return "whole"


@asynccontextmanager
async def _served(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """By a server of its own, for what becomes of the connection is the server's."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve([listening]))
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}") as client:
                yield client
        finally:
            server.should_exit = True
            await task


async def test_an_answer_that_an_outage_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "trial.db"

    async with started(_routes, f"sqlite:///{file}") as trial, _served(trial.app) as client:
        with closing(sqlite3.connect(file, isolation_level=None)) as other, caplog.at_level(logging.INFO):
            other.execute("BEGIN IMMEDIATE")
            for path in ("/typed", "/typed", f"/driver?file={file}"):
                with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                    await client.get(path)
            assert (await client.get("/behind")).json() == "whole"
        told = [each for each in caplog.records if each.levelno >= logging.WARNING]
        assert [(each.name, each.getMessage()) for each in told] == [
            ("freehold.outages", "trial: the database is read-only; responses that had begun are cut off"),
            ("freehold.outages", "trial: the mail server is away; background work after responses fails"),
        ]
        caplog.clear()
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            await client.get("/bug")
    assert any(each.exc_info and "ASGI" in each.getMessage() for each in caplog.records)
