"""Three services and two read models: alpha and beta write, gamma handles both, and projects what it kept of them.

Gamma's handlers and its projection are slow, so that whoever reads without a token reads too early now and then.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import sqlalchemy as sa
from fastapi import Depends, FastAPI

from freehold import Migration, RunningService, Service, Settings, Transaction, event
from freehold.broker import BrokerOptions
from freehold.http import Tx, create_app, fresh
from freehold.projection.declaration import Projection, ProjectionContext
from freehold.projection.store import CHECKPOINTS, GenerationState

__all__ = ["Chain", "chain"]

SECRET = "a secret for the tests"
_METADATA = sa.MetaData()
NOTES = sa.Table(
    "notes", _METADATA, sa.Column("key", sa.String, primary_key=True), sa.Column("value", sa.BigInteger, nullable=False)
)
_HANDLED = {"": ["CREATE TABLE handled (key TEXT PRIMARY KEY, value BIGINT NOT NULL)"]}
_UPSERT = "INSERT INTO {} (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


@event("alpha.written", key="key")
class Written:
    key: str
    value: int


@event("beta.added", key="key")
class Added:
    key: str
    value: int


@dataclass(frozen=True)
class Chain:
    """Clients of the three services, and the services."""

    clients: Mapping[str, httpx.AsyncClient]
    services: Mapping[str, RunningService]

    async def write(self, service: str, key: str, value: int, token: str = "") -> str:
        """Write at alpha or beta; returns the answer's token."""
        answer = await self.clients[service].post(f"/{key}/{value}", headers=_with(token))
        assert answer.status_code == 200, answer.text
        return answer.headers["freehold-consistency"]

    async def read(self, model: str, key: str, token: str = "") -> tuple[int, str | None]:
        """Read at gamma; returns the value, 0 for none, and what is said of its freshness."""
        answer = await self.clients["gamma"].get(f"/{model}/{key}", headers=_with(token))
        assert answer.status_code == 200, answer.text
        return answer.json()["value"], answer.headers.get("freehold-freshness")


def _with(token: str) -> dict[str, str]:
    return {"freehold-consistency": token} if token else {}


@asynccontextmanager
async def chain(databases: Mapping[str, str], broker: str, prefix: str, slow_seconds: float) -> AsyncIterator[Chain]:
    """Run the three in this process."""
    alpha, beta = Service("alpha"), Service("beta")
    apps = {"alpha": (alpha, _writing(Written)), "beta": (beta, _writing(Added)), "gamma": _gamma(slow_seconds)}
    clients, services = {}, {}
    async with AsyncExitStack() as stack:
        for name, (service, routes) in apps.items():
            settings = Settings.load(
                name,
                environ={},
                database=databases[name],
                broker=broker,
                broker_options=BrokerOptions(prefix=prefix, lease_seconds=2.0),
                lease_seconds=2.0,
                poll_seconds=0.2,
                token_secret=SECRET,
            )
            services[name] = await stack.enter_async_context(RunningService(service, settings))
            app = create_app(services[name])
            routes(app)
            await stack.enter_async_context(app.router.lifespan_context(app))
            clients[name] = await stack.enter_async_context(
                httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t", timeout=60)
            )
        await _until_live(services["gamma"])
        yield Chain(clients, services)


async def _until_live(gamma: RunningService) -> None:
    """The first generation is made, and live, soon after the start."""
    async with asyncio.timeout(60):
        while not any(  # noqa: ASYNC110 - a test looks from outside
            each.state is GenerationState.LIVE for each in await gamma.stores[CHECKPOINTS].generations()
        ):
            await asyncio.sleep(0.02)


def _writing(kind: Any) -> Any:
    def routes(app: FastAPI) -> None:
        @app.post("/{key}/{value}")
        async def write(key: str, value: int, tx: Tx) -> dict[str, str]:
            # A second key, so that what is written lies in several lanes and in one call with others.
            tx.publish(kind(f"{key}-beside", value))
            tx.publish(kind(key, value))
            return {}

    return routes


def _gamma(slow_seconds: float) -> tuple[Service, Any]:
    service = Service("gamma", migrations=[Migration("100-handled", _HANDLED)])
    notes = Projection("notes", version=1, tables=(NOTES,), categories={"note"}, partitions=2)

    async def dawdle() -> None:
        await asyncio.sleep(random.uniform(0, slow_seconds))

    async def note(message: Written | Added, tx: Transaction) -> None:
        await dawdle()
        await tx.sql.execute(_UPSERT.format("handled"), (message.key, message.value))
        tx.keep(f"note-{message.key}")

    service.handles(Written)(note)
    service.handles(Added)(note)

    @notes.on(Written)
    async def on_written(message: Written, write: ProjectionContext) -> None:
        await dawdle()
        await write.sql.execute(_UPSERT.format(write.name(NOTES)), (message.key, message.value))

    @notes.on(Added)
    async def on_added(message: Added, write: ProjectionContext) -> None:
        await dawdle()
        await write.sql.execute(_UPSERT.format(write.name(NOTES)), (message.key, message.value))

    service.projects(notes)

    def routes(app: FastAPI) -> None:
        async def value_in(table: str, key: str) -> dict[str, int]:
            async with app.state.freehold.transaction() as tx:
                rows = await tx.sql.fetch(f"SELECT value FROM {table} WHERE key = $1", (key,))
            return {"value": rows[0][0] if rows else 0}

        @app.get("/handled/{key}", dependencies=[Depends(fresh(limit_seconds=30.0))])
        async def handled(key: str) -> dict[str, int]:
            return await value_in("handled", key)

        @app.get("/notes/{key}", dependencies=[Depends(fresh(notes, limit_seconds=30.0))])
        async def projected(key: str) -> dict[str, int]:
            return await value_in("notes", key)

        @app.get("/required/{key}", dependencies=[Depends(fresh(notes, limit_seconds=0.2, require=True))])
        async def required(key: str) -> dict[str, int]:
            return await value_in("notes", key)

    return service, routes
