"""The troubles of a service's MariaDB database that faults begin and end. Imports asyncmy.

Everything is done as the superuser, in a child process, which has an event loop. What lasts as long as a session is
held by a child, and ends with it. What outlives a session is named `shop_fault`, so that a later start finds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

from asyncmy.connection import Connection
from asyncmy.errors import MySQLError

from freehold import Unavailable
from freehold_shop.faults.fault import Trouble
from freehold_shop.supervisor.accounts import database_name
from freehold_shop.supervisor.child_task import ChildTask
from freehold_shop.supervisor.mariadb_accounts import connected

__all__ = ["MariaDbTroubles"]

_NAME: Final = "shop_fault"
_HELD: Final = b"+"
_LOCK_SECONDS: Final = 2
_PATIENCE_SECONDS: Final = 12.0
_LIMIT_SECONDS: Final = 60.0
_HELD_SECONDS: Final = 86_400.0
_BLOCKED: Final = frozenset({1205, 1213})
_TABLES: Final = """SELECT TABLE_NAME FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE' ORDER BY TABLE_NAME"""
_TRIGGERS: Final = """SELECT TRIGGER_NAME FROM information_schema.TRIGGERS
    WHERE TRIGGER_SCHEMA = DATABASE() AND TRIGGER_NAME LIKE 'shop\\_fault%' ORDER BY TRIGGER_NAME"""

