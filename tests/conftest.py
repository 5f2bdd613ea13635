"""Fixtures for tests against real servers.

Each kind of server is started once in a session, when the first test asks for it. Where it cannot be had the test is
left out and the end of the run says so; with REQUIRE_SERVERS=1 it fails instead.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql
from psycopg.conninfo import make_conninfo
from tests.mariadb import MariaDbDatabases
from tests.names import COLLECTED, name_of
from tests.order import spread

from freehold.runtime.adapters import open_stores
from freehold_shop.servers import (
    RunningServer,
    ServerUnavailable,
    start_mariadb,
    start_nats,
    start_pgbouncer,
    start_postgres,
)

_LEFT_OUT = "left out: "
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 6 * 2**30

# How long an example takes says how busy the machine is.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_configure() -> None:
    """Keep the files of tests and of their servers in memory where there is room, unless TMPDIR says where to put them.

    No test takes the power away, so none needs the disk; waiting for it was a third of the suite's time.
    """
    if "TMPDIR" not in os.environ and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES:
        os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Keep the names before any test is left out; order what is left for the processes of `--numprocesses`."""
    config.stash[COLLECTED] = frozenset(name_of(item) for item in items)
    yield
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        items[:] = spread(items, workers)


@pytest.fixture(scope="session")
def servers_directory() -> Iterator[Path]:
    """A directory that servers running as another user can enter; removed at the end of the session."""
    directory = Path(tempfile.mkdtemp(prefix="freehold-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(servers_directory: Path) -> Iterator[RunningServer]:
    """The session's PostgreSQL. Do not stop or kill it: that is what `disposable_postgres` is for."""
    yield from _running(start_postgres, servers_directory / "postgres")


@pytest.fixture(scope="session")
def mariadb_server(servers_directory: Path) -> Iterator[RunningServer]:
    """The session's MariaDB. Do not stop or kill it: that is what `disposable_mariadb` is for."""
    yield from _running(start_mariadb, servers_directory / "mariadb")


@pytest.fixture(scope="session")
def nats_server(servers_directory: Path) -> Iterator[RunningServer]:
    """The session's NATS with JetStream. Do not stop or kill it: that is what `disposable_nats` is for."""
    yield from _running(start_nats, servers_directory / "nats")


@pytest.fixture
def disposable_postgres(servers_directory: Path) -> Iterator[RunningServer]:
    """A PostgreSQL of the test's own, which it may kill, pause and start again."""
    yield from _running(start_postgres, servers_directory / f"postgres-{uuid4().hex[:8]}")


@pytest.fixture
def disposable_mariadb(servers_directory: Path) -> Iterator[RunningServer]:
    """A MariaDB of the test's own, which it may kill, pause and start again."""
    yield from _running(start_mariadb, servers_directory / f"mariadb-{uuid4().hex[:8]}")


@pytest.fixture
def disposable_nats(servers_directory: Path) -> Iterator[RunningServer]:
    """A NATS of the test's own, which it may kill, pause and start again."""
    yield from _running(start_nats, servers_directory / f"nats-{uuid4().hex[:8]}")


@pytest.fixture(scope="session")
def postgres_place(request: pytest.FixtureRequest) -> Iterator[tuple[str, Callable[[str], None]]]:
    """The URL of the server for tests' databases, and what drops one: that waits for the disk, and no test for it."""
    server_url = _running_elsewhere("FREEHOLD_TEST_POSTGRES") or request.getfixturevalue("postgres_server").url
    dropped: list[Future[None]] = []
    with ThreadPoolExecutor(1, "dropping") as dropping:
        yield server_url, lambda name: dropped.append(dropping.submit(_drop_database, server_url, name))
    for each in dropped:
        each.result()


@pytest.fixture(scope="session")
def upgraded_database(postgres_place: tuple[str, Callable[[str], None]]) -> str:
    """The name of a database with the library's tables, from which tests' databases are copied: a fifth of the time."""
    server_url, _ = postgres_place
    name = f"upgraded_{uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with ThreadPoolExecutor(1, "upgrading") as apart:  # a fixture that asks for this may run in a loop itself
        apart.submit(asyncio.run, _upgrade(_database_url(server_url, name))).result()
    return name


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest, postgres_place: tuple[str, Callable[[str], None]]) -> Iterator[str]:
    """The URL of a fresh database, as superuser; it is dropped after the test with all that hangs on it.

    The library's tables are there, as an upgrade leaves them, and belong to no service: what is done in it is the same
    as in an empty one, and quicker. Tests of upgrades, schemas and rights have the marker `empty_database`.
    """
    server_url, drop = postgres_place
    name = f"test_{uuid4().hex[:12]}"
    options: sql.Composable = sql.SQL("")
    if request.node.get_closest_marker("empty_database") is None:
        options = sql.SQL("TEMPLATE {}").format(sql.Identifier(request.getfixturevalue("upgraded_database")))
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), options))
    yield _database_url(server_url, name)
    drop(name)


