"""PostgreSQL's own array types, which a connection knows without asking the server."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from freehold.adapters.postgres.builtin_types import ARRAYS, TypedConnection
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL

pytestmark = pytest.mark.servers
_DAY = dt.date(2030, 1, 31)
_VALUES: dict[str, list[Any]] = {
    "bool": [True, None],
    "bytea": [b"\x00\xff"],
    "int2": [-1],
    "int4": [2**31 - 1],
    "varchar": ["a,b", '"', None],
    "int8": [-(2**63)],
    "float4": [0.5],
    "float8": [1e300],
    "timestamp": [dt.datetime(2030, 1, 31, 12)],  # noqa: DTZ001 - the type has no time zone
    "date": [_DAY],
    "timestamptz": [dt.datetime(2030, 1, 31, 12, tzinfo=dt.UTC)],
    "numeric": [Decimal("1.10")],
    "json": ['{"a": 1}'],
    "uuid": [uuid.UUID(int=7)],
    "jsonb": ['{"a": 1}'],
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The types that the driver has asked the server for."""
    noted: list[int] = []
    driver: Any = asyncpg.Connection
    ask = driver._introspect_types

    async def noting(self: Any, typeoids: Collection[int], *rest: Any) -> Any:
        noted.extend(typeoids)
        return await ask(self, typeoids, *rest)

    monkeypatch.setattr(driver, "_introspect_types", noting)
    return noted


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url, connection_class=TypedConnection)
    try:
        yield connection
    finally:
        await connection.close()


async def test_the_identifiers_are_those_of_the_server(postgres_url: str) -> None:
    async with _connected(postgres_url) as connection:
        rows = await connection.fetch(
            "SELECT a.oid::bigint, e.typname::text, e.oid::bigint FROM pg_type a JOIN pg_type e ON e.oid = a.typelem"
            " WHERE a.typcategory = 'A' AND a.typdelim = ',' AND a.typnamespace = 'pg_catalog'::regnamespace"
        )
        found = {oid: (name, element) for oid, name, element in rows}
    assert {oid: found[oid] for oid in ARRAYS} == dict(ARRAYS)
    assert sorted(_VALUES) == sorted(name for name, _ in ARRAYS.values())


@pytest.mark.parametrize("name", _VALUES)
async def test_a_value_comes_back_and_the_server_is_not_asked(postgres_url: str, asked: list[int], name: str) -> None:
    async with _connected(postgres_url) as connection:
        assert await connection.fetchval(f"SELECT $1::{name}[]", _VALUES[name]) == _VALUES[name]
        assert await connection.fetchval(f"SELECT $1::{name}[]", [_VALUES[name], _VALUES[name]]) == [_VALUES[name]] * 2
    assert asked == []


async def test_another_type_is_asked_for(postgres_url: str, asked: list[int]) -> None:
    async with _connected(postgres_url) as connection:
        await connection.execute("CREATE TYPE mood AS ENUM ('glad', 'sad')")
        row = await connection.fetchrow("SELECT $1::mood[], $2::int8[]", ["sad"], [3])
        assert (*row,) == (["sad"], [3])
    assert len(asked) == 2


async def test_the_connections_of_a_service_know_them(postgres_url: str, asked: list[int]) -> None:
    stores = open_stores(postgres_url)
    await stores.database.open()
    try:
        async with stores[SQL].direct() as sql:
            assert (await sql.fetch("SELECT $1::uuid[], $2::bigint[]", ([uuid.UUID(int=1)], [2])))[0][1] == [2]
    finally:
        await stores.database.close()
    assert asked == []
