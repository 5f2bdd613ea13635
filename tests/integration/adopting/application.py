"""The application of the page "Adopting it in an existing application", as it stands there, and a server for it."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final
from uuid import uuid4

import httpx
import pytest
import uvicorn
from tests.docs.blocks import ROOT, read_page

__all__ = ["Database", "load", "post_all", "serving"]

_PAGE: Final = ROOT / "docs" / "adopting.md"
_NAME: Final = "adopted_application"


@dataclass(frozen=True, slots=True)
class Database:
    """Where the application runs: the URL that Freehold gets, and what the application's own engine gets."""

    url: str
    engine_url: str


def load(database: Database, directory: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import the page's program with these URLs; it is taken out again with the test."""
    environment: Mapping[str, str] = {
        "DATABASE_URL": database.url,
        "ENGINE_URL": database.engine_url,
        "BROKER_URL": f"embedded:///{directory}/broker.db",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    file = directory / f"{_NAME}.py"
    file.write_text(read_page(_PAGE).program, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(_NAME, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, _NAME, module)
    spec.loader.exec_module(module)
    return module


@asynccontextmanager
async def serving(app: object) -> AsyncIterator[str]:
    """Serve an application with uvicorn on a loopback port: what comes behind a response does come behind it."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="on"))  # type: ignore[arg-type] # any ASGI application
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(30):
            while not server.started:
                assert not task.done(), "the application did not start"
                await asyncio.sleep(0.01)  # uvicorn tells nobody
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def post_all(url: str, path: str, count: int) -> Sequence[str | None]:
    """Send `count` requests at once; returns the ids that were acknowledged, and None for each refusal."""
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:

        async def one(number: int) -> str | None:
            response = await client.post(path, json={"pence": number, "note": str(uuid4())})
            return str(response.json()["id"]) if response.status_code == 201 else None

        return await asyncio.gather(*map(one, range(count)))
