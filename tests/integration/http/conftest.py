"""A service behind FastAPI on each engine: memory, SQLite, PostgreSQL."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from tests.unit.http.apps import Trial, started

Opener = Callable[..., AbstractAsyncContextManager[Trial]]


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens an application on an empty database of each engine; `routes` adds its endpoints."""

    @asynccontextmanager
    async def open_app(routes: Callable[[FastAPI], None], **options: Any) -> AsyncIterator[Trial]:
        match request.param:
            case "memory":
                url = "memory://"
            case "sqlite":
                url = f"sqlite:///{tmp_path}/s.db"
            case _:
                url = request.getfixturevalue("postgres_url")
        async with started(routes, url, **options) as trial:
            yield trial

    return open_app
