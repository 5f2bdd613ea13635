"""Where the suites of a database's stores run: mix one of these into a test class, before the suite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from freehold.conformance.harness import StoresHarness
from freehold.sql import SQL


class OnMemory:
    @pytest.fixture
    async def harness(self) -> AsyncIterator[StoresHarness]:
        async with StoresHarness.on(f"memory://{uuid4().hex}") as harness:
            yield harness


class OnSqlite:
    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[StoresHarness]:
        async with StoresHarness.on(f"sqlite:///{tmp_path}/service.db") as harness:
            yield harness


@pytest.mark.servers
class OnPostgres:
    @pytest.fixture
    async def harness(self, postgres_url: str) -> AsyncIterator[StoresHarness]:
        async with StoresHarness.on(postgres_url) as harness:
            yield harness


@pytest.mark.servers
class OnMariaDb:
    @pytest.fixture
    async def harness(self, mariadb_url: str) -> AsyncIterator[StoresHarness]:
        async with StoresHarness.on(mariadb_url) as harness:
            yield harness


@pytest.mark.servers
class OnMariaDbByBytes:
    """MariaDB, whose default is to take `b` and `B` for one key, with a database that compares users' keys by bytes."""

    @pytest.fixture
    async def harness(self, mariadb_url: str) -> AsyncIterator[StoresHarness]:
        async with StoresHarness.on(mariadb_url) as harness:
            async with harness.first[SQL].direct() as sql:
                await sql.execute("ALTER DATABASE CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin")
            yield harness


@pytest.mark.servers
class OnPgbouncer:
    """PostgreSQL behind a proxy that pools transactions and knows no prepared statements."""

    @pytest.fixture
    async def harness(self, pgbouncer_url: str) -> AsyncIterator[StoresHarness]:
        async with StoresHarness.on(f"{pgbouncer_url}?statement_cache_size=0") as harness:
            yield harness


@pytest.mark.servers
@pytest.mark.empty_database
class OnPostgresSchema:
    """PostgreSQL with Freehold's tables in a schema of their own."""

    @pytest.fixture
    async def harness(self, postgres_url: str) -> AsyncIterator[StoresHarness]:
        async with StoresHarness.on(f"{postgres_url}?schema=orders_1") as harness:
            yield harness
