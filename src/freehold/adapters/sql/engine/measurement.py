"""Times the statements of a connection. Imports SQLAlchemy, the database port, and its sibling `pool`.

Freehold's statements go to the connection of the pool, past SQLAlchemy; those of a user's session or connection are
reported by SQLAlchemy's events. So each statement is measured once.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from freehold.adapters.sql.engine.pool import ConnectionPool, PooledConnection
from freehold.database import StatementMeter

__all__ = ["MeasuredEngine"]

_OF_STATEMENTS: Final = ("execute", "fetch", "execute_many")
_ENDS: Final = ("commit", "commit_after")
_COMMIT: Final = "COMMIT"
_STATEMENT: Final = 2
_CONTEXT: Final = 4
"""The place of an argument in SQLAlchemy's events of a cursor."""
_BEGUN: Final = "freehold_begun"


class MeasuredEngine:
    """The part of a database that `freehold.database.Measured` names. Without a meter it costs nothing."""

    _meter: StatementMeter | None = None
    _pool: ConnectionPool | None = None

    @property
    def connections(self) -> Mapping[str, int]:
        """The number of open connections, by `idle` and `used`."""
        pool = self._pool
        return {"idle": pool.idle, "used": pool.used} if pool is not None else {"idle": 0, "used": 0}

    def measure(self, meter: StatementMeter) -> None:
        """Tell `meter` of each statement from now on. Called before `open`."""
        self._meter = meter

    def _measured(self, connection: PooledConnection) -> PooledConnection:
        """The connection, which tells the meter of each statement and each COMMIT from now on."""
        if self._meter is not None:
            for name in _OF_STATEMENTS:
                setattr(connection, name, _timed(connection, name, self._meter))
            for name in (name for name in _ENDS if hasattr(connection, name)):
                setattr(connection, name, _timed_end(connection, name, self._meter))
        return connection

    def _measure_engine(self, engine: AsyncEngine) -> None:
        """Tell the meter of each statement that SQLAlchemy runs."""
        if self._meter is not None:
            _listen(engine, self._meter)


def _listen(engine: AsyncEngine, meter: StatementMeter) -> None:
    def before(*given: Any) -> None:
        setattr(given[_CONTEXT], _BEGUN, time.perf_counter())

    def after(*given: Any) -> None:
        meter.ended(given[_STATEMENT], time.perf_counter() - getattr(given[_CONTEXT], _BEGUN), ok=True)

    def failed(failure: Any) -> None:
        begun = getattr(failure.execution_context, _BEGUN, None)
        if begun is not None and failure.statement is not None:
            meter.ended(failure.statement, time.perf_counter() - begun, ok=False)

    event.listen(engine.sync_engine, "before_cursor_execute", before)
    event.listen(engine.sync_engine, "after_cursor_execute", after)
    event.listen(engine.sync_engine, "handle_error", failed)


def _timed(connection: PooledConnection, name: str, meter: StatementMeter) -> Callable[..., Awaitable[Any]]:
    kind = type(connection)

    async def timed(statement: str, parameters: Sequence[object] = ()) -> Any:
        begun, ok = time.perf_counter(), False
        try:
            result = await getattr(kind, name)(connection, statement, parameters)
            ok = True
            return result
        finally:
            meter.ended(statement, time.perf_counter() - begun, ok=ok)

    return timed


def _timed_end(connection: PooledConnection, name: str, meter: StatementMeter) -> Callable[..., Awaitable[Any]]:
    kind = type(connection)

    async def timed(*statements: Sequence[str]) -> Any:
        begun, ok = time.perf_counter(), False
        try:
            result = await getattr(kind, name)(connection, *statements)
            ok = True
            return result
        finally:
            meter.ended(_COMMIT, time.perf_counter() - begun, ok=ok)

    return timed
