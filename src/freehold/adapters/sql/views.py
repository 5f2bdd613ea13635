"""Materialized views on an SQL database. Base of the SQL engines: imports its siblings and the view port.

The engine's package builds, refreshes and drops views. Where DDL is transactional, the row with a view's state is
written in the same transaction.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from freehold.adapters.sql.engine.connection import Row, SqlConnection, SqlDatabase
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.families.key_lock import try_lock
from freehold.adapters.sql.families.upsert import insert_or_update
from freehold.adapters.sql.store import SqlStore, storable
from freehold.errors import ConcurrencyConflict, FreeholdError, NotFound
from freehold.projection.view_store import MaterializedView, ViewState, ViewStore

__all__ = ["SqlViewStore", "TransactionalViewStore", "being_refreshed"]

_ERROR_CHARACTERS_MAX = 500


class SqlViewStore(SqlStore, ViewStore, ABC):
    """Builds, refreshes and drops materialized views, and stores their state in a table."""

    emulated: ClassVar[bool]
    """Whether the engine has no materialized views of its own."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        self._select = f"""
SELECT name, digest, refreshed_at, duration_seconds, {dialect.seconds_sql(now, "attempted_at")}, failures, error
FROM freehold_view"""
        known = ("attempted_at", "refreshed_at", "digest", "duration_seconds", "failures", "error")
        self._refreshed = insert_or_update(
            dialect,
            "freehold_view",
            "INSERT INTO freehold_view (attempted_at, refreshed_at, name, digest, duration_seconds, failures, error)"
            f" VALUES ({now}, {now}, $2, $3, $4, 0, '')",
            "name",
            {column: f"new.{column}" for column in known},
        )
        self._failed = insert_or_update(
            dialect,
            "freehold_view",
            f"INSERT INTO freehold_view (attempted_at, name, digest, failures, error) VALUES ({now}, $2, '', 1, $3)",
            "name",
            {"attempted_at": "new.attempted_at", "failures": "old.failures + 1", "error": "new.error"},
        )

    @abstractmethod
    async def drop(self, name: str) -> bool:
        """Drop the view and its row; returns whether there was one."""

    @abstractmethod
    async def _refresh(self, view: MaterializedView) -> ViewState:
        """Build or refresh the view and write its state. Raises `ConcurrencyConflict` where another process does it,
        `ConfigurationError` for a name in use.
        """

    async def refresh(self, view: MaterializedView) -> ViewState:
        """Build or refresh the view and write its state; a failure is written in a transaction of its own."""
        try:
            return await self._refresh(view)
        except ConcurrencyConflict:
            raise
        except FreeholdError as error:
            # Where the database cannot be reached, the failure cannot be stored either.
            with contextlib.suppress(FreeholdError):
                await self._keep_failure(view, error)
            raise

    async def states(self) -> Sequence[ViewState]:
        """The states of all views, by name."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(f"{self._select} ORDER BY name", (self._dialect.now(),))
        return [self._state(row) for row in rows]

    async def _keep_failure(self, view: MaterializedView, error: FreeholdError) -> None:
        text = storable(f"{type(error).__name__}: {error.message}", _ERROR_CHARACTERS_MAX)
        async with self._database.begin() as db_tx:
            await db_tx.sql.execute(self._failed, (self._dialect.now(), view.name, text))

    async def _read(self, sql: SqlConnection, name: str) -> ViewState:
        rows = await sql.fetch(f"{self._select} WHERE name = $2", (self._dialect.now(), name))
        if not rows:
            raise NotFound(f"there is no materialized view '{name}'")
        return self._state(rows[0])

    def _state(self, row: Row) -> ViewState:
        name, digest, refreshed_at, duration, attempted_seconds, failures, error = row
        return ViewState(
            name=name,
            digest=digest,
            refreshed_at=None if refreshed_at is None else self._dialect.read_time(refreshed_at),
            duration_seconds=duration,
            attempted_seconds=max(0.0, float(attempted_seconds)),
            failures=failures,
            error=error,
            emulated=self.emulated,
        )


class TransactionalViewStore(SqlViewStore, ABC):
    """Builds, refreshes and drops a view in the transaction that writes its state."""

    @abstractmethod
    async def _allow(self, sql: SqlConnection, seconds: float) -> None:
        """Set the time limit of this transaction, which differs from that of business transactions."""

    @abstractmethod
    async def _build(self, sql: SqlConnection, view: MaterializedView, *, known: bool) -> None:
        """Build the view; `known`: it replaces an existing one. Raises `ConfigurationError` for a name in use."""

    @abstractmethod
    async def _renew(self, sql: SqlConnection, view: MaterializedView) -> None:
        """Refresh a view whose definition has not changed."""

    @abstractmethod
    async def _drop(self, sql: SqlConnection, name: str) -> None:
        """Drop a view that was built."""

    async def drop(self, name: str) -> bool:
        """Drop the view and its row in one transaction; returns whether there was one."""
        async with self._database.begin() as db_tx:
            await self._take_turn(db_tx.sql, name)
            rows = await db_tx.sql.fetch("DELETE FROM freehold_view WHERE name = $1 RETURNING digest", (name,))
            if rows and rows[0][0]:
                await self._drop(db_tx.sql, name)
        return bool(rows)

    async def _refresh(self, view: MaterializedView) -> ViewState:
        async with self._database.begin() as db_tx:
            await self._take_turn(db_tx.sql, view.name)
            await self._allow(db_tx.sql, view.timeout_seconds)
            started = time.monotonic()
            rows = await db_tx.sql.fetch("SELECT digest FROM freehold_view WHERE name = $1", (view.name,))
            digest = rows[0][0] if rows else ""
            if digest == view.digest:
                await self._renew(db_tx.sql, view)
            else:
                await self._build(db_tx.sql, view, known=bool(digest))
            seconds = time.monotonic() - started
            await db_tx.sql.execute(self._refreshed, (self._dialect.now(), view.name, view.digest, seconds))
            return await self._read(db_tx.sql, view.name)

    async def _take_turn(self, sql: SqlConnection, name: str) -> None:
        if not await try_lock(sql, self._dialect, f"freehold.view/{name}"):
            raise being_refreshed(name)


def being_refreshed(name: str) -> ConcurrencyConflict:
    """The error for a view that another process refreshes now."""
    return ConcurrencyConflict(
        f"materialized view '{name}' is being refreshed by another process", hint="try again when it has ended"
    )
