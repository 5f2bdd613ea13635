"""The database in memory, for tests; it has real transactions. Adapter: imports the ports.

One transaction runs at a time; one that waits longer than the lock's time limit raises `Unavailable`. Databases of one
name in one process share their data as long as one of them exists, so that several instances of a service can be
tested. A database without a name shares nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from typing import Final, TypeVar
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from freehold.adapters.memory.network import BEGIN, COMMIT, DIRECT, READ, Network
from freehold.adapters.memory.state import MemoryData, MemoryStore, MemoryTransaction, Table
from freehold.clock import Clock, SystemClock
from freehold.database import (
    CheckResult,
    Database,
    DatabaseFeatures,
    DatabaseOptions,
    DatabaseTransaction,
    Defect,
    check_owner,
)
from freehold.errors import ConfigurationError, FreeholdError, Unavailable
from freehold.migrations import Migration

__all__ = ["FEATURES", "MemoryDatabase"]

K = TypeVar("K")
V = TypeVar("V")

FEATURES: Final = DatabaseFeatures(
    technology="memory",
    emulation=True,
    durable=False,
    concurrent_writers=False,
    several_processes=False,
    apart="give each service a name of its own (memory://name)",
)
_OWN_STEP: Final = "freehold/001-memory"
_named: WeakValueDictionary[str, MemoryData] = WeakValueDictionary()


class MemoryDatabase(Database):
    """One service's database in this process. `clock` gives the time for all its rows.

    network  what is between this client and the data; a simulation replaces it.
    """

    def __init__(
        self,
        url: str = "memory://",
        options: DatabaseOptions | None = None,
        migrations: Sequence[Migration] = (),
        clock: Clock | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "memory":
            raise ConfigurationError(f"'{parts.scheme}' is not a memory database", hint="write memory://name")
        if parts.query:
            raise ConfigurationError(
                "a memory database takes no parameters", hint="give each service a name of its own"
            )
        name = parts.netloc + parts.path
        self.clock: Clock = clock or SystemClock()
        self._data = _named.setdefault(name, MemoryData()) if name else MemoryData()
        self._options = options or DatabaseOptions()
        self._steps = (_OWN_STEP, *(f"service/{migration.name}" for migration in migrations))
        self._is_open = False
        self._in_progress: MemoryTransaction | None = None
        self.network: Network = DIRECT

    @property
    def features(self) -> DatabaseFeatures:
        """The features of the engine."""
        return FEATURES

    @property
    def partitions(self) -> int:
        """The number of partitions of the outbox; the first upgrade of this name has fixed it."""
        return self._data.partitions or self._options.partitions

    async def open(self) -> None:
        """Allow transactions."""
        self._is_open = True

    async def close(self) -> None:
        """Refuse new transactions; those in progress continue."""
        self._is_open = False

    def sever(self) -> None:
        """Roll back what is in progress, as a server does once a client's process has died: it will never run again."""
        if self._in_progress is not None:
            self._in_progress.roll_back()
        self._data.writer.abandon(self)

    async def ping(self, timeout_seconds: float) -> None:
        """Return at once where the database is open. Raises `ConfigurationError`."""
        await self._round_trip(READ)

    async def probe(self, timeout_seconds: float) -> None:
        """Return at once where the database is open: nothing else can prevent a commit. Raises `ConfigurationError`."""
        await self._round_trip(READ)

    def begin(self) -> AbstractAsyncContextManager[MemoryTransaction]:
        """Open a transaction; waits for the one in progress, at most for the lock's time limit."""
        return self._transaction(owned=True)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[MemoryStore]:
        """A user's own transaction, for `enlist`: commits at the end of the block, rolls back on an exception."""
        async with self._transaction(owned=False) as db_tx:
            yield db_tx.native

    def enlist(self, native: object) -> MemoryTransaction:
        """Enlist in a transaction that was opened with `session`. Raises `ConfigurationError`."""
        if not isinstance(native, MemoryStore) or native.db_tx.ended or not native.db_tx.belongs_to(self._data):
            raise ConfigurationError(
                f"a {type(native).__name__} is not an open transaction of this database",
                hint="enlist the `native` of `async with database.session() as native`, inside its block",
            )
        return native.db_tx

    def translate_error(self, error: BaseException) -> FreeholdError | None:
        """None: there is no driver, and all errors are typed already."""
        return None

    async def upgrade(self, service: str | None = None) -> list[str]:
        """Fix the number of partitions and the owner, and record the steps; there are no tables to create."""
        if service is not None:
            check_owner(FEATURES, self._data.owner, service)
            self._data.owner = service
        missing = await self.pending()
        self._data.migrations.extend(missing)
        self._data.partitions = self.partitions
        return missing

    async def owner(self) -> str | None:
        """The first service that upgraded a database of this name."""
        return self._data.owner

    async def mark(self, db_tx: DatabaseTransaction, service: str, *, instead_of: str) -> None:
        """Change the owner. Raises `ConfigurationError` where it is not `instead_of`."""
        if self._data.owner != instead_of:
            raise ConfigurationError(
                f"the database is not recorded as owned by '{instead_of}'",
                hint="freehold doctor shows which service owns it",
            )
        self._data.owner = service

    async def pending(self) -> list[str]:
        """The names of the steps that `upgrade` would record."""
        return [step for step in self._steps if step not in self._data.migrations]

    async def defects(self, *, closer: bool = True) -> list[Defect]:
        """None: there are no tables that could be missing."""
        return []

    async def repair(self) -> list[str]:
        """None: there is nothing to repair."""
        return []

    async def relations(self, names: Sequence[str]) -> dict[str, str]:
        """None: there are no tables and views."""
        return {}

    def script(self, service: str, port: str | None = None) -> str:
        """Raise `ConfigurationError`: there is no SQL."""
        raise ConfigurationError("a database in memory has no schema", hint="it is created with the process")

    async def grants(self, role: str, schema: str | None = None) -> list[str]:
        """Raise `ConfigurationError`: there are no roles."""
        raise ConfigurationError("a database in memory has no roles", hint="it belongs to this process alone")

    async def run_checks(self) -> list[CheckResult]:
        """One result, which says that the data ends with the process."""
        return [
            CheckResult(
                subject="memory database",
                ok=True,
                detail="data is in this process's memory, for tests; it is lost when the process ends",
            )
        ]

    async def read(self, table: Table[K, V]) -> Mapping[K, V]:
        """The committed rows of a table, as a view: use it before the next `await`. Raises `ConfigurationError`."""
        await self._round_trip(READ)
        return self._data.committed(table)

    def committed(self, table: Table[K, V]) -> Mapping[K, V]:
        """The committed rows of another table, as a view, in the same round trip as the `read` before it."""
        return self._data.committed(table)

    def now(self) -> datetime:
        """The database's time."""
        return self.clock.now()

    def later(self, seconds: float) -> datetime:
        """The database's time, so many seconds from now; negative for the past."""
        return self.clock.now() + timedelta(seconds=seconds)

    @asynccontextmanager
    async def _transaction(self, *, owned: bool) -> AsyncIterator[MemoryTransaction]:
        await self._round_trip(BEGIN)
        if not self._data.writer.take(self):
            await self._wait_for_turn()
        db_tx = self._in_progress = MemoryTransaction(self._data, owned=owned)
        try:
            yield db_tx
            await self.network.send(COMMIT)
            db_tx.commit()
            await self.network.answer(COMMIT)
        finally:
            db_tx.roll_back()
            self._data.writer.release(self)

    async def _wait_for_turn(self) -> None:
        try:
            async with asyncio.timeout(self._options.lock_timeout_seconds):
                await self._data.writer.acquire(self)
        except TimeoutError as error:
            raise Unavailable(
                f"the transaction in progress did not end within {self._options.lock_timeout_seconds} s",
                hint="open no transaction inside another one of the same database",
            ) from error

    async def _round_trip(self, request: str) -> None:
        """Let other tasks run, as a call of a server does: a polling loop must not block the whole process."""
        self._check_open()
        await self.network.send(request)

    def _check_open(self) -> None:
        if not self._is_open:
            raise ConfigurationError("the database is not open", hint="await database.open() first")
