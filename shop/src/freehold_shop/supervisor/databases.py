"""The troubles of a service's PostgreSQL database that faults begin and end. Imports psycopg.

Everything is done as the superuser. Objects that outlive a session are named `shop_fault`, so that a later start finds
them.
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
    """Begins and ends troubles; ending can be repeated. A begin that raises `Unavailable` changes nothing."""

    admin_url: str = field(repr=False)
    _lockers: dict[str, Connection] = field(default_factory=dict)

    def begin(self, service: str, trouble: Trouble) -> None:
        """Begin a trouble."""
        with _translated_errors(f"the database of {service} does not become {trouble}"):
            match trouble:
                case Trouble.FROZEN:
                    raise AssertionError("it is of the server")
                case Trouble.DOWN:
                    self._disconnect(service)
                case Trouble.READ_ONLY:
                    self._set_read_only(service, on=True)
                case Trouble.LOCKED:
                    self._lock(service)
                case Trouble.FULL:
                    self._fill(service)

    def end(self, service: str, trouble: Trouble) -> None:
        """End a trouble."""
        with _translated_errors(f"the database of {service} stays {trouble}"):
            match trouble:
                case Trouble.FROZEN:
                    raise AssertionError("it is of the server")
                case Trouble.DOWN:
                    self._allow_connections(service, allowed=True)
                case Trouble.READ_ONLY:
                    self._set_read_only(service, on=False)
                case Trouble.LOCKED:
                    self._unlock(service)
                case Trouble.FULL:
                    self._empty(service)

    def clear(self, service: str) -> None:
        """End all troubles, also those that a killed shop has left. Raises `Unavailable`."""
        for trouble in (Trouble.LOCKED, Trouble.DOWN, Trouble.READ_ONLY, Trouble.FULL):
            self.end(service, trouble)

    def _disconnect(self, service: str) -> None:
        self._allow_connections(service, allowed=False)
        self._end_sessions(service)

    def _allow_connections(self, service: str, *, allowed: bool) -> None:
        statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        with connect(self.admin_url) as admin:
            name = sql.Identifier(database_name(service))
            admin.execute(statement.format(name, sql.SQL("true" if allowed else "false")))

    def end_sessions(self, service: str) -> None:
        """End all sessions once, except those of faults."""
        with _translated_errors(f"the sessions of {service} cannot be ended"):
            self._end_sessions(service)

    def _end_sessions(self, service: str) -> None:
        with connect(self.admin_url) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND application_name <> %s AND backend_type = 'client backend'",
                (database_name(service), _NAME),
            )

    def _set_read_only(self, service: str, *, on: bool) -> None:
        """Change the default and end all sessions, since a session reads the default when it begins."""
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
        """Lock every table, as an ALTER TABLE does whose transaction stays open."""
        if service in self._lockers:
            return
        connection = self._connect(service)
        try:
            _retry(partial(_lock_tables, connection))
        except BaseException:
            connection.close()
            raise
        self._lockers[service] = connection

    def _unlock(self, service: str) -> None:
        connection = self._lockers.pop(service, None)
        if connection is not None:
            connection.close()

    def _fill(self, service: str) -> None:
        """Add a trigger to every table. They do nothing until all are there, and then fail all at once."""
        with contextlib.closing(self._connect(service)) as connection:
            try:
                connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(_NAME)))
                _define(connection, "")
                for schema, table in connection.execute(_TABLES).fetchall():
                    _retry(partial(_add_trigger, connection, sql.Identifier(str(schema), str(table))))
                _define(connection, _FULL)
            except BaseException:
                _remove_triggers(connection)
                raise

    def _empty(self, service: str) -> None:
        """Switch the triggers off, then remove them; one on a locked table is removed by a later call."""
        with contextlib.closing(self._connect(service)) as connection:
            if connection.execute("SELECT to_regnamespace(%s) IS NULL", (_NAME,)).fetchone() == (True,):
                return
            _define(connection, "")
            _remove_triggers(connection)

    def _connect(self, service: str) -> Connection:
        """A session in the service's database, also while it accepts no connections or is read-only."""
        name = database_name(service)
        with connect(self.admin_url) as admin:
            found = admin.execute("SELECT datallowconn FROM pg_database WHERE datname = %s", (name,)).fetchone()
            allowed = found == (True,)
            if not allowed:
                self._allow_connections(service, allowed=True)
            try:
                connection = connect(urlsplit(self.admin_url)._replace(path=f"/{name}").geturl(), _NAME)
            finally:
                if not allowed:
                    self._disconnect(service)
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
            _retry(partial(connection.execute, statement))
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(_NAME)))


def _lock_tables(connection: Connection) -> None:
    """Lock all tables in one transaction, which stays open; none where one of them cannot be locked."""
    connection.execute("BEGIN")
    try:
        for schema, table in connection.execute(_TABLES).fetchall():
            at = sql.Identifier(str(schema), str(table))
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(at))
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _retry(work: Callable[[], object]) -> None:
    """Retry, up to a time limit, while other transactions lock the tables or deadlock with us."""
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
def _translated_errors(what: str) -> Iterator[None]:
    try:
        yield
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        raise Unavailable(f"{what}: its tables are locked", hint="heal the fault that locks them first") from error
    except psycopg.Error as error:
        code = error.sqlstate or type(error).__name__
        raise Unavailable(f"{what}: PostgreSQL answers {code}", hint="try again") from error
