"""Leases on SQLite: a process proves that it lives by a locked file beside the database. Imports the SQL base."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from freehold.adapters.files.presence import Presence, PresenceFiles
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.leases import SqlLeaseStore
from freehold.adapters.sqlite.database import SqliteDatabase

__all__ = ["SqliteLeaseStore"]


class SqliteLeaseStore(SqlLeaseStore):
    """Leases by name, owners by file."""

    def __init__(self, database: SqliteDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        self._files = PresenceFiles(database.file)

    async def vouch(self, owner: str) -> Presence | None:
        """Hold the owner's file."""
        return await asyncio.to_thread(self._files.hold, owner)

    async def gone(self, owners: Collection[str]) -> set[str]:
        """Those whose file nobody holds."""
        return await asyncio.to_thread(self._files.gone, owners) if owners else set()
