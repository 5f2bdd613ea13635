"""A database that is full, read-only, locked or closed to us: an outage with its reason, which heals by itself."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from tests.integration.sql.test_errors import OPTIONS, insert, opened

from freehold.errors import ConfigurationError, Unavailable
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL

pytestmark = pytest.mark.empty_database


@pytest.fixture
async def on_sqlite(tmp_path: Path) -> AsyncIterator[Stores]:
    stores = await opened(f"sqlite:///{tmp_path}/a.db")
    yield stores
    await stores.database.close()


async def _write(stores: Stores, email: str = "a@b") -> None:
    async with stores.database.begin() as db_tx:
        await insert(db_tx, email)


async def test_a_full_disk_on_sqlite(on_sqlite: Stores) -> None:
    async with on_sqlite.database.begin() as db_tx:
        pages = (await db_tx.native.execute(sa.text("PRAGMA page_count"))).scalar_one()
    with pytest.raises(Unavailable, match="the disk is full"):
        async with on_sqlite.database.begin() as db_tx:
            await db_tx.native.execute(sa.text(f"PRAGMA max_page_count = {pages}"))
            for number in range(1000):
                await insert(db_tx, f"{number:040}")


async def test_a_read_only_database_on_sqlite(on_sqlite: Stores) -> None:
    async with on_sqlite.database.begin() as db_tx:
        await db_tx.native.execute(sa.text("PRAGMA query_only = ON"))
    try:
        with pytest.raises(Unavailable, match="read-only"):
            await _write(on_sqlite)
    finally:
        async with on_sqlite[SQL].direct() as sql:
            await sql.fetch("PRAGMA query_only = OFF")
    await _write(on_sqlite)


async def test_a_locked_database_on_sqlite(on_sqlite: Stores, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="lock"):
            await _write(on_sqlite)
        with pytest.raises(Unavailable, match="locked by another process"):
            async with on_sqlite[SQL].direct() as sql:
                await sql.execute("INSERT INTO people (email) VALUES ('b@c')")
        other.execute("ROLLBACK")
    await _write(on_sqlite)


@asynccontextmanager
async def _admin(postgres_url: str, postgres_server: Any) -> AsyncIterator[tuple[asyncpg.Connection[Any], str]]:
    """A connection to another database of the server, and the name of the test's own."""
    name = postgres_url.rpartition("/")[2]
    connection = await asyncpg.connect(postgres_server.url)
    try:
        yield connection, name
    finally:
        await connection.close()


async def _end_sessions(admin: asyncpg.Connection[Any], name: str, stores: Stores | None = None) -> None:
    """End all sessions. A transaction that begins within a second of the last one notices it; later ones begin anew."""
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    if stores is not None:
        with contextlib.suppress(Unavailable):
            async with stores.database.begin():
                pass


@pytest.mark.servers
async def test_a_postgres_database_that_accepts_no_connections(postgres_url: str, postgres_server: Any) -> None:
    stores = await opened(postgres_url)
    async with _admin(postgres_url, postgres_server) as (admin, name):
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await _end_sessions(admin, name, stores)
        with pytest.raises(Unavailable, match="does not accept connections"):
            await _write(stores)
        with pytest.raises(Unavailable, match="does not accept connections"):
            await open_stores(postgres_url, OPTIONS).database.open()
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    await _write(stores)
    await stores.database.close()


@pytest.mark.servers
async def test_a_read_only_postgres_database(postgres_url: str, postgres_server: Any) -> None:
    stores = await opened(postgres_url)
    async with _admin(postgres_url, postgres_server) as (admin, name):
        await admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        await _end_sessions(admin, name, stores)
        with pytest.raises(Unavailable, match="the database is read-only"):
            await _write(stores)
        await admin.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        await _end_sessions(admin, name, stores)
    await _write(stores)
    await stores.database.close()


@pytest.mark.servers
async def test_a_postgres_role_that_loses_its_rights_and_gets_them_back(
    postgres_url: str, postgres_server: Any
) -> None:
    """A wrong password or a missing right is a mistake at the start, and an outage in a service that runs."""
    async with _admin(postgres_url, postgres_server) as (admin, name):
        role = f"role_{name[-8:]}"
        await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'first' SUPERUSER")
        url = str(sa.make_url(postgres_url).set(username=role, password="first").render_as_string(hide_password=False))
        try:
            stores = await opened(url)
            steps = [
                ("CONNECTION LIMIT 0 NOSUPERUSER", "CONNECTION LIMIT -1 SUPERUSER", "too many connections"),
                ("NOLOGIN", "LOGIN", "not permitted to connect"),
            ]
            for broken, healed, reason in steps:
                await admin.execute(f"ALTER ROLE {role} {broken}")
                await _end_sessions(admin, name, stores)
                with pytest.raises(Unavailable, match=reason):
                    await _write(stores, reason)
                await admin.execute(f"ALTER ROLE {role} {healed}")
                await _write(stores, reason)
            await stores.database.close()
            await admin.execute(f"ALTER ROLE {role} NOLOGIN")
            with pytest.raises(ConfigurationError):
                await open_stores(url, OPTIONS).database.open()
            await admin.execute(f"ALTER ROLE {role} LOGIN NOSUPERUSER")
            await admin.execute(f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC')
            with pytest.raises(Unavailable, match="may not connect"):
                await open_stores(url, OPTIONS).database.open()
        finally:
            await _end_sessions(admin, name)
            inside = await asyncpg.connect(postgres_url)
            await inside.execute(f"DROP OWNED BY {role} CASCADE")
            await inside.close()
            await admin.execute(f"DROP ROLE {role}")
