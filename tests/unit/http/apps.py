"""A service of the name `trial` behind FastAPI, asked in the same event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI
from tests.unit.runtime.trial import memory_broker, settings_for

from freehold import RunningService, Service
from freehold.http import create_app
from freehold.outbox.store import OUTBOX


@dataclass(frozen=True)
class Trial:
    """`client` speaks to `app`, without a socket."""

    app: FastAPI
    client: httpx.AsyncClient
    running: RunningService

    async def staged(self) -> int:
        """Messages that were committed and are not sent: the relay does not run."""
        return (await self.running.stores[OUTBOX].stats()).pending


@asynccontextmanager
async def started(
    routes: Callable[[FastAPI], None], database: str = "memory://", **options: Any
) -> AsyncIterator[Trial]:
    """The application with the endpoints that `routes` adds; `options` are those of `create_app`."""
    running = RunningService(Service("trial"), settings_for("trial", database=database), broker=memory_broker())
    running.roles = ()
    async with running:
        app = create_app(running, **options)
        routes(app)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://t") as client,
        ):
            yield Trial(app, client, running)
