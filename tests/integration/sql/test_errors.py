"""What errors become: typed, with a cause, and without values in the text."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa

from freehold.database import DatabaseOptions
from freehold.errors import (
    ConcurrencyConflict,
    ConfigurationError,
    DatabaseError,
    FreeholdError,
    OperationTimeout,
    Unavailable,
)
from freehold.migrations import Migration
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold_shop.servers import RunningServer

SECRET = "ada@example.org"
PEOPLE = Migration("001-people", {"": ["CREATE TABLE people (email varchar(40) NOT NULL PRIMARY KEY, n integer)"]})
OPTIONS = DatabaseOptions(
    pool_size=3, lock_timeout_seconds=0.3, statement_timeout_seconds=1.0, connect_timeout_seconds=20.0
)


async def opened(url: str, options: DatabaseOptions = OPTIONS) -> Stores:
    stores = open_stores(url, options, [PEOPLE])
    await stores.database.open()
    await stores.database.upgrade()
    return stores


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    url = f"sqlite:///{tmp_path}/a.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    stores = await opened(url)
    yield stores
    await stores.database.close()


@pytest.fixture
async def on_postgres(postgres_url: str) -> AsyncIterator[Stores]:
    stores = await opened(postgres_url)
    yield stores
    await stores.database.close()


async def insert(db_tx: Any, email: str = SECRET) -> None:
    await db_tx.native.execute(sa.text("INSERT INTO people (email) VALUES (:email)"), {"email": email})


async def test_a_unique_violation_names_the_place_and_no_value(stores: Stores) -> None:
    async with stores.database.begin() as db_tx:
        await insert(db_tx)
    with pytest.raises(DatabaseError) as caught:
        async with stores.database.begin() as db_tx:
            await insert(db_tx)
    assert SECRET not in str(caught.value)
    assert "people" in str(caught.value)
    assert caught.value.__cause__ is not None


async def test_no_statement_of_the_user_puts_values_into_the_text(stores: Stores) -> None:
    for statement in (
        f"SELECT '{SECRET}' FROM nowhere",
        f"SELECT FROM '{SECRET}'",
        f"INSERT INTO people (email) VALUES (NULLIF('{SECRET}', '{SECRET}'))",
    ):
        with pytest.raises(DatabaseError) as caught:
            async with stores.database.begin() as db_tx:
                await db_tx.native.execute(sa.text(statement))
        assert SECRET not in str(caught.value)


async def test_a_nested_transaction_is_the_users_to_roll_back(stores: Stores) -> None:
    async with stores.database.begin() as db_tx:
        await insert(db_tx)
        with pytest.raises(sa.exc.IntegrityError):
            async with db_tx.native.begin_nested():
                await insert(db_tx)
        await insert(db_tx, "second")
    with pytest.raises(DatabaseError):
        async with stores.database.begin() as db_tx:
            await insert(db_tx, "second")


async def test_an_error_that_was_swallowed_does_not_pass_for_a_commit(on_postgres: Stores) -> None:
    async with on_postgres.database.begin() as db_tx:
        await insert(db_tx)
    with pytest.raises(DatabaseError, match="rolled back"):
        async with on_postgres.database.begin() as db_tx:
            await insert(db_tx, "lost")
            with pytest.raises(sa.exc.IntegrityError):
                await insert(db_tx)


async def test_time_limits_of_the_server(on_postgres: Stores) -> None:
    with pytest.raises(OperationTimeout):
        async with on_postgres.database.begin() as db_tx:
            await db_tx.native.execute(sa.text("SELECT pg_sleep(30)"))
    async with on_postgres.database.begin() as holder:
        await insert(holder)
        with pytest.raises(ConcurrencyConflict, match="lock"):
            async with on_postgres.database.begin() as db_tx:
                await insert(db_tx)


async def test_a_deadlock_is_a_conflict(postgres_url: str) -> None:
    stores = await opened(postgres_url, replace(OPTIONS, lock_timeout_seconds=10, statement_timeout_seconds=20))
    async with stores.database.begin() as db_tx:
        await insert(db_tx, "a")
        await insert(db_tx, "b")
    both = asyncio.Barrier(2)

    async def touch(first: str, second: str) -> FreeholdError | None:
        update = sa.text("UPDATE people SET n = 1 WHERE email = :email")
        try:
            async with stores.database.begin() as db_tx:
                await db_tx.native.execute(update, {"email": first})
                await both.wait()
                await db_tx.native.execute(update, {"email": second})
        except FreeholdError as error:
            return error
        return None

    outcomes = await asyncio.gather(touch("a", "b"), touch("b", "a"))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConcurrencyConflict", "NoneType"]
    await stores.database.close()


async def test_drivers_errors_of_enlisted_connections_are_diagnosed(on_postgres: Stores, postgres_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        with pytest.raises(psycopg.Error) as by_psycopg:
            await connection.execute("INSERT INTO people VALUES (%s), (%s)", (SECRET, SECRET))
    raw = await asyncpg.connect(postgres_url)
    with pytest.raises(asyncpg.PostgresError) as by_asyncpg:
        await raw.execute("INSERT INTO people VALUES ($1), ($1)", SECRET)
    await raw.close()
    with pytest.raises(asyncpg.InterfaceError) as closed:
        await raw.execute("SELECT 1")
    for error in (by_psycopg.value, by_asyncpg.value):
        known = on_postgres.database.translate_error(error)
        assert isinstance(known, DatabaseError)
        assert "people_pkey" in str(known)
        assert SECRET not in str(known)
    assert isinstance(on_postgres.database.translate_error(closed.value), Unavailable)


async def test_a_pool_whose_connections_died_heals_by_itself(on_postgres: Stores, postgres_url: str) -> None:
    async with on_postgres.database.begin(), on_postgres.database.begin(), on_postgres.database.begin():
        pass
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin:
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    # BEGIN goes with the first statement of a connection that has just been used; the others are doubted after it.
    with contextlib.suppress(Unavailable):
        async with on_postgres.database.begin():
            pass
    async with on_postgres.database.begin() as db_tx:
        await insert(db_tx)


async def test_an_idle_pool_whose_connections_died_fails_no_transaction(
    on_postgres: Stores, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BEGIN is a round trip of its own there, and is tried on the next connection."""
    monkeypatch.setattr("freehold.adapters.postgres.connection._ALIVE_SECONDS", 0.0)
    async with on_postgres.database.begin(), on_postgres.database.begin(), on_postgres.database.begin():
        pass
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin:
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    async with on_postgres.database.begin() as db_tx:
        await insert(db_tx)


