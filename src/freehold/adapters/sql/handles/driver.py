"""A wrapper around the driver's connection for user code in one transaction. Imports the database port, and its
siblings `control` and `guard`.

It raises after the transaction's end, refuses to end the transaction, and notes savepoints. The objects that its
methods return (cursors, prepared statements) are the driver's own: the connection is closed after such a transaction.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Sequence
from itertools import count
from types import TracebackType
from typing import Any, Final, Self

from freehold.adapters.sql.handles.control import Control
from freehold.adapters.sql.handles.guard import ENDS_ITSELF, Guard
from freehold.sql import SqlConnection

__all__ = ["DriverProxy"]

_REFUSED: Final = frozenset(
    {"commit", "rollback", "close", "terminate", "reset", "stop", "executescript", "__aenter__", "__aexit__"}
)
_OWN: Final = frozenset({"_driver", "_guard", "_sql"})
_numbers = count(1)


class DriverProxy:
    """The driver's connection behind the guard: it has the same attributes."""

    def __init__(self, driver: Any, guard: Guard, sql: SqlConnection) -> None:
        self._driver = driver
        self._guard = guard
        self._sql = sql

    @property
    def guard(self) -> Guard:
        """The guard of the transaction's statements."""
        return self._guard

    def __getattr__(self, name: str) -> Any:
        self._guard.life.check()
        found = getattr(self._driver, name)
        if name in _REFUSED:
            self._guard.life.refuse(f"{name} of the driver's connection was used", ENDS_ITSELF)
        if not callable(found) or name.startswith("_"):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            text = args[0] if args and isinstance(args[0], str) else ""
            controls = self._guard.before(text)
            result = found(*args, **kwargs)
            return self._noting(result, controls) if controls and inspect.isawaitable(result) else result

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            object.__setattr__(self, name, value)
            return
        self._guard.life.check()
        if name in {"isolation_level", "autocommit"}:
            self._guard.life.refuse(f"{name} of the driver's connection was set", ENDS_ITSELF)
        setattr(self._driver, name, value)

    def transaction(self, **options: Any) -> _Savepoint:
        """Asyncpg's nested transaction: a savepoint. Raises `TransactionMisused` for an isolation level."""
        if options:
            self._guard.life.refuse("transaction() was called with options", ENDS_ITSELF)
        return _Savepoint(self._sql)

    async def _noting(self, result: Awaitable[Any], found: Sequence[Control]) -> Any:
        awaited = await result
        self._guard.after(found)
        return awaited


class _Savepoint:
    """A savepoint with the methods of asyncpg's `Transaction`."""

    def __init__(self, sql: SqlConnection) -> None:
        self._sql = sql
        self._name = f"freehold_{next(_numbers)}"

    async def start(self) -> None:
        """Create the savepoint."""
        await self._sql.execute(f"SAVEPOINT {self._name}")

    async def commit(self) -> None:
        """Release the savepoint; the work since then stays."""
        await self._sql.execute(f"RELEASE SAVEPOINT {self._name}")

    async def rollback(self) -> None:
        """Roll back to the savepoint."""
        await self._sql.execute(f"ROLLBACK TO SAVEPOINT {self._name}")
        await self._sql.execute(f"RELEASE SAVEPOINT {self._name}")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await (self.commit() if kind is None else self.rollback())
