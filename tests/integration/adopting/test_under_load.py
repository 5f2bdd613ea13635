"""Many requests at once through the application of the page: what was acknowledged is there, and was published, once.

The same on every kind of database that the page names. What cannot be kept is refused aloud: by a response that is no
success, or, where the response was sent already, by an error in the server's log.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa
from fastapi import Depends, FastAPI
from sqlalchemy.ext.asyncio import AsyncSession
from tests.integration.adopting.application import Database, load, post_all, serving

from freehold.broker import Subscription
from freehold.conformance.broker_harness import eventually
from freehold.errors import TransactionEnded
from freehold.http import Tx
from freehold.messages import decode_envelope
from freehold.runtime.adapters import open_broker, open_stores

pytestmark = pytest.mark.empty_database

REQUESTS: Final = 80
"""Several times as many as there are connections."""
_ON_SERVERS: Final = ("postgresql", "pgbouncer", "role without DDL", "role without DDL through pgbouncer")
_KINDS: Final = ["sqlite", *(pytest.param(kind, marks=pytest.mark.servers) for kind in _ON_SERVERS)]


@pytest.fixture(params=_KINDS)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return Database(f"sqlite:///{tmp_path}/billing.db", f"sqlite+aiosqlite:///{tmp_path}/billing.db")
    owner = request.getfixturevalue("postgres_url")
    await _prepare(owner)
    direct = await _restricted(owner) if "role" in request.param else owner
    # The application's own engine goes past the proxy: how it is set up for one is its own affair.
    engine = direct.replace("postgresql:", "postgresql+asyncpg:")
    if "pgbouncer" not in request.param:
        return Database(direct, engine)
    proxy = sa.make_url(request.getfixturevalue("pgbouncer_url"))
    through = sa.make_url(direct).set(port=proxy.port, query={"statement_cache_size": "0"})
    return Database(through.render_as_string(hide_password=False), engine)


async def _prepare(owner_url: str) -> None:
    """What a deployment does with the owner's role: the tables of the application, and those of Freehold."""
    connection = await asyncpg.connect(owner_url)
    await connection.execute("CREATE TABLE invoice (id text PRIMARY KEY, pence integer NOT NULL)")
    await connection.close()
    stores = open_stores(owner_url)
    await stores.database.open()
    await stores.database.upgrade("billing")
    await stores.database.close()


