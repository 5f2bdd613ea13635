"""Leases on SQLite. A living process has a locked file beside the database. Imports the SQL base."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from freehold.adapters.files.presence import Presence, PresenceFiles
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.leases import SqlLeaseStore
from freehold.adapters.sqlite.database import SqliteDatabase

__all__ = ["SqliteLeaseStore"]


class SqliteLeaseStore(SqlLeaseStore):
    """Stores leases by name, and has one locked file for each owner."""

    def __init__(self, database: SqliteDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        self._files = PresenceFiles(database.file)

    async def vouch(self, owner: str) -> Presence | None:
        """Lock the owner's file until the result is closed."""
        return await asyncio.to_thread(self._files.hold, owner)

    async def gone(self, owners: Collection[str]) -> set[str]:
        """The owners whose file no process has locked."""
        return await asyncio.to_thread(self._files.gone, owners) if owners else set()