async def test_a_connection_that_dies_in_the_block_is_unavailable(on_postgres: Stores, postgres_url: str) -> None:
    with pytest.raises(Unavailable):
        async with on_postgres.database.begin() as db_tx:
            await insert(db_tx)
            pid = (await db_tx.native.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one()
            async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin:
                await admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
            await insert(db_tx, "second")
    async with on_postgres.database.begin() as db_tx:
        await insert(db_tx)


async def test_a_server_that_stops_and_comes_back(disposable_postgres: RunningServer) -> None:
    stores = await opened(disposable_postgres.url)
    disposable_postgres.kill()
    with pytest.raises(Unavailable):
        async with stores.database.begin():
            pass
    with pytest.raises(Unavailable):
        await stores.database.ping(3)
    with pytest.raises(Unavailable):
        await stores[OUTBOX].stats()
    await stores.database.close()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////nowhere/at/all.db",
        "sqlite:///a.db?mode=ro",
        "sqlite:///a.db?schema=orders",
        "memory://orders?schema=orders",
        "sqlite:///a.db?synchronous=off",
        "postgresql://host",
        "postgresql://host/db?options=x",
        "postgresql://host/db?statement_cache_size=many",
    ],
)
async def test_urls_that_cannot_be_meant(url: str) -> None:
    with pytest.raises(ConfigurationError):
        await open_stores(url).database.open()


async def test_a_wrong_password_and_a_missing_database_are_configuration(postgres_url: str) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        await open_stores(postgres_url + "_missing").database.open()


async def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await open_stores("postgresql://user:pw@127.0.0.1:9/db").database.open()
