"""A small finished shop, made once; each test gets a copy of its data to damage."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from tests.integration.shop.replay.sampling import replay_sample
from tests.integration.shop.services.waiting import until

from freehold.clock import SystemClock
from freehold_shop.providers.book import Book
from freehold_shop.providers.ledger import Ledger
from freehold_shop.providers.server import create_app
from freehold_shop.supervisor.client import running_shop
from freehold_shop.supervisor.plan import SERVICE_NAMES
from freehold_shop.verify.model import Verification
from freehold_shop.verify.run import Target, Verified, verify

START_SECONDS = 120.0
LEDGER = "ledger.ndjson"
DELIVERED = "600001"


class _Hasty(SystemClock):
    """Nothing runs here that could be waited for."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(0.0)


@dataclass(frozen=True)
class FinishedShop:
    """The data of a shop that has come to rest; no process of it runs."""

    directory: Path

    def file(self, name: str) -> Path:
        """A service's database, or the broker's file."""
        return self.directory / "data" / f"{name}.db"

    def damage(self, name: str, *statements: str) -> None:
        """Run statements on a database; every one has to hit something."""
        with contextlib.closing(sqlite3.connect(self.file(name))) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            for statement in statements:
                assert connection.execute(statement).rowcount > 0, statement
            connection.commit()

    def value(self, name: str, query: str) -> str:
        """The first column of the first row."""
        with contextlib.closing(sqlite3.connect(self.file(name))) as connection:
            return str(connection.execute(query).fetchone()[0])

    @contextlib.asynccontextmanager
    async def target(self) -> AsyncIterator[Target]:
        """Something to verify, with the providers' ledger served out of its file."""
        ledger = Ledger(self.directory / LEDGER)
        server = TestServer(create_app(Book(ledger, lambda: datetime.now(UTC)), ledger))
        await server.start_server()
        try:
            databases = {name: f"sqlite:///{self.file(name)}" for name in SERVICE_NAMES if name != "gateway"}
            yield Target(databases, f"embedded:///{self.file('broker')}", str(server.make_url("")))
        finally:
            await server.close()
            ledger.close()

    async def verify(self) -> Verification:
        """Verify it, without waiting."""
        return (await self.look()).verification

    async def look(self) -> Verified:
        """Verify it, without waiting, and tell whether it was at rest."""
        async with self.target() as target:
            return await verify(target, wait_seconds=0.0, clock=_Hasty())


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinishedShop]:
    """The undamaged shop; not to be changed."""
    directory = tmp_path_factory.mktemp("finished")
    asyncio.run(_make(directory))
    yield FinishedShop(directory / "shop")
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def shop(finished: FinishedShop, tmp_path: Path) -> FinishedShop:
    """A copy to damage."""
    copy = tmp_path / "shop"
    (copy / "data").mkdir(parents=True)
    shutil.copy(finished.directory / LEDGER, copy / LEDGER)
    for file in finished.directory.glob("data/*.db*"):
        if file.is_file():
            shutil.copy(file, copy / "data" / file.name)
    return FinishedShop(copy)


async def _make(directory: Path) -> None:
    async with running_shop(state_directory=directory / "shop", ready_seconds=START_SECONDS) as running:
        outcome = await replay_sample(running, directory, "saga")
        assert outcome.summary.ok, outcome.summary
        await _deliver(running.gateway_url, DELIVERED)


async def _deliver(url: str, order_id: str) -> None:
    """Have the carrier deliver an order, and return when every read model says so."""
    async with aiohttp.ClientSession(url) as session:
        for step in ("dispatch", "delivery"):
            async with session.post(f"/shipments/{order_id}/{step}") as answer:
                assert answer.status == 200, await answer.text()

        async def delivered() -> bool:
            async with session.get(f"/orders/{order_id}") as answer:
                order = await answer.json()
            async with session.get(f"/customers/{order['customer_id']}/360?from=read-model") as answer:
                known = {each["order_id"]: each["status"] for each in (await answer.json())["orders"]}
            return {order["status"], known.get(order_id)} == {"delivered"}

        await until(delivered)