@pytest.fixture(scope="session")
def mariadb_databases(request: pytest.FixtureRequest) -> Iterator[MariaDbDatabases]:
    """What gives each test on the session's MariaDB a database."""
    server_url = _running_elsewhere("FREEHOLD_TEST_MARIADB") or request.getfixturevalue("mariadb_server").url
    with MariaDbDatabases(server_url) as databases:
        yield databases


@pytest.fixture
def mariadb_url(request: pytest.FixtureRequest, mariadb_databases: MariaDbDatabases) -> Iterator[str]:
    """The URL of a MariaDB database that no other test uses at the same time, as superuser.

    The library's tables are there, without rows, and belong to no service; an empty database is for tests with the
    marker `empty_database`.
    """
    empty = request.node.get_closest_marker("empty_database") is not None
    url = mariadb_databases.take(empty=empty)
    yield url
    mariadb_databases.give_back(url)


@pytest.fixture(scope="session")
def pgbouncer_server(
    servers_directory: Path, postgres_place: tuple[str, Callable[[str], None]]
) -> Iterator[RunningServer]:
    """The session's PgBouncer in front of the server of `postgres_url`: transaction pooling, few connections."""
    yield from _running(lambda place: start_pgbouncer(place, postgres_place[0]), servers_directory / "pgbouncer")


@pytest.fixture
def pgbouncer_url(postgres_url: str, pgbouncer_server: RunningServer) -> str:
    """The database of `postgres_url` through PgBouncer, which pools transactions and knows no prepared statements."""
    return f"{pgbouncer_server.url.rpartition('/')[0]}/{postgres_url.rpartition('/')[2]}"


@pytest.fixture
def nats_url(request: pytest.FixtureRequest) -> str:
    """The URL of the session's NATS, shared by all tests: name what you make there after `nats_prefix`."""
    return _running_elsewhere("FREEHOLD_TEST_NATS") or str(request.getfixturevalue("nats_server").url)


@pytest.fixture
def nats_prefix() -> str:
    """A prefix for streams, subjects and consumers that no other test uses; letters and digits only."""
    return f"t{uuid4().hex[:12]}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was left out for want of a server."""
    left_out: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if _LEFT_OUT in reason:
            left_out.setdefault(reason.partition(_LEFT_OUT)[2], []).append(report.nodeid)
    if not left_out:
        return
    terminalreporter.section("LEFT OUT FOR WANT OF A SERVER", sep="!", red=True, bold=True)
    for reason, tests in left_out.items():
        terminalreporter.write_line(f"{len(tests)} tests: {reason}", red=True)
        for test in tests:
            terminalreporter.write_line(f"  {test}")


def _running_elsewhere(variable: str) -> str:
    """The URL of a server that `make servers` printed, for those who would rather not wait for one each time."""
    return os.environ.get(variable, "")


def _running(start: Callable[[Path], RunningServer], directory: Path) -> Iterator[RunningServer]:
    try:
        server = start(directory)
    except ServerUnavailable as error:
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail(f"REQUIRE_SERVERS=1, but {error}", pytrace=False)
        pytest.skip(_LEFT_OUT + str(error))
    yield server
    server.stop()
    shutil.rmtree(server.directory, ignore_errors=True)


def _database_url(server_url: str, name: str) -> str:
    return server_url.rpartition("/")[0] + f"/{name}"


async def _upgrade(url: str) -> None:
    database = open_stores(url).database
    await database.open()
    try:
        await database.upgrade()
    finally:
        await database.close()


def _drop_database(server_url: str, name: str) -> None:
    """Drop the database although prepared transactions, replication slots or open connections would forbid it."""
    with psycopg.connect(make_conninfo(server_url, dbname=name), autocommit=True) as inside:
        for (gid,) in inside.execute(
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
        ).fetchall():
            inside.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
    with psycopg.connect(server_url, autocommit=True) as outside:
        outside.execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = %s AND active", (name,)
        )
        outside.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s", (name,)
        )
        outside.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
