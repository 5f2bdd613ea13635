"""What can be wrong with a service's PostgreSQL database on purpose, and how it is taken back. Imports psycopg.

Everything is done as the superuser. What outlives a session is named `shop_fault`, so that a later start finds it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final, LiteralString
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from freehold import Unavailable
from freehold_shop.faults.fault import Trouble
from freehold_shop.supervisor.accounts import connect, database_name

__all__ = ["DatabaseTroubles"]

_NAME: Final = "shop_fault"
_LOCK_SECONDS = 2
_PATIENCE_SECONDS = 12.0
_TABLES = """SELECT schemaname, tablename FROM pg_tables
    WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'shop_fault') ORDER BY 1, 2"""
_FULL: Final = "RAISE EXCEPTION 'could not extend file: no space left on device' USING ERRCODE = 'disk_full';"
_TRIGGERS = """SELECT n.nspname, c.relname FROM pg_trigger AS t
    JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE t.tgname = 'shop_fault' ORDER BY 1, 2"""

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(slots=True)
class DatabaseTroubles:
    """Begins and ends troubles; ending can be repeated. Both raise `Unavailable`, and nothing is begun then."""

    admin_url: str = field(repr=False)
    _lockers: dict[str, Connection] = field(default_factory=dict)

    def begin(self, service: str, trouble: Trouble) -> None:
        """Begin one."""
        with _said(f"the database of {service} does not become {trouble}"):
            match trouble:
                case Trouble.DOWN:
                    self._close_door(service)
                case Trouble.READ_ONLY:
                    self._set_read_only(service, on=True)
                case Trouble.LOCKED:
                    self._lock(service)
                case Trouble.FULL:
                    self._fill(service)

    def end(self, service: str, trouble: Trouble) -> None:
        """End one."""
        with _said(f"the database of {service} stays {trouble}"):
            match trouble:
                case Trouble.DOWN:
                    self._set_door(service, is_open=True)
                case Trouble.READ_ONLY:
                    self._set_read_only(service, on=False)
                case Trouble.LOCKED:
                    self._unlock(service)
                case Trouble.FULL:
                    self._empty(service)

    def clear(self, service: str) -> None:
        """End all that there may be, also what a shop left behind that was killed. Raises `Unavailable`."""
        for trouble in (Trouble.LOCKED, Trouble.DOWN, Trouble.READ_ONLY, Trouble.FULL):
            self.end(service, trouble)

    def _close_door(self, service: str) -> None:
        self._set_door(service, is_open=False)
        self._end_sessions(service)

    def _set_door(self, service: str, *, is_open: bool) -> None:
        statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        with connect(self.admin_url) as admin:
            name = sql.Identifier(database_name(service))
            admin.execute(statement.format(name, sql.SQL("true" if is_open else "false")))

    def _end_sessions(self, service: str) -> None:
        """All but those that are part of a fault."""
        with connect(self.admin_url) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND application_name <> %s AND backend_type = 'client backend'",
                (database_name(service), _NAME),
            )

    def _set_read_only(self, service: str, *, on: bool) -> None:
        """Sessions take the setting when they begin: those that are there end."""
        what = "SET default_transaction_read_only = on" if on else "RESET default_transaction_read_only"
        with connect(self.admin_url) as admin:
            changed = self._is_read_only(admin, service) is not on
            name = sql.Identifier(database_name(service))
            admin.execute(sql.SQL("ALTER DATABASE {} {}").format(name, sql.SQL(what)))
        if changed:
            self._end_sessions(service)

    def _is_read_only(self, admin: Connection, service: str) -> bool:
        found = admin.execute(
            "SELECT 1 FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = s.setdatabase"
            " WHERE d.datname = %s AND s.setrole = 0 AND 'default_transaction_read_only=on' = ANY (s.setconfig)",
            (database_name(service),),
        )
        return found.fetchone() is not None

    def _lock(self, service: str) -> None:
        """As an ALTER TABLE of every table, whose transaction stays open."""
        if service in self._lockers:
            return
        connection = self._connect(service)
        try:
            _again(partial(_lock_tables, connection))
        except BaseException:
            connection.close()
            raise
        self._lockers[service] = connection

    def _unlock(self, service: str) -> None:
        connection = self._lockers.pop(service, None)
        if connection is not None:
            connection.close()

    def _fill(self, service: str) -> None:
        """The triggers do nothing at first: none of them fails before all of them do."""
        with contextlib.closing(self._connect(service)) as connection:
            try:
                connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(_NAME)))
                _define(connection, "")
                for schema, table in connection.execute(_TABLES).fetchall():
                    _again(partial(_add_trigger, connection, sql.Identifier(str(schema), str(table))))
                _define(connection, _FULL)
            except BaseException:
                _remove_triggers(connection)
                raise

    def _empty(self, service: str) -> None:
        """The triggers do nothing from the first statement on; where a lock keeps one there, a later end removes it."""
        with contextlib.closing(self._connect(service)) as connection:
            if connection.execute("SELECT to_regnamespace(%s) IS NULL", (_NAME,)).fetchone() == (True,):
                return
            _define(connection, "")
            _remove_triggers(connection)

    def _connect(self, service: str) -> Connection:
        """A session in the service's database, also while that is closed to everybody or read-only."""
        name = database_name(service)
        with connect(self.admin_url) as admin:
            found = admin.execute("SELECT datallowconn FROM pg_database WHERE datname = %s", (name,)).fetchone()
            is_open = found == (True,)
            if not is_open:
                self._set_door(service, is_open=True)
            try:
                connection = connect(urlsplit(self.admin_url)._replace(path=f"/{name}").geturl(), _NAME)
            finally:
                if not is_open:
                    self._close_door(service)
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"SET lock_timeout = '{_LOCK_SECONDS}s'")
        return connection


