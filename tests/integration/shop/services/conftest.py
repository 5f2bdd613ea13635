"""A service of the shop on a real database, without its loops: handlers are called as the consumer calls them."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from tests.mariadb import MariaDbDatabases

from freehold.runtime import RunningService
from freehold.settings import Settings
from freehold_shop.assembly import SERVICES, run_service

Opener = Callable[[str], AbstractAsyncContextManager[RunningService]]


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.servers),
        pytest.param("mariadb", marks=pytest.mark.servers),
    ]
)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens a service on an empty database of each engine."""

    @asynccontextmanager
    async def open_service(name: str) -> AsyncIterator[RunningService]:
        fixtures = {"postgresql": "postgres_url", "mariadb": "mariadb_url"}
        fixture = fixtures.get(request.param)
        url = request.getfixturevalue(fixture) if fixture else f"sqlite:///{tmp_path}/s.db"
        settings = Settings.load(name, environ={}, database=url, broker="memory://services")
        running = run_service(name, settings)
        running.roles = ()
        async with running:
            yield running

    return open_service


@pytest.fixture
def postgres_databases(postgres_url: str) -> Iterator[Mapping[str, str]]:
    """An empty database for each service."""
    server, _, base = postgres_url.rpartition("/")
    names = {name: f"{base}_{name}" for name in SERVICES}
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for database in names.values():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        yield {name: f"{server}/{database}" for name, database in names.items()}
        for database in names.values():
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))


@pytest.fixture
def databases_on_mariadb(mariadb_databases: MariaDbDatabases) -> Iterator[Mapping[str, str]]:
    """A database with the library's tables for each service."""
    urls = {name: mariadb_databases.take(empty=False) for name in SERVICES}
    yield urls
    for url in urls.values():
        mariadb_databases.give_back(url)