Step = Callable[[str, str], Coroutine[Any, Any, None]]
Holding = Callable[[str, str, int], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class MariaDbTroubles:
    """Begins and ends troubles; ending can be repeated. A begin that raises `Unavailable` changes nothing."""

    admin_url: str = field(repr=False)
    log: Path
    _holders: dict[tuple[str, Trouble], ChildTask] = field(default_factory=dict)

    def begin(self, service: str, trouble: Trouble) -> None:
        """Begin a trouble."""
        what = f"the database of {service} does not become {trouble}"
        match trouble:
            case Trouble.FROZEN:
                raise AssertionError("it is of the server")
            case Trouble.DOWN:
                self._do(what, service, _lock_account)
            case Trouble.READ_ONLY:
                self._do(what, service, _begin_read_only)
            case Trouble.LOCKED:
                self._hold(what, service, trouble, _hold_tables)
            case Trouble.FULL:
                self._fill(what, service)

    def end(self, service: str, trouble: Trouble) -> None:
        """End a trouble."""
        what = f"the database of {service} stays {trouble}"
        match trouble:
            case Trouble.FROZEN:
                raise AssertionError("it is of the server")
            case Trouble.DOWN:
                self._do(what, service, _unlock_account)
            case Trouble.READ_ONLY:
                self._do(what, service, _end_read_only)
            case Trouble.LOCKED:
                self._release(service, trouble)
            case Trouble.FULL:
                self._release(service, trouble)
                self._do(what, service, _drop_triggers)

    def clear(self, service: str) -> None:
        """End all troubles, also those that a killed shop has left. Raises `Unavailable`."""
        for trouble in (Trouble.LOCKED, Trouble.DOWN, Trouble.READ_ONLY, Trouble.FULL):
            self.end(service, trouble)

    def end_sessions(self, service: str) -> None:
        """End all sessions of the service, once."""
        self._do(f"the sessions of {service} cannot be ended", service, _end_sessions)

    def _do(self, what: str, service: str, step: Step) -> None:
        name = database_name(service)
        ChildTask(what, lambda: _translated(what, step(self.admin_url, name)), self.log, _LIMIT_SECONDS).wait()

    def _fill(self, what: str, service: str) -> None:
        try:
            self._hold(what, service, Trouble.FULL, _hold_full)
        except Unavailable:
            self._do(what, service, _drop_triggers)
            raise

    def _hold(self, what: str, service: str, trouble: Trouble, holding: Holding) -> None:
        """Start a child that brings about a trouble, says so, and keeps it until it is killed."""
        if (service, trouble) in self._holders:
            return
        name, (ours, theirs) = database_name(service), os.pipe()
        work = partial(_translated_holding, what, holding, self.admin_url, name, theirs)
        child = ChildTask(what, work, self.log, _HELD_SECONDS)
        os.close(theirs)
        try:
            readable, _, _ = select.select([ours], [], [], _LIMIT_SECONDS)
            if not readable or os.read(ours, 1) != _HELD:
                self._fail(what, child)
        finally:
            os.close(ours)
        self._holders[service, trouble] = child

    def _fail(self, what: str, child: ChildTask) -> NoReturn:
        """Raise the child's reason, if it has ended with one."""
        child.poll()
        child.stop()
        raise Unavailable(f"{what} in {_LIMIT_SECONDS:g} s", hint="try again")

    def _release(self, service: str, trouble: Trouble) -> None:
        """Kill the child: the server releases what its session holds."""
        child = self._holders.pop((service, trouble), None)
        if child is not None:
            child.stop()


async def _lock_account(admin_url: str, name: str) -> None:
    async with connected(admin_url) as connection:
        await _run(connection, f"ALTER USER '{name}'@'%' ACCOUNT LOCK")
    await _end_sessions(admin_url, name)


async def _unlock_account(admin_url: str, name: str) -> None:
    async with connected(admin_url) as connection:
        await _run(connection, f"ALTER USER '{name}'@'%' ACCOUNT UNLOCK")


async def _end_sessions(admin_url: str, name: str) -> None:
    async with connected(admin_url) as connection:
        await _run(connection, f"KILL HARD CONNECTION USER '{name}'@'%'")


async def _begin_read_only(admin_url: str, _: str) -> None:
    async with connected(admin_url) as connection:
        await _run(connection, f"SET SESSION lock_wait_timeout = {_LOCK_SECONDS}")
        await _insist(connection, "SET GLOBAL read_only = ON")


async def _end_read_only(admin_url: str, _: str) -> None:
    async with connected(admin_url) as connection:
        await _run(connection, "SET GLOBAL read_only = OFF")


async def _hold_full(admin_url: str, name: str, ready: int) -> None:
    """Add triggers to every table. They do nothing until all are there, and then fail all at once: they look at a lock
    that is taken last.
    """
    async with _patient(admin_url, name) as connection:
        for table in await _column(connection, _TABLES):
            for event in ("INSERT", "UPDATE"):
                await _insist(connection, _trigger(name, table, event))
        # The lock of a session that has just been ended may be held a moment longer.
        if await _column(connection, f"SELECT GET_LOCK('{_NAME}/{name}', {_PATIENCE_SECONDS:.0f})") != ["1"]:
            raise Unavailable("another fault fills the database", hint="try again")
        await _stay(ready)


async def _drop_triggers(admin_url: str, name: str) -> None:
    """Remove the triggers, which do nothing any more; one on a locked table is removed by a later call."""
    async with _patient(admin_url, name) as connection:
        with contextlib.suppress(MySQLError):
            for trigger in await _column(connection, _TRIGGERS):
                await _insist(connection, f"DROP TRIGGER IF EXISTS `{trigger}`")


async def _hold_tables(admin_url: str, name: str, ready: int) -> None:
    """Lock every table, as an ALTER TABLE does that takes long."""
    async with _patient(admin_url, name) as connection:
        tables = ", ".join(f"`{table}` WRITE" for table in await _column(connection, _TABLES))
        await _insist(connection, f"LOCK TABLES {tables}")
        await _stay(ready)


async def _stay(ready: int) -> NoReturn:
    """Say that it is done, and keep the session until this process is killed."""
    os.write(ready, _HELD)
    while True:
        await asyncio.Event().wait()


def _trigger(name: str, table: str, event: str) -> str:
    known = f"{_NAME}_{event[0]}_{table}"[:64]
    signal = "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1021, MESSAGE_TEXT = 'Disk full'"
    return (
        f"CREATE OR REPLACE TRIGGER `{known}` BEFORE {event} ON `{table}` FOR EACH ROW"
        f" IF IS_USED_LOCK('{_NAME}/{name}') IS NOT NULL THEN {signal}; END IF"
    )


@contextlib.asynccontextmanager
async def _patient(admin_url: str, name: str) -> AsyncIterator[Connection]:
    """A session in the service's database that waits for tables a little at a time: others wait behind it."""
    async with connected(admin_url, name) as connection:
        await _run(connection, f"SET SESSION lock_wait_timeout = {_LOCK_SECONDS}")
        yield connection


async def _run(connection: Connection, statement: str) -> None:
    await connection.cursor().execute(statement)


async def _column(connection: Connection, query: str) -> Sequence[str]:
    cursor = connection.cursor()
    await cursor.execute(query)
    return [str(row[0]) for row in await cursor.fetchall()]


async def _insist(connection: Connection, statement: str) -> None:
    """Retry, up to a time limit, while other transactions lock the tables."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE_SECONDS
    while True:
        try:
            await _run(connection, statement)
        except MySQLError as error:
            if error.args[0] not in _BLOCKED or loop.time() > deadline:
                raise
        else:
            return


async def _translated(what: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except MySQLError as error:
        if error.args[0] in _BLOCKED:
            raise Unavailable(f"{what}: its tables are locked", hint="heal the fault that locks them first") from error
        raise Unavailable(f"{what}: MariaDB answers {error.args[0]}", hint="try again") from error
    except OSError as error:
        raise Unavailable(f"{what}: MariaDB does not answer", hint="try again") from error


async def _translated_holding(what: str, holding: Holding, admin_url: str, name: str, ready: int) -> None:
    await _translated(what, holding(admin_url, name, ready))
