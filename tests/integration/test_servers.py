"""The starters of real servers: they come back after a crash with their data, and leave nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from urllib.parse import urlsplit

import asyncmy
import nats
import psutil
import psycopg
import pytest

from freehold_shop.servers import RunningServer, ServerUnavailable, start_nats

pytestmark = [pytest.mark.servers, pytest.mark.empty_database]


def test_postgres_is_set_up_for_what_the_guarantees_need(postgres_url: str) -> None:
    expected = {
        "fsync": "on",
        "synchronous_commit": "on",
        "wal_level": "logical",
        "max_prepared_transactions": "64",
        "listen_addresses": "127.0.0.1",
    }
    with psycopg.connect(postgres_url) as connection:
        found = {name: connection.execute(f"SHOW {name}").fetchone() for name in expected}
    assert found == {name: (value,) for name, value in expected.items()}


def test_postgres_lets_nobody_in_without_the_password(postgres_server: RunningServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://freehold:wrong@127.0.0.1:{postgres_server.port}/postgres")


def test_pgbouncer_lets_each_role_in_with_its_own_password(pgbouncer_url: str, postgres_url: str) -> None:
    role = f"clerk_{postgres_url.rpartition('_')[2]}"
    place = pgbouncer_url.rpartition("@")[2]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'right'".encode())
        try:
            with psycopg.connect(f"postgresql://{role}:right@{place}") as through:
                assert through.execute("SELECT current_user").fetchone() == (role,)
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(f"postgresql://{role}:wrong@{place}")
        finally:
            connection.execute(f"DROP ROLE {role}".encode())


def test_each_test_has_an_empty_database_of_its_own(postgres_url: str, postgres_server: RunningServer) -> None:
    assert postgres_url != postgres_server.url
    with psycopg.connect(postgres_url) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert tables == (0,)


def test_committed_rows_survive_a_killed_postgres(disposable_postgres: RunningServer) -> None:
    url, first_pid = disposable_postgres.url, disposable_postgres.pid
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    disposable_postgres.kill()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    disposable_postgres.start()
    assert (disposable_postgres.url, disposable_postgres.pid != first_pid) == (url, True)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


async def _ask_mariadb(url: str, *statements: str) -> list[tuple[object, ...]]:
    """The rows of the last statement; each commits by itself."""
    at = urlsplit(url)
    async with (
        asyncmy.connect(
            host=at.hostname, port=at.port, user=at.username, password=at.password, db=at.path[1:], autocommit=True
        ) as connection,
        connection.cursor() as cursor,
    ):
        for statement in statements:
            await cursor.execute(statement)
        return [tuple(row) for row in await cursor.fetchall()]


async def test_mariadb_is_set_up_for_what_the_guarantees_need(mariadb_url: str) -> None:
    asked = "innodb_flush_log_at_trx_commit, @@innodb_doublewrite, @@bind_address, @@global.time_zone"
    assert await _ask_mariadb(mariadb_url, f"SELECT @@{asked}") == [(1, 1, "127.0.0.1", "+00:00")]


async def test_mariadb_lets_nobody_in_without_the_password(mariadb_server: RunningServer) -> None:
    port = mariadb_server.port
    for user in ("freehold:wrong", "freehold:", "root:", "nobody:"):
        with pytest.raises(asyncmy.errors.OperationalError, match="Access denied"):
            await _ask_mariadb(f"mariadb://{user}@127.0.0.1:{port}/mysql", "SELECT 1")


async def test_committed_rows_survive_a_killed_mariadb(disposable_mariadb: RunningServer) -> None:
    url, first_pid = disposable_mariadb.url, disposable_mariadb.pid
    await _ask_mariadb(url, "CREATE TABLE kept AS SELECT 1 AS one")
    disposable_mariadb.kill()
    with pytest.raises(asyncmy.errors.OperationalError):
        await _ask_mariadb(url, "SELECT 1")
    disposable_mariadb.start()
    assert (disposable_mariadb.url, disposable_mariadb.pid != first_pid) == (url, True)
    assert await _ask_mariadb(url, "SELECT one FROM kept") == [(1,)]


async def test_acknowledged_messages_survive_a_killed_nats(disposable_nats: RunningServer) -> None:
    client = await nats.connect(disposable_nats.url)
    await client.jetstream().add_stream(name="kept", subjects=["kept"])
    await client.jetstream().publish("kept", b"one")
    await client.close()
    disposable_nats.kill()
    disposable_nats.start()
    client = await nats.connect(disposable_nats.url)
    found = await client.jetstream().stream_info("kept")
    await client.close()
    assert found.state.messages == 1


async def test_streams_of_a_server_without_accounts_become_those_of_their_owner(disposable_nats: RunningServer) -> None:
    """A shop that is upgraded to accounts goes on with its streams."""
    client = await nats.connect(disposable_nats.url)
    await client.jetstream().add_stream(name="kept", subjects=["kept"])
    await client.jetstream().publish("kept", b"one")
    await client.close()
    disposable_nats.stop()
    accounts = "accounts { OWNER { jetstream: enabled, users: [ { user: ada, password: x } ] } }\n"
    for _ in range(2):
        with start_nats(disposable_nats.directory, accounts=accounts, owner="OWNER", credentials="ada:x") as server:
            client = await nats.connect(server.url)
            found = await client.jetstream().stream_info("kept")
            await client.close()
            assert found.state.messages == 1


def test_a_second_server_on_the_same_data_is_refused(
    disposable_nats: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold_shop.servers.process.START_LIMIT_SECONDS", 0.2)
    with pytest.raises(ServerUnavailable, match="another server still runs"):
        start_nats(disposable_nats.directory)


def test_a_stop_is_clean_and_can_be_repeated(disposable_postgres: RunningServer) -> None:
    disposable_postgres.stop()
    disposable_postgres.stop()
    assert not disposable_postgres.running
    assert "database system is shut down" in (disposable_postgres.directory / "server.log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
@pytest.mark.parametrize("start", ["start_nats", "start_mariadb"])
def test_a_server_dies_with_the_process_that_started_it(
    request: pytest.FixtureRequest, tmp_path: Path, start: str
) -> None:
    request.getfixturevalue(f"{start.removeprefix('start_')}_server")  # left out where there is none
    program = textwrap.dedent(f"""
        from pathlib import Path
        from freehold_shop.servers import {start}
        print({start}(Path({str(tmp_path)!r})).pid, flush=True)
        input()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        server = psutil.Process(int(starter.stdout.readline()))
        starter.send_signal(signal.SIGKILL)
        starter.wait(timeout=10)
    _, alive = psutil.wait_procs([server], timeout=60)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