def _define(connection: Connection, body: LiteralString) -> None:
    connection.execute(
        f"CREATE OR REPLACE FUNCTION shop_fault.disk_is_full() RETURNS trigger LANGUAGE plpgsql"
        f" AS $$ BEGIN {body} RETURN NULL; END $$"
    )


def _add_trigger(connection: Connection, table: sql.Identifier) -> None:
    with connection.transaction():
        connection.execute(sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(sql.Identifier(_NAME), table))
        connection.execute(
            sql.SQL(
                "CREATE TRIGGER {} BEFORE INSERT OR UPDATE OR DELETE ON {}"
                " FOR EACH STATEMENT EXECUTE FUNCTION {}.disk_is_full()"
            ).format(sql.Identifier(_NAME), table, sql.Identifier(_NAME))
        )


def _remove_triggers(connection: Connection) -> None:
    drop = sql.SQL("DROP TRIGGER IF EXISTS {} ON {}")
    with contextlib.suppress(psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
        for schema, table in connection.execute(_TRIGGERS).fetchall():
            statement = drop.format(sql.Identifier(_NAME), sql.Identifier(str(schema), str(table)))
            _again(partial(connection.execute, statement))
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(_NAME)))


def _lock_tables(connection: Connection) -> None:
    """All of them in one transaction, which stays open; none where one of them cannot be had."""
    connection.execute("BEGIN")
    try:
        for schema, table in connection.execute(_TABLES).fetchall():
            at = sql.Identifier(str(schema), str(table))
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(at))
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _again(work: Callable[[], object]) -> None:
    """Try again for as long as others hold the tables, or end us in a deadlock."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            work()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if time.monotonic() > deadline:
                raise
        else:
            return


@contextlib.contextmanager
def _said(what: str) -> Iterator[None]:
    try:
        yield
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        raise Unavailable(f"{what}: others lock its tables", hint="heal what locks them first") from error
    except psycopg.Error as error:
        code = error.sqlstate or type(error).__name__
        raise Unavailable(f"{what}: PostgreSQL refuses it now ({code})", hint="try again") from error
