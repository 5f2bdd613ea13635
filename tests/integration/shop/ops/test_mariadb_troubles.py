"""What the faults of a database give on MariaDB, to the user of a service; and that nothing of them stays."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncmy
import pytest
from asyncmy.connection import Connection
from asyncmy.errors import MySQLError

from freehold_shop.faults.fault import Trouble
from freehold_shop.servers import RunningServer
from freehold_shop.supervisor.mariadb_accounts import create_accounts, service_urls
from freehold_shop.supervisor.mariadb_troubles import MariaDbTroubles

pytestmark = pytest.mark.servers
READ, WRITE, CHANGE = "SELECT count(*) FROM ware", "INSERT INTO ware VALUES ('a')", "DELETE FROM ware"
TRACES = """SELECT (SELECT count(*) FROM information_schema.TRIGGERS) + @@global.read_only
    + (SELECT count(*) FROM mysql.global_priv WHERE JSON_VALUE(Priv, '$.account_locked'))"""
ANSWERS: list[tuple[Trouble, dict[str, int | None]]] = [
    (Trouble.DOWN, {READ: 4151, WRITE: 4151}),
    (Trouble.READ_ONLY, {READ: None, WRITE: 1290, CHANGE: 1290}),
    (Trouble.LOCKED, {READ: 1205, WRITE: 1205}),
    (Trouble.FULL, {READ: None, WRITE: 1021, "UPDATE ware SET name = 'b'": 1021}),
]


class Database:
    """The database of orders, with a table that has a row."""

    def __init__(self, admin_url: str, directory: Path) -> None:
        self.admin_url = admin_url
        urls = service_urls(admin_url, ["orders", "users"], directory / "passwords.json")
        asyncio.run(create_accounts(admin_url, urls))
        self.url, self.log = urls["orders"], directory / "faults.log"
        assert self.error("CREATE TABLE ware (name VARCHAR(20))") is None
        assert self.error(WRITE) is None

    def error(self, statement: str) -> int | None:
        """The number of the error of a statement in a new session of the service; None where it succeeds."""
        try:
            asyncio.run(_rows(self.url, statement))
        except MySQLError as error:
            return int(error.args[0])
        return None

    def traces(self) -> object:
        """How much of a fault is left on the server."""
        return asyncio.run(_rows(self.admin_url, TRACES))[0][0]


async def _connected(url: str) -> Connection:
    at = urlsplit(url)
    return await asyncmy.connect(
        host=at.hostname, port=at.port, user=at.username, password=at.password, db=at.path[1:], autocommit=True
    )


async def _rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(await _connected(url)) as connection:
        cursor = connection.cursor()
        await cursor.execute("SET SESSION lock_wait_timeout = 1")
        await cursor.execute(statement)
        return list(await cursor.fetchall())


def test_each_trouble_answers_with_its_number_and_leaves_nothing(
    disposable_mariadb: RunningServer, tmp_path: Path
) -> None:
    database = Database(disposable_mariadb.url, tmp_path)
    troubles = MariaDbTroubles(disposable_mariadb.url, database.log)
    for trouble, answers in ANSWERS:
        for _ in range(2):
            troubles.begin("orders", trouble)
        assert {statement: database.error(statement) for statement in answers} == answers, trouble
        for _ in range(2):
            troubles.end("orders", trouble)
        assert {database.error(statement) for statement in (READ, WRITE, CHANGE, WRITE)} == {None}, trouble
        assert database.traces() == 0, trouble


def test_all_at_once_are_cleared_by_whoever_comes_next(disposable_mariadb: RunningServer, tmp_path: Path) -> None:
    database = Database(disposable_mariadb.url, tmp_path)
    troubles = MariaDbTroubles(disposable_mariadb.url, database.log)
    for trouble in (Trouble.FULL, Trouble.READ_ONLY, Trouble.DOWN, Trouble.LOCKED):
        troubles.begin("orders", trouble)
    assert database.traces() != 0
    troubles.end("orders", Trouble.LOCKED)
    MariaDbTroubles(disposable_mariadb.url, database.log).clear("orders")
    assert database.traces() == 0
    # The holder of the lock that the triggers looked at is still there, and has no effect.
    assert {database.error(statement) for statement in (READ, WRITE, CHANGE)} == {None}
    troubles.clear("orders")


def test_sessions_are_ended_in_the_middle_of_a_transaction(disposable_mariadb: RunningServer, tmp_path: Path) -> None:
    database = Database(disposable_mariadb.url, tmp_path)
    troubles = MariaDbTroubles(disposable_mariadb.url, database.log)

    async def insert() -> int:
        with contextlib.closing(await _connected(database.url)) as connection:
            await connection.begin()
            await connection.cursor().execute(WRITE)
            troubles.end_sessions("orders")
            with pytest.raises((MySQLError, OSError, EOFError)):
                await connection.commit()
        return int((await _rows(database.url, READ))[0][0])

    with asyncio.Runner() as runner:
        assert runner.run(insert()) == 1