async def _restricted(owner_url: str) -> str:
    """The URL of a role that may use the tables and make none."""
    role, connection, stores = f"billing_{uuid4().hex[:8]}", await asyncpg.connect(owner_url), open_stores(owner_url)
    await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'billing'")
    await stores.database.open()
    for statement in await stores.database.grants(role):
        await connection.execute(statement)
    await stores.database.close()
    await connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    await connection.execute(f"GRANT SELECT, INSERT ON invoice TO {role}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(f"SET ROLE {role}; CREATE TABLE forbidden (id text)")
    await connection.close()
    return str(sa.make_url(owner_url).set(username=role, password="billing").render_as_string(hide_password=False))


@pytest.fixture
async def page(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ModuleType]:
    module = load(database, tmp_path, monkeypatch)
    if database.url.startswith("sqlite"):
        async with module.engine.begin() as connection:
            await connection.run_sync(module.Base.metadata.create_all)
    yield module
    await module.engine.dispose()


async def _stored(page: ModuleType) -> Counter[str]:
    async with page.sessions() as session:
        return Counter((await session.scalars(sa.select(page.Invoice.id))).all())


async def _published(page: ModuleType, count: int) -> Counter[str]:
    """What came to the broker: `count` different ones, and whatever lies there besides."""
    broker = open_broker(page.BROKER_URL)
    await broker.open()
    seen: Counter[str] = Counter()
    try:
        consumer = await broker.subscribe(Subscription("reader", frozenset({"billing.events"})))

        async def all_came() -> bool:
            batch = await consumer.fetch(500, 0.2)
            if batch is not None:
                envelopes = [decode_envelope(each.document) for each in batch.deliveries]
                seen.update(each.key for each in envelopes if each.type == "billing.invoice-issued")
                await batch.ack(len(batch.deliveries))
            return batch is None and len(seen) >= count

        await eventually(all_came, 60.0)
        await consumer.close()
    finally:
        await broker.close()
    return seen


@pytest.mark.parametrize("step", ["app", "service_app"])
async def test_what_was_acknowledged_is_stored_and_published(page: ModuleType, step: str) -> None:
    async with serving(getattr(page, step)) as url:
        answers = await post_all(url, "/invoices", REQUESTS)
        acknowledged = {each for each in answers if each is not None}
        stored = await _stored(page)
        published = await _published(page, len(stored))
    assert acknowledged
    assert acknowledged <= set(stored)
    assert set(published) == set(stored)
    assert set(stored.values()) == {1}


def _late_app(page: ModuleType, dependency: Callable[..., Any], endpoint_adds: Callable[[Any, str], None]) -> FastAPI:
    """The service's application with a dependency of somebody who does not know when it ends."""
    app = FastAPI(lifespan=page.service_life)
    page.install(app)

    @app.post("/late", status_code=201)
    async def late(session: Any = Depends(dependency)) -> dict[str, str]:  # noqa: B008, FAST002 - local to this function
        invoice_id = str(uuid4())
        endpoint_adds(session, invoice_id)
        return {"id": invoice_id}

    return app


async def _late_requests(app: FastAPI) -> set[str]:
    async with serving(app) as url:
        return {each for each in await post_all(url, "/late", REQUESTS) if each is not None}


async def test_a_session_that_is_flushed_behind_the_response_loses_nothing(page: ModuleType) -> None:
    """The dependency makes a session of its own on the transaction's connection, and flushes it when it ends."""

    async def flushes_late(tx: Tx) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(bind=tx.connection, expire_on_commit=False) as session:
            yield session
            await session.flush()

    app = _late_app(page, flushes_late, lambda session, id_: session.add(page.Invoice(id=id_, pence=1)))
    acknowledged = await _late_requests(app)
    stored = set(await _stored(page))
    assert acknowledged
    assert acknowledged == stored


@asynccontextmanager
async def _errors_of_the_server() -> AsyncIterator[list[BaseException]]:
    """What uvicorn logs of applications that raise."""
    errors: list[BaseException] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[1] is not None:
                errors.append(record.exc_info[1])

    logger, handler = logging.getLogger("uvicorn.error"), Keep()
    logger.addHandler(handler)
    try:
        yield errors
    finally:
        logger.removeHandler(handler)


def _refusals(errors: Sequence[BaseException]) -> int:
    """How many of them are the typed refusal, wherever it stands in them."""
    return sum(any(isinstance(link, TransactionEnded) for link in _links(error)) for error in errors)


def _links(error: BaseException) -> list[BaseException]:
    inner = list(error.exceptions) if isinstance(error, BaseExceptionGroup) else []
    inner += [link for link in (error.__cause__, error.__context__) if link is not None]
    return [error, *(link for each in inner for link in _links(each))]


async def test_what_is_added_behind_the_response_is_refused_aloud(page: ModuleType) -> None:
    """It is decided on too late: the response was sent, and the transaction committed, without it."""

    async def adds_late(tx: Tx) -> AsyncIterator[list[str]]:
        ids: list[str] = []
        async with AsyncSession(bind=tx.connection) as session:
            yield ids
            session.add_all([page.Invoice(id=each, pence=1) for each in ids])
            await session.flush()

    app = _late_app(page, adds_late, lambda ids, id_: ids.append(id_))
    async with _errors_of_the_server() as errors:
        acknowledged = await _late_requests(app)
    stored = set(await _stored(page))
    assert not stored
    assert acknowledged
    assert _refusals(errors) == len(acknowledged)
